"""Endpoints of a rig: the guide's words for what they answer, calls beside a run, and the verdicts."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from drivers.errors import SettingError
from harness.api.calls import RunCalls
from harness.api.checking import check_api
from harness.api.client import ApiClient
from harness.api.endpoints import api_client, call_endpoint, live_payload, payloads, structure_validator
from harness.api.record import CALLS, ApiCall, line_of, read_calls
from harness.api.structure import check_schema, violations
from harness.api.wire import decode_request
from harness.bench import Mode
from harness.checks.api import LIMITS, check
from harness.cli import main
from harness.judge import judge
from harness.model.inputs import INPUTS
from harness.recording_files import RecordingError, load_recording
from harness.rig import ApiEntry, EndpointEntry, rig_from_dict, rig_to_dict
from harness.rig_file import RigError, parse_rig
from harness.run import run_rig
from harness.verdict import Outcome

HEAD = "schema: 1\nname: bench\nsensors:\n  chest: {sensor: openbci-cyton, settings: {streams: {ecg: [1]}}}\nlimits:\n"
RIG = HEAD + "  latency: {}\n"
_ARRAY = {"type": "array", "items": {"type": "number"}}
NUMBERS = {"type": "object", "required": ["outputs"], "properties": {"outputs": _ARRAY}}


def entry(name="/x", **more):
    return EndpointEntry(name, more.pop("path", name), **{"payload": {}, "repeat": 3, **more})


def hangs(handler, body):
    handler.server.released.wait()


def called(url, endpoint, windows=None, **options):
    with ApiClient(url, options.pop("timeout_ms", 2000.0), **options) as client:
        return call_endpoint(client, endpoint, windows, 5)


# --- words ------------------------------------------------------------------------------------


def test_the_expected_response_passes(a_service, ok_json):
    service = a_service({"/x": ok_json({"outputs": [1, 2.5]})})
    call = called(service.url, entry(schema=NUMBERS, payload={"a": 1}))
    assert (call.result, call.why, call.status, call.passed) == ("PASS", "", 200, True)
    assert (call.at_ns, call.endpoint) == (5, "/x")
    assert (call.sent_bytes, call.received_bytes) == (len(b'{"a":1}'), len(b'{"outputs": [1, 2.5]}'))
    assert call.ms is not None


def test_a_response_of_another_structure_is_invalid_and_says_where(a_service, ok_json):
    service = a_service({"/x": ok_json({"outputs": [1, "two"]})})
    call = called(service.url, entry(schema=NUMBERS))
    assert (call.result, call.status) == ("INVALID_RESPONSE", 200)
    assert """/outputs/1: 'type' asks for "number", found the text "two\"""" in call.why


@pytest.mark.parametrize(
    ("status", "hint"),
    [(404, "no such endpoint"), (500, "see its log"), (422, "compare the payload"), (401, "credentials"),
     (405, "another method"), (418, "documentation")],
)  # fmt: skip
def test_another_status_is_its_number_with_what_the_service_says(a_service, status, hint):
    service = a_service({"/x": (status, "application/json", b'{"error": "out of cheese"}')})
    call = called(service.url, entry())
    assert (call.result, call.status) == (f"HTTP_{status}", status)
    assert hint in call.why
    assert "it says: out of cheese" in call.why


def test_a_status_that_is_expected_passes(a_service):
    service = a_service({"/x": (422, "application/json", b'{"error": "too short"}')})
    assert called(service.url, entry(status=422)).result == "PASS"
    assert called(service.url, entry(status=200)).result == "HTTP_422"


def test_success_where_a_refusal_is_expected_is_its_number_too(a_service, ok_json):
    assert called(a_service({"/x": ok_json({})}).url, entry(status=422)).result == "HTTP_200"


def test_a_redirect_says_where_to_and_no_more(a_service):
    def elsewhere(handler, body):
        handler.send_response(302)
        handler.send_header("Location", "http://other.example/login?token=abc")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    call = called(a_service({"/x": elsewhere}).url, entry())
    assert call.result == "HTTP_302"
    assert "redirects to http://other.example, which is not followed" in call.why
    assert "abc" not in call.why


def test_text_passes_where_json_is_not_expected(a_service):
    service = a_service({"/metrics": (200, "text/plain", b"up 1\n")})
    assert called(service.url, entry("/metrics", method="get", payload=None, is_json=False)).result == "PASS"
    assert called(service.url, entry("/metrics", method="get", payload=None)).result.startswith(
        "ERROR: the response is"
    )


