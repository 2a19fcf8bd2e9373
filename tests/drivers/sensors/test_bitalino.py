import numpy as np
import pytest

from drivers.bitalino_frame import BITS, check, crc4, pack, unpack
from drivers.codec import Block
from drivers.errors import HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.sensors.bitalino import Device, Host, Settings
from drivers.types import Batch, CounterReset, Lost, Malformed, Notice, Samples

ALL = {"A1": "raw", "A2": "raw", "A3": "raw", "A4": "raw", "A5": "raw", "A6": "raw"}


def ask(device: Device, command: bytes) -> bytes:
    return b"".join(reply.data for reply in device.receive(command))


def blocks(device: Device, count: int, seed: int = 0, first: int = 0) -> dict[str, Block]:
    rng, found = np.random.default_rng(seed), {}
    for spec in device.streams:
        index = np.arange(first, first + count)
        due = np.rint(index * (1e9 / spec.rate_hz)).astype(np.int64)
        low, high = np.ceil(spec.low / spec.lsb), np.floor(spec.high / spec.lsb)
        found[spec.name] = Block(index, due, due, rng.integers(low, high, (count, len(spec.channels))) * spec.lsb)
    return found


def sent(device: Device, count: int, first: int = 0) -> list[bytes]:
    return [chunk for batch in device.encode(blocks(device, count, first=first)) for chunk, _ in batch.chunks()]


class Line:
    description = "a test line"

    def __init__(self, device: Device) -> None:
        self.device, self.replies = device, []

    def write(self, data: bytes, channel: str = "") -> None:
        self.replies += self.device.receive(data)


def connect(host: Host, device: Device, damage=lambda data: data) -> Line:
    line = Line(device)
    exchange, now_ns = Exchange(host.start(), line, 0), 0
    while not exchange.done:
        now_ns += 50_000_000
        replies, line.replies = line.replies, []
        for reply in replies:
            exchange.feed(Batch.single(damage(reply.data), now_ns))
        exchange.tick(now_ns)
    return line


def streaming(**settings: object) -> tuple[Host, Device]:
    made = Settings(**settings)
    host, device = Host(made), Device(made)
    connect(host, device)
    return host, device


# --- frames -----------------------------------------------------------------------------------


def crc_bit_by_bit(frame: bytes) -> int:
    """As a shift register with x^4 + x + 1: another way to the same CRC than the driver's tables."""
    crc = 0
    for byte in [*frame[:-1], frame[-1] & 0xF0]:
        for bit in range(7, -1, -1):
            crc = crc << 1 | byte >> bit & 1
            crc ^= 0x13 if crc & 0x10 else 0
    return crc


@pytest.mark.parametrize("channels", range(1, 7))
def test_every_frame_carries_the_crc_of_a_shift_register(channels: int) -> None:
    rng = np.random.default_rng(channels)
    codes = np.stack([rng.integers(0, 2**bits, 200) for bits in BITS[:channels]], axis=1)
    frames = pack(codes, np.arange(200) % 16, 9)
    assert frames.shape[1] == (3, 4, 6, 7, 8, 8)[channels - 1]
    assert [row.tobytes()[-1] & 15 for row in frames] == [crc_bit_by_bit(row.tobytes()) for row in frames]
    found, digital = unpack(frames, channels)
    assert np.array_equal(found, codes)
    assert set(digital.tolist()) == {9}


def test_every_flipped_bit_breaks_the_crc() -> None:
    (frame,) = pack(np.array([[100, 200, 300, 400]]), np.array([3]), 10)
    for bit in range(8 * len(frame)):
        flipped = frame.copy()
        flipped[bit // 8] ^= 1 << bit % 8
        assert not check(flipped[None])[0][0], f"bit {bit}"


# --- units ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sensor", "settings", "code", "value"),
    [
        ("ecg", {}, 1023, (1023 / 1024 - 0.5) * 3.3 / 1100 * 1000),
        ("emg", {}, 256, (0.25 - 0.5) * 3.3 / 1009 * 1000),
        ("emg", {"emg_gain": 1000}, 0, -0.5 * 3.3 / 1000 * 1000),
        ("eda", {}, 512, 0.5 * 3.3 / 0.132),
        ("eda", {"eda": "offset"}, 512, (1.65 - 0.259388) / 0.2),
        ("eda", {"eda": "resistance"}, 768, 1 / (1 - 0.75)),
        ("eeg", {}, 600, (600 / 1024 - 0.5) * 3.3 / 41782 * 1e6),
        ("eeg", {"eeg_gain": 40000}, 600, (600 / 1024 - 0.5) * 3.3 / 40000 * 1e6),
        ("pzt", {}, 0, -50.0),
        ("acc", {}, 208, -1.0),
        ("acc", {}, 312, 1.0),
        ("acc", {"acc_min": 200, "acc_max": 300}, 250, 0.0),
        ("raw", {}, 1023, 1023.0),
    ],
)
def test_a_code_means_what_the_sensors_data_sheet_says(sensor: str, settings: dict, code: int, value: float) -> None:
    host = Host(Settings(channels={"A1": sensor}, **settings))
    events = host.feed(Batch.single(pack(np.array([[code]]), np.array([0]), 0).tobytes(), 0))
    (samples,) = [e for e in events if isinstance(e, Samples)]
    assert samples.values.item() == pytest.approx(value, rel=1e-12)


