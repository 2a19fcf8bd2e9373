"""Time without contact, from the device's own word and from the signal, is measured, and contradictions are named."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.types import LinkDown, LinkUp, Notice, StreamSpec
from harness.checks.lead_off import LIMITS, check
from harness.recording import StreamData
from harness.verdict import Outcome
from simulators.draws import Draws
from simulators.signals.registry import load_signal
from simulators.subject import Subject

S = 1_000_000_000
UNITS = {
    "ecg": ("uV", 250.0), "eda": ("uS", 8.0), "temperature": ("degC", 4.0), "ppg": ("counts", 64.0),
    "eeg": ("uV", 250.0), "respiration": ("1", 25.0), "heart_rate": ("bpm", 1.0), "spo2": ("%", 1.0),
}  # fmt: skip
RAILS = {"ecg": (-187500.0, 187500.0), "eda": (0.0, 100.0), "ppg": (0.0, 262143.0), "temperature": (0.0, 60.0)}


def spec_of(kind, role_stream=None, **changes):
    unit, rate_hz = UNITS[kind]
    low, high = RAILS.get(kind, (None, None))
    given = {"lsb": None, "low": low, "high": high, "counted": True, **changes}
    return StreamSpec(role_stream or kind, kind, ("x",), unit, rate_hz, **given)


def signal(spec, seconds=30.0):
    made = load_signal(spec.kind)
    times_s = np.arange(round(seconds * spec.rate_hz)) / spec.rate_hz + 5
    return made.signal(Subject(3), spec, Draws(3, spec.name), made.OPTIONS()).render(0, times_s).copy()


def data(spec, values, role="chest"):
    index = np.arange(len(values))
    time_ns = np.rint(index * 1e9 / spec.rate_hz).astype(np.int64) + 100 * S
    return StreamData(role, spec, values, index, np.zeros(len(index), np.int64), time_ns, time_ns, None)


def part(spec, begin_s, end_s):
    return slice(round(begin_s * spec.rate_hz), round(end_s * spec.rate_hz))


def said(*moments, name="contact", role="chest"):
    return [(role, Notice(name, value, round((100 + at_s) * S))) for at_s, value in moments]


def only(verdicts):
    (verdict,) = verdicts
    return verdict


# --- by the signal ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(UNITS))
def test_a_worn_sensor_passes(a_recording, kind):
    spec = spec_of(kind)
    verdict = only(check(a_recording([data(spec, signal(spec))]), LIMITS()))
    assert verdict.outcome is Outcome.PASS, verdict
    assert verdict.value == 0.0


@pytest.mark.parametrize(("kind", "rail", "word"), [
    ("ecg", 187500.0, "at the high rail"), ("ppg", 262143.0, "at the high rail"), ("eda", 0.0, "at the low rail"),
])  # fmt: skip
def test_time_at_a_rail_is_time_without_contact(a_recording, kind, rail, word):
    spec = spec_of(kind)
    values = signal(spec)
    values[part(spec, 12, 15)] = rail
    values[part(spec, 20, 21.5)] = rail
    verdict = only(check(a_recording([data(spec, values)]), LIMITS()))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(100 * 4.5 / 30, abs=0.5)
    assert word in verdict.reason
    assert "in 2 stretches, longest 3 s at 1" in verdict.reason
    assert verdict.low < verdict.value < verdict.high


def test_a_knock_to_the_rail_is_no_lost_contact(a_recording):
    spec = spec_of("ecg")
    values = signal(spec)
    for begin_s in range(1, 29):
        values[part(spec, begin_s, begin_s + 0.1)] = 187500.0
    assert only(check(a_recording([data(spec, values)]), LIMITS())).value == 0.0


@pytest.mark.parametrize("kind", ["ecg", "ppg", "eeg", "respiration", "eda"])
def test_an_input_that_does_not_move_at_all_is_off_or_stuck(a_recording, kind):
    spec = spec_of(kind)
    values = signal(spec)
    values[part(spec, 10, 16)] = values[part(spec, 10, 11)][0]
    verdict = only(check(a_recording([data(spec, values)]), LIMITS()))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(20, abs=1.5)
    assert "flat" in verdict.reason


def test_a_skin_that_rests_on_one_step_of_a_coarse_converter_is_not_off(a_recording):
    spec = spec_of("eda", lsb=0.05)
    values = np.rint(signal(spec) / 0.05) * 0.05
    assert np.any(np.convolve(np.diff(values[:, 0]) == 0, np.ones(24), "valid") == 24)  # it does rest
    assert only(check(a_recording([data(spec, values)]), LIMITS())).outcome is Outcome.PASS


@pytest.mark.parametrize(("kind", "value", "word"), [
    ("temperature", 22.0, "outside 25 to 40 C"), ("eda", 0.01, "below 0.05 uS"), ("heart_rate", 0.0, "no reading"),
    ("spo2", np.nan, "no reading"),
])  # fmt: skip
def test_what_no_body_has_is_no_contact(a_recording, kind, value, word):
    spec = spec_of(kind)
    values = signal(spec)
    values[part(spec, 10, 16)] = value
    verdict = only(check(a_recording([data(spec, values)]), LIMITS()))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(20, abs=1)
    assert word in verdict.reason


def test_the_longest_stretch_has_a_limit_if_one_is_given(a_recording):
    spec = spec_of("ecg")
    values = signal(spec)
    values[part(spec, 12, 15)] = 187500.0
    share, longest = check(a_recording([data(spec, values)]), LIMITS(max_off_percent=50, max_off_s=2))
    assert (share.outcome, longest.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert longest.value == pytest.approx(3, abs=0.01)
    assert check(a_recording([data(spec, values)]), LIMITS(max_off_percent=50, max_off_s=4))[1].outcome is Outcome.PASS


# --- by the device ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "on", "off"), [
    ("contact", True, False), ("finger", True, False), ("sensor_disconnected", False, True),
    ("probe_error", False, True),
    ("sensor_flags", "low perfusion", "poor signal, sensor disconnected"),
])  # fmt: skip
def test_the_devices_own_word_is_measured(a_recording, name, on, off):
    spec = spec_of("ecg")
    events = said((-2, on), (5, off), (8, on), name=name)
    device, shown = check(a_recording([data(spec, signal(spec))], events=events), LIMITS())
    assert (device.subject, shown.subject) == ("chest", "chest/ecg")
    assert device.outcome is Outcome.FAIL
    assert device.value == pytest.approx(100 * 3 / 30)
    assert "by the device's own word" in device.reason
    assert name in device.reason
    assert shown.outcome is Outcome.PASS


def test_a_device_that_always_has_contact_passes(a_recording):
    spec = spec_of("heart_rate")
    device, shown = check(a_recording([data(spec, signal(spec))], events=said((-2, True))), LIMITS())
    assert (device.outcome, device.value, shown.outcome) == (Outcome.PASS, 0.0, Outcome.PASS)


def test_contact_that_was_lost_before_the_run_counts_from_its_start(a_recording):
    spec = spec_of("ecg")
    device, _ = check(a_recording([data(spec, signal(spec))], events=said((-5, False), (6, True))), LIMITS())
    assert device.value == pytest.approx(100 * 6 / 30)


def test_what_was_said_goes_with_the_link(a_recording):
    """Nobody knows of the time without a link, and afterwards the device has to say it anew."""
    spec = spec_of("ecg")
    down, up = ("chest", LinkDown(110 * S, "gone")), ("chest", LinkUp(114 * S))
    events = [*said((5, False)), down, up, *said((20, True))]
    device, _ = check(a_recording([data(spec, signal(spec))], events=events), LIMITS())
    assert device.value == pytest.approx(100 * 5 / (5 + 10))


def test_other_notices_say_nothing_of_contact(a_recording):
    spec = spec_of("ecg")
    events = said((1, 50.0), name="battery_percent")
    assert [v.subject for v in check(a_recording([data(spec, signal(spec))], events=events), LIMITS())] == ["chest/ecg"]


def test_a_device_without_contact_and_a_good_signal_contradict_each_other(a_recording):
    spec = spec_of("ecg")
    device, _ = check(a_recording([data(spec, signal(spec))], events=said((5, False))), LIMITS())
    assert device.outcome is Outcome.FAIL
    assert "against the signal, which is good then: chest/ecg" in device.reason


def test_a_device_with_contact_and_a_dead_signal_contradict_each_other(a_recording):
    spec = spec_of("ecg")
    values = signal(spec)
    values[part(spec, 10, 20)] = 187500.0
    device, shown = check(a_recording([data(spec, values)], events=said((-1, True))), LIMITS())
    assert (device.outcome, shown.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert "against the device, which says that it has contact then" in shown.reason


def test_where_both_agree_nothing_is_contradicted(a_recording):
    spec = spec_of("ecg")
    values = signal(spec)
    values[part(spec, 10, 20)] = 187500.0
    verdicts = check(a_recording([data(spec, values)], events=said((-1, True), (10.2, False), (20.3, True))), LIMITS())
    assert [v.outcome for v in verdicts] == [Outcome.FAIL, Outcome.FAIL]
    assert not any("against" in v.reason for v in verdicts)


# --- what cannot be judged --------------------------------------------------------------------


def test_a_stream_without_samples_is_inconclusive(a_recording):
    verdict = only(check(a_recording([data(spec_of("ecg"), np.zeros((0, 1)))]), LIMITS()))
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_a_rig_that_nothing_can_be_told_of_is_not_run(a_recording):
    spec = StreamSpec("accel", "acceleration", ("x",), "g", 25.0)
    assert only(check(a_recording([data(spec, np.zeros((750, 1)))]), LIMITS())).outcome is Outcome.NOT_RUN


def test_limits_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="max_off_percent"):
        LIMITS(max_off_percent=-1)
    with pytest.raises(ValueError, match="max_off_s"):
        LIMITS(max_off_s=0)
