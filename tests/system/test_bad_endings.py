"""However a run ends, it ends with a verdict that says why, the right exit code, and everything received on disk."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import harness.stage
from drivers.clock import RealClock, to_ns
from drivers.rawlog import read_raw_log
from drivers.types import Batch
from harness.bench import Mode
from harness.cli import main
from harness.judge import judge
from harness.recording import STAGES
from harness.recording_files import load_recording
from harness.rig import ModelEntry, Rig, SensorEntry, WindowEntry
from harness.run import Result, run_rig
from harness.verdict import Outcome, exit_code
from simulators.build import SimulatedSpec
from simulators.serve.process import SimulatorProcess

HERE = Path(__file__).parent
WINDOW = WindowEntry(hop_ms=50, wait_ms=50, fill_s=1)
LIMITS = {"latency": {"max_ms": 100, "quantile": 0.8}, "delivery": {}}
ECG = {"streams": {"ecg": [1]}}
BANNER = b"OpenBCI V3 8-16 channel\r\nOn Board ADS1299 Device ID: 0x3E\r\nFirmware: v3.1.2\r\n$$$"
CLOCK = RealClock()


def cyton_rig(port: str | None = None, model: str | None = None, seconds: float = 3.0, faults=(), **changes) -> Rig:
    chest = SensorEntry("chest", "openbci-cyton", ECG, port=port, simulate={"faults": list(faults)})
    factory = f"bad_models:{model}" if model else None
    made = Rig("bench", {"chest": chest}, ModelEntry(factory=factory), WINDOW, LIMITS, seconds, seed=5)
    return replace(made, **changes)


def rig_file(folder: Path, port: str | None = None, seconds: float = 3.0, model=None, **sensor) -> Path:
    chest = {"sensor": "openbci-cyton", "settings": ECG, **({"port": port} if port else {}), **sensor}
    path = folder / "bad.rig.yaml"
    text = {
        "schema": 1, "name": "bad", "duration_s": seconds, "sensors": {"chest": chest}, "limits": LIMITS,
        "window": {"hop_ms": 50, "wait_ms": 50, "fill_s": 1}, "model": model or {},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(text, sort_keys=False))
    return path


def outcomes(result: Result) -> dict[tuple[str, str], set[Outcome]]:
    found: dict[tuple[str, str], set[Outcome]] = {}
    for verdict in result.verdicts:
        found.setdefault((verdict.check, verdict.subject), set()).add(verdict.outcome)
    return found


def the(result: Result, check: str, subject: str = "rig"):
    (verdict,) = [v for v in result.verdicts if (v.check, v.subject) == (check, subject)]
    return verdict


def unwrapped(shown: str) -> str:
    """A table's text without its columns."""
    return " ".join(shown.replace("│", " ").split())


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline_ns = CLOCK.now_ns() + to_ns(40)
    while not condition():
        assert CLOCK.now_ns() < deadline_ns, f"{what} did not happen"
        CLOCK.sleep_until(CLOCK.now_ns() + to_ns(0.02))


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    """A Cyton that nothing is wrong with, on a pty."""
    with SimulatorProcess([SimulatedSpec("openbci-cyton", ECG, seed=5, name="chest")], seed=5) as process:
        yield process.ports["chest"]


class Talker:
    """A pty on which ``answer(command)`` says what comes back, and ``pour()`` what comes every 20 ms from then on."""

    def __init__(self, answer=lambda command: b"", pour=lambda: b"") -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.name, self.sent = os.ttyname(self._slave), b""
        self._answer, self._pour, self._end = answer, pour, os.pipe()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        while True:
            ready, _, _ = select.select([self.master, self._end[0]], [], [], 0.02)
            if self._end[0] in ready:
                return
            said = self._answer(os.read(self.master, 4096)) if self.master in ready else b""
            if said is None:  # hangs up
                os.close(self._slave)
                os.close(self.master)
                self.master = self._slave = -1
                return
            said += self._pour()
            if said:
                self.sent += said
                os.write(self.master, said)

    def __enter__(self) -> Talker:
        return self

    def __exit__(self, *error: object) -> None:
        os.write(self._end[1], b"!")
        self._thread.join()
        for fd in (self.master, self._slave, *self._end):
            if fd >= 0:
                os.close(fd)


# --- nothing, or nothing sensible, at the other end -------------------------------------------


