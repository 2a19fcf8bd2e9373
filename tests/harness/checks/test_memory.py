"""Memory, files and threads that grow for ever are found; a process that settles is not accused."""

from dataclasses import replace

import numpy as np
import pytest

from harness.checks.memory import LIMITS, check
from harness.monitor.resources import Resources
from harness.verdict import Outcome

MB = 1e6


@pytest.fixture
def soaked(a_recording):
    """A run of so many minutes with a row a second, whose columns are given by minutes."""

    def made(minutes=30.0, **columns):
        recording = a_recording()
        at_s = np.arange(0.0, 60 * minutes)
        at_ns = recording.start_ns + (1e9 * at_s).astype(np.int64)
        flat = {"rss_bytes": np.full(len(at_s), 400 * MB), "threads": np.full(len(at_s), 12.0)}
        resources = Resources(at_ns, flat | {name: of(at_s / 60) for name, of in columns.items()})
        stop_ns = recording.start_ns + round(60e9 * minutes)
        return replace(recording, resources=resources, stop_ns=stop_ns)

    return made


def judged(recording, **limits):
    return {verdict.measure: verdict for verdict in check(recording, LIMITS(**limits))}


def test_a_process_that_settles_passes(soaked):
    found = judged(soaked(rss_bytes=lambda m: 300 * MB + 80 * MB * np.minimum(m / 5, 1)))
    assert {v.outcome for v in found.values()} == {Outcome.PASS}
    assert set(found) == {"peak", "growth", "threads growth"}
    assert found["peak"].value == pytest.approx(380)


def test_a_leak_fails_with_its_rate_and_says_who_names_the_holder(soaked):
    """2 MB a minute."""
    found = judged(soaked(rss_bytes=lambda m: 300 * MB + 2 * MB * m))["growth"]
    assert found.outcome is Outcome.FAIL
    assert found.value == pytest.approx(120, rel=0.01)
    assert "hil model check --only memory" in found.reason


def test_a_short_run_is_inconclusive_and_says_how_long_would_do(soaked):
    found = judged(soaked(minutes=0.5))["growth"]
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "minutes" in found.reason


def test_a_peak_above_the_limit_fails(soaked):
    found = judged(soaked(rss_bytes=lambda m: 300 * MB + 9000 * MB * ((m > 20) & (m < 21))))
    assert found["peak"].outcome is Outcome.FAIL
    assert found["growth"].outcome is Outcome.PASS, "it went away again"


@pytest.mark.parametrize(("column", "measure"), [("threads", "threads growth"), ("open_files", "open files growth")])
def test_files_and_threads_that_pile_up_fail(soaked, column, measure):
    found = judged(soaked(**{column: lambda m: 10 + np.floor(12 * m)}))[measure]
    assert found.outcome is Outcome.FAIL
    assert found.value == pytest.approx(720, rel=0.02)


def test_gpu_memory_is_judged_where_there_is_some(soaked):
    assert judged(soaked(cuda_bytes=lambda m: 1e9 + 3 * MB * m))["GPU growth"].outcome is Outcome.FAIL
    assert "GPU growth" not in judged(soaked())


def test_without_resources_nothing_is_said_and_nothing_passes(a_recording):
    recording = a_recording()
    (found,) = check(recording, LIMITS())
    assert found.outcome is Outcome.NOT_RUN
    (found,) = check(replace(recording, meta={**recording.meta, "mode": "virtual"}), LIMITS())
    assert "real time" in found.reason


def test_limits_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="above 0"):
        LIMITS(max_rss_mb=0)
