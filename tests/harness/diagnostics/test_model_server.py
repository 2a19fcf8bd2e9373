"""A model behind HTTP whose server dies, hangs, or whose model raises: each is told from the others."""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.bench import Mode, stream_specs
from harness.diagnostics.runs import diagnose
from harness.diagnostics.texts import diagnose_text
from harness.model.errors import LoadError
from harness.rig import ModelEntry
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.stage import ModelStage

pytest.importorskip("httpx", reason="needs httpx: pip install 'spiral-hil[api]'")

MODEL = {
    "model": "tiny", "sha256": "c" * 64, "parameters": 3,
    "inputs": {"ecg": {"channels": 1, "length": 20, "rate_hz": 10.0, "unit": "mV", "seconds": 2.0}},
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer(200, MODEL)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.does == "hangs":
            self.server.released.wait()
        if self.server.does in ("hangs", "breaks off"):
            self.close_connection = True
            return
        if self.server.does != "answers":
            self.answer(*self.server.does)
            return
        windows = len(asked["inputs"]["ecg"])
        facts = {"names": ["level"], "model": "tiny", "sha256": MODEL["sha256"], "ms": 0.1}
        self.answer(200, {"outputs": [[0.0]] * windows, **facts})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")  # so that each request finds the server as it is then
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.does, self.released = "answers", threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def end(self):
        self.released.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """The client has gone, as it should."""


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.end()
    thread.join()


@pytest.fixture
def found_after(server):
    """A function: what the server does from the first window of the run on -> diagnoses."""

    def run(does):
        rig = read_rig(Path(__file__).parents[3] / "rigs" / "demo.rig.yaml")
        sensors = {"chest": rig.sensors["chest"]}
        model = ModelEntry(url=server.url, timeout_ms=500.0)
        rig = replace(rig, duration_s=6.0, sensors=sensors, model=model, limits={"latency": {}})
        server.does = "answers"
        stage = ModelStage(model)
        stage.prepare(stream_specs(rig))
        if does == "dies":
            server.end()
        server.does = does
        result = run_rig(rig, Mode.VIRTUAL, prepared=stage)
        return diagnose(result.recording, result.verdicts)

    return run


@pytest.mark.parametrize(
    ("does", "cause"),
    [
        ("dies", "nothing listens at {url}"),
        ("hangs", "the server at {url} is overloaded or stuck"),
        ("breaks off", "the server at {url} gives no answer of a model: it crashed"),
        ((503, {"error": "the model did not answer within 100 ms"}), "the server at {url} is overloaded or stuck"),
        ((404, {"error": "no such path"}), "or is another one"),
    ],
)
def test_a_server_that_gives_no_answer_is_named_and_not_the_model(server, found_after, does, cause):
    found = found_after(does)[0]
    assert found.rule == "model-server"
    assert found.symptom == "the model's server does not answer"
    assert cause.format(url=server.url) in found.cause
    assert f"`hil health {server.url}`" in found.next_step
    assert "hil serve" in found.next_step
    assert "model.timeout_ms (now 500)" in found.next_step
    assert "model rig" in found.explains


def test_a_model_that_raises_behind_its_server_is_the_model_and_not_the_server(found_after):
    said = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x10 and 20x5)"
    assert found_after((500, {"error": said}))[0].rule == "shape-mismatch"
    unknown = found_after((500, {"error": "ValueError: electrode order"}))[0]
    assert unknown.rule == "model-failed"
    assert "log of the server" in unknown.next_step


def test_a_server_that_answers_is_not_spoken_of(found_after):
    assert {"model-server", "model-failed"}.isdisjoint(one.rule for one in found_after("answers"))


def test_a_server_that_is_not_there_before_the_run_is_refused_by_name():
    with socket.socket() as held:  # a port on which nobody listens
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(LoadError) as raised:
            ModelStage(ModelEntry(url=url)).prepare({})
    found = diagnose_text(str(raised.value))[0]
    assert found.rule == "connection-refused"
    assert "hil serve" in found.next_step
