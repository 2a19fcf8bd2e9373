"""What README.md tells people to type works: every command and the Python example are run, or the test fails."""

from __future__ import annotations

import ast
import io
import json
import lzma
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.clock import RealClock, to_ns
from drivers.types import StreamSpec
from harness.rig_file import read_rig, simulated_spec
from harness.verdict import EXIT_MEANING
from simulators.build import SimulatedSpec
from simulators.draws import Draws
from simulators.serve.process import SimulatorProcess
from simulators.signals.registry import make_signal
from simulators.subject import Subject

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
_RUNNERS = ("readme", "readme_lasting", "arguments")
RUN_BY_CI = {"./bootstrap demo", "./bootstrap test"}
"""They make .venv and take minutes: .ci/run starts with them."""
needs_dbus = pytest.mark.skipif(shutil.which("dbus-daemon") is None, reason="needs dbus-daemon: apt-get install dbus")


def commands() -> list[str]:
    """Every line of README's indented blocks, and of its fenced blocks that are no Python."""
    found: list[str] = []
    fence = ""
    for line in README.splitlines():
        if line.startswith("```"):
            fence = "" if fence else line[3:].strip() or "text"
        elif (fence and fence != "python") or (not fence and line.startswith("    ")):
            found += [line.strip()] if line.strip() else []
    return found


def asked_for() -> set[str]:
    """The commands that the tests of this file run: the first argument of each readme(...) and its kin."""
    calls = [node for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.Call)]
    named = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in _RUNNERS]
    return {call.args[0].value for call in named if isinstance(call.args[0], ast.Constant)}


def arguments(command: str, **instead: str) -> list[str]:
    """A command of README as a list, some of its words replaced, ``hil`` being the one that is tested."""
    assert command in commands(), f"README does not have {command!r} any more"
    for word in instead:
        assert word in command.split(), f"{command!r} has no word {word!r}"
    words = [instead.get(word, word) for word in shlex.split(command)]
    return [str(BIN / words[0]), *words[1:]]


def readme(command: str, folder: Path, *short: str, instead: dict[str, str] | None = None) -> Any:
    """Run a command of README in ``folder``; ``short`` are options that make it quicker."""
    line = [*arguments(command, **(instead or {})), *short]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=100)


