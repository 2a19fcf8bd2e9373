"""What goes over HTTP to a model and back, as JSON: pure functions over arrays, for the server and for the client.

A request is ``{"inputs": {modality: [C][T] or [B][C][T]}, "quality": {modality: number or [B]}}``. A modality that is
left out is absent, which a model must bear; quality is 1 where it is not said. A response is ``{"outputs": [B][n],
"names": [n], "model": text, "sha256": text, "ms": number}``. Numbers are finite and fit a 32-bit float.
Where something is wrong a WireError names what was expected, what was found, and where, as a JSON pointer (RFC 6901).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from drivers.types import FloatArray
from harness.model.inputs import Float32Array, InputSpec

MOST_WINDOWS = 256
"""Windows in one request: the modalities that it leaves out cost memory too, so its length alone bounds nothing."""
LARGEST = float(np.finfo(np.float32).max)
_LONGEST = 60
_NUMBERS = frozenset((float, int))
"""Exactly: bool is an int to Python, and no number to JSON."""


@dataclass(frozen=True)
class WireError(ValueError):
    """A body that is not what it should be; str() says all of it in one line."""

    where: str
    """JSON pointer, "" for the whole body."""
    expected: str
    found: str
    status: int = 422
    """HTTP status: 400 if it is no JSON, 422 if its content is wrong."""

    def __str__(self) -> str:
        return f"{self.where or 'the body'}: expected {self.expected}, found {self.found}"


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said over HTTP."""

    outputs: FloatArray
    """(B, n), finite."""
    names: tuple[str, ...]
    """Of the n outputs."""
    model: str
    sha256: str
    ms: float
    """What the model took, as the server measured it."""


# --- JSON -------------------------------------------------------------------------------------


class _Doubled(dict[str, Any]):
    """An object that has a key twice: which value was meant cannot be known."""

    key = ""


def parse_json(body: bytes) -> Any:
    """The document in UTF-8 JSON; WireError with status 400.

    NaN and Infinity, which Python writes and JSON does not have, come through as floats, so that who looks at the
    content can say where they stand; so does 1e400, as an infinity.
    """
    try:
        document = from_json(body, cache_strings="none")  # eight times as fast as json.loads
    except ValueError:
        return _parse_with_care(body)
    # it takes the last of two equal keys without a word: texts that are no key of the document were lost, or are values
    return document if body.count(b'"') == 2 * _count_keys(document) else _parse_with_care(body)


def _count_keys(document: Any) -> int:
    """Of objects within objects; not of those in arrays, which no request has."""
    if not isinstance(document, dict):
        return 0
    return len(document) + sum(_count_keys(value) for value in document.values())


def _parse_with_care(body: bytes) -> Any:
    """As parse_json, and what is wrong is said."""
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        found = f"byte 0x{body[error.start]:02x} at offset {error.start}"
        raise WireError("", "JSON in UTF-8", found, 400) from None
    except json.JSONDecodeError as error:
        found = f"{error.msg} at line {error.lineno} column {error.colno}" if body.strip() else "nothing"
        raise WireError("", "JSON", found, 400) from None
    except RecursionError:
        raise WireError("", "JSON of a few levels", "arrays or objects nested too deeply to be read", 400) from None
    except ValueError:  # Python refuses whole numbers of more than 4300 digits
        raise WireError("", "JSON", "a number with thousands of digits", 400) from None


def to_body(document: Any) -> bytes:
    """A document of this module as JSON, every float as short as it comes back whole."""
    return to_json(document)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    doubled = _Doubled(made)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            doubled.key = key
            break
        seen.add(key)
    return doubled


