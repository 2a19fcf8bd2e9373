"""The main job: from a rig to a recording, verdicts and reports."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from drivers.clock import RealClock
from harness.bench import Bench, Mode, open_bench
from harness.judge import judge
from harness.recorder import Recorder
from harness.recording import Recording
from harness.report.document import document, to_json
from harness.report.junit import to_junit
from harness.rig import Rig
from harness.session import Progress, Session
from harness.stage import ModelStage
from harness.verdict import Verdict, exit_code

_PACKAGES = ("spiral-hil", "numpy", "scipy", "torch", "bleak", "pyserial")


@dataclass(frozen=True)
class Result:
    """What a run ends with."""

    recording: Recording
    verdicts: Sequence[Verdict]
    report: dict[str, Any]
    directory: Path | None

    @property
    def exit_code(self) -> int:
        """0 only if every verdict is PASS."""
        return exit_code(self.verdicts)


def run_rig(
    rig: Rig,
    mode: Mode,
    directory: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Result:
    """Run a rig once. ``directory`` takes the recording and the reports; None keeps all in memory."""
    wall = RealClock()
    began_utc = wall.utc().isoformat(timespec="seconds")
    stage = ModelStage(rig.model)
    with open_bench(rig, mode) as bench:
        specs = {role: driver.streams for role, driver in bench.drivers.items()}
        recorder = Recorder(directory, rig, bench.clock, specs)
        for role, driver in bench.drivers.items():
            driver.link = recorder.tap(role, driver.link)
        session = Session(
            rig, bench.clock, bench.inbox, bench.drivers, recorder, stage, on_progress,
            begin_ns=bench.start_ns, modelled_ns=round(rig.model.virtual_ms * 1e6),
        )  # fmt: skip
        session.run()
        stamp_errors = _stamp_errors(bench)
    recorder.truth(bench.truths)
    host = {"utc": began_utc, **_versions(), **stage.host, **bench.host, **stamp_errors}
    recording = recorder.finish(
        start_ns=session.start_ns,
        stop_ns=min(session.stop_ns, bench.clock.now_ns()),
        meta=_facts(session, mode, stage),
        host=host,
        errors=session.errors(),
        interrupted=session.interrupted,
    )
    return conclude(recording, directory)


def conclude(recording: Recording, directory: Path | None) -> Result:
    """Judge a recording and write its reports beside it."""
    verdicts = judge(recording)
    report = document(recording, verdicts)
    if directory is not None:
        (directory / "report.json").write_text(to_json(report), encoding="utf-8")
        (directory / "junit.xml").write_text(to_junit(report, verdicts), encoding="utf-8")
    return Result(recording, verdicts, report, directory)


def _facts(session: Session, mode: Mode, stage: ModelStage) -> dict[str, Any]:
    """What follows from rig and seed alone, in virtual time."""
    facts: dict[str, Any] = {
        "mode": str(mode),
        "connect_errors": session.connect_errors,
        "bytes": {name: role.bytes for name, role in session.roles.items()},
        **stage.facts,
    }
    if mode is Mode.VIRTUAL:
        facts["assumed_model_ms"] = session.rig.model.virtual_ms
        facts["model_too_slow"] = stage.warm_p50_ms > session.rig.limits.get("latency", {}).get("max_ms", 100.0)
    return facts


def _stamp_errors(bench: Bench) -> dict[str, Any]:
    found = {
        role: driver.link.stamp_error_ns()
        for role, driver in bench.drivers.items()
        if hasattr(driver.link, "stamp_error_ns")
    }
    return {"stamp_error_ns": found} if found else {}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform(), "argv": " ".join(sys.argv[1:])}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
