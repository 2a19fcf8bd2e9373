import numpy as np
import pytest

from drivers import polar_pmd as pmd
from drivers.codec import Block
from drivers.errors import AttError, HandshakeError, SettingError
from drivers.exchange import Exchange
from drivers.gatt import uuid128
from drivers.sensors import polar_h10
from drivers.sensors.heart_rate import MEASUREMENT
from drivers.types import Batch, CounterReset, Lost, Malformed, Notice, Samples
from simulators.build import simulated

SECOND = 1_000_000_000


def h(text: str) -> bytes:
    return bytes.fromhex(text)


class StrapLink:
    """A connection to a simulated strap, or to one that answers as ``says`` has it: request -> answer."""

    description = "a test connection"
    clock = None

    def __init__(self, device, says=None, features=None) -> None:
        self.device, self.says, self.features = device, says or {}, features
        self.written: list[str] = []
        self.answers: list[bytes] = []

    def write(self, data: bytes, channel: str = "") -> None:
        self.written.append(data.hex(" "))
        if data.hex(" ") in self.says:
            self.answers.append(h(self.says[data.hex(" ")]))
        else:
            self.answers += [reply.data for reply in self.device.receive(data, channel)]

    def read(self, channel: str):
        return self.features if channel == pmd.CONTROL and self.features is not None else self.device.read(channel)

    def subscribe(self, channel: str) -> None:
        self.device.subscribe(channel)


def connect(settings=None, **link):
    """Host and link behind the exchange."""
    made = polar_h10.Settings(**(settings or {}))
    host, wire = polar_h10.host(made), StrapLink(polar_h10.device(made), **link)
    exchange, now = Exchange(host.start(), wire, 0), 0
    while not exchange.done and now < 60 * SECOND:
        now += SECOND // 20
        answers, wire.answers = wire.answers, []
        for answer in answers:
            exchange.feed(Batch.single(answer, now, pmd.CONTROL))
        exchange.tick(now)
    assert exchange.done
    return host, wire


def blocks(seconds: float, settings: polar_h10.Settings, ecg=None):
    found = {}
    for spec in settings.specs():
        count = round(seconds * (spec.rate_hz or 1))
        due = np.rint(np.arange(count) / (spec.rate_hz or 1) * 1e9).astype(np.int64)
        values = np.zeros((count, len(spec.channels)))
        if spec.name == "ecg" and ecg is not None:
            values[:, 0] = ecg(np.arange(count))
        if spec.name == "accel":
            values[:] = np.arange(count)[:, None] % 2000 / 1000 * [1, -1, 0.5]
        found[spec.name] = Block(np.arange(count), due, due, values)
    return found


def control(device, text: str) -> str:
    (reply,) = device.receive(h(text), pmd.CONTROL)
    return reply.data.hex(" ").upper()


@pytest.fixture
def device():
    strap = polar_h10.device(polar_h10.Settings())
    strap.subscribe(pmd.CONTROL)
    strap.subscribe(pmd.DATA)
    return strap


# --- the control point, as online_measurement.pdf prints it -----------------------------------


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("01 00", "F0 01 00 00 00 00 01 82 00 01 01 0E 00"),
        ("01 02", "F0 01 02 00 00 00 04 19 00 32 00 64 00 C8 00 01 01 10 00 02 03 02 00 04 00 08 00"),
        ("02 02 02 01 08 00 00 01 C8 00 01 01 10 00", "F0 02 02 00 00 01"),
        ("02 00 00 01 82 00 01 01 0E 00", "F0 02 00 00 00 01"),
    ],
)
def test_the_simulated_strap_answers_as_the_document_prints_it(device, request_: str, answer: str) -> None:
    assert control(device, request_) == answer