def test_no_response_is_an_error_with_its_cause(nobody, a_service):
    assert called(nobody, entry()).result.startswith("ERROR: connection refused: is the service running on 127.0.0.1")
    service = a_service({"/x": hangs})
    call = called(service.url, entry(), timeout_ms=30.0)
    assert call.result.startswith("ERROR: no whole response within 30 ms")
    assert (call.status, call.ms) == (None, None)


def test_a_payload_that_is_gone_is_an_error_and_nothing_is_sent(a_service, ok_json, tmp_path):
    service = a_service({"/x": ok_json({})})
    call = called(service.url, entry(payload_file=str(tmp_path / "gone.json")))
    assert call.result.startswith("ERROR: the payload: no file that can be read")
    assert service.seen == []


def test_a_payload_comes_from_a_file(a_service, ok_json, tmp_path):
    (tmp_path / "one.json").write_text('{"a": [1]}')
    service = a_service({"/x": ok_json({})})
    assert called(service.url, entry(payload_file=str(tmp_path / "one.json"))).result == "PASS"
    assert json.loads(service.seen[0][3]) == {"a": [1]}


def test_live_payloads_are_what_infer_takes():
    spec = INPUTS["ecg"]
    window = np.linspace(-1, 1, spec.length, dtype=np.float32).reshape(1, 1, -1)
    document = json.loads(json.dumps(live_payload(({"ecg": window}, {"ecg": np.array([0.5], np.float32)}))))
    inputs, quality = decode_request(document, INPUTS)
    np.testing.assert_array_equal(inputs["ecg"], window)
    assert quality["ecg"].tolist() == [0.5]


# --- schemas ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "data", "said"),
    [({"type": "object"}, [], "the response: 'type' asks for \"object\", found an empty array"),
     ({"required": ["a", "b"]}, {"a": 1}, "the response: 'required' asks for b, which is not there"),
     ({"properties": {"a/b": {"minimum": 3}}}, {"a/b": 2}, "/a~1b: 'minimum' asks for 3, found 2"),
     ({"prefixItems": [{}, False]}, [1, 2], "found 2 where nothing is allowed"),
     ({"additionalProperties": False}, {"z": 1}, "'additionalProperties' asks for false, found an object with 1 keys")],
)  # fmt: skip
def test_a_violation_names_the_place_and_the_keyword(schema, data, said):
    assert said in violations(data, schema)[0]


def test_many_violations_are_counted():
    assert violations(["x"] * 10, {"items": {"type": "number"}})[3:] == ["7 more"]


def test_what_fits_violates_nothing():
    assert violations({"outputs": [1]}, NUMBERS) == []
    assert violations(1, {"$ref": "#/$defs/n", "$defs": {"n": {"type": "number"}}}) == []


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:9/s", "https://example.org/s", "file:///etc/passwd", "#/$defs/no"]
)
def test_a_schema_that_is_elsewhere_is_refused_and_not_fetched(reference):
    with pytest.raises(SettingError, match="leads nowhere"):
        check_schema({"properties": {"a": {"$ref": reference}}})


# --- as the debugging guide has it ------------------------------------------------------------


def guide_style(client, endpoints, validate_response_structure):
    """What the guide's integration test does, in our words: the words that it gives must be ours."""
    found = {}
    for endpoint, data in endpoints.items():
        try:
            response = client.post(endpoint, json=data)
            if response.status_code != 200:
                found[endpoint] = f"HTTP_{response.status_code}"
            else:
                good = validate_response_structure(response.json(), endpoint)
                found[endpoint] = "PASS" if good else "INVALID_RESPONSE"
        except Exception as error:  # noqa: BLE001  as the guide does
            found[endpoint] = f"ERROR: {error}"
    return found


