"""A short counter that cannot size a loss says so, from the wire to the verdict: an OpenBCI Cyton in virtual time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench import Mode
from harness.rig import Rig
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.verdict import Outcome, Verdict

DEMO = replace(read_rig(Path(__file__).parents[2] / "rigs" / "demo.rig.yaml"), path="", text="")


def lost_by_the_chest(stall_ms: float) -> Verdict:
    """The verdict on the Cyton's losses after one stall; 256 frames at 250 Hz are one turn of its counter: 1024 ms."""
    chest = DEMO.sensors["chest"]
    fault = {"fault": "stall", "at_s": [12], "for_ms": stall_ms}
    only = replace(chest, simulate={**chest.simulate, "faults": [fault]})
    rig: Rig = replace(DEMO, sensors={**DEMO.sensors, "chest": only})
    verdicts = run_rig(rig, Mode.VIRTUAL, None).verdicts
    (found,) = [v for v in verdicts if v.check == "delivery" and v.subject == "chest/ecg" and v.measure == "lost"]
    return found


@pytest.mark.parametrize("stall_ms", [100, 500, 850])
def test_a_stall_well_below_a_turn_is_no_loss(stall_ms: float) -> None:
    assert lost_by_the_chest(stall_ms).outcome is Outcome.PASS


def test_a_stall_of_nearly_a_turn_makes_the_loss_unsure() -> None:
    found = lost_by_the_chest(950)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "unsure" in found.reason
