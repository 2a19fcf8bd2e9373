"""A model behind HTTP: the same verdicts as of one that is here, and each way to go wrong is a finding about it."""

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.types import StreamSpec
from harness.api.remote import RemoteEngine
from harness.api.running import in_background
from harness.api.served import serve_model
from harness.api.server import ModelServer
from harness.api.wire import decode_request, encode_response
from harness.bench import Mode
from harness.checks.latency import LIMITS, check
from harness.latency import remote_steps, step_table
from harness.model.errors import EngineError, LoadError, ModelFault, Unanswered, WiringError
from harness.model.inputs import InputSpec
from harness.recording_files import load_recording
from harness.report.document import document
from harness.rig import ApiEntry, EndpointEntry, ModelEntry, rig_from_dict, rig_to_dict
from harness.rig_file import RigError, parse_rig, read_rig
from harness.run import run_rig
from harness.stage import ModelStage
from harness.verdict import Outcome

ROOT = Path(__file__).parents[3]
DEMO = read_rig(ROOT / "rigs" / "demo.rig.yaml")
CYTON = parse_rig(
    "schema: 1\nname: bench\nsensors:\n  chest: {sensor: openbci-cyton, settings: {streams: {ecg: [1]}}}\n"
    "limits:\n  latency: {}\n"
)
ECG = StreamSpec("ecg", "ecg", ("v",), "mV", 250.0)
SPECS = {"ecg": InputSpec("ecg", 1, 2.0, 10.0, "mV")}
MODEL = {
    "model": "tiny", "sha256": "ab" * 32, "parameters": 7, "outputs": ["first", "last"],
    "inputs": {"ecg": {"channels": 1, "length": 20, "rate_hz": 10.0, "unit": "mV", "seconds": 2.0}},
}  # fmt: skip


@pytest.fixture(scope="module")
def reference():
    """The reference network behind HTTP, as ``hil serve`` has it."""
    with ExitStack() as stack:
        served = serve_model(ModelEntry())
        stack.callback(served.worker.stop)
        yield stack.enter_context(in_background(ModelServer(served)))


def infer(handler, body, **changes):
    """The first and the last value of each window."""
    inputs, _ = decode_request(json.loads(body), SPECS)
    outputs = inputs["ecg"][:, 0, [0, -1]].astype(float)
    document = encode_response(outputs, ["first", "last"], "tiny", MODEL["sha256"], 1.5)
    return 200, "application/json", json.dumps({**document, **changes}).encode()


@pytest.fixture
def tiny(a_service, ok_json):
    """A service with a model; ``act`` instead of inferring, ``facts`` over those of /model."""

    def start(act=infer, **facts):
        return a_service({"/model": ok_json({**MODEL, **facts}), "/infer": act})

    return start


def asked(service):
    return [json.loads(body) for _, path, _, body in service.seen if path == "/infer"]


def windows(*levels):
    values = np.array(levels, np.float32)[:, None, None] * np.linspace(0.5, 1, 20, dtype=np.float32)
    return {"ecg": values}, {"ecg": np.ones(len(levels), np.float32)}


def engine_of(service, **entry):
    return RemoteEngine(ModelEntry(url=service.url, **{"timeout_ms": 2000.0, **entry}))


# --- like a model that is here ----------------------------------------------------------------


def test_the_demo_rig_gets_the_same_verdicts_and_outputs_from_the_model_behind_http(reference):
    here = run_rig(DEMO, Mode.VIRTUAL)
    there = run_rig(replace(DEMO, model=ModelEntry(url=reference)), Mode.VIRTUAL)
    assert there.verdicts == here.verdicts
    assert there.exit_code == here.exit_code == 0
    # batches of another size may be summed in another order
    np.testing.assert_allclose(there.recording.windows.outputs, here.recording.windows.outputs, rtol=1e-4, atol=1e-5)
    facts, other = dict(here.recording.meta), dict(there.recording.meta)
    assert (facts.pop("model_engine"), other.pop("model_engine")) == ("eager", "http")
    assert other == facts, "the weights' hash among them"
    assert there.recording.host["model_http_ms"]["n"] >= 3
    assert there.report["latency_steps"] == here.report["latency_steps"], "no measured time in virtual time"


