"""`hil doctor` as a whole, and what it says of rigs."""

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.cli import main
from harness.doctor import bench
from harness.doctor.examine import document, examine, exit_code, verdicts
from harness.doctor.machine import Fact, Machine, State, Torch, this_machine
from harness.report.junit import to_junit
from harness.rig import ApiEntry, EndpointEntry, ModelEntry, Rig, SensorEntry
from harness.verdict import Outcome

RIGS = Path(__file__).parents[3] / "rigs"


def rig_of(*entries, **rest):
    return Rig("bench", {entry.role: entry for entry in entries}, **rest)


def attention(facts):
    return {fact.name: fact for fact in facts if fact.state is State.ATTENTION}


@pytest.fixture
def machine(tmp_path):
    """One that has the port /dev/ttyUSB0 and nothing else."""
    port = tmp_path / "dev/ttyUSB0"
    port.parent.mkdir()
    port.touch()
    return Machine(tmp_path, cores=8)


CYTON = SensorEntry("chest", "openbci-cyton", {"streams": {"ecg": [1]}}, port="/dev/ttyUSB0")


# --- rigs -------------------------------------------------------------------------------------


def test_a_rig_whose_port_is_there_needs_nothing(machine):
    facts = bench.facts(machine, rig_of(CYTON))
    assert attention(facts) == {}
    assert {fact.name for fact in facts} == {"chest: port /dev/ttyUSB0", "chest: line"}


def test_a_rig_whose_port_is_not_there_or_shut_is_told_by_role(machine):
    absent = attention(bench.facts(machine, rig_of(replace(CYTON, port="/dev/ttyACM7"))))
    assert absent["chest: port /dev/ttyACM7"].found == "there is no such port"
    shut = attention(bench.facts(replace(machine, access=lambda path: False), rig_of(CYTON)))
    assert "no permission" in shut["chest: port /dev/ttyUSB0"].found


def test_a_role_that_says_nothing_of_its_place_is_told(machine):
    assert (
        "neither port nor address"
        in attention(bench.facts(machine, rig_of(replace(CYTON, port=None))))["chest: openbci-cyton"].found
    )


def test_a_simulated_rig_needs_no_port_and_no_radio(machine):
    strap = SensorEntry("strap", "heart-rate", address="180d")
    simulated = rig_of(replace(CYTON, port="/dev/ttyACM7"), strap, simulate=True)
    assert attention(bench.facts(machine, simulated)) == {}


def test_a_bluetooth_role_needs_an_adapter_bluez_and_the_bus(machine):
    found = attention(bench.facts(machine, rig_of(SensorEntry("strap", "heart-rate", address="180d"))))
    assert set(found) == {"Bluetooth adapter", "BlueZ", "D-Bus system bus"}


def test_ports_on_the_network_are_not_touched(machine):
    far = replace(CYTON, port="socket://192.0.2.1:7000")  # a documentation address, RFC 5737
    assert attention(bench.facts(machine, rig_of(far))) == {}


def test_a_library_that_a_role_needs_and_that_is_missing_is_told(machine):
    board = SensorEntry("head", "brainflow", {"board": "synthetic"})
    lacking = replace(machine, declared=('brainflow>=5.12; extra == "brainflow"',))
    found = attention(bench.facts(lacking, rig_of(board)))
    assert found["head: extra brainflow"].fix == "pip install 'spiral-hil[brainflow]'"
    there = replace(lacking, installed=lambda package: "5.13")
    assert attention(bench.facts(there, rig_of(board))) == {}


def test_a_line_is_as_full_as_its_frames_and_rate_make_it():
    # the Cyton's frame has 33 bytes of ten bits, 250 of them a second
    share = 100 * 33 * 10 * 250 / 115200
    fact = bench.line_fact(CYTON)
    assert fact.state is State.OK
    assert abs(float(fact.found.split()[0]) - share) < 2


def test_a_line_that_cannot_carry_what_the_sensor_sends_is_told():
    # at 57600 baud the same frames need 143 % of the line
    fact = bench.line_fact(replace(CYTON, baud=57600))
    assert fact.state is State.ATTENTION
    assert "later and later" in fact.found


def test_a_server_that_the_rig_needs_is_there_or_told_with_how_to_start_it():
    here = this_machine()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        endpoints = {"infer": EndpointEntry("infer", "/infer")}
        rig = rig_of(CYTON, model=ModelEntry(url=url), api=ApiEntry(f"{url}/v1", endpoints), simulate=True)
        found = {fact.name: fact for fact in bench.facts(here, rig)}
        assert {found[name].state for name in ("model server", "api server")} == {State.OK}
        assert found["model server"].found == f"something listens on 127.0.0.1:{port}"
    gone = attention(bench.facts(here, rig))
    assert set(gone) == {"model server", "api server"}
    assert gone["model server"].found == f"nothing listens on 127.0.0.1:{port}, which model.url names"
    assert gone["model server"].fix.startswith(f"hil serve --port {port} ")
    assert "api.base_url" in gone["api server"].fix


