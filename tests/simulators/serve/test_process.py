"""The simulator process: it starts, tells where its sensors are, ends with its parent, and never fails silently."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import serial

from drivers.errors import SettingError, UnknownSensor
from simulators.build import SimulatedSpec
from simulators.serve import ServedSpec, Serving, run_until_interrupted, serve
from simulators.serve.process import SimulatorError, SimulatorProcess
from simulators.serve.serving import status_lines

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open: Linux 5.3")

CYTON = SimulatedSpec("openbci-cyton", name="chest", seed=5)


def await_death(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([fd], [], [], 20)[0], f"process {pid} lives on"
    finally:
        os.close(fd)


def test_two_sensors_in_one_process_answer_at_their_places_and_the_end_reports_both() -> None:
    hand = ServedSpec(SimulatedSpec("openbci-cyton", name="hand"), via="tcp")
    with SimulatorProcess([CYTON, hand], seed=5) as process:
        assert process.ports["hand"].startswith("socket://127.0.0.1:")
        for url in process.ports.values():
            with serial.serial_for_url(url, timeout=5) as port:
                port.write(b"V")
                assert port.read_until(b"$$$") == b"v3.1.5$$$"  # the firmware's source
        ended = process.stop()
    for role in ("chest", "hand"):
        assert ended.reports[role]["sent_bytes"] == len(b"v3.1.5$$$")
        assert ended.lateness_us[role]["n"] == 1
        assert [(action.kind, action.data) for action in ended.journals[role]] == [("write", b"V")]
    assert process.stop() is ended


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (SimulatedSpec("openbci-cytom"), UnknownSensor, "openbci-cyton"),
        (SimulatedSpec("openbci-cyton", faults=[{"fault": "dropuot"}]), SettingError, "dropout"),
        (SimulatedSpec("openbci-cyton", settings={"gain": 7}), SettingError, "gain"),
        (ServedSpec(CYTON, via="air"), SettingError, "pty or tcp or rfc2217"),
        (ServedSpec(CYTON, via="tcp", at="seven"), SettingError, "a number"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused_in_its_own_words(
    spec: SimulatedSpec | ServedSpec, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Serving([spec if isinstance(spec, ServedSpec) else ServedSpec(spec)])


def test_two_sensors_of_one_name_are_refused() -> None:
    with pytest.raises(SettingError, match="two simulated sensors are called 'chest'"):
        Serving([ServedSpec(CYTON), ServedSpec(CYTON)])


def test_an_error_of_the_description_crosses_from_the_simulator_process_as_what_it_is() -> None:
    with pytest.raises(UnknownSensor, match="openbci-cyton"):
        SimulatorProcess([SimulatedSpec("openbci-cytom")])


def test_a_killed_simulator_is_told_at_once_by_check_and_by_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for what the killed one leaves
    with pytest.raises(SimulatorError, match="killed by signal 9"), SimulatorProcess([CYTON]) as process:
        process.check()
        os.kill(process.pid, signal.SIGKILL)
        await_death(process.pid)
        with pytest.raises(SimulatorError, match="killed by signal 9"):
            process.check()


def test_a_simulator_that_dies_of_a_defect_shows_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "no number")  # the interpreter refuses to start with that
    with pytest.raises(SimulatorError, match="PYTHONHASHSEED"):
        SimulatorProcess([CYTON])


PARENT = """
import json, os, signal, sys
from simulators.build import SimulatedSpec
from simulators.serve.process import SimulatorProcess
process = SimulatorProcess([SimulatedSpec("openbci-cyton", name="chest")])
print(json.dumps([process.pid, process.ports["chest"]]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_simulator_ends_and_cleans_up_when_its_parent_is_killed() -> None:
    parent = subprocess.run([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, check=False, timeout=60)
    assert parent.returncode == -signal.SIGKILL
    pid, port = json.loads(parent.stdout)
    await_death(pid)
    assert not os.path.lexists(port)


# --- in the foreground ------------------------------------------------------------------------


def test_serving_in_this_process_streams_until_it_is_stopped(tmp_path: Path) -> None:
    with serve(CYTON, pty=str(tmp_path / "cyton")) as serving:
        assert serving.places == {"chest": {"port": str(tmp_path / "cyton")}}
        thread = threading.Thread(target=serving.run)
        thread.start()
        with serial.Serial(str(tmp_path / "cyton"), timeout=5) as port:
            port.write(b"b")
            frames = port.read(33 * 5)
            port.write(b"s")
        serving.pacer.stop()
        thread.join()
        (line,) = status_lines(serving)
    assert [frames[at] for at in range(0, 33 * 5, 33)] == [0xA0] * 5
    assert [frames[at + 1] for at in range(0, 33 * 5, 33)] == list(range(5))
    assert "chest: " in line and "0 dropped" in line and "p99" in line
    assert not os.path.lexists(tmp_path / "cyton")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serving_in_the_foreground_says_where_and_ends_cleanly_when_interrupted(tmp_path: Path, number: int) -> None:
    class Out(io.StringIO):
        def flush(self) -> None:  # the places have been said
            os.kill(os.getpid(), number)

    out = Out()
    before = signal.getsignal(signal.SIGTERM)
    serving = run_until_interrupted([ServedSpec(CYTON, "pty", str(tmp_path / "cyton"))], out=out)
    assert out.getvalue() == f"chest: port: {tmp_path / 'cyton'}\n"
    assert not os.path.lexists(tmp_path / "cyton")
    assert serving.report()["chest"]["sent_bytes"] == 0
    assert signal.getsignal(signal.SIGTERM) is before