def test_features_name_ecg_and_acceleration(device) -> None:
    assert device.read(pmd.CONTROL) == h("0F05") + bytes(15)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("", pmd.BAD_OP), ("0A 00", pmd.BAD_OP), ("05 00", pmd.BAD_OP), ("01", pmd.BAD_LENGTH),
        ("01 00 00", pmd.BAD_LENGTH), ("01 04", pmd.BAD_TYPE), ("01 01", pmd.NOT_SUPPORTED),
        ("02 09", pmd.NOT_SUPPORTED), ("03 02", pmd.ALREADY),
        ("02 02 00 01 C9 00 01 01 10 00 02 01 08 00", pmd.BAD_RATE),
        ("02 02 00 01 C8 00 01 01 0E 00 02 01 08 00", pmd.BAD_RESOLUTION),
        ("02 02 00 01 C8 00 01 01 10 00 02 01 10 00", pmd.BAD_RANGE),
        ("02 02 00 01 C8 00", pmd.BAD_PARAMETER), ("02 02 00 02 C8 00 32 00 02 01 08 00", pmd.BAD_PARAMETER),
        ("02 00 04 01 03", pmd.BAD_PARAMETER), ("02 00 0B 01 00", pmd.BAD_PARAMETER),
        ("02 02 00 01 C8 00 02 01 08", pmd.BAD_LENGTH), ("02 02 00", pmd.BAD_LENGTH),
    ],
)  # fmt: skip
def test_every_wrong_request_has_its_status(device, request_: str, status: int) -> None:
    answer = h(control(device, request_).replace(" ", ""))
    assert answer[3] == status
    assert len(answer) == 5
    assert not device.streaming


def test_a_measurement_runs_until_it_is_stopped_and_only_once(device) -> None:
    assert control(device, "02 00") == "F0 02 00 00 00 01", "there is but one choice of everything"
    assert device.streaming
    assert control(device, "02 00") == "F0 02 00 06 00"
    assert control(device, "03 00") == "F0 03 00 00 00"
    assert not device.streaming
    assert control(device, "03 00") == "F0 03 00 06 00"


def test_without_a_subscription_nothing_is_indicated() -> None:
    assert polar_h10.device(polar_h10.Settings()).receive(h("0100"), pmd.CONTROL) == []
    with pytest.raises(AttError):
        polar_h10.device(polar_h10.Settings()).subscribe(uuid128(0x2A38))


# --- the exchange -----------------------------------------------------------------------------


def test_the_host_asks_for_settings_and_starts_what_its_settings_choose() -> None:
    _, link = connect({"streams": ["ecg", "accel"], "accel_rate_hz": 100, "accel_range_g": 8})
    assert link.written == [
        "01 00", "02 00 00 01 82 00 01 01 0e 00", "01 02", "02 02 00 01 64 00 01 01 10 00 02 01 08 00",
    ]  # fmt: skip
    assert not link.device._strap.streaming


def test_heart_rate_alone_starts_no_measurement() -> None:
    host, link = connect({"streams": ["heart_rate"]})
    assert link.written == []
    assert [s.name for s in host.streams] == ["heart_rate", "rr"]
    assert link.device.streaming


def test_a_measurement_that_somebody_left_running_is_started_anew() -> None:
    made = polar_h10.Settings(streams=["ecg"])
    link = StrapLink(polar_h10.device(made))
    link.device.subscribe(pmd.CONTROL)
    link.device.receive(h("0200"), pmd.CONTROL)
    host = polar_h10.host(made)
    exchange = Exchange(host.start(), link, 0)
    while link.answers:
        exchange.feed(Batch.single(link.answers.pop(0), 1, pmd.CONTROL))
    assert exchange.done
    assert [text[:5] for text in link.written] == ["01 00", "02 00", "03 00", "02 00"]


@pytest.mark.parametrize(
    ("link", "what"),
    [
        ({"features": b""}, "another make"),
        ({"features": h("0F01")}, "measures ACC; it offers ECG"),
        ({"features": h("0E05")}, "found 0e 05"),
        ({"says": {"01 02": "F0 01 02 00 00 00 01 34 00 01 01 10 00 02 01 08 00"}}, "offers rate 52; .* ask for 200"),
        ({"says": {"01 02": "F0 01 02 03 00"}}, r"found 3 \(not supported\)"),
        ({"says": {"01 00": "F0 01 00 0C"}}, r"found 12 \(invalid state\): is it worn"),
        ({"says": {"01 00": "F0 01 00 2A 00"}}, r"found 42 \(status 42\)"),
        ({"says": {"01 00": "F0 01 00 00 01 00"}}, "comes in parts"),
        ({"says": {"01 00": "F0 01 01 00 00"}}, "expected the answer .* 'tell the settings of ECG' within 10 s"),
    ],
)  # fmt: skip
def test_a_strap_that_refuses_is_a_handshake_error_that_says_why(link: dict, what: str) -> None:
    with pytest.raises(HandshakeError, match=what):
        connect(**link)


