"""SerialTransfer against PyPI's pySerialTransfer, the author's own implementation for computers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import serial_transfer

PAYLOADS = st.binary(min_size=1, max_size=254) | st.lists(
    st.sampled_from([0x7E, 0x00, 0x81, 0xFF]), min_size=1, max_size=254
).map(bytes)


class Wire:
    """Stands where pySerialTransfer has its port."""

    is_open = True

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    def open(self) -> None: ...

    @property
    def in_waiting(self) -> int:
        return len(self.data)

    def read(self, size: int = 1) -> bytes:
        part, self.data = self.data[:size], self.data[size:]
        return part

    def write(self, data: bytes) -> None:
        self.data += bytes(data)


@pytest.fixture(scope="module")
def package():
    return pytest.importorskip(
        "pySerialTransfer.pySerialTransfer", reason="needs pySerialTransfer: pip install pySerialTransfer"
    )


def opened(package, data: bytes = b""):
    link = package.SerialTransfer("nowhere", restrict_ports=False)
    link.connection = Wire(data)
    return link


def as_rows(payload: bytes) -> np.ndarray:
    return np.frombuffer(payload, dtype=np.uint8)[None, :]


@settings(max_examples=60, deadline=None)
@given(payload=PAYLOADS, packet_id=st.integers(0, 125))
def test_the_authors_package_sends_the_same_bytes(package, payload: bytes, packet_id: int) -> None:
    link = opened(package)
    link.tx_buff[: len(payload)] = list(payload)
    assert link.send(len(payload), packet_id)
    assert link.connection.data == serial_transfer.encode_rows(as_rows(payload), packet_id).tobytes()


@settings(max_examples=60, deadline=None)
@given(payload=PAYLOADS)
def test_the_authors_package_reads_what_is_encoded_here(package, payload: bytes) -> None:
    if 0x7E not in payload and len(payload) < 254:
        payload += b"\x7e"  # where there is none, the package's reader looks at a byte beyond the payload
    link = opened(package, serial_transfer.encode_rows(as_rows(payload), 7).tobytes())
    if 0x7E in payload:
        assert link.available() == len(payload)
        assert bytes(link.rx_buff[: len(payload)]) == payload


@settings(max_examples=60, deadline=None)
@given(payload=PAYLOADS)
def test_what_is_encoded_is_decoded(payload: bytes) -> None:
    decoded, whole = serial_transfer.decode_rows(serial_transfer.encode_rows(as_rows(payload)))
    assert whole.all()
    assert decoded.tobytes() == payload


def test_start_bytes_126_apart_leave_their_distance_in_the_payload() -> None:
    payload = bytearray(200)
    payload[10] = payload[136] = 0x7E
    frames = serial_transfer.encode_rows(as_rows(bytes(payload)))
    assert frames[0, 4 + 10] == 126
    decoded, whole = serial_transfer.decode_rows(frames)
    assert whole.all()
    assert decoded.tobytes() == payload


@pytest.mark.parametrize("place", range(14))
def test_any_damaged_byte_but_the_id_is_noticed(place: int) -> None:
    frame = serial_transfer.encode_rows(as_rows(b"\x01\x7e\x02\x7e\x03\x04\x05\x06"))
    frame[0, place] ^= 0x10
    whole = bool(serial_transfer.decode_rows(frame)[1][0])
    assert whole == (place == 1)


def test_a_chain_that_leads_out_of_the_payload_is_noticed() -> None:
    frame = serial_transfer.encode_rows(as_rows(b"\x01\x02\x03"))
    frame[0, 2] = 1  # the overhead byte is not in the CRC: 2 more is the end, and beyond
    assert not serial_transfer.decode_rows(frame)[1][0]


@pytest.mark.parametrize("size", [0, 255])
def test_a_payload_that_no_frame_carries_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 254"):
        serial_transfer.encode_rows(np.zeros((1, size), dtype=np.uint8))