def test_the_guides_integration_test_gives_the_same_words(a_service, ok_json):
    service = a_service({
        "/good": ok_json({"outputs": [1]}), "/odd": ok_json({"outputs": "x"}), "/page": (200, "text/html", b"<html>"),
        "/bad": (500, "text/plain", b"oops"), "/slow": hangs,
    })  # fmt: skip
    paths = ("/good", "/odd", "/page", "/bad", "/slow", "/none")
    api = ApiEntry(service.url, {path: entry(path, schema=NUMBERS, repeat=1) for path in paths}, timeout_ms=60.0)
    with api_client(api) as client:
        by_guide = guide_style(client, payloads(api), structure_validator(api))
        ours = {e.name: call_endpoint(client, e, None, 0).result for e in api.endpoints.values()}
    assert by_guide == ours
    assert [by_guide[path].partition(":")[0] for path in paths] == [
        "PASS", "INVALID_RESPONSE", "ERROR", "HTTP_500", "ERROR", "HTTP_404"
    ]  # fmt: skip


# --- verdicts ---------------------------------------------------------------------------------


def judged(a_recording, calls, limits=None, mode="simulated", **more):
    api = ApiEntry("http://127.0.0.1:1", {"/x": entry(**more)})
    made = a_recording(calls=tuple(calls), meta={"mode": mode})
    return check(replace(made, rig=replace(made.rig, api=api)), limits or LIMITS())


def answered(ms=5.0, result="PASS", why="", status=200):
    return ApiCall(0, "/x", result, why, status, ms)


LOST = ApiCall(0, "/x", "ERROR: no whole response", "no whole response")


def test_good_and_quick_calls_pass(a_recording):
    answers, latency = judged(a_recording, [answered(float(ms)) for ms in range(1, 31)], repeat=30)
    assert (answers.outcome, answers.measure, answers.value, answers.n) == (Outcome.PASS, "PASS", 0.0, 30)
    assert (latency.outcome, latency.value, latency.limit) == (Outcome.PASS, 27.0, 100.0)  # 27 of 30 are within 27 ms


def test_one_bad_answer_fails_the_endpoint_in_the_guides_word(a_recording):
    calls = [answered()] * 29 + [answered(result="HTTP_500", why="it failed", status=500)]
    answers = judged(a_recording, calls, repeat=30)[0]
    assert (answers.outcome, answers.measure, answers.value) == (Outcome.FAIL, "HTTP_500", 1.0)
    assert answers.reason == "1 of 30 calls failed: HTTP_500: it failed"


def test_the_most_frequent_failure_names_the_verdict_and_the_others_are_told(a_recording):
    calls = [answered(result="HTTP_500", why="a")] * 2 + [answered(result="INVALID_RESPONSE", why="b")] * 3
    answers = judged(a_recording, calls)[0]
    assert answers.measure == "INVALID_RESPONSE"
    assert answers.reason == "5 of 5 calls failed: 3 INVALID_RESPONSE: b; 2 HTTP_500: a"


