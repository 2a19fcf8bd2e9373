import numpy as np
import pytest

from drivers.codec import Block
from drivers.errors import HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.lines import nmea_checksum
from drivers.sensors.text_lines import Device, Host, Settings
from drivers.types import Batch, CounterReset, Lost, Malformed, Samples

ECG = {"name": "ecg", "stream": "ecg", "kind": "ecg", "unit": "mV", "rate_hz": 250, "lsb": 0.001}
PPG = {"name": "ppg", "stream": "ppg", "kind": "ppg", "unit": "1", "rate_hz": 250, "lsb": 1}
TEMP = {"name": "temp", "stream": "temp", "kind": "temperature", "unit": "degC", "rate_hz": 10, "lsb": 0.01}
PERIOD = 4_000_000


def feed(host: Host, *lines: str, at_ns: int = 0, step_ns: int = PERIOD) -> list:
    """The rest of some line, then each line in a chunk of its own."""
    chunks = [b"0.5\n", *(line.encode() + b"\n" for line in lines)]
    return host.feed(Batch.of(chunks, at_ns + np.arange(len(chunks)) * step_ns))


def rows(events: list, stream: str) -> list:
    return [row for e in events if isinstance(e, Samples) and e.stream == stream for row in e.values.tolist()]


def numbers(events: list, stream: str) -> list[int]:
    return [k for e in events if isinstance(e, Samples) and e.stream == stream for k in e.index.tolist()]


def lost(events: list, stream: str) -> int:
    return sum(e.count for e in events if isinstance(e, Lost) and e.stream == stream)


def test_an_empty_cell_is_no_sample() -> None:
    events = feed(Host(Settings(columns=[ECG, TEMP])), "1.5,36.60", "1.6,", "1.7,", ",36.70")
    assert rows(events, "ecg") == [[1.5], [1.6], [1.7]]
    assert rows(events, "temp") == [[36.6], [36.7]]


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-inf", "ovf"])
def test_a_printed_nan_is_no_sample(word: str) -> None:
    assert rows(feed(Host(Settings(columns=[ECG])), "1.5", word, "1.6"), "ecg") == [[1.5], [1.6]]


def test_one_of_several_channels_may_be_missing() -> None:
    pair = [{**ECG, "name": n, "stream": "affect", "kind": "affect"} for n in ("valence", "arousal")]
    (row,) = rows(feed(Host(Settings(columns=pair)), "0.25,"), "affect")
    assert row[0] == 0.25
    assert np.isnan(row[1])


def test_banners_are_malformed_and_adjacent_ones_are_one_event() -> None:
    lines = ["ets Jun  8 2016 00:22:57", "Initializing...", "1.5", "2.5", "No finger?"]
    events = feed(Host(Settings(columns=[ECG])), *lines)
    assert [e.excerpt for e in events if isinstance(e, Malformed)] == [
        b"ets Jun  8 2016 00:22:57\nInitializing...", b"No finger?",
    ]  # fmt: skip
    assert rows(events, "ecg") == [[1.5], [2.5]]


@pytest.mark.parametrize("bad", ["1,2", "1.2.3", "--5", "0x10", "1_000", "1 2", "five", "1;2", "\x00", "1e"])
def test_what_is_no_number_is_malformed_alone_and_in_a_block(bad: str) -> None:
    for others in ([], ["1", "2", "3", "4", "5", "6"]):
        events = feed(Host(Settings(columns=[ECG])), *others, bad)
        assert len([e for e in events if isinstance(e, Malformed)]) == 1
        assert len(rows(events, "ecg")) == len(others)


def test_a_header_is_passed_over() -> None:
    events = feed(Host(Settings(columns=[ECG, PPG])), "1,2", "ecg,ppg", "3,4")
    assert rows(events, "ppg") == [[2.0], [4.0]]
    assert not [e for e in events if isinstance(e, Malformed)]


def test_the_rest_of_a_line_at_the_beginning_is_dropped_without_a_word() -> None:
    assert feed(Host(Settings(columns=[ECG]))) == []


def test_a_column_without_a_stream_is_passed_over() -> None:
    events = feed(Host(Settings(columns=[{"name": "bpm"}, ECG])), "72,1.5")
    assert rows(events, "ecg") == [[1.5]]


def test_a_line_without_an_end_is_given_up_at_4096_bytes_and_costs_nothing_else() -> None:
    host = Host(Settings(columns=[ECG]))
    feed(host)
    events = []
    for k in range(100):
        events += host.feed(Batch.single(b"1" * 100, k))
    events += host.feed(Batch.single(b"1\n2.5\n", 100))
    assert sum(e.size for e in events if isinstance(e, Malformed)) == 10_002
    assert rows(events, "ecg") == [[2.5]]


