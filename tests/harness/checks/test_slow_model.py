"""A model too slow for the limit: blamed in real time, and not let off in virtual time."""

import numpy as np
import pytest

from harness.checks.latency import LIMITS, check
from harness.latency import step_table
from harness.recording import Windows
from harness.verdict import Outcome

MS = 1_000_000
S = 1_000_000_000


def virtual(a_recording, p50_ms, **meta):
    host = {} if p50_ms is None else {"model_warm_up": {"n": 20, "first_ms": 900.0, "p50_ms": p50_ms}}
    return a_recording(meta={"mode": "virtual", **meta}, host=host)


def test_in_virtual_time_a_warm_up_above_the_limit_fails_whatever_was_assumed(a_recording):
    (verdict,) = check(virtual(a_recording, 300.25), LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert "'model' alone takes longer than 100 ms" in verdict.reason


def test_the_verdict_is_the_same_for_every_machine_that_is_too_slow(a_recording):
    assert check(virtual(a_recording, 300.25), LIMITS()) == check(virtual(a_recording, 411.5), LIMITS())


def test_a_slow_first_call_is_no_slow_model(a_recording):
    assert check(virtual(a_recording, 2.0), LIMITS())[0].outcome is Outcome.PASS


def test_another_limit_is_judged_by_what_was_measured(a_recording):
    assert check(virtual(a_recording, 300.0), LIMITS(max_ms=500))[0].outcome is Outcome.PASS
    assert check(virtual(a_recording, 300.0, model_too_slow=True), LIMITS(max_ms=500))[0].outcome is Outcome.PASS


def test_without_the_measurement_the_runs_own_word_counts(a_recording):
    assert check(virtual(a_recording, None, model_too_slow=True), LIMITS())[0].outcome is Outcome.FAIL
    assert check(virtual(a_recording, None, model_too_slow=False), LIMITS())[0].outcome is Outcome.PASS


@pytest.mark.parametrize("mode", ["simulated", "bench"])
def test_in_real_time_only_what_the_windows_took_counts(a_recording, mode):
    recording = a_recording(meta={"mode": mode}, host={"model_warm_up": {"p50_ms": 300.0}})
    assert check(recording, LIMITS())[0].outcome is Outcome.PASS


def queueing(n, spent_ms, hop_ms=80):
    """Windows judged one after the other, each taking ``spent_ms`` in the model and 1 ms in gathering."""
    stamps = np.zeros((n, 6), dtype=np.int64)
    free = 0
    for k in range(n):
        due = 104 * S + k * hop_ms * MS
        decoded = max(due + 2 * MS, free)
        free = decoded + (spent_ms + 1) * MS
        stamps[k] = due, due + 2 * MS, decoded, decoded + MS, free, free
    return Windows(stamps, ("chest/ecg",), np.zeros((n, 1), np.int64), np.zeros((n, 2)))


def test_windows_that_wait_for_the_ones_before_blame_what_those_wait_for(a_recording):
    recording = a_recording(windows=queueing(100, 300))
    (verdict,) = check(recording, LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert "'model' of the windows before: it takes 300 ms (median), and a window is due every 80 ms" in verdict.reason
    rows = {row["step"]: row for row in step_table(recording)}
    assert rows["decode"]["max_ms"] == 0.0, "nothing of the waiting is the decoder's"
    assert rows["queue"]["max_ms"] == 99 * (301 - 80)


def test_windows_that_never_wait_for_each_other_have_no_queue(a_recording):
    rows = {row["step"]: row for row in step_table(a_recording(windows=queueing(100, 70)))}
    assert rows["queue"]["max_ms"] == 0.0


def test_the_steps_add_up_with_a_queue_too(a_recording):
    windows = queueing(1, 50)
    rows = step_table(a_recording(windows=windows))
    assert sum(row["max_ms"] for row in rows) == (windows.stamps_ns[0, 5] - windows.stamps_ns[0, 0]) / MS
