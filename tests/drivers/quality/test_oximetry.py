"""Saturation by the ratio of ratios, against simulated people whose saturation is known."""

import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.quality.oximetry import Calibration, oximetry, oximetry_at, wavelengths
from drivers.quality.windows import Windows
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Profile, Subject

LIGHT = StreamSpec("ppg", "ppg", ("red", "infrared"), "counts", 64.0, lsb=1.0, low=0.0, high=262143.0)
SECONDS = 60


def person(seed: int, percent: float, perfusion: float = 2.0) -> Subject:
    return Subject(seed, Profile(spo2_percent=percent, ppg_perfusion_percent=perfusion))


def shine(subject: Subject, seed: int = 1, fault=None, spec: StreamSpec = LIGHT, **options):
    """Light of a minute (n, 2) with its true saturation in every ten seconds."""
    times_s = np.arange(round(SECONDS * spec.rate_hz)) / spec.rate_hz
    light = make_signal({"signal": "ppg", **options}, subject, spec, Draws(seed, "test"))
    values = light.render(0, times_s)
    if fault:
        where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, light.span)
        values = make_fault(fault).bind(where).apply(0, times_s, values)
    return digitise(values, spec), subject.spo2(times_s).reshape(SECONDS // 10, -1).mean(axis=1)


def tens(values: np.ndarray, spec: StreamSpec = LIGHT) -> Windows:
    return Windows(values.reshape(SECONDS // 10, -1, values.shape[1]), spec.rate_hz, spec)


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("percent", [70.0, 80.0, 90.0, 97.5])
def test_the_simulated_saturation_is_measured_within_half_a_percent(percent: float, upright: bool) -> None:
    for seed in range(4):
        subject = person(seed, percent)
        values, truth = shine(subject, seed, upright=upright)
        found = oximetry(tens(values))
        assert np.abs(found.spo2_percent - truth).max() < 0.5
        assert np.abs(found.ratio - (110 - truth) / 25).max() < 0.02
        assert found.confidence.min() > 0.9
        assert set(found.reason) == {""}


@pytest.mark.parametrize("rate_hz", [25.0, 100.0, 500.0])
def test_any_sampling_rate_will_do(rate_hz: float) -> None:
    spec = StreamSpec("ppg", "ppg", ("red", "infrared"), "counts", rate_hz, lsb=1.0, low=0.0, high=262143.0)
    values, truth = shine(person(1, 88.0), spec=spec)
    assert np.abs(oximetry(tens(values, spec)).spo2_percent - truth).max() < 0.5


def test_the_pulse_rate_is_that_of_the_heart() -> None:
    for seed in range(4):
        subject = person(seed, 97.0)
        found = oximetry(tens(shine(subject, seed)[0]))
        for window in range(SECONDS // 10):
            beats = subject.beat_events(10.0 * window, 10.0 * window + 10).foot_s
            assert found.pulse_rate[window] == pytest.approx(60 / np.diff(beats).mean(), abs=2.0)


def test_the_perfusion_index_is_the_pulse_over_the_steady_light() -> None:
    for perfusion in (0.3, 1.0, 5.0):
        found = oximetry(tens(shine(person(2, 97.0, perfusion))[0]))
        assert found.perfusion_percent == pytest.approx(perfusion, rel=0.25)


def test_at_low_perfusion_noise_spreads_the_number_but_does_not_shift_it_and_the_error_is_stated() -> None:
    """0.3 % modulation, at which oximeters are tested, with noise of 5 % of that pulse; then 0.1 % with 20 %."""
    for perfusion, noise, limit in ((0.3, 5.0, 0.15), (0.1, 20.0, 0.5)):
        off, stated = [], []
        for seed in range(6):
            values, truth = shine(person(seed, 90.0, perfusion), seed, noise_percent=noise)
            found = oximetry(tens(values))
            off.extend(found.spo2_percent - truth)
            stated.extend(found.error_percent)
        assert abs(np.mean(off)) < limit
        assert 0.5 < np.median(stated) / np.std(off) < 2.0


def test_noise_in_infrared_does_not_make_the_ratio_smaller() -> None:
    """As it would by plain regression: by nearly a tenth, here."""
    values, truth = shine(person(3, 70.0))
    height = 0.02 * 131072
    noisy = values + np.random.default_rng(0).normal(0, 0.25 * height, values.shape)
    found = oximetry(tens(noisy))
    assert np.abs(np.mean(found.spo2_percent - truth)) < 1.5


def test_a_baseline_that_wanders_in_both_lights_leaves_the_number_alone() -> None:
    values, truth = shine(person(1, 97.0), fault={"fault": "baseline_wander", "level": 1.0})
    assert np.abs(oximetry(tens(values)).spo2_percent - truth).max() < 1.0


def test_movement_lowers_the_confidence_rather_than_giving_a_wrong_number_silently() -> None:
    for seed in range(4):
        for level in (0.3, 0.75, 2.0):
            values, truth = shine(person(seed, 97.0), seed, fault={"fault": "motion", "level": level})
            found = oximetry(tens(values))
            wrong = ~(np.abs(found.spo2_percent - truth) < 3)
            assert (found.confidence[wrong] < 0.5).all()
            assert np.median(found.confidence) < 0.5


def test_movement_that_both_lights_share_is_no_saturation_of_85_percent_to_be_trusted() -> None:
    """Both change alike, so R is near 1 and their correlation perfect: only the pulses' shapes tell."""
    random = np.random.default_rng(5)
    values, _ = shine(person(2, 98.0))
    step = np.repeat(random.normal(0, 0.03, SECONDS * 4), 16)
    moved = values * (1 + np.convolve(step, np.hanning(24) / 12, mode="same"))[:, None]
    found = oximetry(tens(moved))
    assert np.median(found.correlation) > 0.9
    assert np.nanmedian(found.spo2_percent) < 92
    assert found.confidence.max() < 0.5


@pytest.mark.parametrize(("spoil", "reason"), [
    (lambda v: 0 * v, "dark"),
    (lambda v: np.maximum(v - 140_000, 0), "dark"),
    (lambda v: 0 * v + 262143, "saturated"),
    (lambda v: np.minimum(v, 131072) - 131072 + 262143, "saturated"),
    (lambda v: 0 * v + 100_000, "flat"),
    (lambda v: 100_000 + np.random.default_rng(0).normal(0, 3, v.shape), "no pulse"),
    (lambda v: np.stack([v[:, 0] * (v[:, 1] / 131072) ** 3, v[:, 1]], axis=1), "range"),
])  # fmt: skip
def test_where_nothing_can_be_measured_there_is_no_number_and_a_reason(spoil, reason: str) -> None:
    values, _ = shine(person(1, 97.0))
    found = oximetry(tens(spoil(values.astype(float))))
    assert set(found.reason) == {reason}
    assert np.isnan(found.spo2_percent).all()
    assert (found.confidence == 0).all()


def test_one_window_gives_what_it_gives_among_others_to_the_last_bit() -> None:
    values, _ = shine(person(1, 92.0), noise_percent=10.0)
    windows = tens(values)
    together = oximetry(windows)
    for number in range(len(windows)):
        alone = oximetry(Windows(windows.values[number : number + 1], 64.0, LIGHT))
        assert alone.spo2_percent[0] == together.spo2_percent[number]
        assert alone.confidence[0] == together.confidence[number]


def test_a_recording_with_a_hole_has_numbers_beside_it_and_says_why_not_within() -> None:
    values, truth = shine(person(1, 92.0))
    times_ns = np.rint(np.arange(len(values)) * 1e9 / 64).astype(np.int64) + 7_000_000_000
    kept = (np.arange(len(values)) < 20 * 64) | (np.arange(len(values)) >= 30 * 64)
    found = oximetry_at(values[kept], times_ns[kept], LIGHT, 7_000_000_000 + np.arange(10, 61, 10) * 1_000_000_000)
    assert found.reason.tolist() == ["", "", "gap", "", "", ""]
    assert np.abs(found.spo2_percent - truth)[found.reason == ""].max() < 0.5
    assert np.isnan(found.spo2_percent[2])
    nothing = oximetry_at(values[:0], times_ns[:0], LIGHT, np.array([10_000_000_000]))
    assert nothing.reason.tolist() == ["gap"]


@pytest.mark.parametrize(("names", "places"), [
    (("red", "infrared"), (0, 1)), (("ppg_ir", "ppg_red"), (1, 0)), (("IR", "RED", "GREEN"), (1, 0)),
    (("led_660nm", "led_940nm"), (0, 1)), (("infrared", "ambient", "red"), (2, 0)), (("LED Red", "LED IR"), (0, 1)),
])  # fmt: skip
def test_the_wavelengths_are_found_by_their_names(names, places) -> None:
    assert wavelengths(names) == places


@pytest.mark.parametrize(
    "names", [("a", "b"), ("red",), ("red", "green"), ("red1", "red2", "ir"), ("infrared", "ir"), ()]
)
def test_names_that_do_not_say_which_is_red_are_an_error_that_says_so(names) -> None:
    with pytest.raises(SettingError, match="one red and one infrared"):
        wavelengths(names)


def test_places_may_be_given_where_names_say_nothing() -> None:
    values, truth = shine(person(1, 92.0))
    unnamed = StreamSpec("ppg", "ppg", ("a", "b"), "counts", 64.0)
    windows = Windows(tens(values).values[:, :, ::-1], 64.0, unnamed)
    assert np.abs(oximetry(windows, places=(1, 0)).spo2_percent - truth).max() < 0.5


def test_a_sensor_s_own_curve_is_used() -> None:
    ratio = np.array([0.4, 0.7, 1.0, np.nan])
    assert Calibration().percent(ratio)[:3] == pytest.approx([100.0, 92.5, 85.0])
    curve = Calibration((94.845, 30.354, -45.06)).percent(ratio)  # Maxim's reference designs
    assert curve[:3] == pytest.approx([99.777, 94.0134, 80.139])
    table = Calibration(points=((0.4, 100.0), (1.0, 84.0), (2.0, 50.0))).percent(ratio)
    assert table[:3] == pytest.approx([100.0, 92.0, 84.0])
    assert np.isnan([curve[3], table[3]]).all()


@pytest.mark.parametrize(
    "wrong", [{"points": ((1.0, 85.0),)}, {"points": ((1.0, 85.0), (0.5, 97.0))}, {"polynomial": ()}]
)
def test_a_calibration_without_sense_is_an_error(wrong) -> None:
    with pytest.raises(SettingError, match="calibration"):
        Calibration(**wrong)
