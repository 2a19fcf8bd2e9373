"""In real time, with real threads: what keeps the consumer is found while it keeps it, and outlives a killed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from drivers.clock import RealClock, to_ns
from harness.bench import Mode
from harness.monitor.happenings import HELD, STACK
from harness.monitor.monitor import monitoring
from harness.monitor.spikes import spikes_of
from harness.recording_files import load_recording
from harness.rig import ModelEntry, MonitorEntry, Rig, SensorEntry, WindowEntry
from harness.run import Result, run_rig

HERE = Path(__file__).parent
CLOCK = RealClock()
ECG = {"streams": {"ecg": [1]}}
KEPT_MS = 400.0


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


def a_run(folder: Path, model: str, budget_ms: float = 200.0, seconds: float = 3.0, **monitor) -> Result:
    rig = Rig(
        "kept", {"chest": SensorEntry("chest", "openbci-cyton", ECG)}, ModelEntry(factory=f"keeping_models:{model}"),
        WindowEntry(hop_ms=80, fill_s=1), {"latency": {"max_ms": budget_ms}}, seconds, seed=5,
        monitor=MonitorEntry(**monitor),
    )  # fmt: skip
    return run_rig(rig, Mode.SIMULATED, folder / "run")


def test_a_model_that_sleeps_is_caught_at_it(tmp_path):
    result = a_run(tmp_path, "Sleeping")
    kept = [one for one in spikes_of(result.recording).worst if one.step == "model" and one.step_ms >= KEPT_MS]
    assert kept
    assert any("Sleeping.sleep_over (keeping_models.py:" in text for one in kept for text in one.meanwhile)
    assert result.report["host"]["overdue"]["ran"][0]["where"].startswith("Sleeping.sleep_over")
    assert "monitor" not in result.report["host"], "where its own failure would be"
    flight = tmp_path / "run" / "flight"
    assert "sleep_over" in (flight / "1.stacks.txt").read_text()
    events = json.loads((flight / "1.trace.json").read_text())["traceEvents"]
    assert any("sleep_over" in event["name"] for event in events)
    torch_events = json.loads((flight / "1.torch.trace.json").read_text())["traceEvents"]
    assert any("aten::tanh" in event.get("name", "") for event in torch_events), "what the model computes"


def test_c_code_that_holds_the_interpreter_is_told_though_no_thread_could_look(tmp_path):
    result = a_run(tmp_path, "HoldingTheInterpreter")
    held = [one for one in result.recording.happenings if one.kind == HELD]
    assert any("the interpreter itself was held" in one.what or "no core" in one.what for one in held)
    assert max(one.for_ns for one in held) >= to_ns(0.2)
    kept = [one for one in spikes_of(result.recording).worst if one.step == "model" and one.step_ms >= KEPT_MS]
    assert kept


def test_a_prompt_model_leaves_no_flight_and_no_stack(tmp_path):
    """The budget leaves room for a machine that is busy with other things."""
    result = a_run(tmp_path, "Prompt", budget_ms=3000.0)
    assert spikes_of(result.recording).above == 0
    assert not [one for one in result.recording.happenings if one.kind in (STACK, HELD)]
    assert not (tmp_path / "run" / "flight").exists()
    assert len(result.recording.resources) >= 1
    loaded = load_recording(tmp_path / "run")
    assert len(loaded.resources) == len(result.recording.resources)


def test_a_rig_that_wants_nothing_watched_is_not(tmp_path):
    off = MonitorEntry(resources=False, stacks=False, flight_recorder=False)
    rig = Rig("kept", {"chest": SensorEntry("chest", "openbci-cyton", ECG)}, monitor=off)
    with (
        monitoring(rig, CLOCK, tmp_path) as nobody,
        monitoring(replace(rig, monitor=MonitorEntry()), CLOCK, None) as it,
    ):
        assert nobody is None
        assert it is not None


def test_a_run_that_hangs_and_is_killed_keeps_what_it_hung_in(tmp_path):
    rig = {
        "schema": 1, "name": "kept", "duration_s": 60, "window": {"hop_ms": 80, "fill_s": 1},
        "sensors": {"chest": {"sensor": "openbci-cyton", "settings": ECG}},
        "model": {"factory": "keeping_models:Hanging"}, "limits": {"latency": {"max_ms": 200}},
    }  # fmt: skip
    path, run = tmp_path / "kept.rig.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(rig))
    command = [sys.executable, "-m", "harness", "run", str(path), "--simulate", "--out", str(run), "--quiet"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(HERE)})
    try:
        deadline_ns = CLOCK.now_ns() + to_ns(60)
        told = run / "happenings.jsonl"
        while not (told.exists() and "wait_for_good" in told.read_text()):
            assert CLOCK.now_ns() < deadline_ns, "nothing was told of a run that hangs"
            assert process.poll() is None
            CLOCK.sleep_until(CLOCK.now_ns() + to_ns(0.1))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    recording = load_recording(run)
    assert any("Hanging.wait_for_good (keeping_models.py:" in one.what for one in recording.happenings)
    assert len(recording.resources) >= 1
    assert list((run / "flight").glob("*.stacks.txt"))


def test_virtual_time_is_not_watched_and_its_report_does_not_know_of_it(tmp_path):
    rig = Rig(
        "kept", {"chest": SensorEntry("chest", "openbci-cyton", ECG)}, window=WindowEntry(hop_ms=80, fill_s=1),
        limits={"latency": {}}, duration_s=5.0, seed=5,
    )  # fmt: skip
    on, off = (run_rig(replace(rig, monitor=MonitorEntry(resources=x, stacks=x)), Mode.VIRTUAL) for x in (True, False))
    assert len(on.recording.resources) == 0
    assert {k: v for k, v in on.report.items() if k != "host"} == {k: v for k, v in off.report.items() if k != "host"}