def test_a_wrong_nmea_checksum_is_malformed() -> None:
    """$XY,10.1,20.0*03 is a line of Safecast's kind; 0x03 is the XOR of what is between."""
    host = Host(Settings(columns=[ECG, PPG], checksum="nmea"))
    right = f"{0x03 ^ nmea_checksum(b'XY,'):02X}"
    lines = ["$10.1,20.0*00", f"$10.1,20.0*{right}", "10.1,20.0", f"$10.1,20.0*{right[0]}", "$10.1,20.0*zz"]
    events = feed(host, *lines)
    assert rows(events, "ecg") == [[10.1]]
    assert sum(isinstance(e, Malformed) for e in events) == 2  # before the good line, and the three behind it


def test_losses_are_counted_by_the_boards_clock() -> None:
    host = Host(Settings(columns=[ECG, TEMP], time_column="t"))
    lines = [(k, f"{4 * k},{k / 1000}," + ("36.6" if k % 25 == 0 else "")) for k in range(500) if not 100 < k <= 175]
    chunks = [b"\n", *((line + "\n").encode() for _, line in lines)]
    at_ns = np.array([0, *(k * PERIOD for k, _ in lines)])
    events = host.feed(Batch.of(chunks, at_ns))
    assert lost(events, "ecg") == 75
    assert lost(events, "temp") == 3
    assert numbers(events, "ecg") == [k for k, _ in lines]
    assert numbers(events, "temp") == [k // 25 for k, _ in lines if k % 25 == 0]


def test_a_clock_of_32_bits_goes_on_through_its_wrap() -> None:
    start = 2**32 - 20
    for unit, step in (("ms", 4), ("us", 4000)):
        host = Host(Settings(columns=[ECG], time_column="t", time_unit=unit))
        events = feed(host, *(f"{(start + step * k) % 2**32},1.0" for k in range(40)))
        (samples,) = (e for e in events if isinstance(e, Samples))
        assert np.diff(samples.device_ns).tolist() == [PERIOD] * 39
        assert np.diff(samples.index).tolist() == [1] * 39


@pytest.mark.parametrize("cut", [0, 51, 52, 53])
def test_damaged_times_do_not_add_up_to_a_turn_of_the_clock(cut: int) -> None:
    """Two lines that ran into one another, twice: both times are a third of the 32 bits ahead."""
    wrong = {50: 1_500_000_000, 51: 3_000_000_000}
    times = [wrong.get(k, 1000 + 4 * k) for k in range(100)]
    host = Host(Settings(columns=[ECG], time_column="t"))
    chunks = [b"0.5\n", *(f"{t},1.0\n".encode() for t in times)]
    at_ns = np.arange(len(chunks)) * PERIOD
    parts = [slice(0, cut), slice(cut, None)] if cut else [slice(None)]
    events = [e for part in parts for e in host.feed(Batch.of(chunks[part], at_ns[part]))]
    last = [e for e in events if isinstance(e, Samples)][-1]
    assert last.device_ns[-1] == (1000 + 4 * 99) * 1_000_000


def test_a_clock_that_falls_back_begins_a_segment() -> None:
    times = [*range(100_000, 100_400, 4), *range(0, 200, 4)]
    events = feed(Host(Settings(columns=[ECG], time_column="t")), *(f"{t},1.0" for t in times))
    assert [len(e.index) for e in events if isinstance(e, Samples)] == [100, 50]
    assert [e.segment for e in events if isinstance(e, Samples)] == [0, 1]
    assert [e.stream for e in events if isinstance(e, CounterReset)] == ["ecg"]
    assert lost(events, "ecg") == 0


@pytest.mark.parametrize("counted", [False, True])
def test_a_clock_that_jumps_ahead_while_lines_go_on_is_no_loss(counted: bool) -> None:
    settings = Settings(columns=[ECG], time_column="t", counter_column="n" if counted else "")
    times = [*range(0, 400, 4), *range(900, 1300, 4)]
    lines = [f"{t},{k},1.0" if counted else f"{t},1.0" for k, t in enumerate(times)]
    events = feed(Host(settings), *lines)
    assert [e.segment for e in events if isinstance(e, Samples)] == [0, 1]
    assert len([e for e in events if isinstance(e, CounterReset)]) == 1
    assert lost(events, "ecg") == 0


@pytest.mark.parametrize("wrong", [0, 1, 2, 3, 61, 9_999_998, 2**31 + 2])
def test_one_wrong_time_costs_its_line_alone(wrong: int) -> None:
    times = [20_000 + 4 * k for k in range(60)]
    times[30] = wrong
    events = feed(Host(Settings(columns=[ECG], time_column="t")), *(f"{t},{k}" for k, t in enumerate(times)))
    assert [row[0] for row in rows(events, "ecg")] == [float(k) for k in range(60) if k != 30]
    assert (lost(events, "ecg"), len([e for e in events if isinstance(e, Malformed)])) == (1, 1)
    assert {e.segment for e in events if isinstance(e, Samples)} == {0}


def test_unix_milliseconds_fit() -> None:
    host = Host(Settings(columns=[ECG], format="teleplot", time_column="t"))
    events = feed(host, ">ecg:1627551892437:1", ">ecg:1627551892441:2")
    (samples,) = (e for e in events if isinstance(e, Samples))
    assert samples.device_ns.tolist() == [1627551892437_000_000, 1627551892441_000_000]


def test_a_time_that_is_none_is_malformed() -> None:
    events = feed(Host(Settings(columns=[ECG], time_column="t")), "4,1.0", ",1.0", "-3,1.0", "1e300,1.0", "8,1.0")
    assert rows(events, "ecg") == [[1.0], [1.0]]
    assert len([e for e in events if isinstance(e, Malformed)]) == 3


def test_values_are_printed_with_the_decimals_that_their_step_needs() -> None:
    device = Device(Settings(columns=[{**ECG, "lsb": 0.05}, PPG, {**TEMP, "rate_hz": 250}], time_column="t"))
    due = np.arange(2) * PERIOD
    blocks = {
        name: Block(np.arange(2), due, due, np.array(values)[:, None])
        for name, values in (("ecg", [0.15, -2.0]), ("ppg", [512.0, 513.0]), ("temp", [36.6, 36.61]))
    }
    (batch,) = device.encode(blocks)
    assert batch.data == b"t,ecg,ppg,temp\r\n0,0.15,512,36.60\r\n4,-2.00,513,36.61\r\n"
    assert [chunk for chunk, _ in batch.chunks()][1] == b"4,-2.00,513,36.61\r\n"


def blocks_of_three(device: Device) -> dict[str, Block]:
    made = {}
    for spec in device.streams:
        n = 1 if spec.rate_hz == 10 else 2
        due = np.arange(n) * PERIOD
        made[spec.name] = Block(np.arange(n), due, due, np.full((n, 1), 1.0))
    return made


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("label", b"t:0,ecg:1.000,temp:1.00\r\nt:4,ecg:1.000\r\n"),
        ("teleplot", b">temp:0:1.00\r\n>ecg:0:1.000\r\n>ecg:4:1.000\r\n"),
        ("jsonl", b'{"t":0,"ecg":1.000,"temp":1.00}\r\n{"t":4,"ecg":1.000}\r\n'),
    ],
)
def test_each_format_leaves_out_what_is_not_due(form: str, text: bytes) -> None:
    device = Device(Settings(columns=[ECG, TEMP], format=form, time_column="t"))
    (batch,) = device.encode(blocks_of_three(device))
    assert batch.data == text
    assert len(batch) == 2


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ('{"ecg":1.5}', False), ('{"ecg":null}', False), ('{"ecg":true}', True), ('{"ecg":"1"}', True), ("[1]", True),
        ('{"other":1}', True), ("{", True), ("[" * 3000, True), ('{"ecg":1e999}', False),
        ('{"ecg":' + "9" * 400 + "}", True),
    ],
)  # fmt: skip
def test_json_lines_are_taken_only_if_the_value_is_a_number(line: str, bad: bool) -> None:
    events = feed(Host(Settings(columns=[ECG], format="jsonl")), line)
    assert bool([e for e in events if isinstance(e, Malformed)]) == bad


