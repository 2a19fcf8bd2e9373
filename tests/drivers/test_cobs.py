"""COBS against the vectors of the paper and of PyPI's cobs, and against that package itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import cobs


def run(first: int, last: int) -> str:
    return bytes(range(first, last + 1)).hex()


VECTORS = [
    ("", "01"),
    ("00", "0101"),
    ("0000", "010101"),
    ("001100", "01021101"),
    ("11220033", "0311220233"),
    ("11223344", "0511223344"),
    ("11000000", "0211010101"),
    (run(1, 254), "FF" + run(1, 254)),
    (run(0, 254), "01FF" + run(1, 254)),
    (run(1, 255), "FF" + run(1, 254) + "02FF"),
    (run(2, 255) + "00", "FF" + run(2, 255) + "0101"),
    (run(3, 255) + "0001", "FE" + run(3, 255) + "0201"),
]
PACKETS = st.binary(max_size=600) | st.lists(st.sampled_from([0, 1, 255]), max_size=600).map(bytes)


@pytest.mark.parametrize(("packet", "sent"), VECTORS)
def test_the_published_vectors_hold_both_ways(packet: str, sent: str) -> None:
    assert cobs.encode(bytes.fromhex(packet)).hex() == sent.lower()
    assert cobs.decode(bytes.fromhex(sent)).hex() == packet.lower()


@pytest.mark.parametrize("damaged", ["", "00", "05", "0511", "0301", "0311002233"])
def test_what_is_no_cobs_is_refused(damaged: str) -> None:
    with pytest.raises(ValueError, match="byte"):
        cobs.decode(bytes.fromhex(damaged))


@settings(max_examples=60, deadline=None)
@given(packet=PACKETS)
def test_the_package_cobs_encodes_and_decodes_alike(packet: bytes) -> None:
    package = pytest.importorskip("cobs.cobs", reason="needs the package cobs: pip install cobs")
    sent = cobs.encode(packet)
    assert sent == package.encode(packet)
    assert cobs.decode(sent) == packet == package.decode(sent)
    assert 0 not in sent
    assert len(sent) <= cobs.longest(len(packet))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), length=st.integers(1, 254), zeros=st.floats(0, 1))
def test_packets_side_by_side_are_what_they_are_one_by_one(data, length: int, zeros: float) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    rows = rng.integers(0, 256, (7, length), dtype=np.uint8) * (rng.random((7, length)) > zeros).astype(np.uint8)
    sent, ends = cobs.encode_rows(rows)
    parts = [sent[a:b] for a, b in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)]
    assert parts == [cobs.encode(row.tobytes()) + b"\x00" for row in rows]
    if length < 254:
        table = np.frombuffer(sent, dtype=np.uint8).reshape(7, length + 2)[:, :-1]
        decoded, good = cobs.decode_rows(table)
        assert good.all()
        assert np.array_equal(decoded, rows)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.binary(min_size=9, max_size=9), max_size=20))
def test_damaged_packets_side_by_side_are_told_like_one_by_one(rows: list[bytes]) -> None:
    table = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), 9)
    decoded, good = cobs.decode_rows(table)
    for row, got, right in zip(rows, decoded, good, strict=True):
        try:
            packet = cobs.decode(row)
        except ValueError:
            assert not right
        else:
            assert right
            assert got.tobytes() == packet


def test_packets_too_long_to_be_decoded_side_by_side_are_refused() -> None:
    with pytest.raises(ValueError, match="256"):
        cobs.decode_rows(np.zeros((1, 256), dtype=np.uint8))
