"""What a reading must look like: three keys, arrays that fit one another, a quality that is a number.

A reading is what ``read_data`` of any driver gives: our own Driver's Reading, or a plain dict of somebody else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivers.types import FloatArray, Quality, StreamSpec

KEYS = ("physiological", "timestamps", "quality_metrics")
ALONE = "data"
"""What a stream is called whose driver gives plain arrays instead of a mapping from names to arrays."""


class MissingKeyError(Exception):
    """A reading lacks one of KEYS."""


class WrongShapeError(Exception):
    """A reading has the keys, and something under one of them cannot be used."""


@dataclass(frozen=True, eq=False)
class Plain:
    """One reading as arrays."""

    values: Mapping[str, FloatArray]
    """Stream -> (n, channels)."""
    times_s: Mapping[str, FloatArray]
    """Stream -> (n,)."""
    quality: Quality


def plain(reading: Any, streams: Sequence[StreamSpec] = ()) -> Plain:
    """A reading, checked; MissingKeyError with the key, or WrongShapeError with what was expected and found."""
    if not isinstance(reading, Mapping):
        raise WrongShapeError(f"expected a mapping with {', '.join(KEYS)}, found {type(reading).__name__}")
    for key in KEYS:
        if key not in reading:
            raise MissingKeyError(key)
    given = reading["physiological"]
    values = {str(name): _array(f"physiological of {name}", part) for name, part in _named(given).items()}
    stamps = reading["timestamps"]
    named = _named(stamps) if isinstance(stamps, Mapping) else dict.fromkeys(values, stamps)
    known = {spec.name: len(spec.channels) for spec in streams}
    times: dict[str, FloatArray] = {}
    for name, part in values.items():
        if name not in named:
            raise WrongShapeError(f"expected timestamps of {name}, found those of {', '.join(named) or 'no stream'}")
        times[name] = _array(f"timestamps of {name}", named[name]).reshape(-1)
        values[name] = _fitting(name, part, times[name], known.get(name))
    return Plain(values, times, _quality(reading["quality_metrics"]))


def _named(given: Any) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {ALONE: given}


def _array(what: str, given: Any) -> FloatArray:
    if hasattr(given, "detach"):  # a tensor, perhaps on a GPU
        given = given.detach().cpu()
    try:
        made = np.atleast_1d(np.asarray(given, dtype=np.float64))
    except (TypeError, ValueError) as trouble:
        raise WrongShapeError(f"{what}: expected numbers, found {type(given).__name__}: {trouble}") from trouble
    if made.ndim > 2:
        raise WrongShapeError(f"{what}: expected the shape (n,) or (n, channels), found {made.shape}")
    return made


def _fitting(name: str, values: FloatArray, times_s: FloatArray, channels: int | None) -> FloatArray:
    """(n, channels)"""
    if len(values) != len(times_s):
        raise WrongShapeError(f"{name}: expected a timestamp for each sample, found {len(values)} and {len(times_s)}")
    if not np.isfinite(times_s).all():
        raise WrongShapeError(f"{name}: expected timestamps that are numbers, found NaN or infinity")
    made = values if values.ndim == 2 else values[:, None]
    if channels is not None and len(values) and made.shape[1] != channels:
        raise WrongShapeError(f"{name}: expected {channels} channels, found {made.shape[1]}")
    return made


def _quality(given: Any) -> Quality:
    if isinstance(given, Quality):
        return given
    try:
        return Quality(float(given))
    except (TypeError, ValueError) as trouble:
        found = type(given).__name__
        raise WrongShapeError(
            f"quality_metrics: expected a number, as `quality < 0.5` needs one, found {found}: {trouble}"
        ) from trouble
