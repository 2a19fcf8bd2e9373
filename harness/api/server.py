"""A model behind HTTP: POST /infer, GET /health, /metrics, /model, /openapi.json. Needs the extra ``api``.

What is asked wrongly is answered 4xx with {"error": expected, found, where}; nothing that a client sends gets a
traceback, comes back as HTML, or occupies more than the limits allow. There is no authentication.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from drivers.types import FloatArray
from harness.api.metrics import CONTENT_TYPE, Metrics, rss_bytes
from harness.api.openapi import openapi_document
from harness.api.served import Served
from harness.api.wire import WireError, decode_request, parse_json, to_body
from harness.api.worker import QueueFullError
from harness.model.errors import ModelError
from harness.monitor.health import Crossing, HealthMonitor

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

ENDPOINTS = {
    "/infer": "POST", "/health": "GET", "/metrics": "GET", "/model": "GET", "/openapi.json": "GET", "/": "GET",
}  # fmt: skip
ALERTS = {"latency_ms": 100.0, "errors_percent": 5.0}
"""Thresholds on the mean of the last ten values, where nobody says others."""
HEALTH_METRICS = ("latency_ms", "queue_depth", "errors_percent", "rss_mb")
_DISCARDED = 64_000_000
"""A client that sends too much sees the answer only if somebody reads on; up to here somebody does."""
_RECENT = 100
_CLOSING = {"Connection": "close"}
_PLAIN = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


@dataclass(eq=False)
class RefusalError(Exception):
    """An answer that is no output."""

    status: int
    text: str
    where: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    waited: bool = False
    """For the model, all the time that was allowed."""


def as_refusal(error: WireError | RefusalError | ClientDisconnect) -> RefusalError:
    """What a request was refused for."""
    if isinstance(error, WireError):
        return RefusalError(error.status, str(error), error.where)
    return error if isinstance(error, RefusalError) else RefusalError(499, "the client went away")


def _without_payload(error: WireError) -> str:
    """What a log may keep of it: not what was found."""
    return f"{error.where or 'the body'}: expected {error.expected}"


def reply(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    try:
        body = to_body(document)
    except ValueError:  # half a surrogate pair, which a body can name and UTF-8 cannot hold
        body = json.dumps(document, allow_nan=False).encode("ascii")
    return Response(body, status, {**_PLAIN, **(headers or {})}, media_type="application/json")


def refusal(error: RefusalError) -> Response:
    """The answer to a request that is refused."""
    document = {"error": error.text} | ({"where": error.where} if error.where else {})
    return reply(document, error.status, error.headers)


class ModelServer:
    """The application: an ASGI callable for uvicorn, with what it counts and knows about its own health.

    ``alerts`` are thresholds on HEALTH_METRICS; ``log_event(event_type, **data)`` gets an event for each inference;
    ``hosts`` are names, beside localhost, under which it may be asked, None for any.
    """

    def __init__(
        self,
        served: Served,
        *,
        alerts: Mapping[str, float] = ALERTS,
        log_event: Callable[..., object] | None = None,
        hosts: Collection[str] | None = (),
        version: str = "0",
    ) -> None:
        self.served, self.alerts = served, dict(alerts)
        self._hosts = None if hosts is None else frozenset(("", "localhost", *hosts))
        self.monitor = HealthMonitor(served.clock, on_crossing=self._crossed)
        self.metrics = Metrics(lambda: served.worker.waiting, lambda: served.worker.busy_ms)
        facts = served.facts()
        self.metrics.describe({key: str(facts[key]) for key in ("model", "kind", "sha256", "parameters", "engine")})
        self._log_event = log_event or (lambda event_type, **data: None)
        self._failed: deque[bool] = deque(maxlen=_RECENT)
        self._openapi = openapi_document(
            served.model.inputs, served.names, *served.example, version, served.limits.windows
        )
        self._app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
        calls = {
            "/infer": self._infer, "/health": self._health, "/metrics": self._metrics, "/model": self._model,
            "/openapi.json": self._document, "/": self._root,
        }  # fmt: skip
        for path, call in calls.items():
            self._app.add_route(path, call, methods=[ENDPOINTS[path]])
        self._app.add_exception_handler(HTTPException, _not_here)
        self._app.add_exception_handler(Exception, _defect)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI: hand over, count, and let no exception out."""
        if scope["type"] != "http":
            raise RuntimeError(f"expected HTTP, found {scope['type']}")
        began_ns, sent = self.served.clock.now_ns(), False
        endpoint = scope["path"] if scope["path"] in ENDPOINTS else "other"

        async def counted(message: MutableMapping[str, Any]) -> None:
            nonlocal sent
            if not sent and message["type"] == "http.response.start":
                sent = True  # before it leaves: who has the answer finds it counted
                self.metrics.answered(endpoint, message["status"], self._since_ms(began_ns) / 1e3)
            await send(message)

        self.metrics.in_flight.inc()
        try:
            foreign = _foreign_host(scope, self._hosts)
            if foreign:
                await refusal(RefusalError(421, foreign))(scope, receive, counted)
            else:
                await self._app(scope, receive, counted)
        except Exception as error:  # noqa: BLE001 - a defect of ours, answered already: the server goes on
            self._log_event("server_error", endpoint=endpoint, error=_defect_text(error))
        finally:
            self.metrics.in_flight.dec()

    def _crossed(self, crossing: Crossing) -> None:
        state = "beyond" if crossing.beyond else "back"
        self._log_event(
            "alert", metric=crossing.metric, state=state, mean=crossing.mean, limit=crossing.limit, side=crossing.side
        )

    def _since_ms(self, began_ns: int) -> float:
        return (self.served.clock.now_ns() - began_ns) / 1e6

    # --- POST /infer --------------------------------------------------------------------------

    async def _infer(self, request: Request) -> Response:
        """Run the model on what the body holds."""
        served, began_ns = self.served, self.served.clock.now_ns()
        windows, waited = 0, True
        facts: dict[str, Any] = {"model_version": served.model.name}
        try:
            body = await read_body(request, served.limits.body_bytes, served.limits.patience_s)
            _check_content(request.headers)
            inputs, quality = decode_request(parse_json(body), served.model.inputs, served.limits.windows)
            windows, facts["modalities"] = len(next(iter(inputs.values()))), list(inputs)
            outputs, ms = await self._ask(inputs, quality)
            self.metrics.inferred(windows, ms / 1e3)
            status, facts["model_ms"], answer = 200, round(ms, 3), reply(served.answer(outputs, ms))
        except (WireError, RefusalError, ClientDisconnect) as error:
            refused = as_refusal(error)
            status, answer, waited = refused.status, refusal(refused), refused.waited
            facts["error"] = _without_payload(error) if isinstance(error, WireError) else refused.text
        latency_ms = round(self._since_ms(began_ns), 3)
        self._note(status, latency_ms if waited else None)
        answered, missed = (windows, 0) if status == 200 else (0, windows)
        self._log_event(
            "model_inference",
            n=answered,
            latency_ms=latency_ms,
            max_ms=latency_ms,
            misses=missed,
            status=status,
            **facts,
        )
        return answer

    async def _ask(self, inputs: Any, quality: Any) -> tuple[FloatArray, float]:
        """What the model says; RefusalError."""
        served, limit_ms = self.served, self.served.limits.timeout_ms
        stuck_ms = served.stuck_ms()
        if stuck_ms is not None:
            raise self._late(f"the model has been in one call for {stuck_ms:.0f} ms; {limit_ms:g} ms are allowed")
        try:
            future = served.infer(inputs, quality)
        except QueueFullError as error:
            text = f"{error}, as many as may; try again, or send batches"
            raise RefusalError(429, text, headers=self._later()) from None
        self.monitor.record_metric("queue_depth", served.worker.waiting)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), limit_ms / 1e3)
        except TimeoutError:
            raise self._late(f"the model did not answer within {limit_ms:g} ms", waited=True) from None
        except Exception as error:  # noqa: BLE001 - whatever a user's model or its engine raises
            self.metrics.fault("raised")
            text = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
            raise RefusalError(500, text) from None

    def _late(self, text: str, waited: bool = False) -> RefusalError:
        self.metrics.fault("late")
        return RefusalError(503, text, headers=self._later(), waited=waited)

    def _later(self) -> dict[str, str]:
        return {"Retry-After": str(max(1, math.ceil(self.served.limits.timeout_ms / 1e3)))}

    def _note(self, status: int, latency_ms: float | None) -> None:
        """For /health: a client's mistakes say nothing about ours.

        No latency where the model gave no answer and was not waited for: refusals take a millisecond, and their mean
        would say that all is well just when nothing is answered.
        """
        if 400 <= status < 500:
            return
        self._failed.append(status >= 500)
        if latency_ms is not None:
            self.monitor.record_metric("latency_ms", latency_ms)
        self.monitor.record_metric("errors_percent", 100.0 * sum(self._failed) / len(self._failed))
        self.monitor.check_thresholds(self.alerts)

    # --- GET ----------------------------------------------------------------------------------

    async def _health(self, request: Request) -> Response:
        del request
        self.monitor.record_metric("rss_mb", rss_bytes() / 1e6)
        self.monitor.record_metric("queue_depth", self.served.worker.waiting)
        self.monitor.check_thresholds(self.alerts)
        report = {"status": self.monitor.status} | self.monitor.get_health_report()
        stuck_ms = self.served.stuck_ms()
        if stuck_ms is None:
            return reply(report)
        report |= {"status": "alert", "reason": f"the model is stuck: it has been in one call for {stuck_ms:.0f} ms"}
        return reply(report, 503)

    async def _metrics(self, request: Request) -> Response:
        del request
        return Response(self.metrics.text(), 200, _PLAIN, media_type=CONTENT_TYPE)

    async def _model(self, request: Request) -> Response:
        del request
        return reply(self.served.facts())

    async def _document(self, request: Request) -> Response:
        del request
        return reply(self._openapi)

    async def _root(self, request: Request) -> Response:
        del request
        text = f"spiral-hil serves the model {self.served.model.name}: POST /infer; /openapi.json says how\n"
        return PlainTextResponse(text, 200, _PLAIN)


