"""A model behind HTTP, run and judged as one in this process. Imports no torch.

``GET /model`` says what it takes, ``POST /infer`` runs it (harness.api.wire). What a window takes includes the way
there and back; what the server says that the model took is kept apart. A request is never sent a second time: whether
it was refused, late or broken off is a finding about the model.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers.clock import Clock, RealClock
from drivers.errors import SettingError
from drivers.types import FloatArray
from harness.api.client import ApiClient, ApiError, ApiResponse
from harness.api.wire import (
    MOST_WINDOWS,
    WireError,
    decode_response,
    describe,
    encode_request,
    parse_json,
    pointer,
    to_body,
)
from harness.model.errors import EngineError, LoadError, ModelFault, Unanswered, WiringError
from harness.model.inputs import INPUTS, InputSpec, input_specs
from harness.model.warming import Arrays
from harness.rig import ModelEntry

_SPLIT_STATUS = (422, 500)
"""Some window of the batch is at fault, and asking for each shows which; other refusals are of the whole."""
_SHARE = 0.25
"""Of the timeout, what a batch may take by the warm-up's account."""
_MOST_INPUTS = 64
_LONGEST_S = 600.0


@dataclass(frozen=True, eq=False)
class RemoteModel:
    """What ``GET /model`` says of a model."""

    name: str
    sha256: str
    parameters: int | None
    inputs: Mapping[str, InputSpec]
    most_windows: int = MOST_WINDOWS
    """In one request."""
    most_bytes: int = 8_000_000
    timeout_ms: float | None = None
    """After which the server itself gives up."""


def connect(entry: ModelEntry) -> tuple[ApiClient, RemoteModel]:
    """A client of the model at ``entry.url`` and what it is; LoadError, EngineError or WiringError.

    ``entry.inputs`` chooses streams and channels; the windows themselves are the server's to say.
    """
    try:
        client = ApiClient(entry.url or "", entry.timeout_ms, allow_remote=entry.allow_remote)
    except SettingError as error:
        raise EngineError(f"model.url: {error}") from error
    try:
        response = client.get("/model")
        if response.status_code != 200:
            raise LoadError(f"model.url: GET /model answers HTTP {response.status_code}: {response.said()}; {_GIVE}")
        model = _described(response.json())
    except ApiError as error:
        raise LoadError(f"model.url: {error}; {_GIVE}") from error
    except WireError as error:
        raise LoadError(f"model.url: GET /model: {error}; {_GIVE}") from error
    wanted = input_specs(entry.inputs, model.inputs)
    for name, spec in wanted.items():
        if spec != model.inputs[name]:
            text = (
                f"its server takes {model.inputs[name].seconds:g} s at {model.inputs[name].rate_hz} Hz; leave them out"
            )
            raise WiringError(f"model.inputs.{name}: seconds and rate_hz are not for the rig to choose: {text}")
    return client, model


_GIVE = "`hil serve` puts any module behind a URL as it must be"


def _described(document: Any) -> RemoteModel:
    """WireError where the description cannot be used."""
    if not isinstance(document, Mapping):
        raise WireError("", "an object that describes the model", describe(document))
    inputs = document.get("inputs")
    if not isinstance(inputs, Mapping) or not 0 < len(inputs) <= _MOST_INPUTS:
        raise WireError("/inputs", f"an object of 1 to {_MOST_INPUTS} modalities", describe(inputs))
    limits = document.get("limits")
    limits = limits if isinstance(limits, Mapping) else {}
    parameters = document.get("parameters")
    return RemoteModel(
        _text(document, "model"), _text(document, "sha256"),
        parameters if isinstance(parameters, int) else None,
        {str(name): _spec(str(name), given) for name, given in inputs.items()},
        most_windows=int(_positive(limits.get("windows", MOST_WINDOWS), "/limits/windows", 1_000_000)),
        most_bytes=int(_positive(limits.get("body_bytes", 8_000_000), "/limits/body_bytes", 2**40)),
        timeout_ms=_positive(limits["timeout_ms"], "/limits/timeout_ms", 1e9) if "timeout_ms" in limits else None,
    )  # fmt: skip


def _text(document: Mapping[str, Any], key: str) -> str:
    if not isinstance(document.get(key), str):
        raise WireError(pointer(key), "a text", describe(document.get(key)))
    return str(document[key])