class Nobody:
    description = "a test line"


def test_a_board_that_prints_something_else_is_told_with_what_was_expected() -> None:
    exchange = Exchange(Host(Settings(columns=[ECG, PPG])).start(), Nobody(), 0)
    with pytest.raises(HandshakeError, match=r"expected csv lines such as '1.000,1\\r\\n'.*gyro"):
        exchange.feed(Batch.single(b"gyro 1 2 3\n" * 60, 1))


def test_boot_noise_before_the_first_line_is_waited_through() -> None:
    host = Host(Settings(columns=[ECG]))
    exchange = Exchange(host.start(), Nobody(), 0)
    exchange.feed(Batch.single(b"\xff\x00ets Jun  8 2016\r\nready\r\n0.1\r\n0.2\r\n", 1))
    assert exchange.done
    events = [e for batch in exchange.leftover for e in host.feed(batch)]
    assert rows(events, "ecg") == [[0.2]]


@pytest.mark.parametrize(
    "bad",
    [
        {"format": "xml"}, {"separator": ";"}, {"checksum": "crc"}, {"time_unit": "min"}, {"baud": 0}, {"columns": []},
        {"columns": [{"name": "a"}]}, {"columns": [{**ECG, "rate": 5}]}, {"columns": [{**ECG, "name": "a b"}]},
        {"columns": [ECG, ECG]}, {"columns": [{**ECG, "kind": "brain"}]}, {"columns": [{**ECG, "rate_hz": 0}]},
        {"columns": [{**ECG, "rate_hz": "fast"}]}, {"columns": [{"name": "a", "stream": "a"}]}, {"columns": ["ecg"]},
        {"columns": [{**ECG, "lsb": -1}]}, {"columns": {"ecg": 1}}, {"columns": [ECG, {**PPG, "rate_hz": 200}]},
        {"columns": [ECG, {**PPG, "stream": "ecg", "kind": "ppg"}]}, {"columns": [ECG, TEMP], "separator": " "},
        {"columns": [{**ECG, "rate_hz": 1000}], "time_column": "t"}, {"time_column": "ecg"}, {"counter_modulus": 1},
        {"format": "teleplot", "checksum": "nmea"}, {"format": "teleplot", "counter_column": "n"},
        {"time_column": "a b"},
    ],
)  # fmt: skip
def test_settings_without_meaning_are_refused(bad: dict) -> None:
    with pytest.raises(SettingError):
        Settings(**bad)


