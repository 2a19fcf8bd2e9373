import numpy as np
import pytest

from drivers.codec import Block, Reply
from drivers.errors import HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.sensors.openbci_cyton import Device, Host, Settings
from drivers.types import Batch, CounterReset, Lost, Malformed, Samples

UV_PER_COUNT = 4.5 / 24 / (2**23 - 1) * 1e6
FIRST = bytes.fromhex("A045 000001000002000003000004000005000006000007000008 000000010002C0")


def ask(device: Device, text: bytes) -> bytes:
    return b"".join(reply.data for reply in device.receive(text))


def exg_blocks(device: Device, count: int, seed: int = 0) -> dict[str, Block]:
    rng, blocks = np.random.default_rng(seed), {}
    for spec in device.streams:
        n = count if spec.name != "accel" else -(-count // 10)
        due = np.rint(np.arange(n) * (1e9 / spec.rate_hz)).astype(np.int64)
        counts = rng.integers(1, 30_000, (n, len(spec.channels)))
        blocks[spec.name] = Block(np.arange(n), due, due, counts * spec.lsb)
    return blocks


class Line:
    description = "a test line"

    def __init__(self, device: Device) -> None:
        self.device, self.replies = device, []

    def write(self, data: bytes, channel: str = "") -> None:
        self.replies += self.device.receive(data)


def connect(host: Host, device: Device) -> None:
    line = Line(device)
    exchange, now_ns = Exchange(host.start(), line, 0), 0
    while not exchange.done:
        now_ns += 100_000_000
        replies, line.replies = line.replies, []
        for reply in replies:
            exchange.feed(Batch.single(reply.data, now_ns))
        exchange.tick(now_ns)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (b"V", b"v3.1.5$$$"),
        (b"d", b"updating channel settings to default$$$"),
        (b"D", b"060110$$$"),
        (b"1q!Q", b""),
        (b"-", b"Success: Configured internal test signal.$$$"),
        (b"x3020000X", b"Success: Channel set for 3$$$"),
        (b"x30X", b"Failure: too few chars$$$"),
        (b"x30200001", b"Failure: Err: 9th char not X$$$"),
        (b"z110Z", b"Success: Lead off set for 1$$$"),
        (b"~~", b"Success: Sample rate is 250Hz$$$"),
        (b"//", b"Success: default$$$"),
        (b"/2", b"Success: analog$$$"),
        (b"<", b"Time stamp ON$$$"),
        (b">", b"Time stamp OFF$$$"),
        (b"`a", b""),
        (b"c", b""),
        (b"C", b"no daisy to attach!8$$$"),
        (b"\xf0\x07", b"Success: System is Up$$$"),
    ],
)
def test_commands_are_answered_as_the_firmware_does_however_they_are_cut(command: bytes, reply: bytes) -> None:
    assert ask(Device(Settings()), command) == reply
    device = Device(Settings())
    assert b"".join(ask(device, command[k : k + 1]) for k in range(len(command))) == reply


def test_a_reset_is_answered_half_a_second_later_with_the_banner() -> None:
    (reply,) = Device(Settings()).receive(b"v")
    assert reply.delay_ns == 500_000_000
    lines = reply.data.split(b"\r\n")
    assert lines == [
        b"OpenBCI V3 8-16 channel", b"On Board ADS1299 Device ID: 0x3E", b"LIS3DH Device ID: 0x33",
        b"Firmware: v3.1.2", b"$$$",
    ]  # fmt: skip


def test_nothing_is_answered_while_streaming() -> None:
    device = Device(Settings())
    assert device.receive(b"b") == []
    assert device.streaming
    assert device.receive(b"V?d<x1060110X") == []
    assert device.receive(b"s") == []
    assert not device.streaming
    assert device.receive(b"V") == [Reply(b"v3.1.5$$$")]


def test_a_gain_change_rescales_what_is_sent() -> None:
    device = Device(Settings())
    device.receive(b"x1050110Xb")  # gain 12 on channel 1
    (batch,) = device.encode(exg_blocks(device, 20))
    values = Host(Settings()).feed(batch)[0].values
    sent = exg_blocks(device, 20)["exg"].values
    np.testing.assert_allclose(values[:, 0], sent[:, 0] / 2, atol=UV_PER_COUNT)
    np.testing.assert_allclose(values[:, 1:], sent[:, 1:], atol=1e-9)


def test_a_channel_switched_off_sends_zeros() -> None:
    device = Device(Settings())
    device.receive(b"3b")
    (batch,) = device.encode(exg_blocks(device, 5))
    assert not Host(Settings()).feed(batch)[0].values[:, 2].any()


def test_the_internal_test_signal_is_a_square_wave_of_the_data_sheet_size() -> None:
    """ADS1299: 1 x (VREFP - VREFN) / 2400 = 1.875 mV either side, at fclk / 2^21 = 0.977 Hz."""
    device = Device(Settings())
    device.receive(b"-b")
    (batch,) = device.encode(exg_blocks(device, 2500))
    wave = Host(Settings()).feed(batch)[0].values[:, 4]
    assert set(np.round(np.abs(wave), 0)) == {1875.0}
    assert abs(np.count_nonzero(np.diff(np.sign(wave))) / 2 / 10 - 2.048e6 / 2**21) < 0.06


