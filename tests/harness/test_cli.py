"""The command line as people and scripts use it: what is printed where, and the exit code."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from drivers.clock import RealClock, to_ns
from drivers.discover import Found
from drivers.driver import Driver
from drivers.links.serial import SerialLink
from drivers.registry import load_sensor, make_settings, sensor_names
from harness.checks.registry import check_names
from harness.cli import build_parser, main
from harness.commands import show_found
from harness.listing import listing
from harness.verdict import EXIT_MEANING
from simulators.faults.registry import fault_names
from simulators.signals.registry import signal_names

RIG = """
schema: 1
name: small
simulate: true
duration_s: 12
sensors:
  chest: {sensor: openbci-cyton, settings: {streams: {ecg: [1]}}}
limits: {latency: {max_ms: 100, quantile: 0.5}, delivery: {}, rate: {}}
"""
COMMANDS = ("run", "judge", "simulate", "probe", "scorecard", "list", "discover", "schema", "doctor")


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def rig(tmp_path):
    path = tmp_path / "small.rig.yaml"
    path.write_text(RIG)
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of RIG on disk, with what it printed: (folder, exit code)."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "small.rig.yaml").write_text(RIG)
    code = main(["run", str(folder / "small.rig.yaml"), "--virtual", "--out", str(folder / "run"), "--quiet"])
    return folder / "run", code


def told(capsys, *argv):
    """(exit code, stdout, stderr)"""
    try:
        code = main(argv)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), *[(name,) for name in COMMANDS]], ids=lambda c: " ".join(c) or "hil")
def test_help_teaches_with_an_example_that_can_be_parsed(command, capsys):
    code, out, _ = told(capsys, *command, "--help")
    assert code == 0
    examples = [re.split(r"\s{2,}", line.strip())[0] for line in out.splitlines() if line.startswith("  hil ")]
    assert any(example.startswith(" ".join(("hil", *command))) for example in examples)
    for example in examples:
        if "COMMAND" not in example:
            parse_as_a_shell_would(example)


def parse_as_a_shell_would(example):
    words = shlex.split(example.split(" | ")[0].split(" > ")[0].split(" >> ")[0])
    assert build_parser().parse_args(words[1:]).call


def test_help_names_every_exit_code(capsys):
    for command in ((), ("run",), ("judge",)):
        _, out, _ = told(capsys, *command, "--help")
        assert all(f"  {code:<4} {meaning}" in out for code, meaning in EXIT_MEANING.items())


@pytest.mark.parametrize(
    "argv", [["--bogus"], ["run"], ["run", "x", "--virtual", "--bench"], ["list", "sensrs"], ["probe", "openbci-cyton"],
             ["simulate", "openbci-cyton", "--tcp", "no"], ["run", "x", "--out", "y", "--no-recording"], []],
)  # fmt: skip
def test_unknown_or_contradictory_arguments_are_code_2(argv, capsys):
    code, out, err = told(capsys, *argv)
    assert code == 2
    assert out == ""
    assert "usage: hil" in err


# --- list and schema --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "names"),
    [("sensors", sensor_names), ("signals", signal_names), ("faults", fault_names), ("checks", check_names)],
)
def test_a_list_is_complete_and_fits_80_columns(what, names, capsys):
    code, out, err = told(capsys, "list", what)
    assert (code, err) == (0, "")
    heads = {line.split(" ")[0] for line in out.splitlines() if line and not line.startswith(" ")}
    assert set(names()) <= heads
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_a_list_names_keys_with_default_and_meaning():
    faults, sensors, checks = listing("faults", 100), listing("sensors", 100), listing("checks", 100)
    assert "    mean_lost_percent (10 %): share of frames lost in the long run" in faults
    assert "must be noticed by: delivery" in faults
    assert "    gain (24): amplifier gain of every channel" in sensors
    assert "    heart_rate: heart_rate (bpm in bpm, at 1 Hz)" in sensors
    assert "connect (always runs)" in checks
    assert "    tolerance_percent (1): " in checks


@pytest.mark.parametrize("width", [1, 60, 200])
def test_a_list_survives_any_width(width):
    for what in ("sensors", "signals", "faults", "checks"):
        assert max(map(len, listing(what, width).splitlines())) <= max(width, 80)


def test_a_reader_that_stops_reading_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m harness list faults | head -n 1", shell=True, capture_output=True, text=True, check=True
    )
    assert done.stdout == "every fault has these keys, and its own:\n"
    assert done.stderr == ""


def test_the_schema_is_json_on_standard_output(capsys):
    code, out, err = told(capsys, "schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["title"] == "spiral-hil rig"


# --- discover ---------------------------------------------------------------------------------


def test_nothing_found_is_said_and_is_code_5(capsys):
    err = Console(file=io.StringIO(), width=80)
    assert show_found([], err) == 5
    assert "no serial port and no BLE sensor was found" in err.file.getvalue().replace("\n", " ")
    assert capsys.readouterr().out == ""


def test_what_is_found_is_yaml_on_standard_output(capsys):
    err = Console(file=io.StringIO(), width=80)
    assert show_found([Found("dongle", port="/dev/ttyUSB0", sensor="openbci-cyton", why="FTDI")], err) == 0
    assert "    sensor: openbci-cyton\n    port: /dev/ttyUSB0\n" in capsys.readouterr().out


def test_a_machine_without_ports_or_bluetooth_says_both(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("serial.tools.list_ports.comports", list)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/absent")
    code, out, err = told(capsys, "discover", "--seconds", "0.1")
    assert (code, out) == (5, "")
    assert "no BLE scan: " in err
    assert "no serial port and no BLE sensor was found" in err.replace("\n", " ")


# --- probe ------------------------------------------------------------------------------------


def test_probing_a_simulated_sensor_is_code_0(capsys):
    code, out, _ = told(capsys, "probe", "openbci-cyton", "--simulate", "--set", "streams={ecg: [1]}")
    assert code == 0
    assert "of 250" in out


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["openbci-cyton", "--port", "/dev/nope"], 3, "/dev/nope: there is no such port"),
        (["openbci-cytn", "--simulate"], 2, "no sensor is called 'openbci-cytn'; there is openbci-cyton"),
        (["openbci-cyton", "--address", "x"], 2, "is a serial sensor: give its port"),
        (["heart-rate", "--port", "x"], 2, "is a BLE sensor: give its address"),
        (["openbci-cyton", "--simulate", "--set", "gain=5"], 2, "a Cyton has 1, 2, 4"),
        (["openbci-cyton", "--simulate", "--set", "gian=4"], 2, "did you mean 'gain'?"),
        (["openbci-cyton", "--simulate", "--set", "gain"], 2, "--set: expected KEY=VALUE, found 'gain'"),
        (["openbci-cyton", "--simulate", "--set", "gain=["], 2, "--set: expected YAML, found '['"),
        (["openbci-cyton", "--simulate", "--set", "gain=!!python/name:os.system"], 2, "--set: expected YAML"),
        (["openbci-cyton", "--simulate", "--seconds", "0"], 2, "--seconds: expected seconds above 0, found 0"),
        (["openbci-cyton", "--simulate", "--seconds", "nan"], 2, "--seconds: expected seconds above 0"),
        (["openbci-cyton", "--simulate", "--baud", "9600"], 2, "a simulated sensor has no line"),
    ],
)
def test_a_probe_that_cannot_be_says_why(argv, code, words, capsys):
    found, out, err = told(capsys, "probe", *argv)
    assert found == code
    assert words in (out + err).replace("\n", " ")


# --- run and judge ----------------------------------------------------------------------------


def test_a_run_leaves_a_recording_and_its_reports(recorded):
    folder, code = recorded
    assert code == 0
    assert {"recording.xdf", "rig.json", "rig.yaml", "report.json", "junit.xml"} <= {p.name for p in folder.iterdir()}


def test_judging_again_gives_the_same_bytes(recorded, capsys):
    folder, _ = recorded
    code, out, err = told(capsys, "judge", str(folder), "--json", "-", "--quiet")
    again, before = json.loads(out), json.loads((folder / "report.json").read_text())
    assert (code, err) == (0, "")
    again.pop("host"), before.pop("host")
    assert again == before


def test_judging_by_other_limits_changes_the_verdict(recorded, capsys, tmp_path):
    folder, _ = recorded
    strict = tmp_path / "strict.rig.yaml"
    strict.write_text(RIG.replace("max_ms: 100", "max_ms: 0.5"))
    code, out, _ = told(capsys, "judge", str(folder), "--limits", str(strict))
    assert code == 1
    assert "1 FAIL: exit 1, at least one verdict is FAIL" in out.splitlines()[-1]


def test_judging_writes_the_files_that_are_asked_for_and_nothing_else(recorded, capsys, tmp_path):
    folder, _ = recorded
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    told(capsys, "judge", str(folder), "--json", str(tmp_path / "a.json"), "--junit", str(tmp_path / "a.xml"))
    assert json.loads((tmp_path / "a.json").read_text())["outcome"]["exit_code"] == 0
    assert (tmp_path / "a.xml").read_text().startswith("<?xml")
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_json_on_standard_output_is_alone_there(rig, capsys):
    code, out, err = told(capsys, "run", str(rig), "--virtual", "--no-recording", "--json", "-")
    assert code == 0
    assert json.loads(out)["outcome"]["exit_code"] == 0
    assert "small: verdicts" in err
    assert "exit 0, every verdict is PASS" in err


def test_quiet_says_nothing(rig, capsys):
    assert told(capsys, "run", str(rig), "--virtual", "--no-recording", "--quiet") == (0, "", "")


def test_without_quiet_the_table_is_output_and_the_progress_is_not(rig, capsys, tmp_path):
    code, out, err = told(capsys, "run", str(rig), "--virtual", "--out", str(tmp_path / "r"))
    assert code == 0
    assert out.splitlines()[0] == "small: verdicts"
    assert out.splitlines()[-1].endswith("exit 0, every verdict is PASS")
    assert "samples" in err
    assert str(tmp_path / "r") in err.replace("\n", "")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run", "absent.yaml"], "absent.yaml:1:1: cannot read the rig file: No such file"),
        (["run", "RIG", "--duration", "0"], "--duration: expected seconds above 0"),
        (["run", "RIG", "--duration", "inf"], "--duration: expected seconds above 0"),
        (["run", "RIG", "--seed", "-1"], "--seed: expected 0 or more, found -1"),
        (["run", "RIG", "--bench"], "the role 'chest' has neither port nor address"),
        (["run", "RIG", "--virtual", "--out", "FULL"], "is not an empty folder; a recording is never overwritten"),
        (["run", "RIG", "--virtual", "--out", "RIG"], "is not an empty folder"),
        (["judge", "absent"], "absent: expected a run, but rig.json is missing"),
        (["judge", "FULL"], "expected a run, but rig.json is missing (found: note)"),
    ],
)
def test_what_cannot_be_run_or_judged_is_code_2_and_says_why(argv, words, rig, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/note").write_text("keep me")
    names = {"RIG": str(rig), "FULL": str(tmp_path / "full")}
    code, out, err = told(capsys, *[names.get(word, word) for word in argv])
    assert (code, out) == (2, "")
    assert words in err
    assert (tmp_path / "full/note").read_text() == "keep me"
    assert rig.read_text() == RIG


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path, capsys):
    path = tmp_path / "absent-model.rig.yaml"
    path.write_text(RIG + "model: {file: absent.pt2}\n")
    code, _, err = told(capsys, "run", str(path), "--virtual", "--out", str(tmp_path / "r"))
    assert code == 2, err
    assert "absent.pt2" in err
    assert not (tmp_path / "r").exists()


def test_a_broken_rig_is_told_line_by_line_and_not_run(tmp_path, capsys):
    path = tmp_path / "broken.rig.yaml"
    path.write_text(RIG.replace("duration_s", "duration").replace("delivery", "delivry"))
    code, out, err = told(capsys, "run", str(path), "--virtual", "--out", str(tmp_path / "r"))
    assert (code, out) == (2, "")
    assert [line.split(": ")[0].removeprefix(str(path)) for line in err.splitlines()] == [
        ":5:1",
        f":8:{RIG.splitlines()[7].index('delivery') + 1}",
    ]
    assert not (tmp_path / "r").exists()


def test_seed_and_duration_of_the_command_line_win(rig, capsys):
    argv = ("run", str(rig), "--virtual", "--no-recording", "--quiet", "--json", "-", "--seed", "5", "--duration", "9")
    _, out, _ = told(capsys, *argv)
    assert json.loads(out)["rig"] | {"limits": 0} == {"name": "small", "seed": 5, "duration_s": 9.0, "limits": 0}


# --- simulate ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["openbci-cyton", "--set", "gain=5"], "a Cyton has 1, 2, 4"),
        (["openbci-cyton", "--fault", "dropout"], "--fault: expected {fault: name, ...}, found 'dropout'"),
        (["openbci-cyton", "--fault", "{fault: ["], "--fault: expected YAML, found '{fault: ['"),
        (["openbci-cyton", "--fault", "{fault: dropot}"], "no fault is called 'dropot'; there is dropout"),
        (["openbci-cyton", "--fault", "{fault: stall, for_s: 3}"], "did you mean 'for_ms'?"),
        (["openbci-cyton", "--signal", "exg"], "--signal: expected KEY=VALUE, found 'exg'"),
        (["openbci-cyton", "--signal", "exg=eeg"], "--signal: expected exg={signal: name, ...}, found 'eeg'"),
        (["openbci-cyton", "--signal", "egx={signal: eeg}"], "openbci-cyton has no stream 'egx'; it has accel, exg"),
        (["openbci-cyton", "--signal", "exg={signal: egg}"], "no signal is called 'egg'"),
        (["openbci-cyton", "--ppm", "nan"], "--ppm: expected a number, found nan"),
        (["openbci-cyton", "--role", "chest"], "--role: it names a role of a rig, so give --rig too"),
        (["openbci-cyton", "--rig", "RIG", "--role", "chst"], "no role 'chst' with a sensor of type"),
        (["text-lines", "--rig", "RIG"], "has no sensor of type 'text-lines'; it has chest (openbci-cyton)"),
        (["heart-rate", "--pty", "x"], "heart-rate is a ble sensor and is served by air"),
        (["openbci-cyton", "--pty", "RIG"], "exists and is no symbolic link"),
    ],
)
def test_a_simulation_that_cannot_be_says_why_and_is_code_2(argv, words, rig, capsys):
    code, out, err = told(capsys, "simulate", *[str(rig) if word == "RIG" else word for word in argv])
    assert (code, out) == (2, "")
    assert words in err.replace("\n", " ")
    assert rig.read_text() == RIG


def test_a_rig_with_two_sensors_of_a_type_asks_which(tmp_path, capsys):
    path = tmp_path / "two.rig.yaml"
    path.write_text(RIG.replace("limits:", "  back: {sensor: openbci-cyton}\nlimits:"))
    code, _, err = told(capsys, "simulate", "openbci-cyton", "--rig", str(path))
    assert code == 2
    assert "choose with --role, from chest, back" in err.replace("\n", " ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_served_sensor_says_where_streams_and_goes_away_on_a_signal(number, tmp_path):
    path = tmp_path / "cyton"
    command = [sys.executable, "-m", "harness", "simulate", "openbci-cyton", "--pty", str(path)]
    with subprocess.Popen(
        [*command, "--set", "streams={ecg: [1]}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        try:
            assert process.stdout.readline() == f"openbci-cyton: port: {path}\n"
            samples = read_one(path)
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert samples > 0
    assert (process.returncode, err) == (0, "")
    assert not os.path.lexists(path)


def read_one(path):
    sensor = load_sensor("openbci-cyton")
    clock = RealClock()
    host = sensor.host(make_settings(sensor, {"streams": {"ecg": [1]}}))
    with Driver(host, SerialLink(str(path), clock, baud=115200)) as driver:
        return len(driver.read(clock.now_ns() + to_ns(10)).physiological["ecg"])


def test_a_module_run_is_the_command():
    done = subprocess.run([sys.executable, "-m", "harness", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("hil ")
    assert Path(done.args[0]).exists()


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["probe", "text-lines", "--simulate", "--quiet", "--json", "-"], 141), (["list", "checks"], 0)],
)
def test_verdicts_that_nobody_could_read_are_no_success(argv, code):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as out:
        assert subprocess.run([sys.executable, "-m", "harness", *argv], stdout=out, check=False).returncode == code


def test_a_tcp_port_beyond_65535_is_a_usage_error(capsys):
    assert main(["simulate", "text-lines", "--tcp", "80000"]) == 2
    assert "cannot listen on 127.0.0.1:80000" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["simulate", "list", "schema"])
def test_the_help_of_these_commands_names_their_exit_codes_too(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "exit codes:\n  0 " in capsys.readouterr().out