def summary(events: list) -> list:
    """What events say, however they are cut: samples one by one, then the rest by their time."""
    samples = []
    for each in (e for e in events if isinstance(e, Samples)):
        columns = (each.index, each.device_ns, each.arrival_ns, each.values[:, 0])
        samples += [(each.stream, each.segment, *row) for row in zip(*(c.tolist() for c in columns), strict=True)]
    return [*samples, *sorted((e for e in events if not isinstance(e, Samples)), key=lambda e: (e.arrival_ns, repr(e)))]


@pytest.mark.parametrize("counted", [False, True])
def test_wrong_times_and_clocks_that_jump_are_told_alike_line_by_line_and_at_once(counted: bool) -> None:
    settings = Settings(columns=[ECG], time_column="t", counter_column="n" if counted else "")
    times = [*range(20_000, 20_400, 4), *range(900, 1300, 4), *range(5000, 5400, 4)]
    times[30], times[31], times[150] = 2, 61, 9_999_998
    lines = [f"{t},{k},{k}\n" if counted else f"{t},{k}\n" for k, t in enumerate(times)]
    chunks = [b"\n", *(line.encode() for line in lines)]
    at_ns = np.arange(len(chunks)) * PERIOD
    whole = Host(settings).feed(Batch.of(chunks, at_ns))
    host = Host(settings)
    parts = [e for chunk, at in zip(chunks, at_ns.tolist(), strict=True) for e in host.feed(Batch.single(chunk, at))]
    assert summary(parts) == summary(whole)
    resets = [e for e in whole if isinstance(e, CounterReset)]
    assert {e.clock for e in resets} == {True}


@pytest.mark.parametrize("wrong", [0, 61, 9_999_998])
@pytest.mark.parametrize("cell", ["t", "n"])
def test_one_time_or_counter_that_does_not_go_with_the_other_costs_its_line_alone(wrong: int, cell: str) -> None:
    rows_sent = [[20_000 + 4 * k, 700 + k] for k in range(60)]
    rows_sent[30]["tn".index(cell)] = wrong % 60_000
    settings = Settings(columns=[ECG], time_column="t", counter_column="n")
    events = feed(Host(settings), *(f"{t},{n},{k}" for k, (t, n) in enumerate(rows_sent)))
    assert [row[0] for row in rows(events, "ecg")] == [float(k) for k in range(60) if k != 30]
    assert (lost(events, "ecg"), len([e for e in events if isinstance(e, Malformed)])) == (1, 1)
    assert not any(isinstance(e, CounterReset) for e in events)


def test_two_lines_that_ran_into_one_another_are_none() -> None:
    host = Host(Settings(columns=[ECG], format="label", time_column="t"))
    events = feed(host, "t:0,ecg:1", "t:4,ecg:2" + ",t:8,ecg:3", "t:12,ecg:4")
    assert rows(events, "ecg") == [[1.0], [4.0]]
    assert (lost(events, "ecg"), len([e for e in events if isinstance(e, Malformed)])) == (2, 1)


def test_a_counter_that_falls_back_while_the_clock_goes_on_is_no_jump_of_the_clock() -> None:
    lines = [f"{4 * k},{k if k < 50 else k - 50},1" for k in range(100)]
    events = feed(Host(Settings(columns=[ECG], time_column="t", counter_column="n")), *lines)
    (reset,) = (e for e in events if isinstance(e, CounterReset))
    assert not reset.clock
    assert [len(e.index) for e in events if isinstance(e, Samples)] == [50, 50]