def pointer(*steps: str | int) -> str:
    """A JSON pointer from keys and indices."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def describe(value: Any) -> str:
    """A value in a few words, as JSON has it."""
    if isinstance(value, Mapping):
        return f"an object with {len(value)} keys" if value else "an empty object"
    if isinstance(value, list):
        return f"an array of {len(value)}" if value else "an empty array"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity, or a number beyond any float"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return f"a whole number of {len(str(abs(value)))} digits"
    return f"the text {json.dumps(_short(value))}" if isinstance(value, str) else json.dumps(value)


def _mapping(value: Any, where: str, expected: str, keys: Iterable[str]) -> Mapping[str, Any]:
    """An object with none but these keys, each once."""
    if not isinstance(value, Mapping):
        raise WireError(where, expected, describe(value))
    if isinstance(value, _Doubled):
        raise WireError(where + pointer(_short(value.key)), "each key once", "it twice")
    known = tuple(keys)
    for key in value:
        if key not in known:
            key = _short(key)
            raise WireError(where + pointer(key), f"only the keys {', '.join(known)}", f"the key {json.dumps(key)}")
    return value


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


# --- a request --------------------------------------------------------------------------------


def encode_request(inputs: Mapping[str, NDArray[Any]], quality: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document for windows {modality: (C, T) or (B, C, T)} and quality {modality: number or (B,)}.

    WireError for values that JSON cannot carry.
    """
    made: dict[str, Any] = {"inputs": {}}
    for name, array in inputs.items():
        made["inputs"][name] = _listed(np.asarray(array), pointer("inputs", name))
    if quality:
        made["quality"] = {name: _listed(np.asarray(q), pointer("quality", name)) for name, q in quality.items()}
    return made


def _listed(array: NDArray[Any], where: str) -> Any:
    bad = ~np.isfinite(array)
    if bad.any():
        steps = [int(step) for step in np.argwhere(bad)[0]] if array.ndim else []
        raise WireError(where + pointer(*steps), "a finite number", str(array[tuple(steps)]))
    return array.tolist()


