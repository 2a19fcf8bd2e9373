"""The client: it never waits for ever, follows nothing, repeats nothing, and keeps secrets to itself."""

import json
import sys

import pytest

from drivers.errors import SettingError
from harness.api.address import address_of, check_path, is_loopback
from harness.api.client import ApiClient, ApiError, ApiTimeoutError
from harness.api.credentials import MASK, check_header, header_value, masked, secrets_of
from harness.api.structure import check_schema


def hangs(handler, body):
    handler.server.released.wait()


# --- what works -------------------------------------------------------------------------------


def test_a_post_carries_json_and_brings_json_back(a_service, ok_json):
    service = a_service({"/v1/echo": lambda handler, body: ok_json({"got": json.loads(body)})})
    with ApiClient(service.url + "/v1") as client:
        response = client.post("/echo", json={"a": [1, 2.5, None]})
    assert (response.status_code, response.json()) == (200, {"got": {"a": [1, 2.5, None]}})
    assert response.ms > 0
    method, _, headers, _ = service.seen[0]
    assert method == "POST"
    assert headers["Content-Type"] == "application/json"
    assert headers["Host"] == client.address.place


def test_a_header_of_the_call_stands_for_the_one_of_the_client_whatever_its_case(a_service, ok_json):
    service = a_service({"/x": ok_json({})})
    with ApiClient(service.url, headers={"X-Trace": "all", "content-type": "application/cbor"}) as client:
        client.post("/x", json={}, headers={"x-trace": "one"})
        with pytest.raises(SettingError, match="set by the client"):
            client.post("/x", json={}, headers={"HOST": "elsewhere"})
    (call,) = service.seen
    assert (call[2]["X-Trace"], call[2]["Content-Type"]) == ("one", "application/cbor")


def test_calls_share_one_connection(a_service, ok_json):
    service = a_service({"/x": ok_json({})})
    with ApiClient(service.url) as client:
        for _ in range(5):
            assert client.get("/x").status_code == 200
    assert len(service.seen) == 5
    assert service.connections == 1


def test_settings_of_the_environment_send_nothing_elsewhere(a_service, ok_json, nobody, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, nobody)
    service = a_service({"/x": ok_json({})})
    with ApiClient(service.url) as client:
        assert client.get("/x").status_code == 200


# --- what a service may do wrong --------------------------------------------------------------


def failing(url, endpoint="/x", timeout_ms=2000.0, **options):
    with ApiClient(url, timeout_ms, **options) as client, pytest.raises(ApiError) as raised:
        client.post(endpoint, json={}).json()
    return str(raised.value)


def test_a_refused_connection_asks_whether_the_service_runs_there(nobody):
    text = failing(nobody)
    assert "connection refused: is the service running on " + nobody.removeprefix("http://") in text


def test_a_service_that_hangs_is_given_up_after_the_timeout(a_service):
    service = a_service({"/x": hangs})
    assert "no whole response within 50 ms" in failing(service.url, timeout_ms=50.0)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"], ids=["head", "body"])
def test_a_service_that_sends_a_byte_now_and_then_is_given_up_as_soon(a_talker, start):
    import threading

    stop = threading.Event()

    def drip(connection):
        connection.recv(65536)
        connection.sendall(start)
        while not stop.wait(0.01):  # each byte comes well within the timeout, all of them never
            connection.sendall(b"x")

    try:
        assert "no whole response within 150 ms" in failing(a_talker(drip), timeout_ms=150.0)
    finally:
        stop.set()


def test_a_timeout_is_told_from_other_errors(a_service):
    service = a_service({"/x": hangs})
    with ApiClient(service.url, 30.0) as client, pytest.raises(ApiTimeoutError):
        client.get("/x")


def test_after_a_timeout_the_next_call_is_one_of_its_own(a_service, ok_json):
    """The late answer to the first must not be taken for the answer to the second."""
    service = a_service({"/slow": lambda handler, body: service.released.wait(5) and ok_json({"late": 1}),
                         "/x": ok_json({"now": 1})})  # fmt: skip
    with ApiClient(service.url, 50.0) as client:
        with pytest.raises(ApiTimeoutError):
            client.get("/slow")
        service.released.set()
        client.timeout_ms = 2000.0
        assert client.get("/x").json() == {"now": 1}


