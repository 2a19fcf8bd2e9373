"""The 100 ms verdict: exact on injected latencies, never green on too little or on windows that never came."""

from dataclasses import replace

import numpy as np
import pytest

from harness.checks.latency import LIMITS, check
from harness.verdict import Outcome

MS = 1_000_000


def test_325_windows_of_20_ms_pass(a_recording, some_windows):
    (verdict,) = check(a_recording(windows=some_windows(325, 20.0)), LIMITS())
    assert verdict.outcome is Outcome.PASS
    assert verdict.value == pytest.approx(20.0)
    assert verdict.n == 325


def test_298_windows_of_20_ms_are_one_too_few_for_p99(a_recording, some_windows):
    (verdict,) = check(a_recording(windows=some_windows(298, 20.0)), LIMITS())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "299" in verdict.reason


def test_one_late_window_in_325_is_not_green(a_recording, some_windows):
    spent = np.full(325, 20.0)
    spent[100] = 100.5
    (verdict,) = check(a_recording(windows=some_windows(325, spent)), LIMITS())
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_one_late_window_in_473_is_within_one_percent(a_recording, some_windows):
    spent = np.full(473, 20.0)
    spent[100] = 100.5
    (verdict,) = check(a_recording(windows=some_windows(473, spent)), LIMITS())
    assert verdict.outcome is Outcome.PASS


def test_a_tenth_of_the_windows_late_fails_and_names_the_step(a_recording, some_windows):
    spent = np.full(325, 20.0)
    spent[::10] = 300.0
    (verdict,) = check(a_recording(windows=some_windows(325, spent)), LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert "33 of 325" in verdict.reason


def test_windows_that_were_never_judged_are_misses(a_recording, some_windows):
    windows = some_windows(325, 20.0)
    windows.stamps_ns[50:80, 1:] = -1
    (verdict,) = check(a_recording(windows=windows), LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert "30 were never judged" in verdict.reason


def test_no_window_at_all_is_inconclusive(a_recording, some_windows):
    (verdict,) = check(a_recording(windows=some_windows(0)), LIMITS())
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_the_declared_floor_of_the_link_is_added(a_recording, some_windows):
    recording = a_recording(windows=some_windows(325, 90.0))
    chest = replace(recording.rig.sensors["chest"], floor_ms=15.0)
    recording = replace(recording, rig=replace(recording.rig, sensors={"chest": chest}))
    (verdict,) = check(recording, LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(105.0)


def late_case(a_recording, some_windows, a_stream, lose):
    """Samples of 10..11 s are held until 11.2 s, or lost; the windows there closed without them."""
    windows = some_windows(325, 60.0)
    stream = a_stream()
    held = (stream.time_ns >= 110_000 * MS) & (stream.time_ns < 111_000 * MS)
    if lose:
        stream = a_stream(keep=~held)
    else:
        stream.arrival_ns[held] = 111_200 * MS
    inside = (windows.stamps_ns[:, 0] > 110_000 * MS) & (windows.stamps_ns[:, 0] < 111_000 * MS)
    windows.late[inside, 0] = 1
    return a_recording([stream], windows), int(inside.sum())


def test_samples_that_came_after_their_window_closed_count_as_latency(a_recording, some_windows, a_stream):
    recording, late = late_case(a_recording, some_windows, a_stream, lose=False)
    (verdict,) = check(recording, LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert f"{late} of 325" in verdict.reason
    assert "chest/ecg" in verdict.reason


def test_samples_that_were_lost_are_not_a_matter_of_latency(a_recording, some_windows, a_stream):
    recording, _ = late_case(a_recording, some_windows, a_stream, lose=True)
    (verdict,) = check(recording, LIMITS())
    assert verdict.outcome is Outcome.PASS


def starved(recording, **facts):
    return replace(recording, host=facts)


@pytest.mark.parametrize(
    "facts",
    [{"sender_lateness_us": {"chest": {"p99": 84_000.0}}}, {"stamp_error_ns": {"chest": {"p99": 84_000_000.0}}}],
)
def test_late_instruments_leave_a_failure_open_and_say_so(a_recording, some_windows, a_stream, facts):
    recording, _ = late_case(a_recording, some_windows, a_stream, lose=False)
    (verdict,) = check(starved(recording, **facts), LIMITS())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "84 ms" in verdict.reason


def test_punctual_instruments_leave_a_failure_a_failure(a_recording, some_windows, a_stream):
    recording, _ = late_case(a_recording, some_windows, a_stream, lose=False)
    facts = {"sender_lateness_us": {"chest": {"p99": 900.0}}, "stamp_error_ns": {"chest": {"p99": 90_000.0}}}
    (verdict,) = check(starved(recording, **facts), LIMITS())
    assert verdict.outcome is Outcome.FAIL


def test_a_late_sender_does_not_excuse_what_the_host_took_itself(a_recording, some_windows):
    spent = np.full(325, 20.0)
    spent[::10] = 300.0
    facts = {"sender_lateness_us": {"chest": {"p99": 84_000.0}}}
    (verdict,) = check(starved(a_recording(windows=some_windows(325, spent)), **facts), LIMITS())
    assert verdict.outcome is Outcome.FAIL


def test_a_late_sender_makes_nothing_green_and_nothing_red(a_recording, some_windows):
    facts = {"sender_lateness_us": {"chest": {"p99": 84_000.0}}}
    (verdict,) = check(starved(a_recording(windows=some_windows(325, 20.0)), **facts), LIMITS())
    assert verdict.outcome is Outcome.PASS


@pytest.mark.parametrize("wrong", [{"max_ms": 0}, {"quantile": 1.0}, {"confidence": 0.4}])
def test_limits_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="latency"):
        LIMITS(**wrong)