def decode_request(
    document: Any, specs: Mapping[str, InputSpec], most_windows: int = MOST_WINDOWS
) -> tuple[dict[str, Float32Array], dict[str, Float32Array]]:
    """Windows {modality: (B, C, T)} and quality {modality: (B,)}, for the modalities that are given; WireError.

    All of a request's modalities have the same B, 1 where a window stands without a batch around it.
    """
    body = _mapping(document, "", 'an object with "inputs" and optionally "quality"', ("inputs", "quality"))
    if "inputs" not in body:
        raise WireError(pointer("inputs"), "windows by modality", "no such key")
    given = _mapping(body["inputs"], "/inputs", "an object of windows by modality", specs)
    if not given:
        raise WireError("/inputs", f"at least one of {', '.join(specs)}", "an empty object")
    cuts = {name: _cut(value, specs[name], ("inputs", name), most_windows) for name, value in given.items()}
    first, wanted = next((name, len(cut.windows)) for name, cut in cuts.items())
    for name, cut in cuts.items():
        if len(cut.windows) != wanted:
            raise WireError(pointer("inputs", name), f"as many windows as {first} has, {wanted}", str(len(cut.windows)))
    inputs = _floats(cuts, specs)
    return inputs, _qualities(body.get("quality", {}), inputs)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Windows of one modality as lists of the right lengths, holding numbers only."""

    windows: list[list[list[float]]]
    batched: bool
    """They came as a batch, so the first step to a number is its window."""


def _cut(value: Any, spec: InputSpec, steps: tuple[str | int, ...], most: int) -> _Cut:
    shape = f"[{spec.channels}][{spec.length}] numbers, or a batch of those"
    if not isinstance(value, list) or not value:
        hint = "; leave out a modality that is absent" if value is None else ""
        raise WireError(pointer(*steps), f"an array of {shape}{hint}", describe(value))
    inner = value[0]
    batched = isinstance(inner, list) and bool(inner) and isinstance(inner[0], list)
    windows = value if batched else [value]
    if len(windows) > most:
        found = f"{len(windows)}: send several requests"
        raise WireError(pointer(*steps), f"at most {most} windows in one request", found)
    for number, window in enumerate(windows):
        here = (*steps, number) if batched else steps
        if not isinstance(window, list) or len(window) != spec.channels:
            raise WireError(pointer(*here), f"{spec.channels} channels ({shape})", describe(window))
        for channel, row in enumerate(window):
            _check_row(row, spec, here, channel)
    return _Cut(windows, batched)


def _check_row(row: Any, spec: InputSpec, steps: tuple[str | int, ...], channel: int) -> None:
    if not isinstance(row, list) or len(row) != spec.length:
        every = f"{spec.seconds:g} s at {spec.rate_hz:g} Hz" if spec.rate_hz else "the newest events, oldest first"
        raise WireError(pointer(*steps, channel), f"an array of {spec.length} numbers ({every})", describe(row))
    if not _NUMBERS.issuperset(map(type, row)):
        place = next(i for i, item in enumerate(row) if type(item) not in _NUMBERS)
        raise WireError(pointer(*steps, channel, place), "a number", describe(row[place]))


def _floats(cuts: Mapping[str, _Cut], specs: Mapping[str, InputSpec]) -> dict[str, Float32Array]:
    """Windows (B, C, T) by modality; a number that is not finite or too large is named with its place."""
    numbers = [number for cut in cuts.values() for window in cut.windows for row in window for number in row]
    with np.errstate(over="ignore"):
        try:
            flat = np.array(numbers, dtype=np.float64).astype(np.float32)  # all at once: small arrays cost their making
        except OverflowError:  # a whole number beyond any float
            flat = np.array([_float(number) for number in numbers], dtype=np.float32)
    made, start = {}, 0
    for name, cut in cuts.items():
        shape = (len(cut.windows), specs[name].channels, specs[name].length)
        made[name] = flat[start : start + math.prod(shape)].reshape(shape).copy()
        start += math.prod(shape)
    if not np.isfinite(flat).all():
        raise _not_finite(cuts, made)
    return made


def _not_finite(cuts: Mapping[str, _Cut], made: Mapping[str, Float32Array]) -> WireError:
    name = next(name for name, array in made.items() if not np.isfinite(array).all())
    window, channel, place = (int(step) for step in np.argwhere(~np.isfinite(made[name]))[0])
    steps = (window, channel, place) if cuts[name].batched else (channel, place)
    found = describe(cuts[name].windows[window][channel][place])
    return WireError(pointer("inputs", name, *steps), "a finite number that fits 32-bit floats", found)


def _float(item: float) -> float:
    try:
        return float(item)
    except OverflowError:
        return math.inf


def _qualities(value: Any, inputs: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    given = _mapping(value, "/quality", "an object of numbers from 0 to 1 by modality", inputs)
    made = {}
    for name, windows in inputs.items():
        count = len(windows)
        level = given.get(name, 1.0)
        if isinstance(level, list) and len(level) != count:
            wanted = f"a number, or an array of {count}, one for each window"
            raise WireError(pointer("quality", name), wanted, describe(level))
        for number, item in enumerate(level if isinstance(level, list) else [level]):
            if type(item) not in _NUMBERS or not 0 <= item <= 1:
                here = pointer("quality", name, *([number] if isinstance(level, list) else []))
                raise WireError(here, "a number from 0 to 1", describe(item))
        made[name] = np.full(count, level, dtype=np.float32)
    return made


# --- a response -------------------------------------------------------------------------------


def encode_response(outputs: FloatArray, names: Sequence[str], model: str, sha256: str, ms: float) -> dict[str, Any]:
    """The document for outputs (B, n)."""
    return {"outputs": outputs.tolist(), "names": list(names), "model": model, "sha256": sha256, "ms": round(ms, 3)}


def decode_response(document: Any, windows: int | None = None) -> Answer:
    """The answer to a request of that many windows (None: any number); WireError.

    Keys beyond the known ones are taken for a newer server's and left alone.
    """
    if not isinstance(document, Mapping):
        raise WireError("", 'an object with "outputs"', describe(document))
    outputs = _outputs(document.get("outputs"), windows)
    names = document.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WireError("/names", "an array of texts", describe(names))
    if len(names) != outputs.shape[1]:
        raise WireError("/names", f"a name for each of {outputs.shape[1]} outputs", str(len(names)))
    for key in ("model", "sha256"):
        if not isinstance(document.get(key), str):
            raise WireError(pointer(key), "a text", describe(document.get(key)))
    ms: Any = document.get("ms")
    if type(ms) not in _NUMBERS or not 0 <= ms < math.inf:
        raise WireError("/ms", "milliseconds, 0 or more", describe(ms))
    return Answer(outputs, tuple(names), document["model"], document["sha256"], float(ms))


def _outputs(rows: Any, windows: int | None) -> FloatArray:
    if not isinstance(rows, list) or not rows or (windows is not None and len(rows) != windows):
        wanted = "one row or more" if windows is None else f"{windows} rows, one for each window"
        raise WireError("/outputs", wanted, describe(rows))
    for number, row in enumerate(rows):
        if not isinstance(row, list) or not row or (isinstance(rows[0], list) and len(row) != len(rows[0])):
            wanted = f"an array of {len(rows[0])} numbers" if number else "an array of one number or more"
            raise WireError(pointer("outputs", number), wanted, describe(row))
        for column, item in enumerate(row):
            if type(item) not in _NUMBERS or not abs(_float(item)) < math.inf:
                raise WireError(pointer("outputs", number, column), "a finite number", describe(item))
    return np.array(rows, dtype=np.float64)


# --- JSON Schemas -----------------------------------------------------------------------------


def request_schema(specs: Mapping[str, InputSpec], most_windows: int = MOST_WINDOWS) -> dict[str, Any]:
    """JSON Schema (2020-12) of a request: takes what decode_request takes, but for batches of unequal length."""
    level = {"type": "number", "minimum": 0, "maximum": 1}
    levels = {"anyOf": [level, {"type": "array", "items": level, "minItems": 1, "maxItems": most_windows}]}
    windows = {name: _windows_schema(spec, most_windows) for name, spec in specs.items()}
    return {
        "type": "object",
        "required": ["inputs"],
        "additionalProperties": False,
        "properties": {
            "inputs": {
                "type": "object", "minProperties": 1, "additionalProperties": False, "properties": windows,
                "description": "Windows by modality, all of one batch size. One that is left out is absent.",
            },
            "quality": {
                "type": "object", "additionalProperties": False, "properties": dict.fromkeys(specs, levels),
                "description": "How good each given modality's window is, 0 to 1; 1 where it is not said.",
            },
        },
    }  # fmt: skip


def _windows_schema(spec: InputSpec, most: int) -> dict[str, Any]:
    number = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
    row = {"type": "array", "items": number, "minItems": spec.length, "maxItems": spec.length}
    window = {"type": "array", "items": row, "minItems": spec.channels, "maxItems": spec.channels}
    every = f"at {spec.rate_hz:g} Hz" if spec.rate_hz else "events"
    unit = f" in {spec.unit}" if spec.unit else ""
    return {
        "description": f"[{spec.channels} channels][{spec.length} {every}], oldest first{unit}; or a batch of those.",
        "anyOf": [window, {"type": "array", "items": window, "minItems": 1, "maxItems": most}],
    }


def response_schema(names: Sequence[str] = ()) -> dict[str, Any]:
    """JSON Schema (2020-12) of an answer of a model with these outputs; () is any number of them."""
    count = {"minItems": len(names) or 1} | ({"maxItems": len(names)} if names else {})
    row = {"type": "array", "items": {"type": "number"}, **count}
    named: dict[str, Any] = {"const": list(names)} if names else {"items": {"type": "string"}}
    return {
        "type": "object",
        "required": ["outputs", "names", "model", "sha256", "ms"],
        "properties": {
            "outputs": {"type": "array", "items": row, "minItems": 1, "description": "A row for each window."},
            "names": {"type": "array", **named, "description": "Of a row's numbers."},
            "model": {"type": "string", "description": "The factory or file, or `reference`."},
            "sha256": {"type": "string", "description": "Of the model's file, or of its weights."},
            "ms": {"type": "number", "minimum": 0, "description": "What the model took, without HTTP and queue."},
        },
    }
