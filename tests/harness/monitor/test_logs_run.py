"""What a run logs, and what its health says: with a session on one simulated Cyton, in steps of virtual time."""

import json
import logging
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from drivers.clock import VirtualClock, to_ns
from drivers.driver import Driver
from drivers.links.memory import MemoryLink
from drivers.quality import FLAGS
from drivers.registry import load_sensor, make_settings
from drivers.types import CounterReset, LinkDown, Notice
from harness.api.record import ApiCall
from harness.cli import main
from harness.monitor.log_reader import read_events
from harness.monitor.log_schema import objections
from harness.monitor.logs import EventLog
from harness.monitor.run_health import RunHealth, thresholds_of
from harness.monitor.run_log import MOST_VIOLATIONS, RunLog
from harness.observer import Observer, Observers
from harness.recorder import Recorder
from harness.rig import HealthEntry, Rig, SensorEntry, WindowEntry
from harness.run import conclude
from harness.session import Session
from simulators.build import SimulatedSpec, build

ECG = {"streams": {"ecg": [1]}}
RIG = Rig(
    "bench", {"chest": SensorEntry("chest", "openbci-cyton", ECG)}, window=WindowEntry(hop_ms=50, fill_s=1),
    limits={"latency": {"max_ms": 100, "quantile": 0.8}}, duration_s=6.0, seed=3,
)  # fmt: skip
UNPLUG = {"fault": "unplug", "at_s": 2.0, "for_s": 1.5}


class StepClock:
    """Virtual time that the session takes for real: windows one by one."""

    virtual = False

    def __init__(self, clock):
        self._clock = clock

    def __getattr__(self, name):
        return getattr(self._clock, name)


class SlowStage:
    """A model that takes ``spent_ms`` from ``from_s`` on, and none before."""

    outputs = 2

    def __init__(self, clock, spent_ms, from_s):
        self._clock, self._spent_ns, self._from_ns = clock, to_ns(spent_ms / 1000), to_ns(3.0 + from_s)

    def attach(self, tracks):
        """It looks at nothing."""

    def prefetch(self, due_ns):
        """There is nothing to prepare."""

    def gather(self, due_ns, quality, closed_ns, late):
        return due_ns

    def infer(self, inputs):
        if self._clock.now_ns() >= self._from_ns:
            self._clock.sleep_until(self._clock.now_ns() + self._spent_ns)
        return np.ones((len(inputs), self.outputs))


def run_session(observer, rig=RIG, faults=(), stepped=True, spent_ms=0.0, from_s=0.0):
    """The recording of one run that is watched."""
    inner = VirtualClock()
    clock = StepClock(inner) if stepped else inner
    begin_ns = to_ns(3.0)
    peer = build(SimulatedSpec("openbci-cyton", ECG, seed=rig.seed, name="chest", faults=faults), None, begin_ns, 0)
    sensor, inbox = load_sensor("openbci-cyton"), inner.inbox()
    driver = Driver(sensor.host(make_settings(sensor, ECG)), MemoryLink(peer, inner), key="chest", inbox=inbox)
    recorder = Recorder(None, rig, clock, {"chest": driver.streams})
    observer.opened(clock)
    session = Session(
        rig, clock, inbox, {"chest": driver}, recorder, SlowStage(clock, spent_ms, from_s), begin_ns=begin_ns,
        modelled_ns=5_000_000, observer=observer,
    )  # fmt: skip
    session.run()
    return recorder.finish(
        session.stop_ns, start_ns=session.start_ns, interrupted=session.interrupted, host=observer.host(),
        meta={"connect_errors": session.connect_errors},
    )  # fmt: skip