def test_unlisted_channels_are_sent_as_zeros_and_not_decoded() -> None:
    settings = Settings(streams={"ecg": [1], "eeg": [7, 8]})
    assert [(s.name, s.kind, len(s.channels)) for s in Device(settings).streams] == [
        ("ecg", "ecg", 1), ("eeg", "eeg", 2), ("accel", "acceleration", 3),
    ]  # fmt: skip
    device = Device(settings)
    device.receive(b"b")
    (batch,) = device.encode(exg_blocks(device, 30))
    everything = Host(Settings()).feed(batch)[0].values
    assert not everything[:, 1:6].any()
    assert everything[:, [0, 6, 7]].all()


@pytest.mark.parametrize(
    "bad",
    [
        {"gain": 5}, {"streams": {"ecg": [0]}}, {"streams": {"ecg": [9]}}, {"streams": {"ecg": []}},
        {"streams": {"a": [1], "b": [1]}}, {"streams": {"accel": [1]}}, {"streams": {"ecg": "12"}},
        {"streams": {"ecg": [True]}},
    ],
)  # fmt: skip
def test_settings_without_meaning_are_refused(bad: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**bad)


def test_the_accelerometer_comes_in_every_tenth_frame_and_zeros_are_no_samples() -> None:
    device = Device(Settings())
    device.receive(b"b")
    (batch,) = device.encode(exg_blocks(device, 500))
    tails = np.frombuffer(batch.data, np.uint8).reshape(500, 33)[:, 26:32]
    assert np.flatnonzero(tails.any(axis=1)).tolist() == list(range(0, 500, 10))
    accel = next(e for e in Host(Settings()).feed(batch) if isinstance(e, Samples) and e.stream == "accel")
    assert accel.index.tolist() == list(range(50))


@pytest.mark.parametrize("stop", ["C3", "C4", "C5", "C6"])
def test_board_time_is_read_from_the_published_packet(stop: str) -> None:
    frame = FIRST[:26] + bytes.fromhex("000100000001" + stop)
    samples = Host(Settings(timestamps=True)).feed(Batch.single(frame, 5))[0]
    assert samples.device_ns.tolist() == [1_000_000]
    assert Host(Settings()).feed(Batch.single(frame, 5))[0].device_ns is None


def test_the_first_stamped_frame_is_c3_and_the_others_c4() -> None:
    device = Device(Settings(timestamps=True))
    device.receive(b"<b")
    (batch,) = device.encode(exg_blocks(device, 4))
    assert list(batch.data[32::33]) == [0xC3, 0xC4, 0xC4, 0xC4]


def test_board_time_goes_on_through_its_wrap() -> None:
    frames = [
        bytes([0xA0, k]) + FIRST[2:26] + bytes(2) + ((2**32 - 40 + 4 * k) % 2**32).to_bytes(4, "big") + b"\xc4"
        for k in range(20)
    ]
    events = Host(Settings(timestamps=True)).feed(Batch.single(b"".join(frames), 5))
    assert np.diff(next(e for e in events if isinstance(e, Samples)).device_ns).tolist() == [4_000_000] * 19


def test_a_jump_of_the_board_clock_begins_a_segment_and_is_no_loss() -> None:
    frames = [
        bytes([0xA0, k]) + FIRST[2:26] + bytes(2) + (1000 + 4 * k + 500 * (k >= 12)).to_bytes(4, "big") + b"\xc4"
        for k in range(20)
    ]
    events = Host(Settings(timestamps=True)).feed(Batch.single(b"".join(frames), 5))
    resets = [e for e in events if isinstance(e, CounterReset)]
    assert {e.stream for e in resets} == {"exg", "accel"}
    assert "500 ms" in resets[0].detail
    assert [(len(e.index), e.segment) for e in events if isinstance(e, Samples)] == [(12, 0), (8, 1)]
    assert not [e for e in events if isinstance(e, Lost)]


def test_one_truncated_frame_costs_one_sample() -> None:
    device = Device(Settings())
    device.receive(b"b")
    (batch,) = device.encode(exg_blocks(device, 1000))
    frames = [batch.data[33 * k : 33 * k + 33] for k in range(1000)]
    for k in range(50, 1000, 50):
        frames[k] = frames[k][: 1 + k % 32]
    events = Host(Settings()).feed(Batch.of(frames, batch.at_ns))
    assert sum(e.count for e in events if isinstance(e, Lost) and e.stream == "exg") == 19
    assert sum(len(e.index) for e in events if isinstance(e, Samples) and e.stream == "exg") == 981
    assert len([e for e in events if isinstance(e, Malformed)]) == 19


def test_a_board_that_still_streams_is_stopped_and_connected() -> None:
    device = Device(Settings())
    device.receive(b"b")
    connect(Host(Settings()), device)
    assert device.streaming


def test_gains_are_set_when_they_are_not_the_boards_default() -> None:
    device = Device(Settings(gain=12))
    connect(Host(Settings(gain=12)), device)
    (batch,) = device.encode(exg_blocks(device, 3))
    np.testing.assert_allclose(
        Host(Settings(gain=12)).feed(batch)[0].values, exg_blocks(device, 3)["exg"].values, atol=1e-9
    )


class Answering:
    description = "a test line"

    def write(self, data: bytes, channel: str = "") -> None: ...


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (b"Failure: Communications timeout - Device failed to poll Host$$$", "Switch the board on"),
        (b"Grbl 1.1h ['$' for help]\r\n$$$", "another device"),
    ],
)
def test_a_wrong_banner_says_what_to_do(answer: bytes, advice: str) -> None:
    exchange = Exchange(Host(Settings()).start(), Answering(), 0)
    exchange.tick(300_000_000)
    with pytest.raises(HandshakeError, match=advice):
        exchange.feed(Batch.single(answer, 400_000_000))
