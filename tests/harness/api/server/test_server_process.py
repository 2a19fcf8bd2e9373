"""``hil serve`` as a process: it says where it is, ends in order, and gives its port back."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.api import command
from harness.cli import build_parser
from harness.commands import UsageError
from harness.rig_file import RigError

pytest.importorskip("fastapi", reason="needs pip install 'spiral-hil[api]'")
HERE = Path(__file__).parent


@pytest.fixture
def started():
    """started(*options) -> (process, URL), once it answers; what is left of it is killed."""
    processes = []

    def start(*options):
        process = subprocess.Popen(
            [sys.executable, "-m", "harness", "serve", "--port", "0", *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        processes.append(process)
        first = process.stdout.readline()
        found = re.search(r"on (http://\S+)$", first)
        assert found, first + process.stderr.read()
        return process, found[1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def port_of(url):
    return int(url.rpartition(":")[2])


def test_ctrl_c_ends_it_in_order_and_frees_the_port(started, tmp_path):
    import httpx

    process, url = started("--factory", "served_models:Moody", "--log", str(tmp_path / "events.jsonl"))
    printed = [process.stdout.readline() for _ in range(4)]
    with httpx.Client(timeout=60) as client:
        assert client.post(f"{url}/infer", json={"inputs": {"a": [[1, 2, 3, 4]]}}).json()["outputs"] == [[2.5, 1.0]]
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "stopped\n")
    again = socket.create_server(("127.0.0.1", port_of(url)))
    again.close()
    body = json.loads(re.search(r"-d '(.*)' http", printed[3])[1])
    assert list(body["inputs"]) == ["a"] and f"{url}/infer" in printed[3]
    events = [json.loads(line)["event_type"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events.count("model_inference") == 1


def test_a_model_that_hangs_does_not_keep_it_from_ending_and_others_are_warned_of(started):
    import httpx

    process, url = started("--factory", "served_models:Moody", "--host", "0.0.0.0", "--timeout-ms", "100")
    local = f"http://127.0.0.1:{port_of(url)}"
    hang = {"inputs": {"a": [[-1, 0, 0, 0]]}}
    answer = httpx.post(f"{local}/infer", json=hang, headers={"host": "bench"}, timeout=60)
    assert answer.status_code == 503
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "warning: 0.0.0.0 can be reached from other machines, and there is no authentication" in err


# --- without a process ------------------------------------------------------------------------


def given(*options):
    return build_parser().parse_args(["serve", *options])


def refused(*options):
    with pytest.raises(UsageError) as caught:
        command.serve(given(*options), Console(stderr=True))
    return str(caught.value)


def test_a_port_in_use_is_refused_with_who_holds_it():
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        text = refused("--port", str(port))
        assert text.startswith(f"--port: {port} on 127.0.0.1 is in use")
        assert f"process {os.getpid()})" in text and "0 takes any free one" in text


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--port", "70000"), "--port: expected 0 to 65535"),
        (("--limit-mb", "0"), "--limit-mb: expected a number above 0"),
        (("--timeout-ms", "nan"), "--timeout-ms: expected a number above 0"),
        (("--queue", "0"), "--queue"),
        (("--threads", "0"), "--threads"),
        (("--alert", "latency=5"), "latency_ms, queue_depth, errors_percent, rss_mb; found 'latency=5'"),
        (("--alert", "latency_ms=soon"), "a number after latency_ms="),
        (("--alert", "rss_mb=nan"), "nothing exceeds that"),
        (("--host", "no.such.host.invalid"), "--host"),
        (("model.pt2",), "--file model.pt2"),
        (("a.rig.yaml", "--factory", "a:b"), "rig and factory"),
    ],
)
def test_what_cannot_be_served_is_a_usage_error(options, word):
    assert word in refused(*options)


def test_a_log_in_a_folder_that_is_not_there_makes_none(tmp_path, monkeypatch):
    from harness.api import running

    def stopped(app, bound, ready):
        raise AssertionError("served")

    monkeypatch.setattr(running, "until_stopped", stopped)
    path = tmp_path / "no" / "such" / "events.jsonl"
    assert refused("--port", "0", "--log", str(path)) == f"--log: there is no folder {str(path.parent)!r}"
    assert not (tmp_path / "no").exists()
    assert "is a folder" in refused("--port", "0", "--log", str(tmp_path))


def test_a_rig_that_is_not_there_is_said_as_by_the_other_commands():
    with pytest.raises(RigError, match="cannot read the rig file"):
        command.serve(given("nowhere.rig.yaml", "--port", "0"), Console(stderr=True))


def test_alerts_are_the_usual_ones_and_what_is_said():
    assert command.alerts_of([]) == {"latency_ms": 100.0, "errors_percent": 5.0}
    assert command.alerts_of(["latency_ms=50", "rss_mb=900"]) == {
        "latency_ms": 50.0, "errors_percent": 5.0, "rss_mb": 900.0,
    }  # fmt: skip


RIG = """
name: bench
model: MODEL
sensors:
  chest: {sensor: openbci-cyton, settings: {streams: {ecg: [1]}}, simulate: {}}
limits: {latency: {}}
"""


def rig_of(folder, model):
    path = folder / "some.rig.yaml"
    path.write_text(RIG.replace("MODEL", model), encoding="utf-8")
    return str(path)


def test_a_rigs_model_is_taken_with_its_threads_unless_others_are_asked_for(tmp_path):
    path = rig_of(tmp_path, "{factory: 'pkg.mod:fn', threads: 3}")
    entry = command.model_of(given(path))
    assert (entry.factory, entry.threads) == ("pkg.mod:fn", 3)
    assert command.model_of(given(path, "--threads", "2")).threads == 2
    assert command.model_of(given("--factory", "a:b")).factory == "a:b"


def test_a_rig_whose_model_is_served_already_is_refused(tmp_path):
    path = rig_of(tmp_path, "{url: 'http://127.0.0.1:9'}")
    assert "its model is served already, at http://127.0.0.1:9" in refused(path, "--port", "0")


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert refused() == "hil serve needs uvicorn: pip install 'spiral-hil[api]'"


def test_the_commands_own_module_imports_neither_torch_nor_fastapi():
    code = "import sys, harness.api.command; print([m for m in ('torch', 'fastapi', 'uvicorn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_help_teaches_with_examples_and_exit_codes(capsys):
    with pytest.raises(SystemExit):
        given("--help")
    text = capsys.readouterr().out
    assert "hil serve --factory" in text and "exit codes:" in text and "no authentication" in text
    assert isinstance(given(), argparse.Namespace) and given().port == 8000
