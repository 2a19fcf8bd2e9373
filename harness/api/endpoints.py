"""One call of an endpoint, and what it comes to in the words of the debugging guide:

PASS               the expected status, and a response of the expected structure
INVALID_RESPONSE   the expected status, and something else in the response
HTTP_404           another status
ERROR: ...         no response, or none that could be read
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from drivers.errors import SettingError
from harness.api.client import ApiClient, ApiError, ApiResponse, encoded
from harness.api.credentials import masked_inside
from harness.api.meaning import read_json
from harness.api.record import INVALID_RESPONSE, PASS, ApiCall
from harness.api.structure import violations
from harness.api.wire import WireError, encode_request, to_body
from harness.model.inputs import Float32Array
from harness.rig import ApiEntry, EndpointEntry

Windows = tuple[Mapping[str, Float32Array], Mapping[str, Float32Array]]
"""A model's inputs {modality: (B, C, T)} and their quality {modality: (B,)}."""


def api_client(api: ApiEntry) -> ApiClient:
    """A client as the section asks for; SettingError."""
    return ApiClient(api.base_url, api.timeout_ms, allow_remote=api.allow_remote, headers=api.headers)


def window_of(windows: Windows, row: int) -> Windows:
    """One window of a batch."""
    inputs, quality = windows
    one = slice(row, row + 1)
    return {name: array[one] for name, array in inputs.items()}, {name: level[one] for name, level in quality.items()}


def live_payload(windows: Windows) -> dict[str, Any]:
    """What ``/infer`` takes for one window (harness.api.wire)."""
    inputs, quality = windows
    levels = {name: np.clip(np.asarray(level, dtype=np.float64)[0], 0.0, 1.0) for name, level in quality.items()}
    return encode_request({name: array[0] for name, array in inputs.items()}, levels)


def payload_of(endpoint: EndpointEntry, windows: Windows | None = None) -> Any:
    """The plain values that an endpoint is sent; SettingError for a file that cannot be read, or without windows."""
    if endpoint.live:
        if windows is None:
            raise SettingError(f"{endpoint.name}: its payload is live, and there is no window yet")
        return live_payload(windows)
    return read_json(Path(endpoint.payload_file)) if endpoint.payload_file else endpoint.payload


def call_endpoint(client: ApiClient, endpoint: EndpointEntry, windows: Windows | None, at_ns: int) -> ApiCall:
    """Call it once. Whatever happens is in the result; nothing is raised for what the service does."""
    try:
        payload = payload_of(endpoint, windows)
        body = to_body(payload) if endpoint.live else encoded(payload)
    except (SettingError, WireError, ValueError, TypeError) as error:
        return ApiCall(at_ns, endpoint.name, f"ERROR: the payload: {error}", f"nothing was sent: {error}")
    sent = len(body or b"")
    try:
        response = client.request(endpoint.method, endpoint.path, body, endpoint.headers)
    except (ApiError, SettingError) as error:
        return ApiCall(at_ns, endpoint.name, f"ERROR: {error}", str(error), sent_bytes=sent)
    result, why = judged(endpoint, response)
    return ApiCall(at_ns, endpoint.name, result, why, response.status_code, response.ms, sent, len(response.content))


def judged(endpoint: EndpointEntry, response: ApiResponse) -> tuple[str, str]:
    """The guide's word for a response, and why."""
    status = response.status_code
    if status != endpoint.status:
        return f"HTTP_{status}", _status_hint(endpoint, response)
    if not endpoint.is_json:
        return PASS, ""
    try:
        data = response.json()
    except ApiError as error:
        return f"ERROR: {error}", str(error)
    if endpoint.schema is not None and violations(data, endpoint.schema):
        # what is told is told of the masked response, or the text that violates the schema might be a secret
        found = violations(masked_inside(data, response.secrets), endpoint.schema) or ["it repeats a credential"]
        return INVALID_RESPONSE, "; ".join(found) + ": correct the service, or the schema in the rig"
    return PASS, ""


_HINTS = {
    301: "", 302: "", 303: "", 307: "", 308: "",
    400: "the service could not read the request: compare the payload with what it documents",
    401: "credentials are missing or wrong: see the headers in the rig and the environment variable that they name",
    403: "the credentials do not allow this",
    404: "no such endpoint: check base_url, the path and the service's version",
    405: "the endpoint takes another method: see `method` in the rig",
    413: "the payload is longer than the service takes",
    415: "the service takes another content type than JSON",
    422: "the service understood the request and refused its content: compare the payload with what it documents",
    429: "the service limits how often it is called: lower `repeat`",
    500: "the service itself failed: see its log",
    502: "a proxy stands in between, and the service behind it does not answer",
    503: "the service is up and cannot answer now: is it overloaded or still starting?",
    504: "a proxy stands in between, and the service behind it is too slow",
}  # fmt: skip


def _status_hint(endpoint: EndpointEntry, response: ApiResponse) -> str:
    status, wanted = response.status_code, endpoint.status
    said = f"expected status {wanted}, found {status}"
    if 300 <= status < 400 and "location" in response.headers:
        target = urlsplit(response.headers["location"])
        where = f"{target.scheme}://{target.hostname}" if target.hostname else "another path of the same host"
        return f"{said}: it redirects to {where}, which is not followed; name the endpoint's own address in the rig"
    hint = _HINTS.get(status, "see the service's documentation")
    text = response.said().strip()
    return f"{said}: {hint}" + (f" (it says: {text})" if text else "")


# --- as the debugging guide has it ------------------------------------------------------------


def payloads(api: ApiEntry, windows: Windows | None = None) -> dict[str, Any]:
    """Path -> payload of the endpoints that are posted to: what the guide's integration test goes through."""
    return {e.path: payload_of(e, windows) for e in api.endpoints.values() if e.method == "post"}


def structure_validator(api: ApiEntry) -> Callable[[Any, str], bool]:
    """``validate_response_structure(data, endpoint)``, which that test asks for, from the rig's schemas.

    True for a path whose endpoint has no schema: any JSON will do there.
    """

    def validate_response_structure(data: Any, endpoint: str) -> bool:
        schemas = [e.schema for e in api.endpoints.values() if e.path == endpoint and e.schema is not None]
        return not any(violations(data, schema) for schema in schemas)

    return validate_response_structure
