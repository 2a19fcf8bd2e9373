"""What watching costs: the harness's own time per window with and without the monitor, in turns on one machine.

    python tests/benchmarks/monitor_cost.py [--rounds 4] [--seconds 20] [--rig rigs/demo.rig.yaml]

Runs take turns, so that a machine that is busier for a while burdens both alike. CPU is of this process, which reads,
decodes, infers and records; the simulators run in another.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from overhead import harness_overhead_ms

from drivers.clock import RealClock
from harness.rig import MonitorEntry
from harness.rig_file import read_rig

CLOCK = RealClock()
ON = MonitorEntry()
OFF = MonitorEntry(resources=False, stacks=False, flight_recorder=False)


def measured(rig, monitor):
    """(overhead in ms (windows,), CPU ms per second of run)."""
    with tempfile.TemporaryDirectory() as folder:
        began_ns = CLOCK.cpu_ns()
        overhead, _ = harness_overhead_ms(replace(rig, monitor=monitor), Path(folder))
    return overhead, (CLOCK.cpu_ns() - began_ns) / 1e6 / rig.duration_s


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rig", default="rigs/demo.rig.yaml")
    given = parser.parse_args()
    rig = replace(read_rig(given.rig), duration_s=given.seconds, limits={"latency": {}})
    found = {"without": [], "with": []}
    measured(replace(rig, duration_s=6.0), OFF)  # what is only loaded once
    for number in range(given.rounds):
        order = [("without", OFF), ("with", ON)]
        for name, monitor in order if number % 2 == 0 else reversed(order):
            found[name].append(measured(rig, monitor))
    for name, runs in found.items():
        overhead = np.concatenate([spent for spent, _ in runs])
        p50, p95, p99 = np.percentile(overhead, [50, 95, 99])
        cpu = [cpu for _, cpu in runs]
        print(
            f"{name:8} n {len(overhead):5}   overhead p50 {p50:.3f}  p95 {p95:.3f}  p99 {p99:.3f} ms   "
            f"CPU {np.median(cpu):.1f} ms/s (runs {', '.join(f'{one:.1f}' for one in cpu)})"
        )
    pair = [np.concatenate([spent for spent, _ in runs]) for runs in (found["with"], found["without"])]
    print(f"ratio of p50 {np.median(pair[0]) / np.median(pair[1]):.3f}")


if __name__ == "__main__":
    main()
