import numpy as np
import pytest

from drivers import polar_pmd as pmd
from drivers.errors import HandshakeError, SettingError
from drivers.sensors import polar_verity
from drivers.types import Batch, Lost, Malformed, Notice, Samples
from simulators.build import simulated
from simulators.subject import Subject

SECOND = 1_000_000_000


def h(text: str) -> bytes:
    return bytes.fromhex(text)


def control(device, text: str) -> str:
    (reply,) = device.receive(h(text), pmd.CONTROL)
    return reply.data.hex(" ").upper()


def samples_of(events, stream: str):
    return [e for e in events if isinstance(e, Samples) and e.stream == stream]


@pytest.fixture
def band():
    device = polar_verity.device(polar_verity.Settings())
    device.subscribe(pmd.CONTROL)
    device.subscribe(pmd.DATA)
    return device


def run(seconds: float, **options):
    driver = simulated("polar-verity", **options)
    with driver:
        return list(driver.events(driver.clock.now_ns() + round(seconds * SECOND)))


def test_acceleration_is_offered_and_started_as_the_document_prints_it(band) -> None:
    assert control(band, "01 02") == "F0 01 02 00 00 00 01 34 00 01 01 10 00 02 01 08 00 04 01 03"
    start = "02 02 00 01 34 00 01 01 10 00 02 01 08 00 04 01 03"
    assert control(band, start) == "F0 02 02 00 00 05 01 40 DA 7F 39"
    assert control(band, "03 02") == "F0 03 02 00 00"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("02 01 00 01 37 00 01 01 16 00 04 01 02", pmd.BAD_CHANNELS),
        ("02 01 00 01 82 00 01 01 16 00 04 01 04", pmd.BAD_RATE),
        ("02 02 05 01 40DA7F39", pmd.BAD_PARAMETER),
    ],
)
def test_wrong_choices_have_their_status(band, request_: str, status: int) -> None:
    assert h(control(band, request_).replace(" ", ""))[3] == status


def test_the_band_offers_ppg_acceleration_and_intervals(band) -> None:
    assert band.read(pmd.CONTROL)[:3] == h("0F0E00")


def test_a_band_in_its_charger_refuses_and_says_what_to_do() -> None:
    driver = simulated("polar-verity", in_charger=True)
    with pytest.raises(HandshakeError, match=r"found 13 \(device in charger\): take it out of its charger"):
        driver.open()


def test_the_factor_of_the_start_answer_scales_the_acceleration() -> None:
    """The same frame means twice as much where the band answers with a factor of twice the size."""
    host = polar_verity.host(polar_verity.Settings(streams=["accel"]))
    steps = host.start()
    answers = {"01": "F001020000 00013400 01011000 02010800 040103", "02": "F002020000 0501" + "40DAFF39"}
    reply, writes = None, []
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            break
        reply = h("0F0E") if type(step).__name__ == "ReadValue" else None
        if type(step).__name__ == "Write":
            writes.append(step.data.hex())
        elif type(step).__name__ == "Expect":
            reply = h(answers[writes[-1][:2]])
    frame = h("02 646C76C43CC67F07 80 D0FF6501E40F")
    (found,) = samples_of(host.feed(Batch.single(frame, 1, pmd.DATA)), "accel")
    np.testing.assert_allclose(found.values, np.array([[-48, 357, 4068]]) * 0.000488, rtol=1e-6)
    assert found.device_ns.tolist() == [540_368_444_604_181_604]


def test_light_and_ambient_come_in_frames_that_fill_the_connection() -> None:
    events = run(20, seed=2, streams=["ppg"])
    sizes = [len(e.index) for e in samples_of(events, "ppg")]
    assert max(sizes) <= 50
    assert min(sizes) > 10
    light, ambient = (np.concatenate([e.values for e in samples_of(events, name)]) for name in ("ppg", "ambient"))
    assert light.shape == (len(ambient), 3)
    assert len(light) > 18 * 55
    assert not [e for e in events if isinstance(e, Lost | Malformed)]


def test_lost_frames_of_uneven_size_are_counted_exactly() -> None:
    faults = [{"fault": "dropout", "mean_lost_percent": 10, "mean_burst_frames": 2}]
    whole = run(60, seed=4, streams=["accel"])
    events = run(60, seed=4, streams=["accel"], faults=faults)
    index = np.concatenate([e.index for e in samples_of(events, "accel")])
    lost = sum(e.count for e in events if isinstance(e, Lost))
    assert lost > 100
    assert index[-1] + 1 == len(index) + lost
    every = np.concatenate([e.values for e in samples_of(whole, "accel")])
    assert np.array_equal(every[index], np.concatenate([e.values for e in samples_of(events, "accel")]))


def test_intervals_are_those_of_the_subject_s_heart_to_the_millisecond() -> None:
    events = run(30, seed=6, streams=["ppi", "heart_rate"])
    found = np.concatenate([e.values[:, 0] for e in samples_of(events, "ppi")])
    simulated_ms = np.rint(1000 * Subject(6).rr(0.0, 60.0))
    places = np.lib.stride_tricks.sliding_window_view(simulated_ms, len(found))
    assert len(found) >= 20
    assert np.sum((places == found).all(axis=1)) == 1
    assert samples_of(events, "rr") == [], "an optical sensor sends no RR intervals with its heart rates"


@pytest.mark.parametrize(
    ("flags", "notices"),
    [
        ("07", {"ppi_blocked": True, "contact": True}), ("04", {"ppi_blocked": False, "contact": False}),
        ("02", {"ppi_blocked": False}),
    ],
)  # fmt: skip
def test_flags_of_an_interval_say_whether_it_counts(flags: str, notices: dict) -> None:
    host = polar_verity.host(polar_verity.Settings())
    events = host.feed(Batch.single(h("03" + "00" * 8 + "00" + "50E8030A00" + flags), 3, pmd.DATA))
    told = {e.name: e.value for e in events if isinstance(e, Notice)}
    assert told == {"ppi_error_ms": 10.0, **notices}
    assert samples_of(events, "ppi")[0].values.tolist() == [[1000.0]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("03 0000000000000000 00 8080808080", "intervals of type 0x00 in 5 bytes"),
        ("03 0000000000000000 80 808080808080", "intervals of type 0x80"),
        ("01 0094357700000000 81 " + "00" * 12, "PPG frame of type 0x81"),
        ("02 0094357700000000 01 " + "00" * 6, "acceleration frame of type 0x01"),
        ("01 0094357700000000 80 " + "00" * 12 + "0A05FF", "ends 24 bytes behind"),
    ],
)  # fmt: skip
def test_frames_that_a_verity_does_not_send_are_malformed(text: str, reason: str) -> None:
    (event,) = polar_verity.host(polar_verity.Settings()).feed(Batch.single(h(text), 5, pmd.DATA))
    assert isinstance(event, Malformed)
    assert reason in event.reason


@pytest.mark.parametrize("bad", [{"streams": ["ecg"]}, {"streams": []}, {"battery_percent": -1}, {"mtu": 59}])
def test_settings_without_meaning_are_refused_for_a_verity(bad: dict) -> None:
    with pytest.raises(SettingError):
        polar_verity.Settings(**bad)