def test_a_run_with_nothing_wrong_is_green(port: str, tmp_path: Path) -> None:
    """What every other test here must not be."""
    rig = cyton_rig(port, limits={"latency": {"max_ms": 500, "quantile": 0.8}, "delivery": {}})
    result = run_rig(rig, Mode.BENCH, tmp_path / "run")
    assert result.exit_code == 0
    assert load_recording(tmp_path / "run").interrupted == ""


def test_an_absent_port_is_the_rigs_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = rig_file(tmp_path, port=str(tmp_path / "ttyNONE"))
    assert main(["run", str(file), "--out", str(tmp_path / "run")]) == 3
    shown = capsys.readouterr().out
    assert "there is no such port" in unwrapped(shown)
    assert "exit 3, INVALID" in shown.splitlines()[-1]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert [(v["check"], v["outcome"]) for v in report["verdicts"]] == [
        ("connect", "INVALID"), ("model", "NOT_RUN"), ("latency", "NOT_RUN"), ("delivery", "NOT_RUN"),
    ]  # fmt: skip


def test_a_device_that_is_there_and_silent_has_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Talker() as silent:
        assert main(["run", str(rig_file(tmp_path, port=silent.name)), "--no-recording"]) == 1
    shown = unwrapped(capsys.readouterr().out)
    for words in ("expected the Cyton's banner", "found silence", "Check that the device is switched on", "exit 1"):
        assert words in shown


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"+OK\r\n", ("expected the Cyton's banner", "b'+OK")),
        (b"Muse v2$$$", ("expected a banner with 'OpenBCI'", "Muse v2", "another device is on this port")),
        (b"Failure: no answer from the board$$$", ("the dongle answered, but the Cyton board did not", "battery")),
    ],
)
def test_a_device_of_another_kind_has_failed(answer: bytes, words: tuple[str, ...], tmp_path: Path) -> None:
    with Talker(lambda command: answer if b"v" in command else b"") as other:
        result = run_rig(cyton_rig(other.name), Mode.BENCH, tmp_path / "run")
    assert result.exit_code == 1
    verdict = the(result, "connect", "chest")
    assert verdict.outcome is Outcome.FAIL
    for word in words:
        assert word in verdict.reason
    kept = b"".join(i.data for i in read_raw_log(tmp_path / "run/raw/chest.bin").items if isinstance(i, Batch))
    assert kept == answer


def test_a_device_that_goes_away_while_it_is_being_started_has_failed() -> None:
    with Talker(lambda command: None) as leaving:
        result = run_rig(cyton_rig(leaving.name), Mode.BENCH)
    assert result.exit_code == 1
    assert the(result, "connect", "chest").outcome is Outcome.FAIL


def noise() -> Callable[[], bytes]:
    draws = np.random.default_rng(3)
    return lambda: draws.integers(0, 256, 165, dtype=np.uint8).tobytes()  # 8250 bytes a second, as a Cyton


def test_random_bytes_behind_the_right_banner_fail_and_are_kept(tmp_path: Path) -> None:
    started, pour = threading.Event(), noise()

    def answer(command: bytes) -> bytes:
        if b"b" in command:
            started.set()
        return BANNER if b"v" in command else b""

    with Talker(answer, lambda: pour() if started.is_set() else b"") as mad:
        result = run_rig(cyton_rig(mad.name), Mode.BENCH, tmp_path / "run")
    assert result.exit_code == 1
    delivery = the(result, "delivery", "chest")
    assert delivery.outcome is Outcome.FAIL
    assert "malformed" in delivery.reason
    kept = b"".join(i.data for i in read_raw_log(tmp_path / "run/raw/chest.bin").items if isinstance(i, Batch))
    assert len(kept) > 10_000
    assert mad.sent.startswith(kept)
    assert judge(load_recording(tmp_path / "run")) == list(result.verdicts)


