"""The main job: from a rig to a recording, verdicts and reports."""

from __future__ import annotations

import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from drivers.clock import RealClock
from drivers.rawlog import DiskError
from harness.api.calls import RunCalls
from harness.api.record import spent
from harness.bench import Bench, Mode, open_bench, stream_specs
from harness.connecting import HeardLink, told_to_sample_ns
from harness.judge import judge
from harness.monitor.heartbeat import Heartbeat
from harness.monitor.monitor import monitoring
from harness.observer import NOBODY, Observer, Observers
from harness.recorder import Recorder
from harness.recording import Recording
from harness.report.document import document, to_json
from harness.report.junit import to_junit
from harness.rig import Rig
from harness.session import Progress, Session
from harness.stage import ModelStage
from harness.verdict import EXIT_MEANING, Outcome, Verdict
from harness.versions import package_version
from simulators.truth import Truth

_PACKAGES = ("spiral-hil", "numpy", "scipy", "torch", "bleak", "pyserial")


@dataclass(frozen=True)
class Result:
    """What a run ends with."""

    recording: Recording
    verdicts: Sequence[Verdict]
    report: dict[str, Any]
    directory: Path | None
    truths: Sequence[Truth] = ()
    """What was done to simulated sensors."""
    error: Exception | None = None
    """What the harness or the model raised first, with its traceback; for a debugger, in no report."""

    @property
    def exit_code(self) -> int:
        """0 only if every verdict is PASS; 130 if somebody ended the run."""
        return int(self.report["outcome"]["exit_code"])


def run_rig(
    rig: Rig,
    mode: Mode,
    directory: Path | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    prepared: ModelStage | None = None,
    observer: Observer = NOBODY,
) -> Result:
    """Run a rig once. ``directory`` takes the recording and the reports; None keeps all in memory.

    ``prepared``: the rig's model, loaded and warmed up before, for many runs of one rig; it stays as it is.
    ``observer`` is told what happens, and gives facts of this machine for the report.

    However the run ends, it ends with verdicts and reports. What keeps it from beginning is raised: ModelError,
    SettingError where the rig's API cannot be called at all, and LinkError where the simulators cannot be started.
    """
    wall = RealClock()
    began_utc = wall.utc().isoformat(timespec="seconds")
    stage = ModelStage(rig.model) if prepared is None else prepared.anew()
    if prepared is None:
        stage.prepare(stream_specs(rig))  # before simulated sensors boot: they do not wait for a slow model
    calls = RunCalls(rig.api, rig, directory, virtual=mode is Mode.VIRTUAL) if rig.api else None
    if calls is not None:
        stage.on_windows = calls.offer
    with open_bench(rig, mode) as bench, monitoring(rig, bench.clock, directory) as monitor:
        observer = observer if monitor is None else Observers([observer, monitor])
        observer.opened(bench.clock)
        stage.on_fault = observer.model_failed
        specs = {role: driver.streams for role, driver in bench.drivers.items()}
        recorder = Recorder(directory, rig, bench.clock, specs)
        for role, driver in bench.drivers.items():
            driver.link = HeardLink(recorder.tap(role, driver.link))
        session = Session(
            rig, bench.clock, bench.inbox, bench.drivers, recorder, stage, on_progress,
            begin_ns=bench.start_ns, modelled_ns=round(rig.model.virtual_ms * 1e6), trouble=bench.trouble,
            observer=observer, beat=monitor.beat if monitor is not None else Heartbeat(),
        )  # fmt: skip
        with _signals_end(session) as received:
            session.run()
            made = calls.finish(session.stop_ns, lambda: not session.interrupted) if calls is not None else ()
        stamp_errors = _stamp_errors(bench)
    with suppress(DiskError):  # which the recorder remembers
        recorder.truth(bench.truths)
    host = {"utc": began_utc, **_versions(), **stage.host, **bench.host, **stamp_errors, **observer.host()}
    host |= stage.measured() | ({"api": spent(made)} if made else {})
    recording = recorder.finish(
        start_ns=session.start_ns,
        stop_ns=session.stop_ns,
        meta=_facts(session, mode, stage),
        host={**host, "crash": session.crash} if session.crash else host,
        errors=stage.errors(),
        interrupted=session.interrupted or bench.trouble() or (calls.failure if calls is not None else ""),
    )
    recording = replace(recording, calls=made)
    if monitor is not None:
        recording = replace(recording, resources=monitor.resources, happenings=monitor.happenings)
    result = conclude(recording, directory, ended_by_hand=bool(received))
    return replace(result, truths=tuple(bench.truths), error=session.error or stage.fault)


@contextmanager
def _signals_end(session: Session) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end the session in order, a second one at once; yields the list of those that came.

    Outside the main thread signals cannot be caught, and one that this process was told to ignore stays ignored.
    """
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        session.stop("interrupted by the user" if number == signal.SIGINT else "ended by SIGTERM")
        if len(received) > 1:
            raise KeyboardInterrupt

    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, end)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def conclude(recording: Recording, directory: Path | None, ended_by_hand: bool = False) -> Result:
    """Judge a recording and write its reports beside it. A report that cannot be written makes the run INVALID."""
    verdicts = judge(recording)
    report = _report(recording, verdicts, ended_by_hand)
    if directory is not None:
        try:
            _write(directory / "report.json", to_json(report))
            _write(directory / "junit.xml", to_junit(report, verdicts))
        except OSError as error:
            reason = f"the report could not be written to {directory}: {error.strerror or error}; free some space"
            verdicts.append(Verdict("run", "report", Outcome.INVALID, reason))
            report = _report(recording, verdicts, ended_by_hand)
    return Result(recording, verdicts, report, directory)


def _report(recording: Recording, verdicts: Sequence[Verdict], ended_by_hand: bool) -> dict[str, Any]:
    report = document(recording, verdicts)
    if ended_by_hand:
        report["outcome"] = {"exit_code": 130, "meaning": EXIT_MEANING[130]}
    return report


def _write(path: Path, text: str) -> None:
    """All of the text or no file."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _facts(session: Session, mode: Mode, stage: ModelStage) -> dict[str, Any]:
    """What follows from rig and seed alone, in virtual time."""
    facts: dict[str, Any] = {
        "mode": str(mode),
        "connect_errors": session.connect_errors,
        "bytes": {name: role.bytes for name, role in session.roles.items()},
        "connect": _connect_times(session),
        **stage.facts,
    }
    if mode is Mode.VIRTUAL:
        facts["assumed_model_ms"] = session.rig.model.virtual_ms
        facts["model_too_slow"] = stage.warm_p50_ms > session.rig.limits.get("latency", {}).get("max_ms", 100.0)
    return facts


def _connect_times(session: Session) -> dict[str, dict[str, int]]:
    """Of each role: when connecting began, when it was told to sample, and when its exchange was over."""
    times = {}
    for name, role in session.roles.items():
        link = role.driver.link
        told_ns = told_to_sample_ns(session.rig.sensors[name], link.said) if isinstance(link, HeardLink) else None
        found = {"begun_ns": role.begun_ns, "told_ns": told_ns, "streaming_ns": role.streaming_ns}
        times[name] = {key: at_ns for key, at_ns in found.items() if at_ns is not None}
    return times


def _stamp_errors(bench: Bench) -> dict[str, Any]:
    found = {
        role: driver.link.stamp_error_ns()
        for role, driver in bench.drivers.items()
        if hasattr(driver.link, "stamp_error_ns")
    }
    return {"stamp_error_ns": found} if found else {}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform(), "argv": " ".join(sys.argv[1:])}
    return found | {name: package_version(name) for name in _PACKAGES}