@pytest.fixture
def logged_run(tmp_path):
    """Events of a run with its log, by type."""

    def run(**options):
        path = tmp_path / "run.jsonl"
        rig = options.get("rig", RIG)
        with EventLog(path) as log:
            run_log = RunLog(rig, "virtual", log.privacy)
            recording = run_session(run_log, **options)
            run_log.ended(conclude(recording, None))
        content = read_events(path)
        assert content.broken == ()
        assert [text for event in content.events for text in objections(event.event_type, event.data)] == []
        by_type = {}
        for event in content.events:
            by_type.setdefault(event.event_type, []).append(event)
        return by_type, recording

    return run


# --- the log ----------------------------------------------------------------------------------


def test_a_good_run_logs_its_course_and_nothing_above_info(logged_run):
    events, recording = logged_run(stepped=False)
    assert list(events) == [
        "log_started", "sensor_connected", "run_started", "data_quality_check", "model_inference", "verdict",
        "run_ended",
    ]  # fmt: skip
    assert {event.level for some in events.values() for event in some} == {"INFO"}
    (started,) = events["run_started"]
    assert started.data["sensors"] == {"chest": "openbci-cyton"}
    assert started.monotonic_ns == recording.start_ns == to_ns(3.0)
    assert started.virtual and started.timestamp == "2000-01-01T00:00:03.000000Z"
    (ended,) = events["run_ended"]
    assert (ended.data["exit_code"], ended.data["misses"]) == (0, 0)
    assert ended.data["windows"] == len(recording.windows.stamps_ns)