def test_a_model_behind_http_needs_no_torch_here(reference):
    code = (
        "import sys; from dataclasses import replace; from harness.rig import ModelEntry\n"
        "from harness.rig_file import read_rig; from harness.run import run_rig; from harness.bench import Mode\n"
        f"rig = replace(read_rig('rigs/demo.rig.yaml'), duration_s=8.0, model=ModelEntry(url={reference!r}))\n"
        "made = run_rig(rig, Mode.VIRTUAL).recording\n"
        "assert made.windows.outputs.shape[1] == 6 and not made.windows.errors\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, cwd=ROOT)


def test_outputs_and_time_are_what_the_server_says(tiny):
    engine = engine_of(tiny())
    engine.forget()
    np.testing.assert_allclose(engine.infer(*windows(1.0, 2.0)), [[0.5, 1.0], [1.0, 2.0]])
    spent = engine.measured()
    assert spent["n"] == 1
    assert spent["server"] == {"p50_ms": 1.5, "p99_ms": 1.5, "max_ms": 1.5}
    engine.forget()
    assert engine.measured() == {}


def test_the_quality_of_a_window_reaches_the_server(tiny):
    service = tiny()
    inputs, _ = windows(1.0, 1.0)
    engine_of(service).infer(inputs, {"ecg": np.array([0.25, 1.0000001], np.float32)})
    assert asked(service)[0]["quality"] == {"ecg": [0.25, 1.0]}


def test_a_batch_is_sent_whole(tiny):
    service = tiny()
    assert engine_of(service).infer(*windows(*range(125))).shape == (125, 2)
    assert len(asked(service)) == 1


@pytest.mark.parametrize("limits", [{"windows": 4}, {"body_bytes": 2000}, {"windows": 7, "body_bytes": 1000}])
def test_a_batch_is_sent_in_parts_that_the_server_takes(tiny, limits):
    service = tiny(limits=limits)
    found = engine_of(service).infer(*windows(*range(1, 12)))
    np.testing.assert_allclose(found[:, 1], np.arange(1, 12))
    assert len(asked(service)) > 1
    for _, path, _, body in service.seen:
        if path == "/infer":
            assert len(body) <= limits.get("body_bytes", 10**6)
            assert len(json.loads(body)["inputs"]["ecg"]) <= limits.get("windows", 100)


def test_a_batch_is_no_larger_than_the_timeout_allows(tiny):
    service = tiny(limits={"timeout_ms": 400.0})
    engine = engine_of(service)
    engine.pace(10.0)  # a quarter of 400 ms: ten windows of 10 ms
    engine.infer(*windows(*range(25)))
    assert [len(body["inputs"]["ecg"]) for body in asked(service)] == [10, 10, 5]


def test_events_have_no_rate(tiny):
    spec = {"channels": 1, "length": 16, "rate_hz": None, "unit": "ms", "seconds": 32.0}
    engine = engine_of(tiny(inputs={"rr": spec}))
    assert engine.model.inputs == {"rr": InputSpec("rr", 1, 32.0, None, "ms", events=16)}


# --- wired ------------------------------------------------------------------------------------


def staged(url, streams=None, **entry):
    stage = ModelStage(ModelEntry(url=url, **{"timeout_ms": 2000.0, **entry}))
    stage.prepare(streams or {"chest/ecg": ECG})
    return stage


def test_a_stage_is_wired_and_warmed_up_by_what_the_server_says(tiny):
    stage = staged(tiny().url)
    assert [(wire.stream, wire.spec.length) for wire in stage.wires] == [("chest/ecg", 20)]
    assert (stage.outputs, stage.host["model_warm_up"]["n"]) == (2, 20)
    assert stage.facts["model_sha256"] == MODEL["sha256"]
    assert stage.facts["model_engine"] == "http"
    assert stage.errors() == ()


def test_no_stream_that_fits_is_told_as_for_any_model(tiny):
    with pytest.raises(WiringError, match="no stream of this rig fits"):
        staged(tiny().url, {"wrist/eda": StreamSpec("eda", "eda", ("v",), "uS", 8.0)})


def test_a_rig_cannot_change_windows_that_the_server_fixes(tiny):
    with pytest.raises(WiringError, match=r"takes 2 s at 10.0 Hz; leave them out"):
        staged(tiny().url, inputs={"ecg": {"stream": "chest/ecg", "seconds": 3.0}})
    stage = staged(tiny().url, inputs={"ecg": {"stream": "chest/ecg", "seconds": None, "rate_hz": None}})
    assert stage.wires[0].stream == "chest/ecg"


# --- what can be wrong before the run ---------------------------------------------------------


def test_a_server_that_is_not_there_is_no_model(nobody):
    with pytest.raises(LoadError, match=r"model\.url: connection refused: is the service running on 127\.0\.0\.1"):
        staged(nobody)


def test_another_machine_is_refused_unless_the_rig_allows_it():
    with pytest.raises(EngineError, match="not this machine"):
        staged("http://192.0.2.1:8000")


DESCRIPTIONS = {
    "no object": ([], "expected an object that describes the model, found an empty array"),
    "no inputs": ({**MODEL, "inputs": {}}, "/inputs: expected"),
    "no name": ({**MODEL, "model": 3}, "/model: expected a text, found 3"),
    "no hash": ({**MODEL, "sha256": None}, "/sha256: expected a text"),
    "an input that is none": ({**MODEL, "inputs": {"ecg": 3}}, "/inputs/ecg: expected an object"),
    "no channels": ({**MODEL, "inputs": {"ecg": {"length": 3, "rate_hz": 1}}}, "/inputs/ecg/channels"),
    "negative length": ({**MODEL, "inputs": {"ecg": {"channels": 1, "length": -3}}}, "/inputs/ecg/length"),
    "a unit that is none": (
        {**MODEL, "inputs": {"ecg": {"channels": 1, "length": 3, "rate_hz": 1.0, "unit": 5}}}, "/inputs/ecg/unit"),
    "a length that contradicts": (
        {**MODEL, "inputs": {"ecg": {"channels": 1, "length": 3, "rate_hz": 10.0, "seconds": 2.0}}},
        "/inputs/ecg/length: expected 20"),
    "a limit of nothing": ({**MODEL, "limits": {"windows": 0}}, "/limits/windows"),
}  # fmt: skip


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_description_that_cannot_be_used_says_where(a_service, ok_json, case):
    description, said = DESCRIPTIONS[case]
    service = a_service({"/model": ok_json(description)})
    with pytest.raises(LoadError) as raised:
        staged(service.url)
    assert said in str(raised.value)
    assert "hil serve" in str(raised.value)


@pytest.mark.parametrize(
    ("act", "said"),
    [((404, "text/plain", b"what?"), "HTTP 404: what?"), ((200, "text/html", b"<html>"), "not JSON"),
     ((200, "application/json", b"{"), "not JSON")],
)  # fmt: skip
def test_a_server_of_something_else_is_no_model(a_service, act, said):
    with pytest.raises(LoadError, match=said.replace("?", r"\?")):
        staged(a_service({"/model": act}).url)


# --- what can go wrong in it ------------------------------------------------------------------


def changed(**changes):
    return lambda handler, body: infer(handler, body, **changes)


def status(number, said):
    return lambda handler, body: (number, "application/json", json.dumps({"error": said}).encode())


def hangs(handler, body):
    handler.server.released.wait()


def dies(handler, body):
    handler.connection.close()
    raise ConnectionAbortedError


def elsewhere(handler, body):
    return 307, "text/plain", b""


FAULTS = {
    "hangs": (hangs, Unanswered, "no whole response within 60 ms"),
    "dies": (dies, Unanswered, "closed the connection too early"),
    "model too slow": (status(503, "no answer"), Unanswered, "HTTP 503: no answer; the model did not answer in"),
    "redirects": (elsewhere, Unanswered, "HTTP 307: it redirects, which is not followed"),
    "too long": (status(413, "too long"), Unanswered, "--limit-mb"),
    "raised": (status(500, "out of cheese"), ModelFault, "HTTP 500: out of cheese"),
    "refused": (status(422, "too short"), ModelFault, "HTTP 422: too short"),
    "no JSON": (lambda handler, body: (200, "text/html", b"<html>"), ModelFault, "its answer is no output"),
    "too few rows": (changed(outputs=[[1.0, 2.0]]), ModelFault, "/outputs: expected 3 rows"),
    "NaN": (changed(outputs=[[1.0, float("nan")]] * 3), ModelFault, "/outputs/0/1: expected a finite number"),
    "text": (changed(outputs=[["a", "b"]] * 3), ModelFault, "/outputs/0/0: expected a finite number"),
    "another model": (changed(sha256="cd" * 32), Unanswered, "the server has another model"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_every_failure_is_a_finding_about_the_model_and_is_asked_for_once(tiny, case):
    act, kind, said = FAULTS[case]
    service = tiny(act)
    engine = engine_of(service, timeout_ms=60.0 if case == "hangs" else 2000.0)
    with pytest.raises(ModelFault) as raised:
        engine.infer(*windows(1.0, 2.0, 3.0))
    assert type(raised.value) is kind
    assert said in str(raised.value)
    assert str(raised.value).startswith("tiny at 127.0.0.1:")
    assert len(asked(service)) == 1


def test_another_number_of_outputs_is_a_fault(tiny):
    replies = iter([changed(), changed(outputs=[[1.0, 2.0, 3.0]], names=["a", "b", "c"])])
    engine = engine_of(tiny(lambda handler, body: next(replies)(handler, body)))
    engine.infer(*windows(1.0))
    with pytest.raises(ModelFault, match="returned 3 outputs; expected 2"):
        engine.infer(*windows(1.0))


def test_a_batch_that_nobody_answered_is_not_asked_for_again_window_by_window(tiny):
    acts = {"now": infer}
    service = tiny(lambda handler, body: acts["now"](handler, body))
    stage = staged(service.url)
    before = len(asked(service))
    acts["now"] = dies
    found = stage.infer(windows(1.0, 2.0, 3.0))
    assert found.shape == (3, 2)
    assert np.isnan(found).all()
    assert len(asked(service)) == before + 1
    (error,) = stage.errors()
    assert error.endswith("(3 windows)")


def test_of_a_batch_that_the_model_fails_on_only_the_bad_windows_are_lost(tiny):
    def picky(handler, body):
        inputs, _ = decode_request(json.loads(body), SPECS)
        return infer(handler, body) if (inputs["ecg"] >= 0).all() else status(500, "negative")(handler, body)

    stage = staged(tiny(picky).url)
    found = stage.infer(windows(1.0, -1.0, 2.0))
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False]
    assert stage.errors()[0].endswith("HTTP 500: negative (1 windows)")


def test_a_server_that_goes_away_in_the_run_is_a_failure_of_the_model():
    """Neither INVALID nor green, and the run goes on to its end."""
    with ExitStack() as stack:
        served = serve_model(ModelEntry())
        stack.callback(served.worker.stop)
        url = stack.enter_context(in_background(ModelServer(served)))

        def gone(progress):
            if progress.elapsed_s >= 10:
                stack.close()

        rig = replace(CYTON, duration_s=30.0, model=ModelEntry(url=url))
        result = run_rig(rig, Mode.VIRTUAL, None, gone)
    verdicts = {v.check: v for v in result.verdicts}
    assert verdicts["model"].outcome is Outcome.FAIL
    assert "connection refused: is the service running on" in verdicts["model"].reason
    assert verdicts["latency"].outcome is Outcome.FAIL
    assert result.exit_code == 1
    done = np.isfinite(result.recording.windows.outputs).all(axis=1)
    assert done[:50].all()
    assert not done[-100:].any()
    assert result.recording.interrupted == ""


# --- in real time -----------------------------------------------------------------------------


def test_in_real_time_model_and_endpoints_are_called_beside_the_streams(tiny, tmp_path):
    """Everything at work at once: links, windows over HTTP, calls in their thread, files, verdicts."""
    service = tiny()
    endpoints = {
        "/infer": EndpointEntry("/infer", "/infer", live=True, repeat=4),
        "/model": EndpointEntry("/model", "/model", "get", repeat=2, budget_ms=None),
        "/gone": EndpointEntry("/gone", "/gone", repeat=1),
    }
    rig = replace(
        CYTON, duration_s=2.5, window=replace(CYTON.window, fill_s=0.5), limits={"api": {}},
        model=ModelEntry(url=service.url), api=ApiEntry(service.url, endpoints),
    )  # fmt: skip
    result = run_rig(rig, Mode.SIMULATED, tmp_path / "run")
    found = {(v.subject, v.measure): v.outcome for v in result.verdicts if v.check == "api"}
    assert found["/infer", "PASS"] is found["/model", "PASS"] is Outcome.PASS
    assert found["/gone", "HTTP_404"] is Outcome.FAIL
    assert ("/infer", "p90 latency") in found
    assert ("/model", "p90 latency") not in found, "it has no budget"
    assert {v.outcome for v in result.verdicts if v.check == "model"} == {Outcome.PASS}
    again = load_recording(tmp_path / "run")
    assert [call.endpoint for call in again.calls].count("/infer") == 4
    assert all(again.start_ns < call.at_ns for call in again.calls)
    assert again.host["model_http_ms"]["n"] == len(again.windows.stamps_ns)
    live = [body for body in asked(service) if not isinstance(body["inputs"]["ecg"][0][0], list)]
    assert len(live) == 4, "windows stand in batches, live payloads alone"
    assert [row["step"] for row in result.report["latency_steps"]][-2:] == ["model: network", "model: server"]


# --- where the time went ----------------------------------------------------------------------


def timed(a_recording, some_windows, mode="simulated", latency_ms=20.0):
    part = {"p50_ms": 4.0, "p99_ms": 9.0, "max_ms": 10.0}
    host = {"model_http_ms": {"n": 5, "network": part, "server": {**part, "p50_ms": 1.0}}}
    return a_recording(windows=some_windows(latency_ms=latency_ms), host=host, meta={"mode": mode})


def test_the_step_table_tells_the_network_from_the_model(a_recording, some_windows):
    made = timed(a_recording, some_windows)
    rows = document(made, [])["latency_steps"]
    assert rows[:-2] == step_table(made)
    assert [(row["step"], row["p50_ms"]) for row in rows[-2:]] == [("model: network", 4.0), ("model: server", 1.0)]


def test_virtual_time_and_a_model_that_is_here_have_no_such_rows(a_recording, some_windows):
    assert remote_steps(timed(a_recording, some_windows, mode="virtual")) == []
    assert remote_steps(a_recording()) == []


def test_a_latency_that_fails_in_the_model_says_which_part_took_it(a_recording, some_windows):
    made = timed(a_recording, some_windows, latency_ms=300.0)
    stamps = made.windows.stamps_ns.copy()
    stamps[:, 1:4] = stamps[:, [0]]  # everything in the model
    made = replace(made, windows=replace(made.windows, stamps_ns=stamps))
    (verdict,) = check(made, LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert "'model'" in verdict.reason
    assert "model: network 4.0 ms, model: server 1.0 ms" in verdict.reason


# --- in a rig file ----------------------------------------------------------------------------

RIG = "schema: 1\nname: bench\nsensors:\n  chest: {sensor: openbci-cyton}\nlimits:\n  latency: {}\n"
URL = RIG + "model:\n  url: http://127.0.0.1:8000\n"


def test_a_rig_names_a_model_behind_a_url():
    rig = parse_rig(URL + "  timeout_ms: 250\n")
    assert (rig.model.url, rig.model.timeout_ms, rig.model.allow_remote) == ("http://127.0.0.1:8000", 250.0, False)
    assert rig_from_dict(json.loads(json.dumps(rig_to_dict(rig)))) == rig
    assert parse_rig(URL.replace("127.0.0.1", "10.0.0.1") + "  allow_remote: true\n").model.allow_remote


WRONG = {
    "another machine": (URL.replace("127.0.0.1", "10.0.0.1"), 8, "10.0.0.1 is not this machine"),
    "no URL": (RIG + "model:\n  url: localhost\n", 8, "expected a URL such as"),
    "a factory beside": (URL + "  factory: a:b\n", 9, "give either factory, file or url"),
    "an engine beside": (URL + "  engine: onnx\n", 9, "its server decides that"),
    "a timeout without a URL": (RIG + "model:\n  timeout_ms: 3\n", 8, "it belongs to model.url"),
    "no timeout at all": (URL + "  timeout_ms: 0\n", 9, "expected more than 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_url_is_said_where_it_stands(case):
    text, line, said = WRONG[case]
    with pytest.raises(RigError) as raised:
        parse_rig(text)
    assert [problem.line for problem in raised.value.problems if said in problem.message] == [line]