def test_stopping_asks_for_every_measurement_s_end() -> None:
    host, link = connect()
    link.written.clear()
    Exchange(host.stop(), link, 0)
    assert link.written == ["03 00", "03 02"]
    assert not link.device._measurements.streaming


# --- data -------------------------------------------------------------------------------------


def test_packets_are_as_large_as_a_real_strap_s() -> None:
    _, link = connect()
    found = {len(chunk) for b in link.device.encode(blocks(3, polar_h10.Settings())) if b.channel == pmd.DATA
             for chunk, _ in b.chunks()}  # fmt: skip
    assert found == {229, 226}, "73 samples of ECG, 36 of acceleration"


def test_a_lower_rate_and_range_than_the_simulated_ones_thin_out_and_clip(device) -> None:
    control(device, "02 02 00 01 32 00 01 01 10 00 02 01 02 00")
    given = blocks(4, polar_h10.Settings())
    given["accel"].values[:] *= 4
    payload = b"".join(
        chunk[10:] for b in device.encode(given) if b.channel == pmd.DATA for chunk, _ in b.chunks() if chunk[0] == 2
    )
    found = np.frombuffer(payload, dtype="<i2").reshape(-1, 3)
    wanted = np.clip(np.rint(given["accel"].values * 1000), -2000, 2000)[::4]
    assert np.array_equal(found, wanted[: len(found)])
    assert len(found) >= 180


def test_stamps_count_from_2019_and_are_those_of_the_last_samples() -> None:
    host, link = connect({"streams": ["ecg"]})
    given = blocks(10, polar_h10.Settings(), ecg=lambda n: n)
    events = [e for b in link.device.encode(given) for e in host.feed(b)]
    (samples,) = [e for e in events if isinstance(e, Samples)]
    assert samples.values[:, 0].tolist() == list(range(len(samples.index)))
    error_ns = samples.device_ns - 599_616_000 * SECOND - given["ecg"].device_ns[: len(samples.index)]
    last = samples.index % 73 == 72
    assert error_ns[last].tolist() == [0] * int(last.sum()), "exact where the wire says the time"
    assert np.abs(error_ns).max() <= 73, "and between, within what rounding the grid adds up to"


def test_lost_packets_are_counted_by_their_stamps() -> None:
    host, link = connect({"streams": ["ecg"]})
    (batch,) = link.device.encode(blocks(20, polar_h10.Settings()))
    kept = np.ones(len(batch), dtype=bool)
    kept[[4, 11, 12, 13]] = False
    events = host.feed(batch.take(kept))
    assert [(e.stream, e.count) for e in events if isinstance(e, Lost)] == [("ecg", 73), ("ecg", 219)]


def test_a_clock_that_is_set_is_a_new_segment_and_no_loss() -> None:
    host, link = connect({"streams": ["ecg"]})
    (batch,) = link.device.encode(blocks(10, polar_h10.Settings()))
    events = []
    for n, (data, at_ns) in enumerate(batch.chunks()):
        stamp = int.from_bytes(data[1:9], "little") + (200_000_000 * SECOND if n >= 6 else 0)
        events += host.feed(Batch.single(data[:1] + stamp.to_bytes(8, "little") + data[9:], at_ns, pmd.DATA))
    resets = [e for e in events if isinstance(e, CounterReset)]
    assert [(e.stream, e.clock) for e in resets] == [("ecg", True)]
    assert not [e for e in events if isinstance(e, Lost | Malformed)]
    assert sum(len(e.index) for e in events if isinstance(e, Samples)) == 73 * len(batch)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("00 00", "header"), ("00 0094357700000000 01 0280FF", "type 0x01"), ("02 0094357700000000 00 0280FF", "0x00"),
        ("00 0094357700000000 80 0280FF", "type 0x80"), ("00 0094357700000000 00 0280", "2 bytes"),
        ("03 0094357700000000 00 808080808000", "PPI"), ("3F 0094357700000000 00 80", "type 63"),
    ],
)  # fmt: skip
def test_frames_that_an_h10_does_not_send_are_malformed(text: str, reason: str) -> None:
    (event,) = polar_h10.host(polar_h10.Settings()).feed(Batch.single(h(text), 5, pmd.DATA))
    assert isinstance(event, Malformed)
    assert reason in event.reason


