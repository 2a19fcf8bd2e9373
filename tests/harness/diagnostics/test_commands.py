"""hil why, hil shell, hil run --pdb, and the line of advice where a command ends in an error."""

from __future__ import annotations

import builtins
import io
import json
import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench import Mode
from harness.cli import main
from harness.rig_file import read_rig
from harness.run import run_rig

pty = pytest.importorskip("pty", reason="needs pseudo terminals (POSIX)")

ROOT = Path(__file__).parents[3]
RIG = """
schema: 1
name: small
simulate: true
duration_s: 7
seed: 3
sensors:
  chest:
    sensor: openbci-cyton
    settings: {streams: {ecg: [1]}}
    simulate: {faults: [FAULTS]}
limits:
  delivery: {max_lost_percent: 1}
  latency: {quantile: 0.9}
"""
UNPLUGGED = "{fault: unplug, at_s: 5, for_s: 1}"


@pytest.fixture
def rig(tmp_path):
    """A function: faults in YAML -> path of a rig file."""

    def made(faults="", more=""):
        path = tmp_path / "small.rig.yaml"
        path.write_text(RIG.replace("FAULTS", faults) + more)
        return path

    return made


# --- hil why --------------------------------------------------------------------------------------


def test_a_recorded_run_is_explained(rig, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["run", str(rig(UNPLUGGED)), "--virtual", "--out", str(folder), "--quiet"]) == 1
    assert main(["why", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "chest was unplugged, out of range, or reset itself" in said
    assert "evidence:     5.0 s: unplugged" in said
    assert "next step:" in said
    assert main(["why", str(folder / "report.json"), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)["diagnosis"]
    assert found == json.loads((folder / "report.json").read_text())["diagnosis"]
    assert found[0]["rule"] == "link-down"


def test_a_clean_run_needs_no_explanation(rig, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["run", str(rig()), "--virtual", "--out", str(folder), "--quiet"]) == 0
    assert main(["why", str(folder)]) == 0
    assert "nothing needs explaining" in capsys.readouterr().out


def test_the_terminal_shows_the_cause_after_the_verdicts(rig, capsys):
    assert main(["run", str(rig(UNPLUGGED)), "--virtual", "--no-recording"]) == 1
    said = capsys.readouterr().out
    assert said.index("longest gap") < said.index("likely cause: chest was unplugged") < said.index("exit 1")


def test_an_error_text_is_explained_and_an_unknown_one_is_not(capsys):
    assert main(["why", "--text", "mat1 and mat2 shapes cannot be multiplied (1x10 and 20x5)"]) == 0
    assert "takes 20 features and was given 10" in capsys.readouterr().out
    assert main(["why", "--text", "all is well"]) == 1
    assert "no rule knows" in capsys.readouterr().out


def test_a_log_is_explained_from_a_file_and_from_standard_input(tmp_path, capsys, monkeypatch):
    log = tmp_path / "debug.log"
    log.write_text("12:00 - app - ERROR - [Errno 111] Connection refused\n")
    assert main(["why", "--log", str(log)]) == 0
    assert "nothing listens at that address" in capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("OSError: [Errno 28] No space left on device\n"))
    assert main(["why", "--log", "-"]) == 0
    assert "the disk is full" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["no-such-folder"], ["--log", "no-such-file"]])
def test_what_is_not_there_is_a_usage_error(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["why", *given]) == 2


def test_what_is_no_report_is_a_usage_error(tmp_path, capsys):
    path = tmp_path / "report.json"
    for text in ("", "[]", '{"verdicts": [{"check": 1}]}', '{"verdicts": [], "diagnosis": [3]}'):
        path.write_text(text)
        assert main(["why", str(path)]) == 2
        assert "expected a report of hil" in capsys.readouterr().err


# --- errors that end a command --------------------------------------------------------------------


def test_an_error_that_ends_a_command_is_followed_by_what_to_try(rig, tmp_path, capsys):
    more = "model: {factory: 'models_that_import_nothing:make'}\n"
    (tmp_path / "models_that_import_nothing.py").write_text("import no_such_module_here\n")
    sys.path.insert(0, str(tmp_path))
    try:
        assert main(["run", str(rig("", more)), "--virtual", "--no-recording"]) == 2
    finally:
        sys.path.remove(str(tmp_path))
    assert "which package provides it" in capsys.readouterr().err


def test_an_error_that_says_what_to_do_is_not_followed_by_anything(capsys):
    assert main(["run", "no-such.rig.yaml"]) == 2
    assert "likely:" not in capsys.readouterr().err


# --- hil shell ------------------------------------------------------------------------------------


def test_code_runs_beside_connected_sensors_without_a_terminal(rig, capsys):
    code = "reading = sensors['chest'].read_data(); print(rig.name, 'ecg' in reading.physiological, clock.now_ns() > 0)"
    assert main(["shell", str(rig()), "--virtual", "-c", code]) == 0
    assert capsys.readouterr().out == "small True True\n"