def _positive(value: Any, where: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise WireError(where, f"a number above 0 and up to {most:g}", describe(value))
    return value


def _spec(name: str, given: Any) -> InputSpec:
    """``{"channels", "length", "rate_hz", "unit", "seconds"}``; rate_hz null: the newest ``length`` events."""
    where = pointer("inputs", name)
    if not isinstance(given, Mapping):
        raise WireError(where, "an object with channels, length, rate_hz and unit", describe(given))
    channels = int(_positive(given.get("channels"), f"{where}/channels", 1024))
    length = int(_positive(given.get("length"), f"{where}/length", 1_000_000))
    unit = given.get("unit", "")
    if not isinstance(unit, str):
        raise WireError(f"{where}/unit", "a text", describe(unit))
    rate_hz = given.get("rate_hz")
    if rate_hz is None:
        usual_s = INPUTS[name].seconds if name in INPUTS else 8.0
        seconds = _positive(given.get("seconds", usual_s), f"{where}/seconds", _LONGEST_S)
        return InputSpec(name, channels, seconds, None, unit, events=length)
    rate_hz = _positive(rate_hz, f"{where}/rate_hz", 1e6)
    seconds = _positive(given.get("seconds", length / rate_hz), f"{where}/seconds", _LONGEST_S)
    spec = InputSpec(name, channels, seconds, rate_hz, unit)
    if spec.length != length:
        expected = f"{spec.length}, which is {spec.seconds:g} s at {rate_hz:g} Hz"
        raise WireError(f"{where}/length", expected, str(length))
    return spec


class RemoteEngine:
    """Sends windows to ``POST /infer`` and takes what comes back for the model's outputs."""

    def __init__(self, entry: ModelEntry, clock: Clock | None = None) -> None:
        self._client, self.model = connect(entry)
        self._timeout_ms = min(entry.timeout_ms, self.model.timeout_ms or entry.timeout_ms)
        self._clock = clock or RealClock()
        self._most = self.model.most_windows
        self._outputs: int | None = None
        self._server_ms, self._http_ms = array("f"), array("f")

    def infer(self, inputs: Arrays, quality: Arrays) -> FloatArray:
        """As harness.model.warming.Engine: ModelFault, and Unanswered where no window of the batch has an answer."""
        count = len(next(iter(quality.values())))
        return np.concatenate([self._part(inputs, quality, at, self._most) for at in range(0, count, self._most)])

    def _part(self, inputs: Arrays, quality: Arrays, at: int, most: int) -> FloatArray:
        rows = slice(at, at + most)
        windows = {name: given[rows] for name, given in inputs.items()}
        levels = {name: np.clip(given[rows], 0.0, 1.0) for name, given in quality.items()}
        began_ns = self._clock.now_ns()
        count = len(next(iter(levels.values())))
        body = self._body(windows, levels)
        if len(body) > self.model.most_bytes and count > 1:
            half = (count + 1) // 2
            return np.concatenate([self._part(windows, levels, first, half) for first in (0, half)])
        outputs, server_ms = self._ask(body, count)
        self._server_ms.append(server_ms)
        self._http_ms.append(max(0.0, (self._clock.now_ns() - began_ns) / 1e6 - server_ms))
        return outputs

    def _body(self, windows: Arrays, levels: Arrays) -> bytes:
        try:
            return to_body(encode_request(windows, levels))
        except WireError as error:
            raise ModelFault(f"{self._called}: these windows cannot be sent: {error}") from error

    def _ask(self, body: bytes, count: int) -> tuple[FloatArray, float]:
        try:
            response = self._client.request("post", "/infer", body)
        except ApiError as error:
            raise Unanswered(f"{self._called}: {error}") from error
        if response.status_code != 200:
            kind = ModelFault if response.status_code in _SPLIT_STATUS else Unanswered
            raise kind(f"{self._called}: {_refused(response)}")
        try:
            answer = decode_response(parse_json(response.content), count)
        except WireError as error:
            raise ModelFault(f"{self._called}: its answer is no output: {error}") from error
        if answer.sha256 != self.model.sha256:
            text = f"sha256 {self.model.sha256[:12]} when the run began, {answer.sha256[:12]} now"
            raise Unanswered(f"{self._called}: the server has another model ({text}): it was started anew; run again")
        columns = answer.outputs.shape[1]
        if self._outputs is None:
            self._outputs = columns
        if columns != self._outputs:
            raise ModelFault(f"{self._called}: returned {columns} outputs; expected {self._outputs}")
        return answer.outputs, answer.ms

    @property
    def _called(self) -> str:
        return f"{self.model.name} at {self._client.address.place}"

    def pace(self, warm_ms: float) -> None:
        """A window takes so long: batches that this many windows would make later than the timeout are not sent."""
        self._most = max(1, min(self.model.most_windows, int(_SHARE * self._timeout_ms / max(warm_ms, 1e-3))))

    def forget(self) -> None:
        """Begin measuring anew."""
        self._server_ms, self._http_ms = array("f"), array("f")

    def measured(self) -> dict[str, Any]:
        """Where the time of the requests since forget() went, in ms; empty if there were none."""
        if not self._server_ms:
            return {}
        parts = {"server": self._server_ms, "network": self._http_ms}
        return {"n": len(self._server_ms), **{name: _summary(np.asarray(ms)) for name, ms in parts.items()}}


def _summary(ms: np.typing.NDArray[np.float32]) -> dict[str, float]:
    p50, p99 = np.percentile(ms, [50, 99])
    return {"p50_ms": float(p50), "p99_ms": float(p99), "max_ms": float(ms.max())}


def _refused(response: ApiResponse) -> str:
    status, said = response.status_code, response.said()
    if 300 <= status < 400:
        return f"HTTP {status}: it redirects, which is not followed; name the server's own address in model.url"
    hints = {
        404: "is there another service on that port?",
        413: "a window is longer than the server takes: `hil serve --limit-mb`",
        429: "others ask it too, and its queue is full",
        503: "the model did not answer in the server's time: it is too slow, or stuck",
    }
    hint = f"; {hints[status]}" if status in hints else ""
    return f"HTTP {status}: {said}{hint}"
