import numpy as np
import pytest

from drivers.codec import Block
from drivers.errors import HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.sensors.shimmer3 import Device, Host, Settings
from drivers.shimmer3_clock import StampClock, to_ns, to_ticks
from drivers.shimmer3_gsr import Ranger, conductance
from drivers.shimmer3_packet import crc16, crc16_rows, with_crc
from drivers.types import Batch, CounterReset, Lost, Malformed, Notice, Samples

TURN_NS = 512 * 10**9


def ask(device: Device, command: str) -> str:
    return b"".join(reply.data for reply in device.receive(bytes.fromhex(command))).hex()


def blocks(device: Device, count: int, seed: int = 0, first: int = 0, begin_ns: int = 0) -> dict[str, Block]:
    rng, found = np.random.default_rng(seed), {}
    for spec in device.streams:
        index = np.arange(first, first + count)
        due = np.rint(index * (1e9 / spec.rate_hz)).astype(np.int64)
        low, high = max(np.ceil(spec.low / spec.lsb), -30_000), min(np.floor(spec.high / spec.lsb), 30_000)
        values = rng.integers(low, high, (count, len(spec.channels))) * spec.lsb
        found[spec.name] = Block(index, due, begin_ns + due, values)
    return found


class Line:
    description = "a test line"

    def __init__(self, device: Device, silent: bytes = b"") -> None:
        self.device, self.replies, self.silent = device, [], silent

    def write(self, data: bytes, channel: str = "") -> None:
        if data[:1] not in (self.silent, b""):
            self.replies += self.device.receive(data)


def connect(host: Host, device: Device, change=lambda reply: reply, silent: bytes = b"") -> None:
    line = Line(device, silent)
    exchange, now_ns = Exchange(host.start(), line, 0), 0
    while not exchange.done:
        now_ns += 50_000_000
        replies, line.replies = line.replies, []
        for reply in replies:
            exchange.feed(Batch.single(change(reply.data), now_ns))
        exchange.tick(now_ns)


def streaming(**settings: object) -> tuple[Host, Device]:
    made = Settings(**settings)
    host, device = Host(made), Device(made)
    connect(host, device)
    return host, device


def total(events: list, kind: type) -> int:
    return sum(e.count for e in events if isinstance(e, kind))


def joined(events: list, stream: str, column: str) -> np.ndarray:
    return np.concatenate([getattr(e, column) for e in events if isinstance(e, Samples) and e.stream == stream])


# --- commands, as pyshimmer's tests and the firmware have them --------------------------------


@pytest.mark.parametrize(
    ("commands", "reply"),
    [
        ("054000 03", "ff ff044000"),
        ("054000 080001 00 01", "ff ff ff024000 01ff0109 01 01 12"),
        ("2103 23 01", "ff ff2203 ff028002 01ff0107 00 01"),
        ("2109 23", "ff ff2204"),
        ("2e", "ff2f0300 0000 1000"),
        ("3f 24", "ff2503 ff2503"),
        ("36", "ff3501"),
        ("7905535f505047 7b", "ff ff7a05535f505047"),
        ("85023432 87", "ff ff86023432"),
        ("7c0161 7e", "ff ff7d0161"),
        ("8f0000050000000000 91", "ff ff900000050000000000"),
        ("63 00 00 0a", "ff620a00801000000000000201"),
        ("61 01 03 02 4060 63 01 03 02", "ff ff62024060"),
        ("63 02 00 0a", "ff6200"),
        ("72", "ff8a7120"),
        ("8f0000050000000000 92 72", "ff ff ff8a712e"),
        ("96", "ff"),
        ("b5", ""),
        ("a300 72", "ff ff8a7120"),
        ("00 06 1f 55", ""),
        ("2c", "ff2d" + "ff" * 84),
    ],
)
def test_a_command_is_answered_as_by_the_firmware(commands: str, reply: str) -> None:
    assert ask(Device(Settings()), commands) == reply.replace(" ", "")


@pytest.mark.parametrize(
    "command", ["054000", "080000 01", "2102", "61000301 40", "790141", "85023432", "5e00", "0e01ff0100"]
)
def test_settings_are_refused_while_streaming_and_questions_are_not(command: str) -> None:
    device = Device(Settings())
    assert ask(device, "07" + command + "03") == "ff" + "fe" + "ff048002"
    assert ask(device, "20" + command)[:4] == "ffff"


def test_a_payload_that_is_too_long_is_refused_and_swallowed() -> None:
    device = Device(Settings())
    assert ask(device, "79" + "c8" + "41" * 128 + "3f") == "fe" + "ff2503"


