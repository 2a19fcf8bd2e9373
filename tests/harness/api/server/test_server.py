"""A model behind HTTP says what it says without, and its server tells the truth about both."""

import concurrent.futures
import json

import jsonschema
import numpy as np
import pytest

from harness.api.served import Limits
from harness.api.wire import decode_response, encode_request
from harness.model.inputs import INPUTS

A = [[0.5, 1.5, 2.5, 3.5]]
HANGS, RAISES, IS_NAN, EXITS = ([[mood, 0.0, 0.0, 0.0]] for mood in (-1.0, -2.0, -3.0, -4.0))


def windows_of(batch, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {n: rng.normal(size=(batch, s.channels, s.length)).astype(np.float32) for n, s in INPUTS.items()}
    return inputs, {name: rng.uniform(0.3, 1.0, size=batch).astype(np.float32) for name in INPUTS}


def ask(client, a, **more):
    return client.post("/infer", json={"inputs": {"a": a}, **more})


def series(client):
    from prometheus_client.parser import text_string_to_metric_families

    text = client.get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# --- outputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 4])
def test_outputs_are_the_engines_own_bit_for_bit(reference, batch):
    client, app = reference
    inputs, quality = windows_of(batch)
    answer = decode_response(client.post("/infer", json=encode_request(inputs, quality)).json(), windows=batch)
    assert np.array_equal(answer.outputs, app.served.engine.infer(inputs, quality))
    assert answer.names == app.served.model.module.outputs
    assert (answer.model, answer.sha256) == ("reference", app.served.model.sha256)
    assert answer.ms > 0


def test_quality_reaches_the_model(reference):
    client, app = reference
    inputs, quality = windows_of(1)
    poor = {**quality, "ecg": np.zeros(1, np.float32)}
    answers = [
        decode_response(client.post("/infer", json=encode_request(inputs, q)).json()).outputs for q in (quality, poor)
    ]
    assert np.array_equal(answers[1], app.served.engine.infer(inputs, poor))
    assert not np.array_equal(answers[0], answers[1])


def test_a_modality_that_is_left_out_is_absent(reference):
    client, app = reference
    inputs, quality = windows_of(1)
    some = {name: inputs[name] for name in ("ecg", "eda")}
    levels = {name: quality[name] for name in some}
    found = decode_response(client.post("/infer", json=encode_request(some, levels)).json()).outputs
    assert np.array_equal(found, app.served.engine.infer(some, levels))


def test_outputs_equal_arithmetic(moody):
    client, _ = moody()
    assert ask(client, A).json()["outputs"] == [[2.0, 1.0]]
    assert ask(client, [A, A], quality={"a": [0.5, 0.25]}).json()["outputs"] == [[2.0, 0.5], [2.0, 0.25]]


def test_eight_clients_at_once_all_get_their_own_answers(moody):
    client, _ = moody(limits=Limits(timeout_ms=60_000))

    def mean_of(number):
        return [ask(client, [[100.0 * number + k] * 4]).json()["outputs"][0][0] for k in range(20)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(mean_of, range(8)))
    assert found == [[100.0 * number + k for k in range(20)] for number in range(8)]


# --- a model that misbehaves ------------------------------------------------------------------


def test_a_model_that_raises_is_said_with_its_text_and_without_a_traceback(moody):
    client, _ = moody()
    answer = ask(client, RAISES)
    assert answer.status_code == 500
    assert "the weights of layer 3 are missing" in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert ask(client, A).status_code == 200


def test_a_model_that_returns_nan_is_a_fault_with_a_reason(moody):
    client, _ = moody()
    answer = ask(client, IS_NAN)
    assert answer.status_code == 500
    assert "returned nan as mean of window 0" in answer.json()["error"]


def test_a_model_that_wants_to_end_the_process_does_not(moody):
    client, _ = moody()
    answer = ask(client, EXITS)
    assert (answer.status_code, answer.json()["error"]) == (500, "RuntimeError: SystemExit: 7")
    assert ask(client, A).status_code == 200


def test_a_model_that_always_faults_is_served_and_says_so(moody):
    client, app = moody("served_models:AlwaysRaising")
    assert "no good" in app.served.fault
    assert "no good" in client.post("/infer", json={"inputs": {"a": [[0, 0, 0, 0]]}}).json()["error"]
    assert "examples" not in client.get("/openapi.json").json()["paths"]["/infer"]["post"]["responses"]["200"]


def test_a_model_that_hangs_is_told_from_a_late_answer_and_recovers(moody):
    client, app = moody(limits=Limits(timeout_ms=400))
    late = ask(client, HANGS)
    assert (late.status_code, late.json()["error"]) == (503, "the model did not answer within 400 ms")
    assert int(late.headers["retry-after"]) >= 1
    stuck = ask(client, A)
    assert stuck.status_code == 503 and "the model has been in one call for" in stuck.json()["error"]
    health = client.get("/health")
    assert health.status_code == 503
    assert health.json()["status"] == "alert" and "the model is stuck" in health.json()["reason"]
    assert series(client)[("hil_model_busy_seconds",)] >= 0.4
    app.served.model.module.release.set()
    app.served.worker.submit(lambda: None).result(60)  # the call has come back
    assert ask(client, A).status_code == 200
    assert client.get("/health").status_code == 200


def test_a_full_queue_refuses_at_once_and_takes_more_when_it_has_emptied(moody):
    client, app = moody(limits=Limits(timeout_ms=60_000, waiting=1))
    module, worker = app.served.model.module, app.served.worker
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = pool.submit(ask, client, HANGS)
        assert module.entered.wait(60)
        filler = worker.submit(lambda: None)  # takes the only place
        refused = ask(client, A)
        assert refused.status_code == 429
        assert refused.json()["error"].startswith("1 calls wait already")
        assert int(refused.headers["retry-after"]) >= 1
        module.release.set()
        filler.result(60)
        assert running.result().status_code == 200
    assert ask(client, A).status_code == 200


# --- what the server says of itself -----------------------------------------------------------


def test_metrics_are_prometheus_text_and_count_exactly(moody):
    client, app = moody()
    for body in (A, A, [A, A], RAISES):
        ask(client, body)
    ask(client, [[1]])
    client.get("/infer")
    client.get("/somewhere/<script>")
    found = series(client)
    count = {key[1:]: value for key, value in found.items() if key[0] == "hil_http_requests_total"}
    assert count == {
        ("/infer", "200"): 3, ("/infer", "500"): 1, ("/infer", "422"): 1, ("/infer", "405"): 1, ("other", "404"): 1,
    }  # fmt: skip
    assert found[("hil_model_windows_total",)] == 4
    assert found[("hil_model_seconds_count",)] == 3
    assert found[("hil_model_faults_total", "raised")] == 1 and found[("hil_model_faults_total", "late")] == 0
    assert found[("hil_http_request_seconds_count", "/infer")] == 6
    assert found[("hil_queue_depth",)] == 0
    assert found[("hil_http_in_flight",)] == 1  # the one that asks
    assert found[("process_resident_memory_bytes",)] > 10_000_000
    info = next(key for key in found if key[0] == "hil_model_info")
    assert app.served.model.sha256 in info and "served_models:Moody" in info


def test_metrics_hold_no_times_of_creation_and_leave_other_registries_theirs(moody):
    import prometheus_client

    client, _ = moody()
    ask(client, A)
    names = {key[0] for key in series(client)}
    assert not [name for name in names if name.endswith("_created")]
    assert {"hil_http_requests_total", "hil_model_seconds_bucket", "hil_model_seconds_sum"} <= names
    theirs = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("theirs", "Of the same process.", registry=theirs)
    assert b"theirs_created" in prometheus_client.generate_latest(theirs)


def test_the_second_look_at_metrics_counts_the_first(moody):
    client, _ = moody()
    client.get("/metrics")
    assert series(client)[("hil_http_requests_total", "/metrics", "200")] == 1


def test_the_openapi_document_is_one_and_its_examples_are_true(reference):
    from fastapi.openapi.models import OpenAPI

    client, _ = reference
    document = client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    OpenAPI.model_validate(document)
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    infer = document["paths"]["/infer"]["post"]
    example = infer["requestBody"]["content"]["application/json"]["examples"]["shortest"]["value"]
    jsonschema.validate(example, document["components"]["schemas"]["Request"])
    answer = client.post("/infer", json=example)
    assert answer.status_code == 200
    jsonschema.validate(answer.json(), document["components"]["schemas"]["Answer"])
    said = infer["responses"]["200"]["content"]["application/json"]["examples"]["shortest"]["value"]
    assert said["outputs"] == answer.json()["outputs"]
    ecg = document["components"]["schemas"]["Request"]["properties"]["inputs"]["properties"]["ecg"]["anyOf"][0]
    assert (ecg["minItems"], ecg["items"]["minItems"]) == (1, INPUTS["ecg"].length)
    assert set(document["paths"]) == {"/infer", "/health", "/metrics", "/model", "/openapi.json"}
    for path, schema in (("/health", "Health"), ("/model", "Model")):
        jsonschema.validate(client.get(path).json(), document["components"]["schemas"][schema])


def test_model_says_what_it_takes_and_gives(reference):
    client, app = reference
    facts = client.get("/model").json()
    ecg = INPUTS["ecg"]
    assert facts["inputs"]["ecg"] == {
        "channels": 1, "length": ecg.length, "rate_hz": ecg.rate_hz, "unit": "mV", "seconds": ecg.seconds,
    }  # fmt: skip
    assert list(facts["inputs"]) == list(INPUTS)
    assert tuple(facts["outputs"]) == app.served.model.module.outputs


def test_the_root_is_one_plain_line_that_points_on(reference):
    client, _ = reference
    answer = client.get("/")
    assert answer.status_code == 200 and answer.text.count("\n") == 1 and "/openapi.json" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    assert client.get("/docs").status_code == 404  # it would load scripts from elsewhere


def test_health_is_ok_until_a_threshold_is_crossed_and_says_which(moody):
    client, _ = moody(alerts={"errors_percent": 5.0, "latency_ms": 60_000.0})
    for _ in range(3):
        ask(client, A)
    well = client.get("/health")
    assert (well.status_code, well.json()["status"], well.json()["alerts"]) == (200, "ok", [])
    assert set(well.json()["metrics"]) == {"latency_ms", "queue_depth", "errors_percent", "rss_mb"}
    assert set(well.json()["metrics"]["latency_ms"]) == {"current", "average", "min", "max"}
    ask(client, RAISES)
    ill = client.get("/health")
    assert (ill.status_code, ill.json()["status"]) == (200, "alert")
    assert "errors_percent above threshold" in ill.json()["alerts"][0][1]


def test_refusals_while_the_model_is_stuck_do_not_look_like_fast_answers(moody):
    client, app = moody(limits=Limits(timeout_ms=200), alerts={"latency_ms": 150.0, "errors_percent": 5.0})
    assert ask(client, HANGS).status_code == 503
    assert [ask(client, A).status_code for _ in range(9)] == [503] * 9
    metrics = client.get("/health").json()["metrics"]
    assert metrics["latency_ms"]["min"] >= 200.0
    assert metrics["errors_percent"]["current"] == 100.0
    app.served.model.module.release.set()
    assert "latency_ms above threshold" in json.dumps(client.get("/health").json()["alerts"])


def test_a_model_that_raises_at_once_has_no_latency(moody):
    client, _ = moody()
    ask(client, RAISES)
    metrics = client.get("/health").json()["metrics"]
    assert "latency_ms" not in metrics and metrics["errors_percent"]["current"] == 100.0


def test_a_clients_mistakes_are_no_illness(moody):
    client, _ = moody()
    for _ in range(12):
        ask(client, [[1]])
    health = client.get("/health").json()
    assert health["status"] == "ok" and "errors_percent" not in health["metrics"]


def test_a_slow_model_crosses_the_latency_threshold(moody):
    client, _ = moody(alerts={"latency_ms": 0.001})
    ask(client, A)
    assert "latency_ms above threshold" in client.get("/health").json()["alerts"][0][1]


def test_each_inference_and_each_alert_is_an_event_as_documented_and_without_payload(moody, tmp_path):
    from harness.monitor.log_schema import objections
    from harness.monitor.logs import EventLog

    with EventLog(tmp_path / "events.jsonl") as log:
        client, _ = moody(log_event=log.log_event, alerts={"errors_percent": 5.0})
        ask(client, [[0.123456, 1.0, 1.0, 1.0]])
        ask(client, RAISES)
        ask(client, [["0.123456", 1.0, 1.0, 1.0]])
    text = (tmp_path / "events.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert not [text for line in lines for text in objections(line["event_type"], line["data"])]
    events = [line["data"] for line in lines if line["event_type"] == "model_inference"]
    assert [event["status"] for event in events] == [200, 500, 422]
    assert [(event["n"], event["misses"]) for event in events] == [(1, 0), (0, 1), (0, 0)]
    assert all(event["latency_ms"] > 0 for event in events)
    assert events[0]["modalities"] == ["a"]
    assert events[2]["error"] == "/inputs/a/0/0: expected a number"
    assert "0.123456" not in text
    alert = next(line["data"] for line in lines if line["event_type"] == "alert")
    assert (alert["metric"], alert["state"], alert["mean"], alert["limit"]) == ("errors_percent", "beyond", 25.0, 5.0)