def test_a_page_instead_of_json_is_shown(a_service):
    service = a_service({"/x": (200, "text/html", b"<html>Welcome to nginx</html>")})
    text = failing(service.url)
    assert "not JSON" in text
    assert "text/html" in text
    assert "Welcome to nginx" in text


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": NaN}', b"\xff", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_is_no_crash(a_service, body):
    service = a_service({"/x": (200, "application/json", body)})
    assert "the response is not JSON" in failing(service.url)


def test_a_body_that_ends_too_early_is_no_response(a_talker):
    def truncated(connection):
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":')

    assert "closed the connection too early" in failing(a_talker(truncated))


def test_a_service_that_dies_within_a_call_is_no_response_and_is_not_asked_again(a_talker):
    asked = []

    def dies(connection):
        asked.append(connection.recv(65536))

    assert "closed the connection too early" in failing(a_talker(dies))
    assert len(asked) == 1


def test_what_does_not_speak_http_is_said_to_be_another_service(a_talker):
    def shell(connection):
        connection.recv(65536)
        connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    assert "is another service listening there?" in failing(a_talker(shell))


def test_a_huge_response_is_broken_off(a_service):
    service = a_service({"/x": (200, "application/json", b" " * 300_000)})
    assert "longer than 200000 bytes" in failing(service.url, most_bytes=200_000)


def test_an_endless_response_is_broken_off(a_talker):
    def endless(connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    assert "longer than 200000 bytes" in failing(a_talker(endless), most_bytes=200_000)


def test_a_compressed_response_is_refused_since_its_size_is_unknown(a_service):
    def squeezed(handler, body):
        import gzip

        packed = gzip.compress(b" " * 1000)
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)

    service = a_service({"/x": squeezed})
    assert "compressed ('gzip')" in failing(service.url)
    assert service.seen[0][2]["Accept-Encoding"] == "identity"


def test_a_redirect_is_not_followed(a_service, ok_json):
    other = a_service({"/x": ok_json({})})

    def elsewhere(handler, body):
        handler.send_response(307)
        handler.send_header("Location", other.url + "/x")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    service = a_service({"/x": elsewhere})
    with ApiClient(service.url) as client:
        assert client.post("/x", json={}).status_code == 307
    assert other.seen == []


# --- where it may go --------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.8.7", "localhost", "LOCALHOST.", "[::1]"])
def test_this_machine_needs_no_permission(host):
    assert address_of(f"http://{host}:8000").port == 8000


@pytest.mark.parametrize(
    "url",
    ["http://192.168.0.2:8000", "http://example.org", "http://0.0.0.0:8000", "http://127.0.0.1.example.org",
     "http://localhost.example.org", "http://[::ffff:10.0.0.1]:80", "http://2130706433", "https://10.1"],
)  # fmt: skip
def test_another_machine_needs_permission(url):
    with pytest.raises(SettingError, match="allow_remote: true"):
        ApiClient(url)
    assert not is_loopback(address_of(url, allow_remote=True).host)


@pytest.mark.parametrize(
    ("url", "found"),
    [("127.0.0.1:8000", "expected a URL"), ("ftp://127.0.0.1", "expected a URL"), ("http://", "expected a URL"),
     ("http://127.0.0.1:99999", "Port out of range"), ("http://127.0.0.1:0", "no host and port"),
     ("http://me:hidden@127.0.0.1", "would be recorded"), ("http://127.0.0.1?token=hidden", "expected a URL"),
     ("http://127.0.0.1/\nx", "expected a URL")],
)  # fmt: skip
def test_what_is_no_address_is_refused(url, found):
    with pytest.raises(SettingError, match=found) as raised:
        address_of(url)
    assert "hidden" not in str(raised.value) or "token" in url


@pytest.mark.parametrize(
    "path", ["infer", "//evil.example", "/a b", "/a\r\nX: y", "/a#b", "/../x", "/x?api_key=1", "/é"]
)
def test_what_is_no_path_is_refused(path):
    with pytest.raises(SettingError):
        check_path(path)