@pytest.mark.parametrize(("message", "crc"), [
    ("2403020103", "cadc"), ("24030201", "4bc2"), ("00ded0b22607", "cb92"), ("00", "0b66"), ("ff", "f465"),
])  # fmt: skip
def test_the_crc_is_that_of_shimmers_own_script(message: str, crc: str) -> None:
    data = bytes.fromhex(message)
    assert with_crc(data, 2).hex() == message + crc
    assert with_crc(data, 1).hex() == message + crc[:2]
    assert crc16_rows(np.frombuffer(data, np.uint8)[None]).tolist() == [crc16(data)]


def test_with_a_crc_mode_every_reply_carries_one() -> None:
    device = Device(Settings())
    assert ask(device, "8b02") == "fff465"
    assert ask(device, "8b01") == "fff4"
    assert ask(device, "8b07") == "ff", "an unknown mode is none"


def test_unwrapping_needs_the_log_of_no_more_than_the_last_stamp() -> None:
    ticks = np.arange(0, 3 * 2**24, 2**20 + 7)
    read, _ = StampClock(64).read(ticks % 2**24, to_ns(ticks))
    assert read.tolist() == ticks.tolist()


@pytest.mark.parametrize("silence_s", [10, 200, 300, 511, 513, 1000, 1500])
def test_a_silence_of_several_turns_is_unwrapped_by_the_arrival(silence_s: int) -> None:
    ticks = np.array([100, 164, 164 + silence_s * 32768 + 64])
    read, numbers = StampClock(64).read(ticks % 2**24, to_ns(ticks) + np.array([0, 5, 90]) * 1_000_000)
    assert read.tolist() == ticks.tolist()
    assert np.diff(numbers).tolist() == [1, silence_s * 512 + 1]


def test_ticks_survive_rounding_to_nanoseconds() -> None:
    ticks = np.arange(0, 2**26, 9973)
    assert to_ticks(to_ns(ticks)).tolist() == ticks.tolist()
    assert np.abs(to_ns(ticks) - ticks * (1e9 / 32768)).max() <= 0.5


# --- skin conductance -------------------------------------------------------------------------


@pytest.mark.parametrize(("gsr_range", "low_kohm", "high_kohm"), [(1, 63, 220), (2, 220, 680), (3, 680, 4700)])
def test_a_fixed_range_shows_no_more_than_it_is_good_for(gsr_range: int, low_kohm: float, high_kohm: float) -> None:
    words = np.arange(4096) | gsr_range << 14
    shown = conductance(words, gsr_range)
    assert shown.min() == pytest.approx(1000 / high_kohm)
    assert shown.max() <= 1000 / low_kohm + 1e-12


@pytest.mark.parametrize("gsr_range", range(4))
def test_an_open_circuit_conducts_nothing_in_any_range(gsr_range: int) -> None:
    step_us = 1000 / (40.2, 287, 1000, 3300)[gsr_range] * 6 / 4095
    assert 0 <= conductance(np.array([100 | gsr_range << 14]), 4)[0] <= step_us


def settled(microsiemens: float, period: int = 64) -> int:
    """Range that the automatic choice ends in."""
    return int(Ranger(4, period).words(np.full(2000, microsiemens))[-1] >> 14)


def test_the_automatic_range_follows_the_conductance() -> None:
    assert [settled(us) for us in (40.0, 8.0, 3.0, 0.8)] == [0, 1, 2, 3]


@pytest.mark.parametrize("period", [32, 64, 256, 640, 3000])
def test_after_a_change_of_range_the_last_word_comes_again_for_80_ms(period: int) -> None:
    ranger = Ranger(4, period)
    ranger.words(np.full(3000, 8.0))
    words = ranger.words(np.full(500, 3.0))
    assert words[0] >> 14 == 1, "the sample that asks for another range is shown in the old one"
    repeated = 2621 // period
    assert set(words[: 1 + repeated].tolist()) == {int(words[0])}
    assert set((words[1 + repeated :] >> 14).tolist()) == {2}


def test_a_change_of_range_back_and_forth_has_hysteresis() -> None:
    """287 kOhm is left below code 1490, 4.12 uS; 1 MOhm above code 3700, 4.42 uS, and below code 1630, 1.39 uS."""
    ranger = Ranger(4, 64)
    ranges = [int(ranger.words(np.full(400, us))[-1] >> 14) for us in (5.0, 4.0, 4.2, 4.5, 1.5, 1.3)]
    assert ranges == [1, 2, 2, 1, 2, 3]


