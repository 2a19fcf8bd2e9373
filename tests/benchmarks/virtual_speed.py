"""How many seconds of a rig one second of this machine runs in virtual time, model, recording and verdicts included.

python tests/benchmarks/virtual_speed.py [--seconds 300] [--rig rigs/demo.rig.yaml]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from drivers.clock import RealClock
from harness.bench import Mode
from harness.rig_file import read_rig
from harness.run import run_rig


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rig", default="rigs/demo.rig.yaml")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rig = replace(read_rig(given.rig), duration_s=given.seconds)
    clock = RealClock()
    run_rig(replace(rig, duration_s=6.0), Mode.VIRTUAL)  # imports and warm caches are not what is measured
    for recorded in (False, True):
        best = 0.0
        for _ in range(given.repeats):
            with tempfile.TemporaryDirectory() as folder:
                began = clock.now_ns()
                result = run_rig(rig, Mode.VIRTUAL, Path(folder) / "run" if recorded else None)
                best = max(best, given.seconds / ((clock.now_ns() - began) / 1e9))
        where = "recorded to disk" if recorded else "in memory"
        print(f"{rig.name}, {given.seconds:g} s {where}: {best:.0f} times real time (exit {result.exit_code})")


if __name__ == "__main__":
    main()