def test_a_strap_that_ends_its_measurements_says_so_and_so_does_the_host() -> None:
    settings = {"streams": ["ecg", "accel", "heart_rate"], "stop_after_s": 3.0}
    host, link = connect(settings)
    given = blocks(6, polar_h10.Settings())
    batches = link.device.encode(given)
    events = [e for b in batches for e in host.feed(b)]
    stopped = [(e.value, e.arrival_ns) for e in events if isinstance(e, Notice) and e.name == "measurement_stopped"]
    assert sorted(stopped) == [("ACC", 3 * SECOND), ("ECG", 3 * SECOND)]
    counts = {e.stream: len(e.index) for e in events if isinstance(e, Samples)}
    assert counts == {"heart_rate": 6, "ecg": 5 * 73, "accel": 16 * 36, "rr": 6}, "what filled a packet in 3 s"
    assert link.device.streaming, "heart rates go on"


def test_answers_that_nobody_waits_for_are_no_damage() -> None:
    host = polar_h10.host(polar_h10.Settings())
    assert host.feed(Batch.single(h("F003000000"), 1, pmd.CONTROL)) == []
    assert [type(e) for e in host.feed(Batch.single(h("77"), 1, pmd.CONTROL))] == [Malformed]


def test_a_link_that_comes_back_begins_a_segment() -> None:
    driver = simulated("polar-h10", seed=3, streams=["ecg"], faults=[{"fault": "unplug", "at_s": 6, "for_s": 2}])
    with driver:
        events = list(driver.events(driver.clock.now_ns() + 20 * SECOND))
    segments = [e.segment for e in events if isinstance(e, Samples)]
    assert set(segments) == {0, 1}
    assert not [e for e in events if isinstance(e, Lost | Malformed | CounterReset)]


@pytest.mark.parametrize("seconds", [0.5, -0.3, 3600.0])
def test_a_step_of_the_strap_s_clock_is_a_reset_in_each_stream_and_no_loss(seconds: float) -> None:
    driver = simulated("polar-h10", seed=3, faults=[{"fault": "clock_step", "at_s": 6, "seconds": seconds}])
    with driver:
        events = list(driver.events(driver.clock.now_ns() + 15 * SECOND))
    assert sorted(e.stream for e in events if isinstance(e, CounterReset)) == ["accel", "ecg"]
    assert not [e for e in events if isinstance(e, Lost | Malformed)]


def test_heart_rate_and_ecg_of_one_heart_agree() -> None:
    driver = simulated("polar-h10", seed=5)
    with driver:
        events = list(driver.events(driver.clock.now_ns() + 20 * SECOND))
    rr = np.concatenate([e.values[:, 0] for e in events if isinstance(e, Samples) and e.stream == "rr"])
    ecg = np.concatenate([e.values[:, 0] for e in events if isinstance(e, Samples) and e.stream == "ecg"])
    high = ecg > 0.6 * ecg.max()
    starts = np.flatnonzero(high[1:] & ~high[:-1])
    peaks = np.array([s + np.argmax(ecg[s : s + 12]) for s in starts])
    assert np.median(np.diff(peaks)) / 130 * 1000 == pytest.approx(np.median(rr), abs=25)


@pytest.mark.parametrize(
    "bad",
    [
        {"streams": []}, {"streams": ["ecg", "ecg"]}, {"streams": ["ppg"]}, {"accel_rate_hz": 52},
        {"accel_range_g": 16}, {"contact": "maybe"}, {"battery_percent": 101}, {"mtu": 23}, {"mtu": 500},
        {"stop_after_s": -1.0},
    ],
)  # fmt: skip
def test_settings_without_meaning_are_refused_for_an_h10(bad: dict) -> None:
    with pytest.raises(SettingError):
        polar_h10.Settings(**bad)


def test_the_heart_rate_service_is_that_of_a_strap() -> None:
    strap = polar_h10.device(polar_h10.Settings(battery_percent=55))
    assert strap.read(uuid128(0x2A19)) == b"\x37"
    assert strap.gatt.name.startswith("Polar H10 ")
    assert uuid128(0x180D) in strap.gatt.advertised
    strap.subscribe(MEASUREMENT)
    assert strap.streaming