def test_range_words_do_not_depend_on_how_samples_are_cut() -> None:
    rng = np.random.default_rng(1)
    microsiemens = np.exp(np.cumsum(rng.normal(0, 0.05, 5000))) % 60 + 0.3
    whole = Ranger(4, 64).words(microsiemens)
    ranger = Ranger(4, 64)
    parts = np.concatenate([ranger.words(part) for part in np.array_split(microsiemens, 137)])
    assert np.array_equal(whole, parts)
    assert set((whole >> 14).tolist()) == {0, 1, 2, 3}


def test_the_automatic_range_is_read_back_within_a_step_of_its_range() -> None:
    host, device = streaming(sensors=["gsr"])
    given = blocks(device, 6000)
    slow = 6 + 5 * np.sin(np.arange(6000) / 700)[:, None]
    block = given["eda"]
    given["eda"] = Block(block.index, block.due_ns, block.device_ns, slow)
    events = host.feed(device.encode(given)[0])
    found = joined(events, "eda", "values")
    error = np.abs(found - slow)[50:, 0]
    assert np.mean(error < 0.5 * 1000 / 40.2 * 6 / 4095) > 0.95, "but for the settling times"


# --- the exchange -----------------------------------------------------------------------------


def test_the_exchange_sets_what_the_settings_say() -> None:
    _, device = streaming(sensors=["gsr", "ecg"], rate_hz=512, gsr_range=3, exg_gain=12, crc_bytes=1)
    device.receive(b"\x20")
    assert ask(device, "8b00 03") == "ff ff044000".replace(" ", "")
    assert ask(device, "23") == "ff2203"
    assert ask(device, "01") == "ff02400001ff0107 07 01 1c 1d1e1f 202122".replace(" ", "")
    assert ask(device, "63 00 03 02") == "ff62026060"
    assert ask(device, "63 01 03 02") == "ff62026067"


def test_firmware_without_crc_is_read_without() -> None:
    made = Settings(sensors=["ppg"])
    host, device = Host(made), Device(made)
    connect(host, device, silent=b"\x8b")
    events = host.feed(device.encode(blocks(device, 100))[0])
    assert len(joined(events, "ppg", "index")) == 100
    assert "crc" in {e.name for e in events if isinstance(e, Notice)}


def test_a_device_that_sends_more_channels_is_read_in_its_order() -> None:
    made = Settings(sensors=["ppg"], crc_bytes=0)
    host, device = Host(made), Device(made)

    def change(reply: bytes) -> bytes:
        return reply[:8] + bytes([3, 1, 0x03, 0x12, 0x1B]) if reply[1:2] == b"\x02" else reply

    connect(host, device, change)
    given = bytes.fromhex("00 000000 3412 2607 01020300 000100 3412 fc06 010203")
    events = host.feed(Batch.single(given, 0))
    assert joined(events, "ppg", "values")[:, 0].tolist() == [pytest.approx(c * 3000 / 4095) for c in (0x726, 0x6FC)]


@pytest.mark.parametrize(
    ("command", "answer", "message"),
    [
        (0x2F, "ff2f02000000 1000", "LogAndStream"),
        (0x25, "ff2501", "Shimmer3R"),
        (0x02, "ff02400001ff0109 01 01 12", "256 ticks"),
        (0x02, "ff02000101ff0109 01 01 1c", "missing: 12"),
        (0x02, "ff02000101ff0109 02 01 12 77", "unknown: 77"),
        (0x2F, "fe", "refused with NACK"),
    ],
)
def test_a_wrong_answer_is_a_handshake_error_that_names_it(command: int, answer: str, message: str) -> None:
    made = Settings(sensors=["ppg"], rate_hz=128)

    def change(reply: bytes) -> bytes:
        return bytes.fromhex(answer) if reply[1:2] == bytes([command]) else reply

    with pytest.raises(HandshakeError, match=message):
        connect(Host(made), Device(made), change)


def test_a_refused_setting_is_a_handshake_error() -> None:
    made = Settings(sensors=["ppg"])
    device = Device(made)
    device.receive(b"\x92")  # it logs to its card
    with pytest.raises(HandshakeError, match="logging"):
        connect(Host(made), device)


