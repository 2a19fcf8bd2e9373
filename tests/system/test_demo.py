"""The demo rig as a newcomer runs it: in real time on pseudo terminals and Bluetooth LE, and in virtual time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HIL = (str(Path(sys.executable).with_name("hil")),)
STEPS = ("link and wait", "queue", "decode", "window", "model", "verdict")
CHANNELS = {
    "chest/ecg": (250, 1), "chest/accel": (25, 3), "strap/heart_rate": (1, 1), "wrist/ppg": (64, 2),
    "wrist/eda": (8, 1), "wrist/temperature": (4, 1), "mood/affect": (10, 2),
}  # fmt: skip
"""Stream -> nominal rate in Hz and channels, as rigs/demo.rig.yaml and the Cyton's data sheet have them."""
SECONDS = 30


@dataclass
class Ran:
    """One run of the command."""

    code: int
    out: str
    err: str
    folder: Path
    report: dict[str, Any] = field(default_factory=dict)

    def outcomes(self) -> dict[tuple[str, str], Counter[str]]:
        found: dict[tuple[str, str], Counter[str]] = {}
        for verdict in self.report["verdicts"]:
            found.setdefault((verdict["check"], verdict["subject"]), Counter())[verdict["outcome"]] += 1
        return found

    def starved_ms(self) -> float:
        """How late this machine let the simulated sensors send, p99 of the worst: the harness has no part in it."""
        late_us = self.report.get("host", {}).get("sender_lateness_us", {})
        return max((each["p99"] / 1000 for each in late_us.values()), default=0.0)

    def but_host(self) -> bytes:
        """The JSON as it was written, less the facts of this machine and moment."""
        rest = {key: value for key, value in self.report.items() if key != "host"}
        return json.dumps(rest, indent=1, sort_keys=True, ensure_ascii=False).encode()


