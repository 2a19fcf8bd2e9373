"""docs/add-a-sensor.md works as it stands: its file, in a package of its own, is a sensor that passes everything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-sensor.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The page's one fenced block in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's package as pip would install it, and the page's rig."""
    folder = tmp_path_factory.mktemp("site")
    package = folder / "breeze_hil"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "breeze.py").write_text(block("python"))
    facts = folder / "breeze_hil-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: breeze-hil\nVersion: 1.0\n")
    group, line = re.fullmatch(r'\[project\.entry-points\."(.+)"\]\n(.+)\n', block("toml")).groups()
    (facts / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    (folder / "breeze.rig.yaml").write_text(block("yaml"))
    return folder


def run(command: str, installed: Path, where: Path) -> subprocess.CompletedProcess[str]:
    """One of the page's commands, with the page's package on the path."""
    assert f"    {command}\n" in PAGE, f"the page does not have {command!r} any more"
    program, *rest = command.split()
    module = {"hil": "harness", "pytest": "pytest"}[program]
    extra = ["-q", "-p", "no:cacheprovider"] if program == "pytest" else []
    path = os.pathsep.join([str(installed), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", module, *rest, *extra], cwd=where, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=110,
    )  # fmt: skip


def test_the_file_passes_the_conformance_suite(installed: Path) -> None:
    done = run("pytest tests/conformance -k breeze", installed, ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed, done.stdout[-500:]
    assert int(passed[1]) >= 40, "golden frames, and about twenty tests for each of its two settings"
    assert "skipped" not in done.stdout.splitlines()[-1]


def test_the_simulated_sensor_is_probed(installed: Path) -> None:
    done = run("hil probe breeze --simulate --seconds 5", installed, installed)
    assert done.returncode == 0, done.stderr
    assert "respiration" in done.stdout


def test_the_rig_passes_in_virtual_time(installed: Path) -> None:
    done = run("hil run breeze.rig.yaml --virtual", installed, installed)
    assert done.returncode == 0, done.stdout + done.stderr


def test_with_the_pages_fault_the_rig_fails_by_its_delivery(installed: Path) -> None:
    (fault,) = re.findall(r"`faults: (\[.*?\])` under", PAGE)
    rig = yaml.safe_load(block("yaml"))
    rig["sensors"]["belt"]["simulate"]["faults"] = yaml.safe_load(fault)
    broken = installed / "broken"
    broken.mkdir()
    (broken / "breeze.rig.yaml").write_text(yaml.safe_dump(rig))
    done = run("hil run breeze.rig.yaml --virtual", installed, broken)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"FAIL\s+delivery\s+belt/respiration", done.stdout), done.stdout


def test_the_frame_in_the_table_is_the_frame_in_the_file() -> None:
    """The page's example: its sum by hand is 7 + 251 + 46 + 12 + 253 = 569 = 2 * 256 + 57."""
    (shown,) = re.findall(r"For example `([0-9A-F ]+)` is frame 7", PAGE)
    frame = bytes.fromhex(shown)
    assert shown in block("python")
    assert frame[7] == 569 - 2 * 256
    assert int.from_bytes(frame[3:5], "big", signed=True) == -1234
    assert int.from_bytes(frame[5:7], "big") == 3325


@pytest.mark.parametrize("name", re.findall(r"`(drivers[./][a-z_./]+)`", PAGE))
def test_what_the_page_points_to_is_there(name: str) -> None:
    path = name if name.endswith(".py") else name.replace(".", "/") + ".py"
    assert (ROOT / path).is_file() or path == "drivers/sensors/breeze.py", name