def test_an_exg_board_that_keeps_no_gain_is_a_handshake_error() -> None:
    made = Settings(sensors=["ecg"], rate_hz=512)

    def change(reply: bytes) -> bytes:
        return reply[:3] + bytes(10) if reply[1:2] == b"\x62" else reply

    with pytest.raises(HandshakeError, match="ExG board"):
        connect(Host(made), Device(made), change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sensors": []}, "expected a list"),
        ({"sensors": "gsr"}, "expected a list"),
        ({"sensors": ["eda"]}, "has gsr, ppg"),
        ({"sensors": ["gsr", "gsr"]}, "twice"),
        ({"sensors": ["ecg", "emg"]}, "same inputs"),
        ({"sensors": ["gsr", "int_a1"]}, "same inputs"),
        ({"rate_hz": 250}, "250.137"),
        ({"rate_hz": 0.1}, "0.5 to 2048"),
        ({"gsr_range": 5}, "0, 1, 2, 3 or 4"),
        ({"exg_bits": 12}, "24 or 16"),
        ({"exg_gain": 5}, "8 and 12"),
        ({"crc_bytes": 3}, "0, 1 or 2"),
        ({"firmware": "0.16"}, "three numbers"),
        ({"battery_v": 12}, "lithium"),
    ],
)
def test_a_setting_without_meaning_is_refused_by_name(settings: dict, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        Settings(**settings)


# --- packets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "crc_bytes"), [(24, 2), (16, 1), (24, 0)])
def test_time_stamps_turn_without_a_seam(bits: int, crc_bytes: int) -> None:
    host, device = streaming(sensors=["ecg"], rate_hz=512, exg_bits=bits, crc_bytes=crc_bytes)
    given = blocks(device, 2048, begin_ns=TURN_NS - 2 * 10**9)
    events = host.feed(device.encode(given)[0])
    assert np.diff(joined(events, "ecg", "index")).tolist() == [1] * 2047
    assert np.abs(joined(events, "ecg", "device_ns") - given["ecg"].device_ns).max() <= 1
    assert total(events, Lost) == 0


@pytest.mark.parametrize("lost", [1, 100, 512 * 20, 512 * 300, 512 * 700])
def test_losses_are_counted_from_the_time_stamps_however_long(lost: int) -> None:
    host, device = streaming(sensors=["ppg"], rate_hz=512)
    early = device.encode(blocks(device, 500))
    late = device.encode(blocks(device, 500, first=500 + lost))
    events = [e for batch in early + late for e in host.feed(batch)]
    assert total(events, Lost) == lost
    assert not [e for e in events if isinstance(e, CounterReset)]


@pytest.mark.parametrize("step_s", [-300.0, -0.7, 0.6, 100.0])
def test_a_step_of_the_clock_is_no_loss_but_a_new_segment(step_s: float) -> None:
    host, device = streaming(sensors=["ppg"], rate_hz=512)
    early = device.encode(blocks(device, 500, begin_ns=400 * 10**9))
    late = device.encode(blocks(device, 500, first=500, begin_ns=round((400 + step_s) * 1e9)))
    events = [e for batch in early + late for e in host.feed(batch)]
    (reset,) = [e for e in events if isinstance(e, CounterReset)]
    assert reset.clock
    assert total(events, Lost) == 0
    assert len({e.segment for e in events if isinstance(e, Samples)}) == 2
    assert len(joined(events, "ppg", "index")) == 1000


def test_with_a_crc_no_damaged_packet_gets_through() -> None:
    host, device = streaming(sensors=["ecg"], rate_hz=512)
    given = blocks(device, 4000)
    (batch,) = device.encode(given)
    size, rng = batch.ends[0], np.random.default_rng(7)
    data = bytearray(batch.data)
    for packet in range(5, 4000, 10):
        data[packet * size + int(rng.integers(size))] ^= int(rng.integers(1, 256))
    events = host.feed(Batch(bytes(data), batch.ends, batch.at_ns))
    index = joined(events, "ecg", "index")
    assert len(index) == 3600
    assert total(events, Lost) == 400
    np.testing.assert_allclose(joined(events, "ecg", "values"), given["ecg"].values[index], atol=1e-9)


def test_a_lost_byte_costs_at_most_two_packets_even_without_a_crc() -> None:
    host, device = streaming(sensors=["ppg"], rate_hz=512, crc_bytes=0)
    (batch,) = device.encode(blocks(device, 300))
    data = batch.data[: 6 * 100 + 5] + batch.data[6 * 100 + 6 :]
    events = host.feed(Batch.single(data, 0))
    assert set(range(300)) - set(joined(events, "ppg", "index").tolist()) <= {100, 101}


@pytest.mark.parametrize("crc_bytes", [0, 1, 2])
@pytest.mark.parametrize("cut", [1, 2, 5, 1000])
def test_what_the_device_says_between_packets_is_heard_and_costs_none(crc_bytes: int, cut: int) -> None:
    host, device = streaming(sensors=["ppg"], crc_bytes=crc_bytes)
    (batch,) = device.encode(blocks(device, 60))
    chunks = [chunk for chunk, _ in batch.chunks()]
    for place, said in ((50, "fe"), (40, "ff8a7125"), (30, "8a7124"), (20, "ff8a942e0b80"), (10, "ff")):
        chunks.insert(place, with_crc(bytes.fromhex(said), crc_bytes))
    text = b"".join(chunks)
    events = [e for at in range(0, len(text), cut) for e in host.feed(Batch.single(text[at : at + cut], at))]
    told = [(e.name, e.value) for e in events if isinstance(e, Notice)]
    assert ("battery_V", 4.168246153846154) in told
    assert ("clock_set", True) in told
    assert told.index(("clock_set", True)) < told.index(("docked", True))
    assert ("refused", True) in told
    assert len(joined(events, "ppg", "index")) == 60
    assert not [e for e in events if isinstance(e, Malformed)]


def test_a_client_with_another_period_gets_the_samples_that_begin_each() -> None:
    device = Device(Settings(sensors=["ppg"], rate_hz=512))
    device.receive(bytes.fromhex("05 0001 08 000100 07"))  # 128 Hz
    given = blocks(device, 400)
    (batch,) = device.encode(given)
    rows = np.frombuffer(batch.data, np.uint8).reshape(-1, 6).astype(int)
    assert len(rows) == 100
    assert np.diff(rows[:, 1] | rows[:, 2] << 8 | rows[:, 3] << 16).tolist() == [256] * 99
    codes = rows[:, 4] | rows[:, 5] << 8
    np.testing.assert_allclose(codes * 3000 / 4095, given["ppg"].values[::4, 0])


def test_channels_that_the_settings_do_not_feed_are_zero_and_keep_their_places() -> None:
    device = Device(Settings(sensors=["ppg"], rate_hz=512))
    answer = "ff ff ff02 4000 01ff0109 0a 01 000102 12 1c 0a0b0c 1a1b"
    assert ask(device, "05 4000 08 c40104 01") == answer.replace(" ", "")
    device.receive(b"\x07")
    (batch,) = device.encode(blocks(device, 10))
    rows = np.frombuffer(batch.data, np.uint8).reshape(10, -1)
    assert rows.shape[1] == 4 + 6 + 2 + 2 + 6 + 2 + 3
    assert not rows[:, 4:10].any()
    assert rows[:, 10:12].any()
    assert not rows[:, 12:].any()


def test_a_damaged_ack_to_the_start_costs_a_second_and_no_packet() -> None:
    made = Settings(sensors=["ppg"])
    host, device = Host(made), Device(made)
    line, text = Line(device), b""
    exchange, now_ns = Exchange(host.start(), line, 0), 0
    while not exchange.done:
        now_ns += 50_000_000
        replies, line.replies = line.replies, []
        for reply in replies:
            if device.streaming:
                (batch,) = device.encode(blocks(device, 40))
                text = b"\xff\xf4\x61" + batch.data
            exchange.feed(Batch.single(text or reply.data, now_ns))
        exchange.tick(now_ns)
    events = [e for batch in exchange.leftover for e in host.feed(batch)]
    assert joined(events, "ppg", "index").tolist() == list(range(40))


def test_a_flipped_time_stamp_costs_its_packet_even_without_a_crc() -> None:
    host, device = streaming(sensors=["ppg"], rate_hz=512, crc_bytes=0)
    (batch,) = device.encode(blocks(device, 300))
    data = bytearray(batch.data)
    data[6 * 100 + 3] ^= 0x20
    events = host.feed(Batch(bytes(data), batch.ends, batch.at_ns))
    assert joined(events, "ppg", "index").tolist() == [k for k in range(300) if k != 100]
    assert total(events, Lost) == 1
    assert not [e for e in events if isinstance(e, CounterReset)]


def test_a_clock_that_is_set_back_to_before_its_start_numbers_samples_below_zero() -> None:
    host, device = streaming(sensors=["ppg"], rate_hz=512)
    early = device.encode(blocks(device, 500))
    late = device.encode(blocks(device, 500, first=500, begin_ns=-30 * 10**9))
    events = [e for batch in early + late for e in host.feed(batch)]
    assert joined(events, "ppg", "index")[500:].tolist() == list(range(500 - 30 * 512, 1000 - 30 * 512))