def run_demo(folder: Path, *options: str) -> Ran:
    """``hil run rigs/demo.rig.yaml`` in a process of its own."""
    command = [*HIL, "run", str(ROOT / "rigs/demo.rig.yaml"), "--out", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    report = folder / "report.json"
    return Ran(
        done.returncode, done.stdout, done.stderr, folder, json.loads(report.read_text()) if report.exists() else {}
    )


@pytest.fixture(scope="module")
def virtual(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run_demo(tmp_path_factory.mktemp("virtual"), "--virtual")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    if shutil.which("dbus-daemon") is None:
        pytest.skip("needs dbus-daemon: apt-get install dbus")
    for _ in range(2):
        ran = run_demo(tmp_path_factory.mktemp("real"))
        if ran.code == 0 or ran.starved_ms() < 20:
            return ran
    pytest.skip(f"needs a machine with time to spare: here the simulated sensors sent {ran.starved_ms():.0f} ms late")


# --- real time ------------------------------------------------------------------------------------


def test_the_demo_passes_in_real_time_over_pseudo_terminals_and_bluetooth(real: Ran) -> None:
    assert real.code == 0, real.out + real.err
    assert real.report["facts"]["mode"] == "simulated"
    assert {verdict["outcome"] for verdict in real.report["verdicts"]} == {"PASS"}


def test_progress_is_shown_while_the_demo_runs(real: Ran) -> None:
    shown = re.findall(
        r"^ *([\d.]+) of 30 s, (\d+) samples, (\d+) windows, slowest ([\d.]+) ms", real.err, re.MULTILINE
    )
    assert len(shown) >= SECONDS / 5 - 1
    elapsed, samples, windows = zip(*((float(a), int(b), int(c)) for a, b, c, _ in shown), strict=True)
    for counts in (elapsed, samples, windows):
        assert sorted(set(counts)) == list(counts), "every line further than the one before"


def test_the_demo_prints_the_latency_of_every_stage_and_how_it_ended(real: Ran) -> None:
    for step in STEPS:
        assert re.search(rf"{step}\W+\d+\.\d\d\W+\d+\.\d\d\W+\d+\.\d\d", real.out), step
    assert re.search(r"PASS\W+latency\W", real.out)
    assert real.out.rstrip().endswith("exit 0, every verdict is PASS")


def test_latency_by_stage_adds_up_below_the_limit(real: Ran) -> None:
    steps = {row["step"]: row for row in real.report["latency_steps"]}
    assert set(steps) == set(STEPS)
    assert 0 < sum(row["p50_ms"] for row in steps.values()) < 100
    assert steps["model"]["p50_ms"] > 0.1, "140 000 parameters in no time were not run"
    assert all(row["p50_ms"] <= row["p99_ms"] <= row["max_ms"] for row in steps.values())


def test_the_recording_opens_in_pyxdf_with_every_sample(real: Ran) -> None:
    pyxdf = pytest.importorskip("pyxdf", reason="needs pyxdf: pip install pyxdf")
    streams, _ = pyxdf.load_xdf(str(real.folder / "recording.xdf"), dejitter_timestamps=False, synchronize_clocks=False)
    found = {stream["info"]["name"][0]: stream for stream in streams}
    for name, (rate_hz, channels) in CHANNELS.items():
        stamps, values = found[name]["time_stamps"], found[name]["time_series"]
        assert len(values) == len(stamps), name
        assert values.shape[1] == channels, name
        begin, end = run_span(found)
        inside = int(((stamps >= begin) & (stamps < end)).sum())
        assert inside == pytest.approx(SECONDS * rate_hz, abs=max(2.0, 0.001 * SECONDS * rate_hz)), name


def run_span(streams: dict[str, Any]) -> tuple[float, float]:
    """The run's first and last moment on the recording's time axis."""
    _opened, begin, end = streams["run"]["time_stamps"]
    return float(begin), float(end)


def test_a_newcomer_is_told_where_the_recording_lies(real: Ran) -> None:
    assert f"recorded in {real.folder}" in re.sub(r"\s+", " ", real.err)
    kept = {path.name for path in real.folder.iterdir()}
    assert {"recording.xdf", "raw", "rig.yaml", "rig.json", "report.json", "junit.xml"} <= kept
    assert {path.stem for path in (real.folder / "raw").iterdir()} == {"chest", "strap", "wrist", "mood"}


def test_real_and_virtual_time_come_to_the_same_verdicts(real: Ran, virtual: Ran) -> None:
    assert real.outcomes() == virtual.outcomes()


# --- virtual time -----------------------------------------------------------------------------------


def test_the_demo_passes_in_virtual_time_with_a_verdict_of_every_check(virtual: Ran) -> None:
    assert virtual.code == 0, virtual.out + virtual.err
    checks = {check for check, _ in virtual.outcomes()}
    assert {"latency", "sync", "quality", "delivery", "rate"} <= checks
    subjects = {subject for _, subject in virtual.outcomes()}
    assert set(CHANNELS) <= subjects


def test_the_same_seed_gives_the_same_report_byte_for_byte(virtual: Ran, tmp_path: Path) -> None:
    again = run_demo(tmp_path / "again", "--virtual")
    assert again.but_host() == virtual.but_host()
    written = (virtual.folder / "report.json").read_bytes(), (again.folder / "report.json").read_bytes()
    differing = [a for a, b in zip(*(text.splitlines() for text in written), strict=True) if a != b]
    assert all(b'"argv"' in line or b'"utc"' in line or b"_ms" in line for line in differing), differing


def test_another_seed_gives_other_samples(virtual: Ran, tmp_path: Path) -> None:
    other = run_demo(tmp_path / "other", "--virtual", "--seed", "8")
    assert other.code == 0, other.out + other.err
    assert other.report["rig"]["seed"] == 8
    assert other.but_host() != virtual.but_host()
    samples = [(ran.folder / "raw" / "chest.bin").read_bytes() for ran in (virtual, other)]
    assert samples[0] != samples[1]


def test_the_demo_with_faults_ends_red_and_leaves_the_truth_of_every_fault(tmp_path: Path) -> None:
    command = [*HIL, "run", "rigs/demo-faults.rig.yaml", "--virtual", "--out", str(tmp_path / "faults")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert done.returncode == 1, done.stdout + done.stderr
    told = [json.loads(line) for line in (tmp_path / "faults" / "truth.jsonl").read_text().splitlines()]
    assert {(truth["sensor"], truth["fault"]) for truth in told} == {
        ("chest", "dropout"), ("chest", "mains_hum"), ("strap", "unplug"), ("wrist", "clock_drift"),
        ("mood", "clock_step"),
    }  # fmt: skip
