"""A recording cut at a moment is the recording of the run that ended there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.bench import Mode
from harness.judge import judge
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.scorecard.prefix import until
from harness.scorecard.targets import damaged

DEMO = replace(read_rig(Path(__file__).parents[3] / "rigs" / "demo.rig.yaml"), path="", text="")
FAULTS = {
    "chest": {"fault": "stall", "at_s": [4.0, 9.5], "for_ms": 400},
    "strap": {"fault": "unplug", "at_s": 8.0, "for_s": 1.0},
    "wrist": {"fault": "clock_step", "at_s": 10.0},
    "mood": {"fault": "dropout"},
}


def recorded(role, seconds):
    return run_rig(replace(damaged(DEMO, role, FAULTS[role], 3), duration_s=seconds), Mode.VIRTUAL).recording


@pytest.mark.parametrize(("role", "seconds"), [("chest", 9.7), ("strap", 8.5), ("wrist", 11.0), ("mood", 13.37)])
def test_a_prefix_is_the_run_that_ended_there(role, seconds):
    whole, short = recorded(role, 16.0), recorded(role, seconds)
    cut = until(whole, whole.start_ns + round(seconds * 1e9))
    assert (cut.start_ns, cut.stop_ns, cut.rig) == (short.start_ns, short.stop_ns, short.rig)
    for key, expected in short.streams.items():
        found = cut.streams[key]
        for column in ("values", "index", "segment", "arrival_ns", "time_ns", "device_ns"):
            np.testing.assert_array_equal(getattr(found, column), getattr(expected, column), f"{key} {column}")
    assert cut.events == short.events
    np.testing.assert_array_equal(cut.windows.stamps_ns, short.windows.stamps_ns)
    np.testing.assert_array_equal(cut.windows.late, short.windows.late)
    np.testing.assert_allclose(cut.windows.outputs, short.windows.outputs, rtol=1e-4, atol=1e-5)
    assert judge(cut) == judge(short)


def test_the_whole_run_is_its_own_prefix_and_nothing_is_changed_by_cutting():
    whole = recorded("mood", 10.0)
    before = {key: len(data.index) for key, data in whole.streams.items()}
    assert judge(until(whole, whole.stop_ns)) == judge(whole)
    until(whole, whole.start_ns + 5_000_000_000)
    assert {key: len(data.index) for key, data in whole.streams.items()} == before


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 10.5])
def test_a_prefix_ends_within_the_run(seconds):
    whole = recorded("mood", 10.0)
    with pytest.raises(ValueError, match=f"run of 10 s ends within it, found {seconds:g} s"):
        until(whole, whole.start_ns + round(seconds * 1e9))