def test_the_fifth_and_sixth_channel_in_use_have_six_bits_whatever_their_inputs() -> None:
    many = Settings(channels={"A1": "ecg", "A2": "raw", "A3": "raw", "A4": "raw", "A6": "eda"})
    steps = {s.name: s.lsb for s in many.specs()}
    assert steps["eda"] == pytest.approx(25 / 64)
    assert {s.name: s.lsb for s in Settings(channels={"A6": "eda"}).specs()}["eda"] == pytest.approx(25 / 1024)


def test_inputs_with_the_same_sensor_are_one_stream_in_the_order_of_inputs() -> None:
    (acc,) = Settings(channels={"A4": "acc", "A2": "acc", "A3": "acc"}).specs()
    assert acc.channels == ("A2", "A3", "A4")


@pytest.mark.parametrize("eda", ["resistance", "offset", "revolution"])
def test_every_eda_transfer_function_survives_the_way_to_the_device_and_back(eda: str) -> None:
    transfer = Settings(channels={"A1": "eda"}, eda=eda).transfer("eda")
    shares = np.arange(1024) / 1024
    np.testing.assert_allclose(transfer.share(transfer.value(shares)), shares, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": {}}, "channels is empty"),
        ({"channels": {"A7": "ecg"}}, "A7"),
        ({"channels": {"A1": "ekg"}}, "ekg"),
        ({"rate_hz": 250}, "1, 10, 100, 1000"),
        ({"emg_gain": 0}, "above 0"),
        ({"acc_min": 400}, "acc_max above acc_min"),
        ({"eda": "siemens"}, "there is revolution"),
        ({"firmware": "4.1"}, "4.2 or later"),
        ({"battery_v": 9}, "lithium"),
    ],
)
def test_a_setting_without_meaning_is_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Settings(**settings)


# --- commands ---------------------------------------------------------------------------------


def test_both_version_commands_answer_in_idle_and_none_while_streaming() -> None:
    device = Device(Settings())
    assert ask(device, b"\x07\x0f") == b"BITalino_v5.2\n" * 2
    assert ask(device, b"\xfd\x07\x0f\x0b") == b""
    assert device.streaming


@pytest.mark.parametrize("stop", [b"\x00", b"\xff"])
def test_both_stop_commands_stop(stop: bytes) -> None:
    device = Device(Settings())
    device.receive(b"\x05")
    assert device.streaming
    device.receive(stop)
    assert not device.streaming


@pytest.mark.parametrize(("firmware", "size"), [("5.2", 17), ("5.1", 16), ("4.2", 16)])
def test_the_state_reply_has_the_length_and_crc_of_its_firmware(firmware: str, size: int) -> None:
    device = Device(Settings(firmware=firmware, battery_v=3.4))
    state = ask(device, bytes([13 << 2, 0xA3, 200, 0xB3 | 1 << 3, 0x0B]))
    assert len(state) == size
    assert state[-1] & 15 == crc_bit_by_bit(state) == crc4(state)
    assert state[-1] >> 4 == 0b0001, "O2"
    assert int.from_bytes(state[12:14], "little") == 527, "3.4 V"
    assert state[14] == 13
    assert size == 16 or state[15] == 200


def test_the_value_of_the_pwm_is_no_command_even_while_streaming() -> None:
    device = Device(Settings())
    device.receive(b"\xfd\xa3\xff")
    assert device.streaming
    assert ask(device, b"\xff\x0b")[15] == 0xFF


def test_no_channel_and_unknown_commands_do_nothing() -> None:
    device = Device(Settings())
    assert ask(device, b"\x01\x02\x13\x1b\x33\xff") == b""
    assert not device.streaming