def test_windows_are_counted_once_in_the_second_in_which_they_were_due(logged_run):
    events, recording = logged_run()
    due = recording.windows.stamps_ns[:, 0] - recording.start_ns
    expected = np.bincount(due // to_ns(1.0), minlength=6)[1:]
    found = {(event.monotonic_ns - recording.start_ns) // to_ns(1.0): event for event in events["model_inference"]}
    assert [found[second + 1].data["n"] for second in range(1, 6)] == expected.tolist()
    spent = (recording.windows.stamps_ns[:, 5] - recording.windows.stamps_ns[:, 0]) / 1e6
    third = spent[due // to_ns(1.0) == 3]
    assert found[4].data["latency_ms"] == pytest.approx(np.median(third), abs=0.001)
    assert found[4].data["max_ms"] == pytest.approx(third.max(), abs=0.001)


def test_virtual_and_stepped_time_count_the_same_windows(logged_run):
    one, _ = logged_run(stepped=True)
    (first,) = one["run_ended"]
    two, _ = logged_run(stepped=False)
    assert two["run_ended"][-1].data["windows"] == first.data["windows"]


def test_quality_is_told_every_five_seconds_and_when_its_flags_change(logged_run):
    hum = {"fault": "mains_hum", "stream": "ecg", "start_s": 8.0}
    events, recording = logged_run(rig=replace(RIG, duration_s=14.0), faults=(hum,), stepped=False)
    ecg = [event for event in events["data_quality_check"] if event.data["stream"] == "chest/ecg"]
    flags = [set(event.data["flags"]) for event in ecg]
    assert any("hum" in some for some in flags) and "hum" not in flags[0]
    assert all(some <= set(FLAGS) for some in flags)
    at_s = [(event.monotonic_ns - recording.start_ns) / 1e9 for event in ecg]
    gaps = np.diff(at_s)
    same = [a == b for a, b in pairwise(flags)]
    assert all(gap == 5.0 for gap, kept in zip(gaps, same, strict=True) if kept)
    assert gaps.min() >= 1.0 and ecg[0].data["sensor"] == "chest"


def test_a_lost_sensor_and_its_return_are_told_with_the_time_it_was_away(logged_run):
    events, recording = logged_run(faults=(UNPLUG,), stepped=False)
    (lost,), (back,) = events["sensor_lost"], events["sensor_returned"]
    down, up = (event for _, event in recording.events if type(event).__name__ in ("LinkDown", "LinkUp"))
    assert (lost.level, lost.data["role"], lost.data["sensor"]) == ("WARNING", "chest", "openbci-cyton")
    assert (lost.monotonic_ns, back.monotonic_ns) == (down.arrival_ns, up.arrival_ns)
    assert back.data["after_ms"] == pytest.approx((up.arrival_ns - down.arrival_ns) / 1e6)


def test_every_miss_is_told_with_the_stage_that_took_the_longest(logged_run):
    events, recording = logged_run(spent_ms=150.0, from_s=4.0)
    spent = recording.windows.stamps_ns[:, 5] - recording.windows.stamps_ns[:, 0]
    late = np.flatnonzero((spent > to_ns(0.1)) | (recording.windows.stamps_ns[:, 5] < 0))
    told = events["latency_violation"]
    assert len(told) == len(late) == events["run_ended"][0].data["misses"] > 20
    assert [event.data["due_ns"] for event in told] == recording.windows.stamps_ns[late, 0].tolist()
    assert told[0].data["stage"] == "model" and told[0].data["latency_ms"] == pytest.approx(150.0, abs=1.0)
    assert told[-1].data["stage"] == "never arrived" and told[-1].data["latency_ms"] is None
    assert events["run_ended"][0].level == "ERROR"
    failed = [event for event in events["verdict"] if event.data["outcome"] == "FAIL"]
    assert failed and {event.level for event in failed} == {"ERROR"}
    assert sum(event.data["misses"] for event in events["model_inference"]) == len(late)


def test_a_flood_of_misses_is_not_told_one_by_one(tmp_path):
    rig = replace(RIG, window=WindowEntry(hop_ms=5))
    stamps = np.full((200, 6), -1, dtype=np.int64)
    stamps[:, 0] = to_ns(3.0) + to_ns(0.005) * np.arange(200)
    with EventLog(tmp_path / "run.jsonl") as log:
        run_log = RunLog(rig, "virtual", log.privacy)
        run_log.begun(to_ns(3.0), ())
        run_log.windows(stamps, np.zeros((200, 0), np.int64))
        stamps[0, 0] += to_ns(1.0)
        run_log.windows(stamps[:1], np.zeros((1, 0), np.int64))
    events = read_events(tmp_path / "run.jsonl").events
    assert sum(event.event_type == "latency_violation" for event in events) == MOST_VIOLATIONS + 1
    (second,) = [event for event in events if event.event_type == "model_inference"]
    assert second.data == {"n": 0, "latency_ms": None, "max_ms": None, "misses": 200}


def test_what_a_device_says_of_itself_is_told_but_not_who_it_is(tmp_path):
    with EventLog(tmp_path / "run.jsonl") as log:
        run_log = RunLog(RIG, "bench", log.privacy)
        run_log.incident("chest", Notice("battery_percent", 87.0, 5))
        run_log.incident("chest", Notice("serial_number", "8C4CAD2D", 6))
        run_log.incident("chest", Notice("location", "wrist", 6))
        run_log.incident("chest", CounterReset("ecg", 7, "from 200 to 3"))
        run_log.incident("chest", LinkDown(8, "A0:9E:1A:00:00:01 is out of range"))
        run_log.incident("chest", Notice("reconnect_failed", "no answer", 9))
    events = read_events(tmp_path / "run.jsonl").events[1:]
    assert [event.event_type for event in events] == ["sensor_notice"] * 4 + ["sensor_lost", "sensor_failed"]
    assert [events[number].data["text"] for number in (0, 2, 3)] == ["87.0", "wrist", "from 200 to 3"]
    text = (tmp_path / "run.jsonl").read_text()
    assert "8C4CAD2D" not in text and "A0:9E:1A" not in text


def test_who_ends_a_run_by_hand_is_an_interaction(tmp_path):
    result = conclude(run_session(Observer()), None, ended_by_hand=True)
    with EventLog(tmp_path / "run.jsonl") as log:
        RunLog(RIG, "simulated", log.privacy).ended(result)
    *_, interaction, ended = read_events(tmp_path / "run.jsonl").events
    assert (interaction.event_type, interaction.data) == ("user_interaction", {"action": "interrupt"})
    assert (ended.data["exit_code"], ended.level) == (130, "ERROR")


def test_calls_of_the_rigs_api_are_told_when_the_run_is_over(tmp_path):
    good = ApiCall(to_ns(4.0), "/infer", "PASS", "", 200, 12.5, 100, 50)
    bad = ApiCall(to_ns(5.0), "/infer", "ERROR: refused", "is the server running?")
    result = conclude(replace(run_session(Observer()), calls=(good, bad)), None)
    with EventLog(tmp_path / "run.jsonl") as log:
        RunLog(RIG, "simulated", log.privacy).ended(result)
    calls = [event for event in read_events(tmp_path / "run.jsonl").events if event.event_type == "api_call"]
    assert [(event.level, event.data["status"], event.data["latency_ms"]) for event in calls] == [
        ("INFO", 200, 12.5), ("WARNING", None, None)
    ]  # fmt: skip
    assert [event.monotonic_ns for event in calls] == [to_ns(4.0), to_ns(5.0)]
    assert not any(objections("api_call", event.data) for event in calls)


def test_why_the_model_gave_no_answer_stands_in_the_second_in_which_it_began(tmp_path, monkeypatch, capsys):
    torch = pytest.importorskip("torch", reason="needs torch: pip install torch")

    class Breaking(torch.nn.Module):
        calls = 0

        def forward(self, inputs):
            self.calls += 1
            if self.calls > 20:  # after the warm-up
                raise RuntimeError("out of cheese, patient=Ada")
            return next(iter(inputs.values()))[:, 0, :3].clone()

    monkeypatch.setattr("harness.model.load.build_module", lambda factory: Breaking())
    (tmp_path / "one.rig.yaml").write_text(RIG_FILE + "model: {factory: 'tests:made'}\n")
    run = ["run", str(tmp_path / "one.rig.yaml"), "--virtual", "--no-recording", "--quiet"]
    assert main([*run, "--log", str(tmp_path / "run.jsonl")]) != 0
    seconds = [e for e in read_events(tmp_path / "run.jsonl").events if e.event_type == "model_inference"]
    assert [text for event in seconds for text in objections(event.event_type, event.data)] == []
    assert "out of cheese" in seconds[0].data["error"] and "Ada" not in seconds[0].data["error"]
    assert seconds[0].level == "WARNING" and seconds[0].data["misses"] > 0
    assert all("error" not in event.data and event.data["misses"] > 0 for event in seconds[1:])


def test_an_error_belongs_to_the_second_of_its_windows_and_is_cut_where_it_is_endless(tmp_path):
    with EventLog(tmp_path / "run.jsonl") as log:
        run_log = RunLog(RIG, "simulated", log.privacy)
        run_log.opened(StepClock(VirtualClock()))
        run_log.begun(0, ())
        for second in range(4):
            if second == 2:
                run_log.model_failed("x" * 100_000)
                run_log.model_failed("refused")
            due_ns = to_ns(second) + np.arange(2, dtype=np.int64) * to_ns(0.5)
            stamps = due_ns[:, None] + np.arange(6, dtype=np.int64) * to_ns(0.001)
            run_log.windows(stamps, np.zeros((2, 0), dtype=bool))
        run_log._end_second()
    seconds = [e for e in read_events(tmp_path / "run.jsonl").events if e.event_type == "model_inference"]
    assert [event.data.get("error") for event in seconds] == [None, None, "x" * 500 + "...; refused", None]


# --- health -----------------------------------------------------------------------------------


def test_the_health_of_a_good_run_is_in_its_host_facts_without_alerts():
    recording = run_session(Observers([RunHealth(RIG)]))
    health = recording.host["health"]
    assert health["status"] == "ok" and health["alerts"] == []
    assert health["thresholds"] == {"above": {"latency_ms": 100.0, "misses": 0.0}, "below": {}, "never_recorded": []}
    assert (health["windows"], health["missed"]) == (len(recording.windows.stamps_ns), 0)
    assert set(health["metrics"]) == {
        "latency_ms", "misses", "inbox_depth", "rss_mb", "quality/chest/ecg", "quality/chest/accel"
    }  # fmt: skip
    last = (recording.windows.stamps_ns[-10:, 5] - recording.windows.stamps_ns[-10:, 0]) / 1e6
    assert health["metrics"]["latency_ms"]["average"] == pytest.approx(last.mean())
    assert 10 < health["metrics"]["rss_mb"]["current"] < 100_000


def test_a_slow_model_raises_one_alert_which_is_logged(tmp_path):
    rig = replace(RIG, health=HealthEntry(above={"misses": 5.0, "rss_mb": 1e9}, below={"quality/chest/rr": 0.5}))
    with EventLog(tmp_path / "run.jsonl") as log:
        run_log = RunLog(rig, "simulated", log.privacy)
        recording = run_session(Observers([run_log, RunHealth(rig, run_log.crossing)]), rig, spent_ms=150.0, from_s=3.0)
    health = recording.host["health"]
    assert health["status"] == "alert"
    assert health["thresholds"]["never_recorded"] == ["quality/chest/rr"]
    alerts = [event for event in read_events(tmp_path / "run.jsonl").events if event.event_type == "alert"]
    assert [event.data["metric"] for event in alerts][:1] == ["latency_ms"]
    assert len({event.data["metric"] for event in alerts}) == len(alerts)
    assert all(objections("alert", event.data) == [] and event.level == "WARNING" for event in alerts)
    assert health["alerts"][0][1].startswith("ALERT: latency_ms above threshold: ")


def test_in_virtual_time_there_is_no_health_of_the_host():
    recording = run_session(Observers([RunHealth(RIG)]), stepped=False)
    assert "health" not in recording.host


def test_the_rigs_latency_limit_is_the_threshold_unless_it_says_else():
    assert thresholds_of(RIG) == ({"latency_ms": 100.0, "misses": 0.0}, {})
    own = replace(RIG, health=HealthEntry(above={"latency_ms": 20.0, "misses": 2.0}))
    assert thresholds_of(own) == ({"latency_ms": 20.0, "misses": 2.0}, {})
    assert thresholds_of(replace(RIG, limits={"delivery": {}})) == ({"misses": 0.0}, {})


def test_windows_that_were_never_answered_alert_though_those_that_were_came_in_time():
    health = RunHealth(RIG)
    clock = StepClock(VirtualClock())
    health.opened(clock)
    health.begun(0, ())
    for second in range(30):
        due_ns = to_ns(second) + np.arange(10, dtype=np.int64) * to_ns(0.1)
        stamps = due_ns[:, None] + np.arange(6, dtype=np.int64) * to_ns(0.001)
        if second == 5:
            stamps[3:, 4:] = -1
        health.windows(stamps, np.zeros((10, 0), dtype=bool))
        clock.sleep_until(to_ns(second + 1))
        health.beside(clock.now_ns(), 0)
    found = health.host()["health"]
    assert (found["windows"], found["missed"]) == (300, 7)
    assert found["status"] == "ok" and found["metrics"]["misses"]["max"] == 0.0  # the last ten seconds were fine
    assert [text for _, text in found["alerts"]] == ["ALERT: misses above threshold: 1.17 > 0.0"]  # 7 / 6 seconds


class Broken(Observer):
    def windows(self, stamps_ns, late):
        raise RuntimeError("a defect of who watches")


def test_an_observer_that_fails_costs_nothing_and_is_told_once(caplog):
    with caplog.at_level(logging.ERROR, "harness.observer"):
        recording = run_session(Observers([Broken(), RunHealth(RIG)]))
    assert [record.getMessage() for record in caplog.records] == ["Broken failed in windows and watches no longer"]
    assert not recording.interrupted
    assert recording.host["health"]["metrics"]["latency_ms"]["max"] < 100


def test_who_watches_changes_nothing_that_is_recorded():
    watched, alone = run_session(Observers([RunHealth(RIG)])), run_session(Observer())
    np.testing.assert_array_equal(watched.windows.stamps_ns, alone.windows.stamps_ns)
    np.testing.assert_array_equal(watched.streams["chest/ecg"].values, alone.streams["chest/ecg"].values)


# --- hil run --log ----------------------------------------------------------------------------

RIG_FILE = """
name: one
seed: 3
duration_s: 7
sensors:
  chest: {sensor: openbci-cyton, settings: {streams: {ecg: [1]}}}
window: {fill_s: 4}
limits: {latency: {quantile: 0.5}}
"""


def test_hil_run_logs_where_it_is_told_and_its_report_is_the_same(tmp_path, capsys):
    (tmp_path / "one.rig.yaml").write_text(RIG_FILE)
    options = ["run", str(tmp_path / "one.rig.yaml"), "--virtual", "--no-recording", "--quiet", "--json"]
    assert main([*options, str(tmp_path / "a.json")]) == 0
    assert (
        main([*options, str(tmp_path / "b.json"), "--log", str(tmp_path / "run.jsonl"), "--log-level", "warning"]) == 0
    )
    assert [event.event_type for event in read_events(tmp_path / "run.jsonl").events] == ["log_started"]
    a, b = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert a.pop("host") and b.pop("host")
    assert a == b


def test_a_rig_may_log_into_the_runs_folder(tmp_path, capsys):
    (tmp_path / "one.rig.yaml").write_text(RIG_FILE + "log: {file: events.jsonl, personal: drop}\n")
    run = ["run", str(tmp_path / "one.rig.yaml"), "--virtual", "--out", str(tmp_path / "out")]
    assert main(run) == 0
    assert f"logged in {tmp_path / 'out' / 'events.jsonl'}" in capsys.readouterr().err.replace("\n", "")
    events = read_events(tmp_path / "out" / "events.jsonl").events
    assert [event.event_type for event in events][:2] == ["log_started", "user_interaction"]
    assert events[0].data["personal"] == "drop"
    assert events[1].data["action"] == "hil run" and "virtual=True" in events[1].data["options"]
    assert events[-1].event_type == "run_ended"
    assert [text for event in events for text in objections(event.event_type, event.data)] == []


def test_a_log_in_a_folder_that_is_not_there_is_a_usage_error_and_makes_none(tmp_path, capsys):
    (tmp_path / "one.rig.yaml").write_text(RIG_FILE)
    run = ["run", str(tmp_path / "one.rig.yaml"), "--virtual", "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*run, "--log", str(tmp_path / "lgos" / "run.jsonl")]) == 2
    assert "--log: there is no folder" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.rig.yaml"]
    assert main([*run, "--log", str(tmp_path / "out" / "run.jsonl")]) == 0  # the run's own folder is made for it


def test_a_run_that_cannot_begin_says_so_in_its_log(tmp_path, capsys):
    (tmp_path / "one.rig.yaml").write_text(RIG_FILE + "model: {factory: 'absent_module:build'}\n")
    run = ["run", str(tmp_path / "one.rig.yaml"), "--virtual", "--no-recording", "--log", str(tmp_path / "run.jsonl")]
    assert main([*run, "--log-console"]) == 2
    assert "ERROR    run_ended exit_code=null" in capsys.readouterr().err
    last = read_events(tmp_path / "run.jsonl").events[-1]
    assert (last.event_type, last.level) == ("run_ended", "ERROR")
    assert "absent_module" in last.data["meaning"]
    assert objections("run_ended", last.data) == []
