"""Each Bluetooth sensor's rig passes as it is shipped, and notices what is done to its sensor."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench import Mode
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.verdict import Outcome

RIGS = Path(__file__).parents[2] / "rigs"
NAMES = ("polar-h10", "polar-verity", "pulse-oximeter", "health-thermometer")


def run(name: str, *faults):
    rig = read_rig(RIGS / f"{name}.rig.yaml")
    (role, entry), *_ = rig.sensors.items()
    if faults:
        rig = replace(rig, sensors={role: replace(entry, simulate={**entry.simulate, "faults": faults})})
    return run_rig(rig, Mode.VIRTUAL)


@pytest.mark.parametrize("name", NAMES)
def test_a_healthy_sensor_passes_everything(name: str) -> None:
    result = run(name)
    assert [v for v in result.verdicts if v.outcome is not Outcome.PASS] == []
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("name", "fault", "check"),
    [
        ("polar-h10", {"fault": "dropout", "mean_lost_percent": 10, "mean_burst_frames": 2}, "delivery"),
        ("polar-h10", {"fault": "clock_step", "at_s": 15, "seconds": 0.5}, "sync"),
        ("polar-h10", {"fault": "mains_hum", "stream": "ecg", "start_s": 8}, "quality"),
        ("polar-verity", {"fault": "dropout", "mean_lost_percent": 10, "mean_burst_frames": 2}, "delivery"),
        ("polar-verity", {"fault": "clock_drift", "ppm": 3000}, "sync"),
        ("polar-verity", {"fault": "low_perfusion", "perfusion_percent": 0.05}, "quality"),
        ("pulse-oximeter", {"fault": "unplug", "at_s": 12, "for_s": 6}, "delivery"),
        ("health-thermometer", {"fault": "bias", "stream": "temperature", "gain": 1, "offset": -13}, "quality"),
    ],
)
def test_a_fault_is_noticed_by_its_check(name: str, fault: dict, check: str) -> None:
    result = run(name, fault)
    assert check in {v.check for v in result.verdicts if v.outcome is Outcome.FAIL}
