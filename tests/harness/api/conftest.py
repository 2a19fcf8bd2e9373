"""Services on 127.0.0.1 that misbehave on purpose; each really listens, in a thread of its own."""

import json
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Service(ThreadingHTTPServer):
    """Answers as ``acts[path]`` says: a function of the handler and the body, or (status, content type, bytes)."""

    daemon_threads = True

    def __init__(self, acts):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.acts, self.seen, self.connections = acts, [], 0
        self.released = threading.Event()
        """Those who hang wait for it."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def process_request(self, request, address):
        self.connections += 1
        super().process_request(request, address)

    def handle_error(self, request, client_address):
        """Clients that go away in the middle are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or head and body, which are two writes, are 40 ms apart

    def log_message(self, *args):
        pass

    def _any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, {k.title(): v for k, v in self.headers.items()}, body))
        act = self.server.acts.get(self.path, (404, "application/json", b'{"error": "no such path"}'))
        answer(self, *(act(self, body) or ()) if callable(act) else act)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _any  # noqa: N815


def answer(handler, status=None, kind="application/json", body=b"", **headers):
    if status is None:  # it has been answered
        return
    handler.send_response(status)
    for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def ok(document):
    return 200, "application/json", json.dumps(document).encode()


@pytest.fixture
def a_service():
    """Starts a Service with these acts; all are stopped at the end, whoever hangs is released."""
    running = []

    def start(acts):
        service = Service(acts)
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        running.append((service, thread))
        return service

    yield start
    for service, thread in running:
        service.released.set()
        service.shutdown()
        thread.join()
        service.server_close()


@pytest.fixture
def a_talker():
    """A server that for each connection calls ``talk(socket)`` and closes: for what is no HTTP, or half of it."""
    made = []

    def start(talk):
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        made.append((listener, thread))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener, thread in made:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture
def nobody():
    """A URL on which nothing listens: the port was free a moment ago and is held without listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def ok_json():
    return ok