def test_code_runs_beside_a_recording(rig, tmp_path, capsys):
    folder = tmp_path / "run"
    run_rig(replace(read_rig(rig()), duration_s=6.0), Mode.VIRTUAL, folder)
    code = "print({v.check for v in judge(recording)} >= {'connect', 'delivery'}, np.ndim(recording.start_ns))"
    assert main(["shell", "--recording", str(folder), "-c", code]) == 0
    assert capsys.readouterr().out.strip() == "True 0"


def test_sensors_are_closed_whatever_the_code_does(rig, capsys):
    code = "import builtins; builtins.kept_driver = sensors['chest']; sensors['chest'].read_data(); 1 / 0"
    assert main(["shell", str(rig()), "--virtual", "-c", code]) == 1
    driver = builtins.__dict__.pop("kept_driver")
    assert not driver.streaming
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_exit_code_of_the_code_is_that_of_the_command():
    assert main(["shell", "-c", "raise SystemExit(7)"]) == 7
    assert main(["shell", "-c", "pass"]) == 0


@pytest.mark.parametrize("given", [["--virtual", "-c", "pass"], ["no-such.rig.yaml", "-c", "pass"]])
def test_a_shell_that_cannot_be_is_a_usage_error(given):
    assert main(["shell", *given]) == 2


def test_without_a_terminal_a_prompt_is_refused_before_anything_is_connected(rig, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert main(["shell", str(rig()), "--virtual"]) == 2
    assert "-c CODE" in capsys.readouterr().err
    assert main(["run", str(rig()), "--virtual", "--no-recording", "--pdb"]) == 2
    assert "expected a terminal" in capsys.readouterr().err


# --- on a terminal --------------------------------------------------------------------------------


def in_a_terminal(arguments, typed, cwd):
    """What ``hil`` prints on a terminal of its own on which this is typed, and its exit code."""
    try:
        master, slave = pty.openpty()
    except OSError as error:
        pytest.skip(f"needs a pseudo terminal: {error}")
    environment = {**os.environ, "TERM": "dumb", "IPYTHONDIR": str(cwd), "PROMPT_TOOLKIT_NO_CPR": "1", "COLUMNS": "200"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(cwd)])
    command = [sys.executable, "-m", "harness", *arguments]
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=environment) as process:
        os.close(slave)
        os.write(master, typed)
        said = b""
        while select.select([master], [], [], 60)[0]:
            try:
                part = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            said += part
        code = process.wait(timeout=60)
    os.close(master)
    return said.decode(errors="replace"), code


def test_a_failed_verdict_opens_the_debugger_with_the_run_at_hand(rig, tmp_path):
    typed = b"print('found', recording.rig.name, rig.seed, len(verdicts) > 3, report['outcome']['exit_code'])\nq\n"
    said, code = in_a_terminal(["run", str(rig(UNPLUGGED)), "--virtual", "--pdb", "--no-recording"], typed, tmp_path)
    assert "(Pdb)" in said
    assert "found small 3 True 1" in said
    assert code == 1


class Typed(io.StringIO):
    """Standard input that says it is a terminal."""

    def isatty(self):
        return True


def test_a_run_that_passes_opens_no_debugger(rig, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", Typed("print('asked')\n"))
    assert main(["run", str(rig()), "--virtual", "--pdb", "--no-recording"]) == 0
    assert "(Pdb)" not in capsys.readouterr().out


def test_what_a_model_raises_is_stopped_at_where_it_raised(rig, tmp_path, monkeypatch, capsys):
    (tmp_path / "models_that_raise.py").write_text(
        "import torch\nclass Bad(torch.nn.Module):\n    def forward(self, inputs):\n        secret = 41 + 1\n"
        "        return inputs['ecg'] @ torch.ones(3, 3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "stdin", Typed("print('secret is', secret, rig.name, len(verdicts) > 3)\nq\n"))
    path = rig("", "model: {factory: 'models_that_raise:Bad'}\n")
    assert main(["run", str(path), "--virtual", "--pdb", "--no-recording"]) == 1
    assert "secret is 42 small True" in capsys.readouterr().out
    assert "verdicts" not in vars(builtins), "what was put in scope is taken out again"


def test_what_keeps_a_run_from_beginning_is_stopped_at_too(rig, tmp_path, monkeypatch, capsys):
    (tmp_path / "models_that_refuse.py").write_text(
        "def make():\n    wanted = 'weights'\n    raise RuntimeError(wanted)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "stdin", Typed("print('it wanted', wanted)\nq\n"))
    path = rig("", "model: {factory: 'models_that_refuse:make'}\n")
    assert main(["run", str(path), "--virtual", "--pdb", "--no-recording"]) == 2
    assert "it wanted weights" in capsys.readouterr().out


@pytest.mark.parametrize("plain", [True, False])
def test_a_prompt_lists_its_names_and_reads_a_sensor(rig, tmp_path, plain):
    if not plain:
        pytest.importorskip("IPython", reason="needs IPython: pip install 'spiral-hil[shell]'")
    typed = b"print('got', len(sensors['chest'].read_data().timestamps['ecg']) > 0)\nexit()\n"
    said, code = in_a_terminal(["shell", str(rig()), "--virtual", *(["--plain"] if plain else [])], typed, tmp_path)
    assert "role -> connected sensor" in said
    assert "connected: chest" in said
    assert "got True" in said
    assert code == 0
