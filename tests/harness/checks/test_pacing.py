"""Outputs that come unevenly, not at all or after a pause are found; even ones are not."""

from dataclasses import replace

import numpy as np
import pytest

from harness.bench import Mode
from harness.checks.pacing import LIMITS, check, pace_of
from harness.monitor.resources import Resources
from harness.recording import STAGES
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.verdict import Outcome

HOP = 80


def judged(recording, **limits):
    return {verdict.measure.split()[-1]: verdict for verdict in check(recording, LIMITS(**limits))}


@pytest.fixture
def paced(a_recording, some_windows):
    """A recording whose windows took so long each, NaN for one that was never judged."""

    def made(latency_ms, n=325, **changes):
        spent = np.broadcast_to(np.asarray(latency_ms, float), n)
        windows = some_windows(n, np.nan_to_num(spent, nan=20.0))
        windows.stamps_ns[np.isnan(spent), STAGES.index("inferred") :] = -1
        return a_recording(windows=windows, **changes)

    return made


def test_even_outputs_pass_and_have_no_jitter(paced):
    verdicts = judged(paced(20.0))
    assert {v.outcome for v in verdicts.values()} == {Outcome.PASS}
    assert verdicts["jitter"].value == 0.0
    assert verdicts["jitter"].n == 324
    assert "12.5 outputs a second, 12.5 due" in verdicts["jitter"].reason
    assert verdicts["pause"].value == pytest.approx(HOP)


def test_outputs_that_come_in_pairs_fail_and_are_counted(paced):
    """Every other window 75 ms late: 155 ms and 5 ms take turns, so 162 of the 324 come right behind another."""
    verdicts = judged(paced(np.resize([95.0, 20.0], 325)))
    assert verdicts["jitter"].outcome is Outcome.FAIL
    assert verdicts["jitter"].value == pytest.approx(75.0)
    assert "162 outputs came right behind another" in verdicts["jitter"].reason
    assert verdicts["pause"].outcome is Outcome.PASS


def test_a_few_late_windows_are_within_the_quantile(paced):
    spent = np.full(325, 20.0)
    spent[[100, 200]] = 90.0
    assert judged(paced(spent))["jitter"].outcome is Outcome.PASS


def test_missing_outputs_are_counted_and_no_jitter_of_the_others(paced):
    spent = np.full(325, 20.0)
    spent[50:60] = np.nan
    verdicts = judged(paced(spent))
    assert verdicts["windows"].outcome is Outcome.FAIL
    assert verdicts["windows"].value == pytest.approx(100 * 10 / 325)
    assert verdicts["jitter"].outcome is Outcome.PASS
    assert verdicts["pause"].outcome is Outcome.FAIL
    assert verdicts["pause"].value == pytest.approx(11 * HOP)
    assert "from 7.9 s on" in verdicts["pause"].reason, "window 49 is due at 4 + 49 * 0.08 s, and takes 0.02 s"


def test_a_run_without_any_output_misses_all_of_them(paced):
    (verdict,) = check(paced(np.full(325, np.nan)), LIMITS())
    assert (verdict.outcome, verdict.value) == (Outcome.FAIL, 100.0)


def test_too_few_windows_are_inconclusive(paced):
    (verdict,) = check(paced(20.0, n=1), LIMITS())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert judged(paced(20.0, n=30))["jitter"].outcome is Outcome.INCONCLUSIVE


def test_simulators_that_send_late_excuse_the_pace(paced):
    host = {"sender_lateness_us": {"chest": {"p99": 30_000.0}}}
    verdict = judged(paced(np.resize([95.0, 20.0], 325), host=host))["jitter"]
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "the simulators sent late, by 30 ms" in verdict.reason


def test_a_queue_that_grows_is_named(paced):
    rows = np.arange(30)
    growing = Resources(10**9 * rows.astype(np.int64), {"inbox_depth": 10.0 * rows})
    verdict = judged(paced(np.resize([95.0, 20.0], 325), resources=growing))["jitter"]
    assert "the inbox grows by 600 items a minute" in verdict.reason


def test_an_interval_across_missing_windows_is_as_long_as_it_should_be(paced):
    spent = np.full(10, 20.0)
    spent[4:7] = np.nan
    pace = pace_of(paced(spent, n=10))
    assert (pace.due, pace.missed, pace.merged) == (10, 3, 0)
    np.testing.assert_allclose(pace.intervals_ms, [80, 80, 80, 320, 80, 80])
    np.testing.assert_allclose(pace.jitter_ms, 0)


@pytest.mark.parametrize(
    "limits", [{"max_jitter_ms": 0}, {"quantile": 1}, {"max_missed_percent": 0}, {"max_pause_ms": -1}]
)
def test_limits_that_mean_nothing_are_refused(limits):
    with pytest.raises(ValueError, match="pacing: expected"):
        LIMITS(**limits)


def test_the_demo_rig_is_paced_in_virtual_time_and_every_time_the_same():
    rig = replace(read_rig("rigs/demo.rig.yaml"), limits={"pacing": {}}, duration_s=12.0)
    found = [run_rig(rig, Mode.VIRTUAL) for _ in range(2)]
    assert {v.outcome for v in found[0].verdicts} == {Outcome.PASS}
    assert found[0].verdicts == found[1].verdicts
    assert found[0].report["spikes"] == found[1].report["spikes"]
    assert found[0].report["spikes"]["above"] == 0