@pytest.mark.parametrize(
    ("first", "check", "words"),
    [(b"", "connect", "expected csv lines such as"), (b"1.5\r\n", "delivery", "malformed")],
)
def test_lines_that_are_no_text_fail_and_are_kept(first: bytes, check: str, words: str, tmp_path: Path) -> None:
    columns = [{"name": "eda", "stream": "eda", "kind": "eda", "unit": "uS", "rate_hz": 8.0}]
    settings = {"format": "csv", "columns": columns}
    opened, begun, pour = threading.Event(), iter([first * 20]), noise()
    with Talker(pour=lambda: (next(begun, None) or pour()) if opened.is_set() else b"") as mad:
        wrist = SensorEntry("wrist", "text-lines", settings, port=mad.name)
        rig = cyton_rig(sensors={"wrist": wrist}, seconds=2.0)
        result = run_rig(rig, Mode.BENCH, tmp_path / "run", lambda progress: opened.set())
    assert result.exit_code == 1
    verdict = the(result, check, "wrist")
    assert verdict.outcome is Outcome.FAIL
    assert words in verdict.reason
    kept = b"".join(i.data for i in read_raw_log(tmp_path / "run/raw/wrist.bin").items if isinstance(i, Batch))
    assert len(kept) > 1_000
    assert mad.sent.startswith(kept)


# --- it was there, and then it was not --------------------------------------------------------


def unplugged_rig() -> Rig:
    """Two Cytons are unplugged at 2 s, one of them for a second."""
    sensors = {
        role: SensorEntry(role, "openbci-cyton", ECG, simulate={"faults": [{"fault": "unplug", "at_s": 2.0, **how}]})
        for role, how in (("gone", {}), ("back", {"for_s": 1.0}))
    }
    return cyton_rig(sensors=sensors, seconds=6.0)


