"""A client of an HTTP API that never waits for ever, never follows a redirect and never sends anything twice.

    with ApiClient("http://127.0.0.1:8000") as client:
        response = client.post("/infer", json={"inputs": {...}})
        response.status_code, response.json()

It is the client that the debugging guide's integration test asks for. Proxies and other settings of the environment are
not looked at: what is meant for this machine stays on it.
"""

from __future__ import annotations

import json as as_json
import ssl
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeAlias

from drivers.clock import Clock, RealClock, to_ns
from drivers.errors import SettingError
from harness.api.address import Address, address_of, check_path
from harness.api.credentials import check_header, header_value, masked, secrets_of

Fields: TypeAlias = list[tuple[bytes | str, bytes | str]]
MOST_BYTES = 16 * 2**20
"""A response that is longer is broken off: memory is bounded whatever a server sends."""
_EXCERPT = 200


class ApiError(Exception):
    """No response, or none that can be used; the message says what is likely and what to try."""


class ApiTimeoutError(ApiError):
    """The whole response was not there in time."""


@dataclass(frozen=True)
class ApiResponse:
    """A complete response."""

    status_code: int
    headers: Mapping[str, str]
    """By lower-case name; of one that is there twice the last."""
    content: bytes
    ms: float
    """From sending the first byte of the request to the last byte of the response."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What must not get from the response into any record (harness.api.credentials.masked)."""

    def json(self) -> Any:
        """The body as plain values; ApiError if it is no JSON."""
        try:
            return as_json.loads(self.content.decode("utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            kind = self.headers.get("content-type", "not given")
            said = str(error) if self.content.strip() else "the body is empty"
            raise ApiError(
                f"the response is not JSON ({said}), content type {kind}: {self.excerpt()!r}; is this the API's own "
                "path, and not a page of a proxy or a web server?"
            ) from error

    def excerpt(self) -> str:
        """The beginning of the body as text, with everything secret that was sent masked."""
        text = masked(self.content.decode("utf-8", "replace"), self.secrets)
        return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."

    def said(self) -> str:
        """What an error response says of itself: its ``error`` or ``detail``, else the beginning of the body."""
        try:
            found = as_json.loads(self.content)
        except (ValueError, RecursionError):
            return self.excerpt()
        text = next((found[k] for k in ("error", "detail", "message") if k in found), "") if _is_map(found) else ""
        short = masked(text if isinstance(text, str) else as_json.dumps(text), self.secrets)[: 2 * _EXCERPT]
        return short or self.excerpt()


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _no_constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which JSON does not have")


class ApiClient:
    """Keeps its connection between calls; one call at a time, others wait for their turn.

    ``headers`` as a rig has them (``env:NAME``, see harness.api.credentials). SettingError for a URL or a header that
    cannot be, and where the packages are not installed.
    """

    def __init__(
        self,
        base_url: str,
        timeout_ms: float = 1000.0,
        *,
        allow_remote: bool = False,
        headers: Mapping[str, str] | None = None,
        most_bytes: int = MOST_BYTES,
        clock: Clock | None = None,
    ) -> None:
        self.address = address_of(base_url, allow_remote=allow_remote)
        self.timeout_ms, self._most_bytes = timeout_ms, most_bytes
        self._headers, self._clock = dict(headers or {}), clock or RealClock()
        for name, value in self._headers.items():
            check_header(name, value)
        try:
            from harness.api.deadline import Deadline, bounded_pool
        except ImportError as error:
            raise SettingError(
                f"HTTP needs {error.name}, which is not installed: pip install 'spiral-hil[api]'"
            ) from error
        self._deadline = Deadline(self._clock)
        self._pool = bounded_pool(self._deadline)
        weakref.finalize(self, self._pool.close)  # whoever forgets to close it leaves no socket open
        self._turn = Lock()

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection up."""
        self._pool.close()

    def get(self, endpoint: str, headers: Mapping[str, str] | None = None) -> ApiResponse:
        """A GET request; ApiError."""
        return self.request("get", endpoint, None, headers)

    def post(self, endpoint: str, json: Any = None, headers: Mapping[str, str] | None = None) -> ApiResponse:
        """A POST request with these plain values as its JSON body; ApiError."""
        return self.request("post", endpoint, encoded(json), headers)

    def request(
        self, method: str, endpoint: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> ApiResponse:
        """Any request with a JSON body that is encoded already, or with none; ApiError, SettingError."""
        check_path(endpoint)
        rest = {name.lower(): value for name, value in (self._headers | dict(headers or {})).items()}
        fields: dict[str, str] = {
            "host": self.address.place,
            "accept": "application/json, */*;q=0.5",
            "accept-encoding": "identity",
        }
        if body is not None:
            fields |= {"content-type": "application/json", "content-length": str(len(body))}
        for name, value in rest.items():
            check_header(name, value)
        fields |= {name: header_value(name, value) for name, value in rest.items()}
        secrets = secrets_of(rest)
        with self._turn:
            began_ns = self._clock.now_ns()
            self._deadline.at_ns = began_ns + to_ns(self.timeout_ms / 1000)
            status, found, content = self._exchange(
                method.upper(), self.address.url(endpoint), [*fields.items()], body, secrets
            )
            spent_ms = (self._clock.now_ns() - began_ns) / 1e6
        return ApiResponse(status, found, content, spent_ms, secrets)

    def _exchange(
        self,
        method: str,
        url: str,
        fields: Fields,
        body: bytes | None,
        secrets: tuple[str, ...],
    ) -> tuple[int, dict[str, str], bytes]:
        import httpcore

        try:
            with self._pool.stream(method, url, headers=fields, content=body) as response:
                found = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers}
                return response.status, found, self._read(response.iter_stream(), found)
        except httpcore.TimeoutException as error:
            raise ApiTimeoutError(self._late()) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            raise ApiError(masked(_explained(error, self.address), secrets)) from error

    def _read(self, parts: Iterable[bytes], headers: Mapping[str, str]) -> bytes:
        """The whole body, within the limit. A compressed one would have a size that nobody knows beforehand."""
        if headers.get("content-encoding", "identity").lower() != "identity":
            kind = headers["content-encoding"]
            raise ApiError(f"the response is compressed ({kind!r}) though that was not asked for; switch it off there")
        content = bytearray()
        for part in parts:
            content += part
            if len(content) > self._most_bytes:
                raise ApiError(f"the response is longer than {self._most_bytes} bytes and was broken off")
        return bytes(content)

    def _late(self) -> str:
        return (
            f"no whole response within {self.timeout_ms:g} ms (timeout_ms): is {self.address.place} overloaded or "
            "stuck, or is that too little time for the work?"
        )


def encoded(payload: Any) -> bytes | None:
    """A JSON body for plain values; none for None. ValueError for NaN and what is no plain value."""
    if payload is None:
        return None
    return as_json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()


def _explained(error: Exception, address: Address) -> str:
    """What httpcore says, with what is likely and what to try."""
    root: BaseException = error
    while (inner := root.__cause__ or root.__context__) is not None:
        root = inner
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(root, ConnectionRefusedError):
        return f"connection refused: is the service running on {address.place}? Start it, or correct the URL"
    if isinstance(root, ssl.SSLError):
        return f"TLS with {address.place} failed ({said}): does it speak https, with a certificate that is trusted?"
    if isinstance(root, ConnectionResetError | BrokenPipeError) or "disconnected" in said or "peer closed" in said:
        return f"{address.place} closed the connection too early ({said}): did the service crash? See its log"
    if type(error).__name__ == "ConnectError":
        return f"no connection to {address.place} ({said}): is the host's name right, and can it be reached?"
    return f"{address.place} does not answer as HTTP asks for ({said}): is another service listening there?"
