"""A session in time that somebody spends, and a monitor that looks when it wants to: nothing here waits for real."""

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from drivers.clock import VirtualClock, to_ns
from drivers.driver import Driver
from drivers.links.memory import MemoryLink
from drivers.registry import load_sensor, make_settings
from harness.monitor.monitor import Monitor
from harness.monitor.profile import ModelProfile
from harness.recorder import Recorder
from harness.rig import MonitorEntry, Rig, SensorEntry, WindowEntry
from harness.session import Session
from simulators.build import SimulatedSpec, build

ECG = {"streams": {"ecg": [1]}}
RIG = Rig(
    "bench", {"chest": SensorEntry("chest", "openbci-cyton", ECG)}, window=WindowEntry(hop_ms=80, fill_s=1),
    limits={"latency": {"max_ms": 100}}, duration_s=6.0, seed=3,
)  # fmt: skip
_BETWEEN = ("/drivers/clock.py", "/monitor/watcher.py", "/monitor/monitor.py", "/monitor/conftest.py")


class Stepped:
    """Virtual time that the session takes for real."""

    virtual = False

    def __init__(self, clock):
        self._clock = clock

    def __getattr__(self, name):
        return getattr(self._clock, name)

    def spend(self, ms):
        """Be busy for so long."""
        self._clock.sleep_until(self._clock.now_ns() + to_ns(ms / 1000))


class SteppedMonitor(Monitor):
    """Whose rounds are calls of the virtual clock instead of a thread; what arrives takes ``arrival_ms`` to handle."""

    arrival_ms = 0.0

    def begun(self, start_ns, waited_for):
        self.beat.thread = threading.get_ident()
        if self._pauses is not None:
            self._pauses.start()
        self.rounds = 0
        self._again()

    def arrived(self, role, batch):
        super().arrived(role, batch)
        self._clock.spend(self.arrival_ms)

    def _again(self):
        self.rounds += 1
        wait_ns = self.round(self._clock.now_ns())
        self._clock.schedule(self._clock.now_ns() + wait_ns, self._again)


def consumer_frame():
    """The frame that spends time, as another thread would see it."""
    frame = sys._getframe()
    while frame.f_code.co_filename.endswith(_BETWEEN):
        frame = frame.f_back
    return {threading.get_ident(): frame}


class Stage:
    """A model that calls ``each(number)`` for every window."""

    outputs = 2

    def __init__(self, each):
        self._each, self.calls = each, 0

    def attach(self, tracks):
        """The samples are of no interest."""

    def prefetch(self, due_ns):
        """There is nothing to prepare."""

    def gather(self, due_ns, quality, closed_ns, late):
        return due_ns

    def infer(self, inputs):
        self._each(self.calls)
        self.calls += 1
        return np.ones((len(inputs), self.outputs))


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """Runs a session that is watched: (recording, monitor, folder). torch's profiler has tests of its own."""
    monkeypatch.setattr(ModelProfile, "arm", lambda self: None)

    def run(
        each=lambda number, clock: None, on_progress=None, faults=(), rig=RIG, duration_s=6.0, arrival_ms=0.0, **monitor
    ):
        rig = replace(rig, duration_s=duration_s, monitor=MonitorEntry(**monitor))
        inner, folder = VirtualClock(), tmp_path / "run"
        folder.mkdir()
        clock, begin_ns = Stepped(inner), to_ns(3.0)
        peer = build(SimulatedSpec("openbci-cyton", ECG, seed=3, name="chest", faults=faults), None, begin_ns, 0)
        sensor, inbox = load_sensor("openbci-cyton"), inner.inbox()
        link = MemoryLink(peer, inner, 10_000_000)
        driver = Driver(sensor.host(make_settings(sensor, ECG)), link, key="chest", inbox=inbox)
        recorder = Recorder(None, rig, clock, {"chest": driver.streams})
        watch = SteppedMonitor(rig, clock, folder, consumer_frame)
        watch.arrival_ms = arrival_ms
        session = Session(
            rig, clock, inbox, {"chest": driver}, recorder, Stage(lambda number: each(number, clock)),
            begin_ns=begin_ns, observer=watch, beat=watch.beat,
            on_progress=(lambda progress: on_progress(progress, clock)) if on_progress else lambda progress: None,
        )  # fmt: skip
        session.run()
        watch.finish()
        assert not session.crash, session.crash
        made = recorder.finish(session.stop_ns, start_ns=session.start_ns, host=watch.host())
        return replace(made, resources=watch.resources, happenings=watch.happenings), watch, folder

    return run