def test_a_server_on_another_machine_is_not_asked(machine):
    def asked(host, port):
        raise AssertionError(f"{host} was asked")

    far = ModelEntry(url="http://192.0.2.1:8000", allow_remote=True)  # a documentation address, RFC 5737
    (fact,) = (f for f in bench.facts(replace(machine, listens=asked), rig_of(CYTON, model=far)) if "server" in f.name)
    assert fact.state is State.OK and "another machine" in fact.found


def test_a_rig_without_servers_says_nothing_of_them(machine):
    assert not [fact for fact in bench.facts(machine, rig_of(CYTON)) if "server" in fact.name]


def test_what_the_model_needs_is_looked_for(machine, tmp_path):
    gone = ModelEntry(file=str(tmp_path / "gone.pt2"))
    assert "model file" in attention(bench.facts(machine, rig_of(CYTON, model=gone)))
    (tmp_path / "gone.pt2").touch()
    assert attention(bench.facts(machine, rig_of(CYTON, model=gone))) == {}
    assert "model compiler" in attention(bench.facts(machine, rig_of(CYTON, model=ModelEntry(engine="compile"))))
    lacking = replace(machine, declared=('onnx>=1.16; extra == "onnx"',))
    assert "extra onnx" in attention(bench.facts(lacking, rig_of(CYTON, model=ModelEntry(engine="onnx"))))
    on_gpu = rig_of(CYTON, model=ModelEntry(device="cuda"))
    assert "model device" in attention(bench.facts(replace(machine, torch=lambda: Torch(1, None, False)), on_gpu))
    assert attention(bench.facts(replace(machine, torch=lambda: Torch(1, "12.4", True)), on_gpu)) == {}


# --- the whole --------------------------------------------------------------------------------


def test_this_machine_is_examined_without_a_trace(tmp_path):
    before = list(tmp_path.iterdir())
    facts = examine(replace(this_machine(), torch=lambda: Torch(1, None, False)), quick=True, runs=tmp_path)
    names = [fact.name for fact in facts]
    assert len(names) == len(set(names))
    assert {"clock source", "cores", "load", "memory", "Python", "packages", f"disk at {tmp_path}"} <= set(names)
    assert all(fact.fix and "\n" not in fact.fix for fact in facts if fact.state is State.ATTENTION)
    assert list(tmp_path.iterdir()) == before


def test_this_python_has_what_is_declared():
    facts = {fact.name: fact for fact in examine(this_machine(), quick=True)}
    assert facts["packages"].state is State.OK
    assert facts["Python"].state is State.OK


def test_exit_code_and_reports_follow_from_the_facts():
    well = [Fact("a", "good"), Fact("b", "none", State.ABSENT, "get one")]
    ill = [*well, Fact("c", "bad", State.ATTENTION, "mend it")]
    assert (exit_code(well), exit_code(ill)) == (0, 1)
    assert [verdict.outcome for verdict in verdicts(ill)] == [Outcome.PASS, Outcome.PASS, Outcome.FAIL]
    suite = ElementTree.fromstring(to_junit(document(ill), verdicts(ill)))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    assert document(ill)["machine"][2] == {"name": "c", "found": "bad", "state": "attention", "fix": "mend it"}


def test_the_command_prints_facts_and_writes_them_as_json(capsys):
    code = main(["doctor", "--quick", "--rig", str(RIGS / "demo.rig.yaml"), "--json", "-"])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert code == report["outcome"]["exit_code"] in (0, 1)
    states = {fact["name"]: fact["state"] for fact in report["machine"]}
    assert states["chest: openbci-cyton"] == "ok"
    assert "clock source" in captured.err
    assert all(line.startswith("          fix: ") for line in captured.err.splitlines() if "fix: " in line)


def test_a_rig_file_that_is_wrong_is_code_2(tmp_path, capsys):
    (tmp_path / "x.rig.yaml").write_text("schema: 1\n")
    assert main(["doctor", "--quick", "--rig", str(tmp_path / "x.rig.yaml")]) == 2
    assert "sensors" in capsys.readouterr().err


def test_the_whole_examination_measures_too():
    facts = {fact.name: fact for fact in examine(replace(this_machine(), torch=lambda: Torch(1, None, False)))}
    assert {"stamp error", "scheduling", "monotonic clock", "wall clock", "torch", "CUDA"} <= set(facts)
    assert "of 200 bytes" in facts["stamp error"].found or facts["stamp error"].state is State.ABSENT


def test_a_command_that_is_not_there_or_fails_has_no_output():
    here = this_machine()
    assert here.run(["/nowhere/at-all"]) is None
    assert here.run([sys.executable, "-c", "raise SystemExit(3)"]) is None
    assert here.run([sys.executable, "-c", "print('hello')"]) == "hello"


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc: Linux")
def test_who_has_a_real_terminal_open_is_found():
    master, slave = os.openpty()
    try:
        name = os.ttyname(slave)
        assert os.getpid() in [number for number, _ in Machine(Path("/"), pid=1).holders(name)]
        assert os.getpid() not in [number for number, _ in this_machine().holders(name)]
    finally:
        os.close(master)
        os.close(slave)