def test_a_client_chooses_inputs_and_rate_itself() -> None:
    device = Device(Settings(channels={"A2": "raw"}))
    device.receive(bytes([0x83, (0b000110 << 2) | 1]))  # 100 Hz, A2 and A3
    given = blocks(device, 1000)
    (batch,) = device.encode(given)
    frames = np.frombuffer(batch.data, np.uint8).reshape(-1, 4)
    codes, _ = unpack(frames, 2)
    assert codes[:, 0].tolist() == given["raw"].values[::10, 0].tolist()
    assert set(codes[:, 1].tolist()) == {512}, "nothing is said to be on A3"
    assert check(frames)[1].tolist() == [k % 16 for k in range(100)]
    assert batch.at_ns.tolist() == given["raw"].due_ns[::10].tolist()


def test_simulated_mode_repeats_a_wave_of_fifty_samples() -> None:
    device = Device(Settings(channels={"A1": "raw"}))
    device.receive(bytes([1 << 2 | 2]))
    codes, _ = unpack(np.frombuffer(b"".join(sent(device, 200)), np.uint8).reshape(-1, 3), 1)
    assert np.array_equal(codes[:150], codes[50:])
    assert np.ptp(codes) > 300


def test_the_exchange_tells_version_and_battery() -> None:
    host, device = streaming(channels={"A1": "raw"}, battery_v=3.7)
    events = host.feed(device.encode(blocks(device, 3))[0])
    said = {e.name: e.value for e in events if isinstance(e, Notice)}
    assert said["firmware"] == "5.2"
    assert said["battery_V"] == pytest.approx(3.7, abs=0.0033)


def test_a_damaged_state_reply_is_a_handshake_error() -> None:
    def damage(reply: bytes) -> bytes:
        return reply if len(reply) < 16 else bytes([reply[0] ^ 1, *reply[1:]])

    with pytest.raises(HandshakeError, match="CRC"):
        connect(Host(Settings()), Device(Settings()), damage)


def test_digital_lines_are_told_once_and_at_every_change() -> None:
    host, device = streaming(channels={"A1": "raw"})
    pieces = sent(device, 4)
    device.receive(b"\xbf")  # O1 and O2 on, while it streams
    pieces += sent(device, 4, first=4)
    events = [e for n, piece in enumerate(pieces) for e in host.feed(Batch.single(piece, n * 1_000_000))]
    said = [(e.name, e.value) for e in events if isinstance(e, Notice) and e.name in ("I1", "I2", "O1", "O2")]
    assert sorted(said[:4]) == [("I1", False), ("I2", False), ("O1", False), ("O2", False)]
    assert sorted(said[4:]) == [("O1", True), ("O2", True)]


# --- losses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate_hz", "lost"), [(100, 1), (100, 14), (100, 15), (100, 32), (100, 45), (1000, 11), (1000, 700), (1000, 1600)]
)
def test_a_silence_is_counted_exactly_over_turns_of_the_sequence(rate_hz: int, lost: int) -> None:
    host, device = streaming(channels={"A1": "raw"}, rate_hz=rate_hz)
    (batch,) = device.encode(blocks(device, 4000))
    keep = np.ones(4000, dtype=bool)
    keep[1000 : 1000 + lost] = False
    events = host.feed(batch.take(keep))
    assert sum(e.count for e in events if isinstance(e, Lost)) == lost
    assert not [e for e in events if isinstance(e, CounterReset | Malformed)]
    assert np.concatenate([e.index for e in events if isinstance(e, Samples)])[-1] == 3999


def test_a_stream_that_begins_at_another_number_is_believed_by_what_follows() -> None:
    host, device = streaming(channels={"A1": "raw"})
    events = host.feed(Batch.single(b"".join(sent(device, 40)[1:]), 0))
    assert sum(len(e.index) for e in events if isinstance(e, Samples)) == 39
    assert not [e for e in events if isinstance(e, Malformed | Lost)]


def test_a_thousand_frames_a_second_with_six_channels_survive_noise_on_the_line() -> None:
    host, device = streaming(channels=ALL)
    given = blocks(device, 5000)
    (batch,) = device.encode(given)
    data = bytearray(batch.data)
    rng = np.random.default_rng(2)
    hit = np.sort(rng.choice(5000, 60, replace=False))
    for frame in hit:
        data[8 * frame + int(rng.integers(8))] ^= 1 << int(rng.integers(8))
    events = host.feed(Batch(bytes(data), batch.ends, batch.at_ns))
    index = np.concatenate([e.index for e in events if isinstance(e, Samples)])
    values = np.concatenate([e.values for e in events if isinstance(e, Samples)])
    scale = np.array([1, 1, 1, 1, 16, 16])
    truth = np.clip(np.rint(given["raw"].values / scale), 0, [1023, 1023, 1023, 1023, 63, 63]) * scale
    assert np.array_equal(values, truth[index])
    assert 5000 - len(index) <= 2 * len(hit)
    assert sum(e.count for e in events if isinstance(e, Lost)) == 5000 - len(index)