# --- what a request may be --------------------------------------------------------------------


async def read_body(request: Request, limit: int, patience_s: float) -> bytes:
    """The body, if it is at most ``limit`` bytes and arrives in time; RefusalError 413 or 408.

    Counted while it arrives, since a chunked one does not say how long it will be, and a declared length may lie.
    """
    size, chunks = 0, []
    too_long = RefusalError(413, f"the body: expected at most {limit} bytes, found more", headers=_CLOSING)
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        too_long.text = f"the body: expected at most {limit} bytes, found {declared}"
        if "expect" in request.headers or int(declared) > _DISCARDED:
            raise too_long
    try:
        async with asyncio.timeout(patience_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                else:
                    chunks.clear()
                if size > _DISCARDED:
                    break
    except TimeoutError:
        text = f"the body: expected all of it within {patience_s:g} s, found {size} bytes"
        raise RefusalError(408, text, headers=_CLOSING) from None
    if size > limit:
        raise too_long
    return b"".join(chunks)


def _check_content(headers: Mapping[str, str]) -> None:
    """RefusalError 415 for what does not say that it is JSON: a web page may send that anywhere without being asked."""
    found = headers.get("content-type", "")
    kind, _, rest = found.partition(";")
    if kind.strip().lower() != "application/json":
        text = f"Content-Type: expected application/json, found {_short(found) or 'none'}"
        raise RefusalError(415, text)
    charset = rest.strip().lower().removeprefix("charset=").strip('"')
    if charset not in ("", "utf-8"):
        raise RefusalError(415, f"Content-Type: expected UTF-8, found {_short(rest.strip())}")
    encoding = headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise RefusalError(415, f"Content-Encoding: expected none, found {_short(encoding)}")


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "..."


def _foreign_host(scope: Scope, known: Collection[str] | None) -> str:
    """What is wrong with the host that was asked for, where only this machine may ask.

    A web page can make its own name mean 127.0.0.1, and so read what is served here; its Host gives it away.
    """
    host = next((value for key, value in scope["headers"] if key == b"host"), b"").decode("latin-1")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    name = name.strip("[]").lower()
    if known is None or name in known or _is_loopback(name):
        return ""
    return f"Host: expected localhost or 127.0.0.1, found {_short(host)}; serve with --host to be found by other names"


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _defect_text(error: Exception) -> str:
    return f"the server failed: {type(error).__name__}: {error}"


async def _defect(request: Request, error: Exception) -> Response:
    """500 in our own form."""
    del request
    return refusal(RefusalError(500, _defect_text(error)))


async def _not_here(request: Request, error: Exception) -> Response:
    """404 and 405 in our own form."""
    status = getattr(error, "status_code", 500)
    path = request.url.path
    if status == 404:
        known = ", ".join(f"{method} {known}" for known, method in ENDPOINTS.items())
        text = f"expected one of {known}; found {request.method} {_short(path)}"
    elif status == 405:
        text = f"expected {ENDPOINTS.get(path, 'another method')} {path}, found {request.method}"
    else:
        text = str(getattr(error, "detail", error))
    return refusal(RefusalError(status, text, headers=getattr(error, "headers", None) or {}))