def test_slow_calls_fail_the_latency_and_not_the_answers(a_recording):
    answers, latency = judged(a_recording, [answered(150.0)] * 30, repeat=30)
    assert (answers.outcome, latency.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert "30 of 30 calls took longer than 100 ms, the median 150 ms" in latency.reason


def test_calls_without_a_response_are_misses(a_recording):
    latency = judged(a_recording, [answered(1.0)] * 20 + [LOST] * 10, repeat=30)[1]
    assert latency.outcome is Outcome.FAIL
    assert "10 of 30 calls" in latency.reason
    assert "10 without any response" in latency.reason
    assert (latency.value, latency.low, latency.high) == (None, None, None), "a third of the calls is endless"


def test_too_few_calls_tell_nothing_of_latency(a_recording):
    latency = judged(a_recording, [answered(1.0)] * 28, repeat=28)[1]  # 0.9 ** 28 is above 5 %
    assert latency.outcome is Outcome.INCONCLUSIVE
    assert "29 without a miss would do" in latency.reason
    assert judged(a_recording, [answered(1.0)] * 29, repeat=29)[1].outcome is Outcome.PASS


def test_fewer_calls_than_asked_for_are_no_pass(a_recording):
    answers = judged(a_recording, [answered()] * 3, repeat=30)[0]
    assert answers.outcome is Outcome.INCONCLUSIVE
    assert "3 of 30 calls were made" in answers.reason


def test_no_call_at_all_was_not_run(a_recording):
    assert {v.outcome for v in judged(a_recording, [])} == {Outcome.NOT_RUN}


def test_without_a_budget_latency_is_not_judged(a_recording):
    (answers,) = judged(a_recording, [answered(5000.0)] * 3, budget_ms=None)
    assert answers.outcome is Outcome.PASS


def test_virtual_time_says_nothing_of_latency(a_recording):
    (answers,) = judged(a_recording, [answered(5000.0)] * 3, mode="virtual")
    assert answers.outcome is Outcome.PASS
    assert "latency is judged in real time" in answers.reason


def test_an_api_section_is_judged_though_no_limit_names_it(a_recording):
    made = a_recording(calls=(answered(result="HTTP_404"),))
    assert "api" not in {v.check for v in judge(made)}
    with_api = replace(made, rig=replace(made.rig, api=ApiEntry("http://127.0.0.1:1", {"/x": entry()})))
    assert {v.outcome for v in judge(with_api) if v.check == "api" and v.measure == "HTTP_404"} == {Outcome.FAIL}


# --- beside a run -----------------------------------------------------------------------------


def rig_of(url, **endpoints):
    rig = parse_rig(RIG)
    named = {f"/{name}": entry(f"/{name}", **more) for name, more in endpoints.items()}
    return replace(rig, duration_s=6.0, api=ApiEntry(url, named, timeout_ms=2000.0), limits={"api": {}})


def of_api(result):
    return {(v.subject, v.measure): v for v in result.verdicts if v.check == "api"}


def test_in_virtual_time_every_endpoint_is_called_after_the_run(a_service, ok_json, tmp_path):
    service = a_service({"/a": ok_json({}), "/b": ok_json({})})
    result = run_rig(
        rig_of(service.url, a={"live": True, "repeat": 4}, b={"repeat": 2}), Mode.VIRTUAL, tmp_path / "run"
    )
    assert [path for _, path, _, _ in service.seen] == ["/a", "/a", "/b", "/a", "/a", "/b"]
    assert {v.outcome for v in of_api(result).values()} == {Outcome.PASS}
    windows = [decode_request(json.loads(body), INPUTS)[0]["ecg"] for _, path, _, body in service.seen if path == "/a"]
    assert [w.shape for w in windows] == [(1, 1, 500)] * 4
    hop = 10  # 80 ms at 125 Hz: each window is the one before, a hop later
    for before, after in pairwise(windows):
        np.testing.assert_array_equal(before[..., hop : 500 - hop], after[..., : 500 - 2 * hop])


def test_more_calls_than_windows_begin_again_with_the_first(a_service, ok_json):
    service = a_service({"/a": ok_json({})})
    run_rig(replace(rig_of(service.url, a={"live": True, "repeat": 7}), duration_s=4.5), Mode.VIRTUAL)
    bodies = [body for *_, body in service.seen]
    assert len(bodies) == 7
    assert len(set(bodies)) == 4, "due at 4, 4.08, 4.16 and 4.24 s; the next could not be judged within 0.2 s"
    assert bodies[4:] == bodies[:3]


def test_what_virtual_time_reports_is_the_same_however_slow_the_service_is(a_service, ok_json):
    quick = {"/a": ok_json({"n": 1})}
    slow = {"/a": lambda handler, body: threading.Event().wait(0.02) or ok_json({"n": 1})}
    reports = []
    for acts in (quick, slow):
        report = run_rig(rig_of(a_service(acts).url, a={"repeat": 5}), Mode.VIRTUAL).report
        assert report.pop("host")["api"]["/a"]["n"] == 5
        reports.append(json.dumps(report, sort_keys=True))
    assert reports[0] == reports[1]


def test_a_recorded_run_is_judged_again_without_the_service(a_service, ok_json, tmp_path):
    service = a_service({"/a": ok_json({"outputs": ["x"]}), "/b": ok_json({})})
    rig = rig_of(service.url, a={"schema": NUMBERS}, b={})
    result = run_rig(rig, Mode.VIRTUAL, tmp_path / "run")
    again = load_recording(tmp_path / "run")
    assert again.calls == result.recording.calls
    assert len(again.calls) == 6
    assert judge(again) == result.verdicts
    assert of_api(result)["/a", "INVALID_RESPONSE"].outcome is Outcome.FAIL
    assert result.exit_code == 1


def test_no_payload_and_no_secret_is_recorded_or_reported(a_service, tmp_path, monkeypatch):
    monkeypatch.setenv("HIL_TOKEN", "s3cr3t-value")

    def repeats(handler, body):
        return 403, "application/json", json.dumps({"error": dict(handler.headers), "body": body.decode()}).encode()

    service = a_service({"/a": repeats})
    headers = {"Authorization": "Bearer env:HIL_TOKEN"}
    rig = rig_of(service.url, a={"live": True, "headers": headers})
    result = run_rig(rig, Mode.VIRTUAL, tmp_path / "run")
    assert service.seen[0][2]["Authorization"] == "Bearer s3cr3t-value"
    assert of_api(result)["/a", "HTTP_403"].outcome is Outcome.FAIL
    everything = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert b"s3cr3t" not in everything
    assert b"env:HIL_TOKEN" in everything, "the rig that is recorded says where it came from"
    assert b'"inputs"' not in (tmp_path / "run" / CALLS).read_bytes()


def test_a_secret_that_violates_a_schema_is_not_told(a_service, ok_json, monkeypatch):
    monkeypatch.setenv("HIL_TOKEN", "s3cr3t-value")
    service = a_service({"/x": lambda handler, body: ok_json({"outputs": [handler.headers["X-Key"]] * 3})})
    call = called(service.url, entry(schema=NUMBERS, headers={"X-Key": "env:HIL_TOKEN"}))
    assert call.result == "INVALID_RESPONSE"
    assert '/outputs/0: \'type\' asks for "number", found the text "***"' in call.why
    picky = {"properties": {"outputs": {"items": {"const": "***"}}}}
    again = called(service.url, entry(schema=picky, headers={"X-Key": "env:HIL_TOKEN"}))
    assert again.result == "INVALID_RESPONSE"
    assert "s3cr3t" not in again.why


def test_in_real_time_a_service_that_hangs_delays_no_window(a_service, a_recording):
    """The session only ever hands references over: it returns at once while a call is under way."""
    entered = threading.Event()

    def stuck(handler, body):
        entered.set()
        hangs(handler, body)

    service = a_service({"/a": stuck})
    rig = replace(rig_of(service.url, a={"live": True, "repeat": 1}), duration_s=4.0)
    calls = RunCalls(replace(rig.api, timeout_ms=300.0), rig, None, virtual=False)
    windows = ({"ecg": np.zeros((1, 1, 500), np.float32)}, {"ecg": np.ones(1, np.float32)})
    calls.offer(windows)
    assert entered.wait(10)
    for _ in range(100):
        calls.offer(windows)  # would never come back if it waited for the call
    (call,) = calls.finish(0)
    assert call.result.startswith("ERROR: no whole response within 300 ms")
    assert calls.failure == ""


def test_in_real_time_a_live_payload_is_the_newest_window(a_service, ok_json):
    first, second = threading.Event(), threading.Event()

    def act(handler, body):
        (second if first.is_set() else first).set()
        return ok_json({})

    service = a_service({"/a": act})
    rig = replace(rig_of(service.url, a={"live": True, "repeat": 2}), duration_s=6.0)
    calls = RunCalls(rig.api, rig, None, virtual=False)
    for level in (1.0, 2.0, 3.0):
        calls.offer(({"ecg": np.full((1, 1, 500), level, np.float32)}, {"ecg": np.ones(1, np.float32)}))
        if level == 1.0:
            assert first.wait(10)
    assert second.wait(10)  # its round comes by the clock, when 2 and 3 have long been handed over
    calls.finish(0)
    levels = [json.loads(body)["inputs"]["ecg"][0][0] for *_, body in service.seen]
    assert levels == [1.0, 3.0]


def test_a_run_that_gave_no_window_made_no_call(a_service, ok_json):
    service = a_service({"/a": ok_json({})})
    result = run_rig(replace(rig_of(service.url, a={}), duration_s=1.0), Mode.VIRTUAL)
    assert {v.outcome for v in of_api(result).values()} == {Outcome.NOT_RUN}
    assert service.seen == []


def test_a_defect_of_the_harness_in_calling_makes_the_run_invalid(a_service, ok_json, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("harness.api.calls.call_endpoint", broken)
    result = run_rig(rig_of(a_service({"/a": ok_json({})}).url, a={}), Mode.VIRTUAL)
    assert result.exit_code == 3
    assert "calling the API failed in the harness itself: ZeroDivisionError" in result.recording.interrupted


def test_a_line_of_calls_that_is_none_is_named(tmp_path):
    (tmp_path / CALLS).write_bytes(line_of(answered()) + b'{"surprise": 1}\n' + b'{"torn')
    with pytest.raises(ValueError, match=r"api\.jsonl:2: expected a call"):
        read_calls(tmp_path)
    (tmp_path / CALLS).write_bytes(line_of(answered()) + b'{"torn')
    assert read_calls(tmp_path) == (answered(),)


def test_a_run_with_damaged_calls_is_no_recording(a_service, ok_json, tmp_path):
    run_rig(rig_of(a_service({"/a": ok_json({})}).url, a={}), Mode.VIRTUAL, tmp_path / "run")
    (tmp_path / "run" / CALLS).write_bytes(b"7\n")
    with pytest.raises(RecordingError, match=r"api\.jsonl:1"):
        load_recording(tmp_path / "run")


# --- without sensors --------------------------------------------------------------------------


def test_endpoints_are_checked_without_sensors_with_windows_of_simulated_ones(a_service, ok_json):
    service = a_service({"/a": ok_json({"outputs": [1]}), "/b": (500, "text/plain", b"oops")})
    result = check_api(rig_of(service.url, a={"live": True, "repeat": 29, "schema": NUMBERS}, b={"repeat": 2}))
    found = of_api(result)
    assert found["/a", "PASS"].outcome is found["/a", "p90 latency"].outcome is Outcome.PASS
    assert found["/b", "HTTP_500"].outcome is Outcome.FAIL
    assert result.exit_code == 1
    bodies = {body for _, path, _, body in service.seen if path == "/a"}
    assert len(bodies) > 20, "windows differ"
    assert set(json.loads(bodies.pop())["inputs"]) == {"ecg", "acceleration"}


def test_live_windows_need_no_torch():
    code = (
        "import sys; from dataclasses import replace; from harness.rig_file import parse_rig\n"
        "from harness.rig import ApiEntry, EndpointEntry; from harness.api.checking import live_windows\n"
        f"rig = parse_rig({RIG!r})\n"
        "api = ApiEntry('http://127.0.0.1:1', {'/a': EndpointEntry('/a', '/a', live=True)})\n"
        "assert len(live_windows(replace(rig, api=api))[0]) == 30\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100, cwd=Path(__file__).parents[3])


def test_without_a_window_a_live_endpoint_says_why_there_is_no_payload(a_service, ok_json, nobody):
    service = a_service({"/a": ok_json({}), "/b": ok_json({})})
    rig = rig_of(service.url, a={"live": True}, b={})
    found = of_api(check_api(replace(rig, model=replace(rig.model, url=nobody))))
    assert "nothing was sent: model.url: connection refused" in found["/a", "ERROR"].reason
    assert found["/b", "PASS"].outcome is Outcome.PASS
    assert {path for _, path, _, _ in service.seen} == {"/b"}


def test_the_command_gives_table_json_junit_and_exit_codes(a_service, ok_json, tmp_path, capsys):
    service = a_service({"/a": ok_json({}), "/b": (404, "text/plain", b"")})
    text = RIG + f"api:\n  base_url: {service.url}\n  endpoints:\n    /a: {{repeat: 29}}\n    /b: {{budget_ms: null}}\n"
    (tmp_path / "one.rig.yaml").write_text(text)
    hil = ["api", "check", str(tmp_path / "one.rig.yaml")]
    assert main([*hil, "--json", str(tmp_path / "r.json"), "--junit", str(tmp_path / "r.xml")]) == 1
    assert "HTTP_404" in capsys.readouterr().out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["outcome"]["exit_code"] == 1
    assert {v["measure"] for v in report["verdicts"]} == {"PASS", "p90 latency", "HTTP_404"}
    assert 'name="/b HTTP_404"' in (tmp_path / "r.xml").read_text()
    assert main([*hil, "--endpoint", "/a", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*hil, "--endpoint", "/c"]) == 2
    assert "no endpoint '/c'" in capsys.readouterr().err


# --- in a rig file ----------------------------------------------------------------------------

API = RIG + "api:\n  base_url: http://127.0.0.1:8000\n"
GOOD = API + "  endpoints:\n    /infer: {live: true}\n"


def test_a_section_becomes_plain_data(tmp_path, monkeypatch):
    monkeypatch.setenv("HIL_TOKEN", "s3cr3t-value")
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    (tmp_path / "payload.json").write_text('{"a": 1}')
    text = API + (
        '  headers: {Authorization: "Bearer env:HIL_TOKEN"}\n  timeout_ms: 500\n  endpoints:\n'
        "    /infer: {live: true, repeat: 5}\n"
        "    refused: {path: /infer, payload: {inputs: {}}, expect: {status: 422}}\n"
        "    /echo: {payload_file: payload.json, expect: {schema_file: schema.json}, budget_ms: null}\n"
        "    /health: {method: get, expect: {json: false}, budget_ms: 20}\n"
    )
    rig = parse_rig(text, str(tmp_path / "one.rig.yaml"))
    assert rig.api is not None
    infer, refused, echo, health = rig.api.endpoints.values()
    assert (infer.path, infer.method, infer.live, infer.repeat, infer.budget_ms) == ("/infer", "post", True, 5, 100.0)
    assert (refused.name, refused.path, refused.payload, refused.status) == ("refused", "/infer", {"inputs": {}}, 422)
    assert (echo.payload_file, echo.schema) == (str(tmp_path / "payload.json"), {"type": "object"})
    assert (health.method, health.is_json, health.budget_ms) == ("get", False, 20.0)
    assert rig.api.headers == {"Authorization": "Bearer env:HIL_TOKEN"}
    assert rig_from_dict(json.loads(json.dumps(rig_to_dict(rig)))) == rig
    assert "s3cr3t" not in repr(rig)


def test_a_rig_without_a_section_has_none():
    assert parse_rig(RIG).api is None


WRONG = {
    "another machine": (GOOD.replace("127.0.0.1", "10.0.0.1"), 8, "10.0.0.1 is not this machine"),
    "a password in the URL": (GOOD.replace("127", "me:secret@127"), 8, "would be recorded"),
    "no endpoints": (API + "  endpoints: {}\n", 9, "expected at least one"),
    "an unknown key": (API + "  endpoints:\n    /a: {expects: {}}\n", 10, "did you mean 'expect'?"),
    "an unknown expectation": (API + "  endpoints:\n    /a: {expect: {scheme: {}}}\n", 10, "did you mean 'schema'?"),
    "two payloads": (API + "  endpoints:\n    /a: {live: true, payload: 1}\n", 10, "give one of"),
    "a GET with a payload": (API + "  endpoints:\n    /a: {method: get, payload: 1}\n", 10, "a GET request carries no"),
    "a date": (API + "  endpoints:\n    /a: {payload: {d: 2020-01-01}}\n", 10, "put dates in quotes"),
    "a payload that is not a number": (API + "  endpoints:\n    /a: {payload: .nan}\n", 10, "give finite numbers"),
    "no such file": (API + "  endpoints:\n    /a: {payload_file: gone.json}\n", 10, "no file that can be read"),
    "a name that is no path": (API + "  endpoints:\n    infer: {}\n", 10, "begins with one '/'"),
    "a path with a token": (API + "  endpoints:\n    /a?token=x: {}\n", 10, "reads like a credential"),
    "no schema": (API + "  endpoints:\n    /a: {expect: {schema: {type: strin}}}\n", 10, "no JSON Schema: /type"),
    "a schema elsewhere": (
        API + '  endpoints:\n    /a: {expect: {schema: {$ref: "http://x.example/s"}}}\n', 10, "leads nowhere"),
    "a schema for text": (
        API + "  endpoints:\n    /a: {expect: {json: false, schema: {}}}\n", 10, "a schema is about JSON"),
    "a budget beyond the timeout": (API + "  endpoints:\n    /a: {budget_ms: 5000}\n", 10, "says nothing"),
    "a credential": (GOOD + '  headers: {Authorization: "Bearer x"}\n', 11, "this is a credential"),
    "an absent variable": (
        GOOD + '  headers: {Authorization: "env:HIL_NOT_SET"}\n', 11, "variable HIL_NOT_SET is not set here"),
    "a method that is none": (API + "  endpoints:\n    /a: {method: POST}\n", 10, "expected 'post', 'get'"),
    "limits without a section": (RIG + "  api: {}\n", 7, "no `api:` section"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_section_is_said_where_it_stands(case):
    text, line, said = WRONG[case]
    with pytest.raises(RigError) as raised:
        parse_rig(text)
    assert [problem.line for problem in raised.value.problems if said in problem.message] == [line]


def test_another_machine_is_allowed_if_the_rig_says_so():
    text = GOOD.replace("127.0.0.1", "10.0.0.1") + "  allow_remote: true\n"
    assert parse_rig(text).api is not None