@pytest.fixture(scope="module")
def unplugged(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return run_rig(unplugged_rig(), Mode.SIMULATED, tmp_path_factory.mktemp("unplugged") / "run")


def test_unplugging_fails_the_delivery_of_the_sensor_that_it_befell(unplugged: Result) -> None:
    assert unplugged.exit_code == 1
    found = outcomes(unplugged)
    for role in ("gone", "back"):
        assert found["connect", role] == {Outcome.PASS}
        assert found["delivery", role] == {Outcome.FAIL}
        assert Outcome.FAIL in found["delivery", f"{role}/ecg"]
        assert "1 link losses" in the(unplugged, "delivery", role).reason


def test_everything_up_to_the_unplugging_and_from_the_replugging_on_is_on_disk(unplugged: Result) -> None:
    assert unplugged.directory is not None
    loaded = load_recording(unplugged.directory)
    for role, last_s in (("gone", 2.0), ("back", 6.0)):
        stream = loaded.streams[f"{role}/ecg"]
        arrived_s = (stream.arrival_ns - loaded.start_ns) / 1e9
        before = stream.index[(arrived_s > 0) & (arrived_s < 1.9)]
        assert len(before) > 450
        assert set(np.diff(before)) == {1}
        assert arrived_s.max() == pytest.approx(last_s, abs=0.2)


def test_what_is_on_disk_is_judged_as_the_run_was(unplugged: Result) -> None:
    assert unplugged.directory is not None
    assert judge(load_recording(unplugged.directory)) == list(unplugged.verdicts)
    assert main(["judge", str(unplugged.directory), "--quiet"]) == 1


def test_virtual_time_says_the_same_of_the_same_unplugging(unplugged: Result) -> None:
    virtual = outcomes(run_rig(unplugged_rig(), Mode.VIRTUAL))
    real = outcomes(unplugged)
    timing = ("latency", "rig")  # of this machine, on one of the two sides
    assert {key: virtual[key] for key in virtual if key != timing} == {key: real[key] for key in real if key != timing}


def test_the_death_of_the_simulators_is_not_the_sensors_fault(tmp_path: Path) -> None:
    before = set(simulators())

    def kill(progress) -> None:
        if progress.elapsed_s > 1 and not progress.trouble:
            for pid in set(simulators()) - before:
                os.kill(pid, signal.SIGKILL)

    result = run_rig(cyton_rig(seconds=30.0), Mode.SIMULATED, tmp_path / "run", kill)
    assert result.exit_code == 3
    assert "the simulator process was killed by signal 9" in the(result, "run").reason
    assert result.recording.stop_ns - result.recording.start_ns < to_ns(10), "nobody waits for a dead simulator"
    assert len(load_recording(tmp_path / "run").streams["chest/ecg"].values) > 200


def simulators() -> Iterator[int]:
    """Simulator processes that this process has started."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"simulators.serve" in (entry / "cmdline").read_bytes():
                yield int(entry.name)


# --- the model --------------------------------------------------------------------------------

FAULTY = {
    "Raising": "RuntimeError at bad_models.py",
    "RaisingSometimes": "lost my place",
    "NotANumber": "returned nan",
    "WrongShape": "returned shape (2,)",
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_model_fails_and_its_windows_are_misses_in_virtual_time(name: str, tmp_path: Path) -> None:
    result = run_rig(cyton_rig(model=name, seconds=8.0), Mode.VIRTUAL, tmp_path / "run")
    check_faulty(result, name)
    assert judge(load_recording(tmp_path / "run")) == list(result.verdicts)


@pytest.mark.parametrize("name", ["Raising", "RaisingSometimes"])
def test_a_faulty_model_fails_and_its_windows_are_misses_in_real_time(name: str, port: str, tmp_path: Path) -> None:
    result = run_rig(cyton_rig(port, model=name), Mode.BENCH, tmp_path / "run")
    check_faulty(result, name)
    assert judge(load_recording(tmp_path / "run")) == list(result.verdicts)


def check_faulty(result: Result, name: str) -> None:
    assert result.exit_code == 1
    model, latency = the(result, "model"), the(result, "latency")
    assert (model.outcome, latency.outcome) == (Outcome.FAIL, Outcome.FAIL if name != "RaisingSometimes" else ANY)
    assert FAULTY[name] in model.reason
    windows = result.recording.windows
    failed = ~np.isfinite(windows.outputs).all(axis=1)
    assert 0 < model.value == np.count_nonzero(failed)
    assert bool(failed.all()) == (name != "RaisingSometimes")
    never_judged = windows.stamps_ns[:, STAGES.index("judged")] < 0
    np.testing.assert_array_equal(never_judged, failed)
    assert f"{np.count_nonzero(failed)} were never judged" in latency.reason
    assert outcomes(result)["delivery", "chest"] == {Outcome.PASS}


ANY = type("Any", (), {"__eq__": lambda self, other: True, "__hash__": None})()


def test_a_model_that_divides_by_a_flat_windows_spread_is_found_out_in_its_warm_up() -> None:
    result = run_rig(cyton_rig(model="DividingByTheSpread"), Mode.VIRTUAL)
    verdict = the(result, "model")
    assert (verdict.outcome, verdict.value) == (Outcome.FAIL, 0)
    assert "in the warm-up, on windows of zeros" in verdict.reason
    assert the(result, "latency").outcome is Outcome.PASS, "the living windows were judged"


def test_a_model_without_fault_passes() -> None:
    assert run_rig(cyton_rig(model="reasonable"), Mode.VIRTUAL).exit_code == 0


def test_a_slow_model_costs_latency_and_no_data_and_the_run_ends_in_time(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.stage, "WARM_UP", 4)
    result = run_rig(cyton_rig(port, model="Slow", seconds=5.0), Mode.BENCH, tmp_path / "run")
    assert result.exit_code == 1
    latency = the(result, "latency")
    assert latency.outcome is Outcome.FAIL
    assert "'model'" in latency.reason
    assert "were never judged" in latency.reason
    assert outcomes(result)["delivery", "chest/ecg"] == {Outcome.PASS}
    assert outcomes(result)["delivery", "chest"] == {Outcome.PASS}
    recording = result.recording
    windows = recording.windows.stamps_ns
    assert len(windows) == round((5.0 - 1 - 0.2) / 0.05) + 1, "every window that was due is on record"
    assert windows.max() < recording.stop_ns + to_ns(0.7), "75 windows of 300 ms would be 22 s"
    assert recording.stop_ns - recording.start_ns == to_ns(5.0)


def test_a_slow_model_fails_in_virtual_time_too_without_a_measured_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness.stage, "WARM_UP", 4)
    result = run_rig(cyton_rig(model="Slow"), Mode.VIRTUAL)
    assert result.exit_code == 1
    assert the(result, "latency").reason == (
        "'model' alone takes longer than 100 ms a window, by the median of its warm-up on this machine (model_warm_up "
        "in the report), whatever is assumed in virtual time: take a smaller model or a faster engine"
    )
    assert result.report["facts"]["model_too_slow"] is True
    assert outcomes(result)["delivery", "chest"] == {Outcome.PASS}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"file": "model.pt2"}, "not a torch program"),
        ({"factory": "bad_models:Missing"}, "'Missing' is not there in bad_models"),
        ({"factory": "no_such_package:make"}, "no module 'no_such_package'"),
    ],
)
@pytest.mark.parametrize("how", ["--virtual", "--simulate"])
def test_a_model_that_cannot_be_had_is_an_error_of_use(
    model: dict[str, str], words: str, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt2").write_text("weights, trust me")
    assert main(["run", str(rig_file(tmp_path, model=model)), how, "--no-recording"]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""


# --- the session's own end --------------------------------------------------------------------


@dataclass
class Ended:
    """One `hil run` in a process of its own."""

    code: int
    out: str
    directory: Path
    at_ns: int
    """When the signal was sent."""


def start(folder: Path, port: str, most_bytes: int | None = None) -> subprocess.Popen[str]:
    folder.mkdir()

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    seconds = 8.0 if most_bytes else 600.0
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from harness.cli import main; sys.exit(main())", "run",
         str(rig_file(folder, port, seconds)), "--out", str(folder / "run")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=prepare, cwd=folder,
    )  # fmt: skip


SIGNALS = {"ctrl-c": signal.SIGINT, "sigterm": signal.SIGTERM, "kill": signal.SIGKILL, "full disk": None}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Four runs at the same time on four sensors; three are ended by a signal, one by its disk."""
    specs = [SimulatedSpec("openbci-cyton", ECG, seed=5, name=name) for name in SIGNALS]
    found = {}
    with SimulatorProcess(specs, seed=5) as process:
        folders = {name: tmp_path_factory.mktemp("ended") / "here" for name in SIGNALS}
        most = {"full disk": 60_000}
        runs = {name: start(folders[name], process.ports[name], most.get(name)) for name in SIGNALS}
        for name, number in SIGNALS.items():
            raw = folders[name] / "run/raw/chest.bin"
            if number is not None:  # 45 bytes a frame with their stamps, so 3 s of signal
                wait_for(lambda raw=raw: raw.exists() and raw.stat().st_size > 3 * 250 * 45, f"the run of {name!r}")
                runs[name].send_signal(number)
            at_ns = CLOCK.now_ns()
            out, _ = runs[name].communicate(timeout=60)
            found[name] = Ended(runs[name].returncode, out, folders[name] / "run", at_ns)
    return found


@pytest.mark.parametrize(("name", "reason"), [("ctrl-c", "interrupted by the user"), ("sigterm", "ended by SIGTERM")])
def test_a_run_that_is_ended_by_hand_is_judged_and_reported(name: str, reason: str, ended: dict[str, Ended]) -> None:
    run = ended[name]
    assert run.code == 130
    assert "exit 130, interrupted" in run.out.splitlines()[-1]
    report = json.loads((run.directory / "report.json").read_text())
    assert report["outcome"] == {"exit_code": 130, "meaning": "interrupted"}
    assert [v["reason"] for v in report["verdicts"] if v["check"] == "run"] == [f"the run ended early: {reason}"]
    loaded = load_recording(run.directory)
    assert loaded.interrupted == reason
    assert run.at_ns - int(loaded.streams["chest/ecg"].arrival_ns.max()) < to_ns(0.5)
    assert exit_code(judge(loaded)) == 3


def test_a_killed_run_can_be_read_up_to_its_last_second(ended: dict[str, Ended]) -> None:
    run = ended["kill"]
    assert run.code == -signal.SIGKILL
    loaded = load_recording(run.directory)
    assert "has no end" in loaded.interrupted
    ecg = loaded.streams["chest/ecg"]
    assert run.at_ns - int(ecg.arrival_ns.max()) < to_ns(1.0)
    assert set(np.diff(ecg.index)) == {1}
    assert len(loaded.windows.stamps_ns) > 0
    assert main(["judge", str(run.directory), "--quiet"]) == 3


def test_a_full_disk_is_never_green_and_what_was_written_before_is_readable(ended: dict[str, Ended]) -> None:
    run = ended["full disk"]
    assert run.code == 3
    assert "could not be written (File too large)" in unwrapped(run.out)
    loaded = load_recording(run.directory)
    assert len(loaded.streams["chest/ecg"].values) > 250
    assert loaded.interrupted


def test_reports_that_cannot_be_written_make_a_good_run_invalid(tmp_path: Path) -> None:
    def in_the_way(progress) -> None:
        (tmp_path / "run" / "report.json").mkdir(exist_ok=True)

    result = run_rig(cyton_rig(), Mode.VIRTUAL, tmp_path / "run", in_the_way)
    assert result.exit_code == 3
    (bad,) = [v for v in result.verdicts if v.outcome is not Outcome.PASS]
    assert "the report could not be written" in bad.reason