@contextmanager
def readme_lasting(command: str, folder: Path, instead: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The same for one that lasts until Ctrl-C."""
    line = arguments(command, **instead)
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as lasting:
        try:
            yield lasting
        finally:
            lasting.send_signal(signal.SIGINT)
            try:
                lasting.wait(20)
            except subprocess.TimeoutExpired:
                lasting.kill()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rigs/ in it, as a clone has, and nothing else."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "rigs", folder / "rigs")
    return folder


@pytest.fixture(scope="module")
def demo_run(clone: Path) -> Path:
    """runs/NAME-UTC of the demo rig."""
    done = readme("hil run rigs/demo.rig.yaml --virtual", clone)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (clone / "runs").glob("demo-2*")
    return folder


# --- nothing is left out ----------------------------------------------------------------------------


def test_every_command_in_the_readme_is_run_by_a_test_or_by_ci() -> None:
    assert len(commands()) >= 10
    assert set(commands()) - asked_for() - RUN_BY_CI == set(), "add a test that runs it"


def test_what_is_left_to_ci_is_really_run_there() -> None:
    script = [line.split("#")[0].strip() for line in (ROOT / ".ci/run").read_text().splitlines()]
    for command in RUN_BY_CI:
        assert any(line == command or line.startswith(f"{command} ") for line in script), command


def test_every_link_in_the_readme_leads_to_a_file_and_every_named_rig_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    rigs = re.findall(r"rigs/[\w.-]+\.yaml", README)
    assert links
    assert [path for path in [*links, *rigs] if not (ROOT / path).exists()] == []


def test_the_readme_has_no_gap_that_was_to_be_filled_in() -> None:
    assert re.findall(r"@@\w+@@|TODO|FIXME|XXX", README) == []


def test_the_exit_codes_in_the_readme_are_those_of_the_program() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", README, re.MULTILINE))
    assert {int(code) for code in table} == set(EXIT_MEANING)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`(hil list \w+)`", README))))
def test_lists_that_the_readme_mentions_list_something(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from harness.cli import main

    assert main(shlex.split(command)[1:]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


# --- trying it --------------------------------------------------------------------------------------


def test_the_demo_passes_in_virtual_time_and_leaves_its_folder_under_runs(demo_run: Path) -> None:
    promised = {"recording.xdf", "raw", "rig.yaml", "report.json", "junit.xml"}
    assert promised <= {path.name for path in demo_run.iterdir()}


def test_the_demo_with_faults_ends_red(clone: Path) -> None:
    done = readme("hil run rigs/demo-faults.rig.yaml --virtual", clone)
    assert done.returncode == 1, done.stdout + done.stderr


def test_a_run_is_judged_again_with_the_same_end_and_with_stricter_limits_another(clone: Path, demo_run: Path) -> None:
    where = {"runs/NAME-UTC": str(demo_run)}
    assert readme("hil judge runs/NAME-UTC", clone, instead=where).returncode == 0
    rig = (clone / "rigs/demo.rig.yaml").read_text()
    (clone / "stricter.rig.yaml").write_text(rig.replace("latency: {max_ms: 100}", "latency: {max_ms: 1}"))
    done = readme("hil judge runs/NAME-UTC --limits stricter.rig.yaml", clone, instead=where)
    assert done.returncode == 1, done.stdout + done.stderr


def test_the_bench_rig_runs_in_ci_and_leaves_both_reports(clone: Path) -> None:
    done = readme("hil run rigs/bench.rig.yaml --virtual --junit report.xml --json report.json", clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "report.xml").read_text().startswith("<?xml")
    assert '"exit_code": 0' in (clone / "report.json").read_text()


def test_the_doctor_examines_this_machine(clone: Path) -> None:
    done = readme("hil doctor", clone, "--quick")
    assert done.returncode in (0, 1), done.stdout + done.stderr  # this machine may well need attention
    assert "Python" in done.stdout


def test_a_model_is_checked(clone: Path) -> None:
    done = readme("hil model check", clone, "--only", "shapes,fusion,missing")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every verdict is PASS" in done.stdout


def test_a_model_is_served_until_ctrl_c(clone: Path) -> None:
    line = [*arguments("hil serve"), "--port", "0"]
    with subprocess.Popen(line, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        first = server.stdout.readline()
        assert re.search(r"on http://127\.0\.0\.1:\d+$", first), first
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)
    assert server.returncode == 0


def test_a_run_and_an_error_text_are_explained(clone: Path, demo_run: Path) -> None:
    where = {"runs/NAME-UTC": str(demo_run)}
    done = readme("hil why runs/NAME-UTC", clone, instead=where)
    assert done.returncode == 0, done.stdout + done.stderr
    done = readme('hil why --text "Connection refused"', clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "service" in done.stdout


def test_the_health_of_a_run_is_shown(clone: Path, demo_run: Path) -> None:
    done = readme("hil health runs/NAME-UTC", clone, instead={"runs/NAME-UTC": str(demo_run)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "latency_ms" in done.stdout


def test_a_scorecard_of_one_fault_says_from_which_level_on_it_is_found(clone: Path) -> None:
    short = ("--faults", "dropout", "--roles", "chest", "--clean", "2")
    done = readme("hil scorecard rigs/demo.rig.yaml --quick", clone, *short)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dropout" in done.stdout


def test_the_ecg_benchmark_reads_recordings_and_tells_good_leads_from_ruined_ones(tmp_path: Path) -> None:
    rng, spec = np.random.default_rng(1), StreamSpec("ecg", "ecg", ("II",), "uV", 500.0)
    times_s = np.arange(5000) / 500
    leads = [make_signal({}, Subject(n), spec, Draws(n, "lead")).render(0, times_s + 20)[:, 0] for n in range(12)]
    bad = np.arange(12) % 3 == 0
    held = [lead + noise * rng.normal(0, 1.0, 5000) * np.ptp(lead) for lead, noise in zip(leads, bad, strict=True)]
    whole = io.BytesIO()
    np.savez(whole, x=np.rint(held), y=bad.astype(int), fs=500)
    (tmp_path / "cinc2011_made.npz.xz").write_bytes(lzma.compress(whole.getvalue()))
    instead = {"DIR": str(tmp_path)}
    done = readme("python tests/benchmarks/quality_ecg.py --data DIR", ROOT, "--methods", "ours", instead=instead)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"cinc2011_made.* n 12, 33% bad, AUC 1\.000, Se 1\.000, Sp 1\.000", done.stdout), done.stdout


# --- on a bench -------------------------------------------------------------------------------------


def test_a_served_cyton_is_what_probe_finds_on_its_port(tmp_path: Path) -> None:
    port = tmp_path / "cyton"
    with readme_lasting("hil simulate openbci-cyton --pty /tmp/cyton", tmp_path, {"/tmp/cyton": str(port)}) as served:
        wait_for(port, served)
        where = {"/dev/ttyUSB0": str(port)}
        done = readme("hil probe openbci-cyton --port /dev/ttyUSB0", tmp_path, "--seconds", "1", instead=where)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"exg\W+2\d\d\W", done.stdout), "about 250 samples in a second"
    assert not port.is_symlink(), "Ctrl-C takes the port away"


def wait_for(port: Path, served: subprocess.Popen[str]) -> None:
    clock = RealClock()
    deadline_ns = clock.now_ns() + to_ns(20)
    while not port.exists():
        assert served.poll() is None, served.stdout.read() if served.stdout else ""
        assert clock.now_ns() < deadline_ns, f"{port} did not appear"
        clock.sleep_until(clock.now_ns() + to_ns(0.02))


@pytest.fixture(scope="module")
def bench(clone: Path) -> Iterator[SimulatorProcess]:
    """The sensors of the bench rig on serial ports and Bluetooth that only the operating system tells of."""
    rig = read_rig(clone / "rigs/bench.rig.yaml")
    specs = [simulated_spec(entry, rig.seed) for entry in rig.sensors.values()]
    with SimulatorProcess(specs, seed=rig.seed) as process:
        yield process


@needs_dbus
def test_discover_prints_the_strap_that_advertises_as_lines_for_a_rig_file(
    bench: SimulatorProcess, tmp_path: Path
) -> None:
    done = readme("hil discover", tmp_path, "--seconds", "1.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sensor: heart-rate" in done.stdout
    assert bench.places["strap"]["address"] in done.stdout


@needs_dbus
def test_a_copy_of_the_bench_rig_with_the_ports_put_in_runs_on_the_bench(bench: SimulatorProcess, clone: Path) -> None:
    text = (clone / "rigs/bench.rig.yaml").read_text()
    for given, role in (("/dev/ttyUSB0", "chest"), ("/dev/ttyACM0", "wrist")):
        assert f"port: {given}" in text
        text = text.replace(f"port: {given}", f"port: {bench.ports[role]}")
    (clone / "my.rig.yaml").write_text(text)
    done = readme("hil run my.rig.yaml", clone, "--duration", "5", "--json", "my.json")
    report = json.loads((clone / "my.json").read_text())
    assert report["facts"]["mode"] == "bench"
    lost = [
        v for v in report["verdicts"] if v["check"] in ("connect", "delivery", "quality") and v["outcome"] == "FAIL"
    ]
    assert lost == [], done.stdout
    assert done.returncode not in (2, 3, 5), "five seconds may be too short to conclude, and a busy machine too slow"
    assert {stream["stream"].split("/")[0] for stream in report["streams"] if stream["received"]} == set(bench.places)


# --- from Python ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cyton_port() -> Iterator[str]:
    with SimulatorProcess([SimulatedSpec("openbci-cyton", seed=7, name="chest")], seed=7) as process:
        yield process.ports["chest"]


@pytest.mark.parametrize("sensor", ["simulated", "real port"])
def test_the_python_example_gives_a_reading(sensor: str, cyton_port: str) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    code = example.replace("/dev/ttyUSB0", cyton_port)
    assert cyton_port in code
    if sensor == "real port":
        code = re.sub(r"^driver = simulated.*\n", "", code, flags=re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)  # the example as it is printed
    try:
        assert names["driver"].last_error is None
        assert names["driver"].link.description.startswith("simulated" if sensor == "simulated" else cyton_port)
        assert names["reading"]["physiological"]["exg"].shape == (len(names["reading"]["timestamps"]["exg"]), 8)
    finally:
        names["driver"].close()


# --- bootstrap --------------------------------------------------------------------------------------


def test_bootstrap_is_a_shell_script_without_syntax_errors_that_may_be_executed() -> None:
    assert subprocess.run(["sh", "-n", "bootstrap"], cwd=ROOT, capture_output=True).returncode == 0
    assert os.access(ROOT / "bootstrap", os.X_OK)


@pytest.mark.parametrize("asked", [[], ["--help"], ["nonsense"]])
def test_bootstrap_without_a_job_explains_its_jobs_and_installs_nothing(asked: list[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "bootstrap", tmp_path)
    done = subprocess.run(["./bootstrap", *asked], cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    for job in ("./bootstrap demo", "./bootstrap test", "./bootstrap setup"):
        assert re.search(rf"^ *{re.escape(job)} +\w", done.stdout, re.MULTILINE), job
    assert not done.stdout.startswith("#")
    assert "set -eu" not in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["bootstrap"]
