"""What the harness adds to a window: from its last byte to the model's output, less the model's own forward.

Beside it, in the same run and on the same simulated wires, the least that anybody would write: pyserial, a
decoder by hand, one numpy array per stream and the same torch model. It records nothing, judges nothing, maps no clock
and knows no faults.

    python tests/benchmarks/overhead.py [--seconds 30] [--rig rigs/demo.rig.yaml]
"""

from __future__ import annotations

import argparse
import select
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import serial
import torch

from drivers.clock import RealClock
from harness.bench import LEAD_S, Mode
from harness.model import FusionNetwork, create_model
from harness.model.inputs import INPUTS
from harness.recording import STAGES
from harness.rig_file import read_rig, simulated_spec
from harness.run import run_rig
from simulators.serve.process import SimulatorProcess

CLOCK = RealClock()
FORWARDS_NS: list[int] = []


class TimedNetwork(FusionNetwork):
    """The reference network, which notes how long each forward took: that alone is the model's own time."""

    def forward(self, inputs, quality=None):
        began = CLOCK.now_ns()
        output = super().forward(inputs, quality)
        FORWARDS_NS.append(CLOCK.now_ns() - began)
        return output


def create_timed_model():
    """What the harness loads: ``factory: overhead:create_timed_model``."""
    model = TimedNetwork()
    model.load_state_dict(create_model().state_dict())
    return model.eval()


def harness_overhead_ms(rig, folder):
    """(windows,) time from a window's last byte, or its due time if that is later, to the output, less the forward."""
    rig = replace(rig, model=replace(rig.model, factory="overhead:create_timed_model"))
    recording = run_rig(rig, Mode.SIMULATED, Path(folder) / "run").recording
    stamps = recording.windows.stamps_ns
    at = {name: stamps[:, number] for number, name in enumerate(STAGES)}
    asked = at["judged"] >= 0
    forward = np.zeros(len(stamps))
    forward[asked] = sys.modules["overhead"].FORWARDS_NS[-int(asked.sum()) :]  # the warm-up's came before
    whole = (recording.windows.late.sum(axis=1) == 0) & asked
    return ((at["judged"] - at["arrived"] - forward) / 1e6)[whole], (forward / 1e6)[whole]


class Minimal:
    """A loop as one writes it in an afternoon."""

    def __init__(self, ports, hop_ns):
        self.ports = {role: serial.Serial(path, 115200, timeout=0) for role, path in ports.items()}
        self.hop_ns = hop_ns
        self.model = create_model().eval()
        self.ecg, self.ppg = np.zeros(100_000), np.zeros((100_000, 2))
        self.count = {"ecg": 0, "ppg": 0}
        self.first_ns = {}
        self.rest = dict.fromkeys(ports, b"")

    def start(self):
        port = self.ports["chest"]
        port.write(b"v")
        seen = b""
        while b"$$$" not in seen:
            select.select([port], [], [], 2.0)
            seen += port.read(4096)
        port.write(b"b")

    def decode(self, role, data):
        data = self.rest[role] + data
        if role == "chest":
            while len(data) >= 33:
                self.ecg[self.count["ecg"]] = int.from_bytes(data[2:5], "big", signed=True)
                self.count["ecg"] += 1
                data = data[33:]
        elif role == "wrist":
            *lines, data = data.split(b"\n")
            for line in lines:
                fields = line.split(b",")
                if len(fields) >= 3 and fields[1].isdigit() and fields[2].isdigit():  # not the header
                    self.ppg[self.count["ppg"]] = float(fields[1]), float(fields[2])
                    self.count["ppg"] += 1
        else:
            data = data[-1:]
        self.rest[role] = data

    def reached_ns(self, stream, rate_hz):
        return self.first_ns.get(stream, 2**62) + int((self.count[stream]) * 1e9 / rate_hz)

    def run(self, stop_ns):
        found = []
        by_fd = {port.fileno(): role for role, port in self.ports.items()}
        due = CLOCK.now_ns() + 5_000_000_000
        closed = 0
        while CLOCK.now_ns() < stop_ns:
            wait = min(0.05, max(0.0, (due - CLOCK.now_ns()) / 1e9))
            ready, _, _ = select.select(list(by_fd), [], [], wait)
            for fd in ready:
                role = by_fd[fd]
                data = self.ports[role].read(4096)
                arrived = CLOCK.now_ns()
                self.decode(role, data)
                for stream in ("ecg", "ppg"):
                    if self.count[stream] and stream not in self.first_ns:
                        self.first_ns[stream] = arrived
                closed = arrived
            if CLOCK.now_ns() < due or min(self.reached_ns("ecg", 250), self.reached_ns("ppg", 64)) < due:
                continue
            inputs = {
                "ecg": torch.from_numpy(self._tail(self.ecg[:, None], "ecg", 1)),
                "ppg": torch.from_numpy(self._tail(self.ppg, "ppg", 2)),
            }
            began = CLOCK.now_ns()
            with torch.inference_mode():
                output = self.model(inputs)
            ended = CLOCK.now_ns()
            float(output[0, 0])
            found.append(((ended - max(closed, due) - (ended - began)) / 1e6, (ended - began) / 1e6))
            due += self.hop_ns
        return np.array(found)

    def _tail(self, ring, stream, channels):
        length = INPUTS[stream].length
        stop = self.count[stream]
        return np.ascontiguousarray(ring[max(0, stop - length) : stop].T[None], dtype=np.float32)


def minimal_overhead_ms(rig, seconds):
    specs = [simulated_spec(entry, rig.seed) for entry in rig.sensors.values()]
    torch.set_num_threads(1)
    with SimulatorProcess(specs, seed=rig.seed, subject=rig.subject, lead_s=LEAD_S) as process:
        loop = Minimal(process.ports, round(rig.window.hop_ms * 1e6))
        loop.start()
        found = loop.run(process.start_ns + round(seconds * 1e9))
        process.stop()
    return found[:, 0], found[:, 1]


def show(name, overhead, forward):
    p50, p99 = np.percentile(overhead, [50, 99])
    print(
        f"{name:28} n {len(overhead):5}   overhead p50 {p50:6.3f}  p99 {p99:6.3f}  max {overhead.max():7.3f} ms"
        f"   forward p50 {np.median(forward):6.3f} ms"
    )
    return p50, p99


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rig", default="rigs/demo.rig.yaml")
    given = parser.parse_args()
    rig = replace(read_rig(given.rig), duration_s=given.seconds)
    with tempfile.TemporaryDirectory() as folder:
        ours = harness_overhead_ms(rig, folder)
    theirs = minimal_overhead_ms(rig, given.seconds)
    p50, p99 = show("spiral-hil", *ours)
    least_p50, least_p99 = show("minimal pyserial + torch", *theirs)
    print(
        f"difference: p50 {p50 - least_p50:+.3f} ms, p99 {p99 - least_p99:+.3f} ms; ratio of p50 {p50 / least_p50:.2f}"
    )


if __name__ == "__main__":
    main()
