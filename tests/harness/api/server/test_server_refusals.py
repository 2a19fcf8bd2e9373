"""Whatever is sent, the answer is 4xx, says what was expected, found and where, and the server goes on."""

import contextlib
import json
import socket

import pytest

from harness.api.served import Limits

LIMIT = 100_000
"""Bytes that the server of these tests takes."""
JSON = {"content-type": "application/json"}


def a(text, more=""):
    return '{"inputs": {"a": %s}%s}' % (text, more)  # noqa: UP031


OK = "[[1, 2, 3, 4]]"
BODIES = {
    "truncated": ('{"inputs": {"a": [[1, 2', 400, "", "line 1 column 24"),
    "empty": ("", 400, "", "found nothing"),
    "not JSON": ("inputs=a", 400, "", "Expecting value"),
    "not UTF-8": (b'{"\xff": 1}', 400, "", "0xff"),
    "UTF-16": (a(OK).encode("utf-16"), 400, "", "UTF-8"),
    "two documents": (a(OK) + a(OK), 400, "", "Extra data"),
    "deep nesting": ("[" * 50_000 + "]" * 50_000, 400, "", "nested too deeply"),
    "deep nesting of objects": ('{"a":' * 15_000, 400, "", "nested too deeply"),
    "5000 digits": (a(f"[[1, 2, 3, {'9' * 5000}]]"), 400, "", "thousands of digits"),
    "an array": ("[]", 422, "", "empty array"),
    "null": ("null", 422, "", "found null"),
    "no inputs": ("{}", 422, "/inputs", "no such key"),
    "inputs is text": ('{"inputs": "a"}', 422, "/inputs", 'the text "a"'),
    "no modality": ('{"inputs": {}}', 422, "/inputs", "at least one of a, b"),
    "unknown modality": ('{"inputs": {"c": [[1]]}}', 422, "/inputs/c", "only the keys a, b"),
    "unknown key": (a(OK, ', "qualty": {}'), 422, "/qualty", "inputs, quality"),
    "a very long key": ('{"%s": 1}' % ("k" * 50_000), 422, "/" + "k" * 60 + "...", "only the keys"),
    "a very long text": ('{"inputs": "%s"}' % ("k" * 50_000), 422, "/inputs", "kkk..."),
    "modality twice": ('{"inputs": {"a": [[1]], "a": [[1]]}}', 422, "/inputs/a", "twice"),
    "a number": (a("7"), 422, "/inputs/a", "[1][4] numbers"),
    "flat": (a("[1, 2, 3, 4]"), 422, "/inputs/a", "1 channels"),
    "wrong length": (a("[[1, 2, 3]]"), 422, "/inputs/a/0", "4 numbers (1 s at 4 Hz), found an array of 3"),
    "too many channels": (a("[[1, 2, 3, 4], [1, 2, 3, 4]]"), 422, "/inputs/a", "found an array of 2"),
    "ragged": ('{"inputs": {"b": [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5]]}}', 422, "/inputs/b/1", "array of 5"),
    "ragged nesting": (a("[[1, 2, [3], 4]]"), 422, "/inputs/a/0/2", "an array of 1"),
    "empty batch": (a("[]"), 422, "/inputs/a", "empty array"),
    "unequal batches": (
        '{"inputs": {"a": [[[1, 2, 3, 4]], [[1, 2, 3, 4]]], "b": [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]]}}',
        422, "/inputs/b", "as many windows as a has, 2",
    ),
    "too many windows": (a(json.dumps([[[0] * 4]] * 300)), 422, "/inputs/a", "at most 256 windows"),
    "NaN": (a("[[1, NaN, 3, 4]]"), 422, "/inputs/a/0/1", "found NaN"),
    "minus infinity": (a("[[1, 2, 3, -Infinity]]"), 422, "/inputs/a/0/3", "-Infinity"),
    "1e400": (a("[[1e400, 2, 3, 4]]"), 422, "/inputs/a/0/0", "beyond any float"),
    "1e39": (a("[[1, 2, 1e39, 4]]"), 422, "/inputs/a/0/2", "32-bit"),
    "bool": (a("[[1, 2, false, 4]]"), 422, "/inputs/a/0/2", "found false"),
    "text for a number": (a('[["1", 2, 3, 4]]'), 422, "/inputs/a/0/0", 'the text "1"'),
    "null for a number": (a("[[null, 2, 3, 4]]"), 422, "/inputs/a/0/0", "found null"),
    "negative quality": (a(OK, ', "quality": {"a": -1}'), 422, "/quality/a", "from 0 to 1, found -1"),
    "quality 2": (a(OK, ', "quality": {"a": [2]}'), 422, "/quality/a/0", "from 0 to 1, found 2"),
    "quality as text": (a(OK, ', "quality": {"a": "good"}'), 422, "/quality/a", 'the text "good"'),
    "quality of what is absent": (a(OK, ', "quality": {"b": 1}'), 422, "/quality/b", "only the keys a"),
    "too many qualities": (a(OK, ', "quality": {"a": [1, 1]}'), 422, "/quality/a", "array of 1"),
    "half a surrogate": ('{"inputs": {"\\ud800": 1}}', 422, "/inputs/\ud800", "ud800"),
    "markup": ('{"inputs": {"<script>alert(1)</script>": 1}}', 422, "/inputs/<script>alert(1)<~1script>", "only"),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_a_wrong_body_is_answered_4xx_and_with_its_place(robust, case):
    client, _ = robust
    body, status, where, word = BODIES[case]
    answer = client.post("/infer", content=body, headers=JSON)
    assert answer.status_code == status
    assert (
        answer.headers["content-type"] == "application/json" and answer.headers["x-content-type-options"] == "nosniff"
    )
    found = answer.json()
    assert found.get("where", "") == where and word in found["error"]
    assert "Traceback" not in answer.text and len(answer.text) < 500


@pytest.mark.parametrize(
    ("headers", "word"),
    [
        ({"content-type": "text/plain"}, "application/json, found text/plain"),
        ({"content-type": "application/x-www-form-urlencoded"}, "x-www-form"),
        ({"content-type": "application/jsonp"}, "jsonp"),
        ({}, "found none"),
        ({"content-type": "application/json; charset=latin-1"}, "UTF-8"),
        ({**JSON, "content-encoding": "gzip"}, "found gzip"),
    ],
)
def test_what_is_not_declared_as_plain_json_is_415(robust, headers, word):
    client, _ = robust
    answer = client.post("/infer", content=a(OK).encode(), headers=headers)
    assert answer.status_code == 415 and word in answer.json()["error"]


def test_utf_8_may_be_said(robust):
    client, _ = robust
    for kind in ("application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"'):
        assert client.post("/infer", content=a(OK), headers={"content-type": kind}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/infer", 405, "expected POST /infer, found GET"),
        ("PUT", "/infer", 405, "expected POST"),
        ("POST", "/health", 405, "expected GET /health"),
        ("GET", "/nothing", 404, "expected one of POST /infer, GET /health"),
        ("POST", "/infer/", 404, "found POST /infer/"),
        ("GET", "/../etc/passwd", 404, "one of"),
        ("GET", "/%3Cb%3E", 404, "found GET /<b>"),
    ],
)
def test_another_method_or_path_is_told_what_there_is(robust, method, path, status, word):
    client, _ = robust
    answer = client.request(method, path)
    assert answer.status_code == status and word in answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"
    if status == 405:
        assert word.split()[1] in answer.headers["allow"].split(", ")


# --- size and time ----------------------------------------------------------------------------


def test_50_mb_are_refused_by_their_declared_length(robust):
    client, _ = robust
    answer = client.post("/infer", content=b" " * 50_000_000, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["error"] == f"the body: expected at most {LIMIT} bytes, found 50000000"


def test_a_body_of_the_greatest_length_is_taken_and_one_byte_more_is_not(robust):
    client, _ = robust
    body = a(OK).encode()
    for size, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        assert client.post("/infer", content=body.ljust(size), headers=JSON).status_code == status


def test_an_overlong_body_without_a_length_is_refused_too(robust):
    client, _ = robust
    answer = client.post("/infer", content=(b" " * 10_000 for _ in range(200)), headers=JSON)
    assert answer.status_code == 413 and f"at most {LIMIT} bytes" in answer.json()["error"]


def test_a_body_in_chunks_within_the_limit_is_taken(robust):
    client, _ = robust
    text = a(OK).encode()
    assert client.post("/infer", content=(text[k : k + 5] for k in range(0, len(text), 5)), headers=JSON).json()[
        "outputs"
    ] == [[2.5, 1.0]]


def raw(client, *parts):
    """Bytes as they are over one connection; what comes back until the server closes or there is a full answer."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=60) as line:
        for part in parts:
            line.sendall(part)
        found = b""
        while b"}" not in found and (data := line.recv(65536)):
            found += data
    return found


def test_who_asks_first_whether_it_may_send_so_much_is_answered_before_it_does(robust):
    client, _ = robust
    head = b"POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    found = raw(client, head + b"Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 413 ")


def test_who_asks_first_with_a_small_body_is_told_to_go_on(robust):
    client, _ = robust
    head = b"POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    body = a(OK).encode()
    found = raw(client, head + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body) + body)
    assert b"HTTP/1.1 200 " in found


CHUNKED = b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_HTTP = {
    "a word": b"nonsense\r\n\r\n",
    "a length below 0": b"POST /infer HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n{}",
    "zeros": b"\0" * 100 + b"\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "a chunk without a length": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a head without end": b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000,
}


@pytest.mark.parametrize("case", NO_HTTP)
def test_what_is_no_http_is_answered_400(robust, case):
    client, _ = robust
    head, _, body = raw(client, NO_HTTP[case]).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"application/json" in head
    assert "expected HTTP/1.1" in json.loads(body)["error"]


def test_a_client_that_goes_away_in_its_body_harms_nobody(robust):
    client, _ = robust
    head = b"POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    with socket.create_connection((client.base_url.host, client.base_url.port)) as line:
        line.sendall(head)
    assert client.post("/infer", content=a(OK), headers=JSON).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for_for_ever(moody):
    client, _ = moody(limits=Limits(patience_s=0.2))
    head = b"POST /infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    found = raw(client, head)
    assert found.startswith(b"HTTP/1.1 408 ") and b"expected all of it within 0.2 s, found 1 bytes" in found


@pytest.mark.parametrize("part", [b"", b"POST /infer HTT", b"POST /infer HTTP/1.1\r\nHost: loc"])
def test_a_head_that_does_not_come_is_not_waited_for_for_ever(moody, part):
    client, _ = moody(limits=Limits(patience_s=0.2))
    with contextlib.suppress(ConnectionResetError):  # closed as well
        assert raw(client, part) == b""


# --- who may ask ------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "192.168.0.7", "127.0.0.1.evil.example"])
def test_another_name_for_this_machine_is_refused_since_a_web_page_can_make_one(robust, host):
    client, _ = robust
    answer = client.get("/model", headers={"host": host})
    assert answer.status_code == 421 and "expected localhost or 127.0.0.1" in answer.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1", "127.1.2.3:80", "[::1]:8000", "LOCALHOST"])
def test_this_machine_goes_by_its_own_names(robust, host):
    client, _ = robust
    assert client.get("/model", headers={"host": host}).status_code == 200


def test_a_server_for_others_answers_to_any_name(moody):
    client, _ = moody(hosts=None)
    assert client.get("/model", headers={"host": "bench-7.example"}).status_code == 200


def test_after_all_of_this_the_server_is_well(robust):
    client, _ = robust
    answer = client.post("/infer", content=a(OK), headers=JSON)
    assert answer.json()["outputs"] == [[2.5, 1.0]]
    assert client.get("/health").json()["status"] == "ok"
    assert 'status="500"' not in client.get("/metrics").text
