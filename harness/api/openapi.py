"""The OpenAPI 3.1 document of a model server: true shapes, every status, and examples that were really exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.api.wire import request_schema, response_schema
from harness.model.inputs import InputSpec

REASONS = {
    400: "The body is no JSON, or the request no HTTP.",
    408: "The body did not arrive in time.",
    413: "The body is longer than the server takes.",
    415: "The body is not declared as JSON.",
    421: "The request was meant for another host than this one.",
    422: "Names, shapes or numbers are wrong; the error says what was expected, what was found and where.",
    429: "Too many requests wait for the model already.",
    500: "The model raised, or returned what is no output; the error says what.",
    503: "The model did not answer in time, or is stuck in an earlier call.",
}
"""HTTP status -> what it means here."""


def openapi_document(
    specs: Mapping[str, InputSpec],
    names: Sequence[str],
    example: Mapping[str, Any],
    answer: Mapping[str, Any] | None,
    version: str,
    most_windows: int,
) -> dict[str, Any]:
    """The document. ``example`` is a request, ``answer`` what the model said to it, None if it failed on it."""
    answered = {"200": _body("The outputs.", "Answer", answer)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "spiral-hil model server",
            "version": version,
            "description": "Windows of physiological signals in, the model's outputs back. One inference at a time.",
        },
        "paths": {
            "/infer": {"post": {
                "operationId": "infer",
                "summary": "Run the model on one window per modality, or on a batch of them",
                "requestBody": {"required": True, "content": {"application/json": {
                    "schema": _ref("Request"), "examples": {"shortest": {
                        "summary": "The input with the fewest numbers; the others are absent", "value": example,
                    }},
                }}},
                "responses": answered | {str(s): _error(s) for s in (400, 408, 413, 415, 421, 422, 429, 500, 503)},
            }},
            "/health": {"get": {
                "operationId": "health",
                "summary": "Whether the server is well: ok or alert, with its recent metrics",
                "responses": {
                    "200": _body("The server answers requests; status is alert while a threshold is crossed.",
                                 "Health"),
                    "503": _body("The model is stuck in a call.", "Health"),
                },
            }},
            "/model": {"get": {
                "operationId": "model",
                "summary": "What is served: inputs, outputs, limits",
                "responses": {"200": _body("The model.", "Model")},
            }},
            "/metrics": {"get": {
                "operationId": "metrics",
                "summary": "Counters and histograms for Prometheus",
                "responses": {"200": _text("The exposition.")},
            }},
            "/openapi.json": {"get": {
                "operationId": "openapi",
                "summary": "This document",
                "responses": {"200": {"description": "OpenAPI 3.1.",
                                      "content": {"application/json": {"schema": {"type": "object"}}}}},
            }},
        },
        "components": {"schemas": {
            "Request": request_schema(specs, most_windows),
            "Answer": response_schema(names),
            "Error": _ERROR,
            "Health": _HEALTH,
            "Model": _MODEL,
        }},
    }  # fmt: skip


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _body(description: str, schema: str, example: Mapping[str, Any] | None = None) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _ref(schema)}
    if example is not None:
        content["examples"] = {"shortest": {"value": example}}
    return {"description": description, "content": {"application/json": content}}


def _error(status: int) -> dict[str, Any]:
    made = _body(REASONS[status], "Error")
    if status in (429, 503):
        made["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}}
    return made


def _text(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "What was expected, what was found, and where."},
        "where": {"type": "string", "description": "JSON pointer into the body that was sent."},
    },
}
_NUMBER: dict[str, Any] = {"type": "number"}
_HEALTH: dict[str, Any] = {
    "type": "object",
    "required": ["status", "timestamp", "metrics", "alerts"],
    "properties": {
        "status": {"enum": ["ok", "alert"]},
        "timestamp": {"type": "string", "format": "date-time"},
        "reason": {"type": "string", "description": "Why the status is alert."},
        "metrics": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["current", "average", "min", "max"],
                "properties": {"current": _NUMBER, "average": _NUMBER, "min": _NUMBER, "max": _NUMBER},
            },
        },
        "alerts": {
            "type": "array",
            "items": {
                "type": "array", "minItems": 2, "maxItems": 2,
                "prefixItems": [{"type": "number", "description": "Unix time"}, {"type": "string"}],
            },
        },
    },
}  # fmt: skip
_MODEL: dict[str, Any] = {
    "type": "object",
    "required": ["model", "kind", "sha256", "parameters", "engine", "inputs", "outputs", "limits"],
    "properties": {
        "model": {"type": "string"},
        "kind": {"enum": ["reference", "factory", "exported", "torchscript"]},
        "sha256": {"type": "string"},
        "parameters": {"type": "integer"},
        "engine": {"type": "string"},
        "inputs": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["channels", "length", "rate_hz", "unit", "seconds"],
                "properties": {
                    "channels": {"type": "integer"},
                    "length": {"type": "integer", "description": "Samples per window and channel."},
                    "rate_hz": {"type": ["number", "null"], "description": "null: events, oldest first."},
                    "unit": {"type": "string", "description": "Empty: any."},
                    "seconds": _NUMBER,
                },
            },
        },
        "outputs": {"type": "array", "items": {"type": "string"}, "description": "Names, as far as known."},
        "limits": {
            "type": "object",
            "properties": dict.fromkeys(("body_bytes", "windows", "timeout_ms", "waiting"), _NUMBER),
        },
    },
}
