"""One run in virtual time: what goes on record when the sensor, the model or the user does not play along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drivers.clock import VirtualClock, to_ns
from drivers.driver import Driver
from drivers.links.memory import MemoryLink
from drivers.registry import load_sensor, make_settings
from drivers.types import Batch, LinkUp, Notice
from harness.bench import Mode
from harness.judge import judge
from harness.recorder import Recorder
from harness.recording import STAGES
from harness.recording_files import load_recording
from harness.report.document import to_json
from harness.rig import Rig, SensorEntry, WindowEntry
from harness.run import run_rig
from harness.session import Session
from harness.verdict import Outcome, exit_code
from simulators.build import SimulatedSpec, build

ECG = {"streams": {"ecg": [1]}}
LIMITS = {"latency": {"max_ms": 100, "quantile": 0.8}, "delivery": {}}
RIG = Rig(
    "bench", {"chest": SensorEntry("chest", "openbci-cyton", ECG)}, window=WindowEntry(hop_ms=50, fill_s=1),
    limits=LIMITS, duration_s=6.0, seed=3,
)  # fmt: skip


class Twisted:
    """A simulated sensor whose every item goes through ``twist`` (None: it is lost)."""

    def __init__(self, peer, twist, here=True):
        self._peer, self._twist, self._here = peer, twist, here

    def __getattr__(self, name):
        return getattr(self._peer, name)

    def advance(self, until_ns):
        return [kept for item in self._peer.advance(until_ns) if (kept := self._twist(item)) is not None]

    def plugged(self, at_ns):
        return self._here and self._peer.plugged(at_ns)


class Stepped:
    """Virtual time that the session takes for real: windows one by one, and time passes where somebody spends it."""

    virtual = False

    def __init__(self, clock):
        self._clock = clock

    def __getattr__(self, name):
        return getattr(self._clock, name)


class FixedStage:
    """A model that takes so long, and returns so many outputs of 1.0."""

    def __init__(self, clock, spent_ms=0.0, outputs=2):
        self.outputs, self._clock, self._spent_ns = outputs, clock, to_ns(spent_ms / 1000)

    def attach(self, tracks):
        self.tracks = tracks

    def prefetch(self, due_ns):
        """There is nothing to prepare."""

    def gather(self, due_ns, quality, closed_ns, late):
        return due_ns

    def infer(self, inputs):
        self._clock.sleep_until(self._clock.now_ns() + self._spent_ns)
        return np.ones((len(inputs), self.outputs))


def session_on(rig=RIG, faults=(), twist=lambda item: item, here=True, stepped=False, spent_ms=0.0, **options):
    """A session in virtual time on one Cyton, and its recorder in memory."""
    inner = VirtualClock()
    clock = Stepped(inner) if stepped else inner
    begin_ns = to_ns(3.0)
    spec = SimulatedSpec("openbci-cyton", ECG, seed=rig.seed, name="chest", faults=faults)
    peer = Twisted(build(spec, None, begin_ns, 0), twist, here)
    sensor, inbox = load_sensor("openbci-cyton"), inner.inbox()
    driver = Driver(sensor.host(make_settings(sensor, ECG)), MemoryLink(peer, inner), key="chest", inbox=inbox)
    recorder = Recorder(None, rig, clock, {"chest": driver.streams})
    stage = FixedStage(clock, spent_ms)
    session = Session(
        rig, clock, inbox, {"chest": driver}, recorder, stage, begin_ns=begin_ns, modelled_ns=5_000_000, **options
    )
    return session, recorder


def recorded(session, recorder, **meta):
    session.run()
    return recorder.finish(
        session.stop_ns, start_ns=session.start_ns, interrupted=session.interrupted,
        meta={"connect_errors": session.connect_errors, "bytes": {"chest": session.roles["chest"].bytes}, **meta},
    )  # fmt: skip


def verdict_of(recording, check, subject="rig"):
    (verdict,) = [v for v in judge(recording) if (v.check, v.subject) == (check, subject)]
    return verdict


def test_a_run_with_nothing_wrong_is_green_and_every_window_is_judged():
    recording = recorded(*session_on())
    assert exit_code(judge(recording)) == 0
    stamps = recording.windows.stamps_ns
    assert len(stamps) == round((6.0 - 1 - 0.2) / 0.05) + 1
    assert (stamps > 0).all()
    assert not [event for _, event in recording.events if isinstance(event, Notice)]


# --- connecting -------------------------------------------------------------------------------


def test_an_unplugged_sensor_is_the_rigs_fault():
    recording = recorded(*session_on(here=False))
    assert exit_code(judge(recording)) == 3
    assert "no such device" in verdict_of(recording, "connect", "chest").reason


def test_a_sensor_that_never_answers_has_failed_and_nothing_was_run():
    recording = recorded(*session_on(twist=lambda item: None))
    assert exit_code(judge(recording)) == 1
    assert "found silence" in verdict_of(recording, "connect", "chest").reason
    assert verdict_of(recording, "latency").outcome is Outcome.NOT_RUN
    assert recording.stop_ns == recording.start_ns


def test_a_sensor_that_answers_in_another_language_has_failed():
    def translate(item):
        return replace(item, data=b"Y" * len(item.data)) if isinstance(item, Batch) else item

    recording = recorded(*session_on(twist=translate))
    assert exit_code(judge(recording)) == 1
    assert "b'YYYY" in verdict_of(recording, "connect", "chest").reason


def test_a_sensor_that_goes_away_while_it_is_being_started_has_failed():
    def hang_up(item):
        return None if isinstance(item, Batch) else item

    session, recorder = session_on(faults=[{"fault": "unplug", "at_s": 0.0}], twist=hang_up, rig=RIG)
    session.begin_ns = None
    recording = recorded(session, recorder)
    assert exit_code(judge(recording)) == 1
    verdict = verdict_of(recording, "connect", "chest")
    assert verdict.outcome is Outcome.FAIL
    assert "went down while connecting" in verdict.reason


# --- coming back ------------------------------------------------------------------------------

UNPLUG = [{"fault": "unplug", "at_s": 2.0, "for_s": 0.5}]


def mute_after_replug():
    back = False

    def twist(item):
        nonlocal back
        back = back or isinstance(item, LinkUp)
        return None if back and isinstance(item, Batch) else item

    return twist


def test_a_sensor_that_comes_back_and_does_not_answer_is_told_and_the_run_goes_on():
    said = []
    session, recorder = session_on(
        faults=UNPLUG, twist=mute_after_replug(), on_progress=lambda progress: said.append(progress.trouble)
    )
    recording = recorded(session, recorder)
    (notice,) = [event for _, event in recording.events if isinstance(event, Notice)]
    assert notice.name == "reconnect_failed"
    assert "found silence" in str(notice.value)
    assert any("found silence" in text for text in said)
    assert recording.interrupted == ""
    assert len(recording.windows.stamps_ns) == round((6.0 - 1 - 0.2) / 0.05) + 1
    assert verdict_of(recording, "delivery", "chest").outcome is Outcome.FAIL


def test_a_sensor_that_comes_back_and_answers_streams_on_and_the_trouble_is_over():
    said = []
    session, recorder = session_on(faults=UNPLUG, on_progress=lambda progress: said.append(progress.trouble))
    recording = recorded(session, recorder)
    assert not [event for _, event in recording.events if isinstance(event, Notice) and "fail" in event.name]
    last_s = (recording.streams["chest/ecg"].arrival_ns.max() - recording.start_ns) / 1e9
    assert last_s == pytest.approx(6.0, abs=0.05)
    assert said[-1] == ""


# --- windows ----------------------------------------------------------------------------------


def test_windows_that_a_slow_model_never_came_to_are_on_record_as_misses():
    """0.3 s a window from 1.0 s on, in a run that ends at 6 s: 17 begin before its end, and one more in clearing up."""
    session, recorder = session_on(stepped=True, spent_ms=300.0)
    recording = recorded(session, recorder)
    stamps = recording.windows.stamps_ns
    due, judged = stamps[:, STAGES.index("due")], stamps[:, STAGES.index("judged")]
    assert len(stamps) == round((6.0 - 1 - 0.2) / 0.05) + 1
    np.testing.assert_array_equal(due, recording.start_ns + to_ns(1.0) + 50_000_000 * np.arange(len(due)))
    assert np.count_nonzero(judged >= 0) == 18
    assert (stamps[judged < 0, 1:] == -1).all()
    assert np.isnan(recording.windows.outputs[judged < 0]).all()
    assert np.isfinite(recording.windows.outputs[judged >= 0]).all()
    assert recording.stop_ns - recording.start_ns == to_ns(6.0)
    latency = verdict_of(recording, "latency")
    assert latency.outcome is Outcome.FAIL
    assert "waiting for 'model' of the windows before: it takes 300 ms" in latency.reason
    assert verdict_of(recording, "delivery", "chest").outcome is Outcome.PASS
    assert len(recording.streams["chest/ecg"].index) >= 6 * 250 - 1, "what arrived meanwhile was taken"


def test_a_model_that_is_fast_enough_misses_nothing_window_by_window():
    recording = recorded(*session_on(stepped=True, spent_ms=20.0))
    assert exit_code(judge(recording)) == 0
    stamps = recording.windows.stamps_ns
    assert {20_000_000} == set(stamps[:, STAGES.index("inferred")] - stamps[:, STAGES.index("windowed")])


# --- ends before its time ---------------------------------------------------------------------


def test_a_session_that_is_told_to_stop_keeps_what_was_due_until_then():
    session, recorder = session_on(stepped=True)

    def stop(progress):
        if progress.elapsed_s >= 3.0:
            session.stop("interrupted by the user")

    session.on_progress = stop
    recording = recorded(session, recorder)
    assert recording.interrupted == "interrupted by the user"
    assert 3.0 <= (recording.stop_ns - recording.start_ns) / 1e9 < 3.2
    stamps = recording.windows.stamps_ns
    assert stamps[-1, 0] <= recording.stop_ns
    assert len(stamps) == pytest.approx((3.0 - 1.0) / 0.05, abs=5)
    assert exit_code(judge(recording)) == 3


def test_a_session_whose_bench_is_in_trouble_ends_within_a_second_and_says_why():
    session, recorder = session_on(stepped=True)
    session.trouble = lambda: "the lights went out" if session.clock.now_ns() > to_ns(5.0) else ""
    recording = recorded(session, recorder)
    assert recording.interrupted == "the lights went out"
    assert to_ns(5.0) < recording.stop_ns <= to_ns(6.2)


def test_a_session_that_is_stopped_while_it_connects_has_not_run():
    session, recorder = session_on(twist=lambda item: None)
    session.on_progress = lambda progress: session.stop("interrupted by the user")
    recording = recorded(session, recorder)
    assert recording.stop_ns == recording.start_ns
    connect = verdict_of(recording, "connect", "chest")
    assert (connect.outcome, "ended before" in connect.reason) == (Outcome.NOT_RUN, True)
    assert exit_code(judge(recording)) == 3


def test_a_defect_of_the_harness_costs_no_data_and_is_not_the_sensors_fault(tmp_path):
    def defect(progress):
        if progress.elapsed_s > 5:
            raise ZeroDivisionError("nobody thought of this")

    result = run_rig(replace(RIG, duration_s=25.0), Mode.VIRTUAL, tmp_path / "run", defect)
    assert result.exit_code == 3
    (run,) = [v for v in result.verdicts if v.check == "run"]
    assert "the harness itself failed: ZeroDivisionError: nobody thought of this" in run.reason
    assert "test_session.py" in result.recording.host["crash"]
    assert len(load_recording(tmp_path / "run").streams["chest/ecg"].index) > 1000


# --- virtual time -----------------------------------------------------------------------------

DOSED = [{"fault": "dropout", "mean_lost_percent": 5, "mean_burst_frames": 4}]


def report_of(seed):
    chest = SensorEntry("chest", "openbci-cyton", ECG, simulate={"faults": DOSED})
    rig = replace(RIG, sensors={"chest": chest}, seed=seed, limits={**LIMITS, "rate": {}, "quality": {}, "sync": {}})
    report = run_rig(rig, Mode.VIRTUAL).report
    return to_json({key: value for key, value in report.items() if key != "host"})


def test_one_seed_gives_one_report_to_the_byte_and_another_seed_another():
    first = report_of(3)
    assert report_of(3) == first
    assert report_of(4).replace('"seed": 4', '"seed": 3') != first