@pytest.mark.parametrize("path", ["/infer", "/v1/items?kind=ecg&n=3", "/", "/a%20b", "/~me/x.json"])
def test_a_path_is_a_path(path):
    check_path(path)


def test_a_path_cannot_lead_to_another_host(nobody):
    with ApiClient(nobody) as client, pytest.raises(SettingError):
        client.get("//example.org/x")


# --- secrets ----------------------------------------------------------------------------------

ENVIRONMENT = {"TOKEN": "s3cr3t-value", "TWO": "first\nsecond", "EMPTY": ""}


def test_a_header_comes_from_the_environment():
    assert header_value("Authorization", "env:TOKEN", ENVIRONMENT) == "s3cr3t-value"
    assert header_value("Authorization", "Bearer env:TOKEN", ENVIRONMENT) == "Bearer s3cr3t-value"
    assert header_value("X-Trace", "on", ENVIRONMENT) == "on"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("Authorization", "env:ABSENT", "ABSENT is not set here: export ABSENT="), ("X", "env:EMPTY", "EMPTY is not set"),
     ("X", "env:TWO", "TWO holds"), ("X", "env:A-B", "name of an environment variable"),
     ("Authorization", "Bearer abc", 'write Authorization: "env:'), ("X-API-Key", "abc", "this is a credential"),
     ("Cookie", "a=b", "this is a credential"), ("X-Access-Token", "abc", "this is a credential"),
     ("X", "a\r\nY: b", "printable ASCII"), ("a b", "x", "name of a header"), ("Host", "x", "set by the client")],
)  # fmt: skip
def test_a_header_that_cannot_be_is_refused_without_showing_a_secret(name, value, said):
    with pytest.raises(SettingError, match=said) as raised:
        check_header(name, value, ENVIRONMENT)
    assert "second" not in str(raised.value)


def test_all_that_was_sent_as_a_secret_is_masked():
    secrets = secrets_of({"Authorization": "Bearer env:TOKEN", "X-Trace": "on"}, ENVIRONMENT)
    assert masked("got Bearer s3cr3t-value, that is s3cr3t-value; Bearer on", secrets) == (
        f"got {MASK}, that is {MASK}; Bearer on"
    )


@pytest.mark.parametrize("secret", ['quo"ted/secret+value', "back\\slash-secret", "per cent%secret"])
def test_a_secret_is_masked_however_json_and_urls_write_it(secret):
    from urllib.parse import quote, quote_plus

    secrets = secrets_of({"X-Key": "env:KEY"}, {"KEY": secret})
    ways = [
        secret,
        json.dumps(secret),
        json.dumps(secret).replace("/", "\\/"),
        quote(secret, safe=""),
        quote_plus(secret),
    ]
    for way in ways:
        assert "secret" not in masked(f"it was {way} then", secrets)


def test_a_service_that_repeats_a_secret_does_not_get_it_into_an_error(a_service, monkeypatch):
    monkeypatch.setenv("TOKEN", "s3cr3t-value")

    def repeats(handler, body):
        said = f"you said {handler.headers['Authorization']}" * 30
        return 500, "text/plain", said.encode()

    service = a_service({"/x": repeats})
    with ApiClient(service.url, headers={"Authorization": "env:TOKEN"}) as client:
        response = client.post("/x", json={})
    assert b"s3cr3t-value" in response.content
    assert "s3cr" not in response.said()
    with pytest.raises(ApiError) as raised:
        response.json()
    assert "s3cr" not in str(raised.value)
    assert "s3cr" not in repr(response.said())


# --- without the extra ------------------------------------------------------------------------


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpcore", None)
    monkeypatch.delitem(sys.modules, "harness.api.deadline", raising=False)
    with pytest.raises(SettingError, match=r"pip install 'spiral-hil\[api\]'"):
        ApiClient("http://127.0.0.1:1")


def test_without_the_packages_a_schema_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(SettingError, match=r"pip install 'spiral-hil\[api\]'"):
        check_schema({"type": "object", "title": "one that no other test has asked for"})
