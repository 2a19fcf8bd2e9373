"""What a model sees: windows cut from streams onto each modality's own grid. Imports no torch.

A window that is due at time ``d`` ends at ``d``: grid point i of T is at ``d - (T - 1 - i) / rate_hz``.
Between samples the grid is interpolated linearly; where samples are missing the last value is held, and
``coverage`` says what share of the grid had a sample nearby. A sample that arrived after its window
closed is not seen by it, so windows cut in batches afterwards equal windows cut one by one on time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drivers.types import FloatArray, IntArray
from harness.model.errors import WiringError
from simulators.units import factor, is_count

Float32Array = NDArray[np.float32]

_BEFORE, _AFTER = 0.5, 1.5
"""A sample vouches for the grid from half a period before it to one and a half after: one sample that
is under way or lost alone is bridged, two are a gap."""
_JITTER = 1.05
"""Intervals between estimated times differ a little from the nominal one."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One modality's window: (channels, length) on a grid of rate_hz, or the newest ``events`` values."""

    modality: str
    channels: int
    seconds: float
    """Length of the window; for events, the age from which an event no longer counts as covered."""
    rate_hz: float | None
    """None: the newest ``events`` values, oldest first."""
    unit: str = ""
    """Unit that the model expects; "" takes any."""
    events: int = 0

    @property
    def length(self) -> int:
        """Samples per window, at least 1."""
        return self.events if self.rate_hz is None else max(1, round(self.seconds * self.rate_hz))


INPUTS: dict[str, InputSpec] = {
    spec.modality: spec
    for spec in (
        InputSpec("ecg", 1, 4.0, 125.0, "mV"),
        InputSpec("ppg", 2, 4.0, 62.5),
        InputSpec("eda", 1, 8.0, 12.5, "uS"),
        InputSpec("respiration", 1, 8.0, 12.5),
        InputSpec("temperature", 1, 8.0, 4.0, "degC"),
        InputSpec("eeg", 2, 4.0, 125.0, "uV"),
        InputSpec("acceleration", 3, 4.0, 25.0, "g"),
        InputSpec("heart_rate", 1, 8.0, 2.0, "bpm"),
        InputSpec("rr", 1, 32.0, None, "ms", events=16),
        InputSpec("affect", 2, 4.0, 4.0),
    )
}
"""The reference network's inputs. The grids' periods divide the usual hop of 80 ms where the rate is high."""


def make_spec(modality: str, given: InputSpec | Mapping[str, Any]) -> InputSpec:
    """An input as a module declares it: an InputSpec, or {"channels", "seconds", "rate_hz"}; WiringError otherwise."""
    if isinstance(given, InputSpec):
        return given
    known = INPUTS.get(modality)
    if not isinstance(given, Mapping) or not {"channels", "seconds", "rate_hz"} >= set(given):
        raise WiringError(f"inputs[{modality!r}]: expected channels, seconds and rate_hz, found {given!r}")
    if known is None and not {"seconds", "rate_hz"} <= set(given):
        raise WiringError(f"inputs[{modality!r}]: an input that is no {', '.join(INPUTS)} needs seconds and rate_hz")
    base = known or InputSpec(modality, 1, 1.0, 1.0)
    channels = given.get("channels", base.channels)
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise WiringError(f"inputs[{modality!r}].channels: expected a whole number above 0, found {channels!r}")
    numbers = {key: given[key] for key in ("seconds", "rate_hz") if key in given}
    return input_specs({modality: numbers}, {modality: replace(base, channels=channels)})[modality]


def input_specs(overrides: Mapping[str, Any], base: Mapping[str, InputSpec] = INPUTS) -> dict[str, InputSpec]:
    """``base`` with a rig file's ``seconds`` and ``rate_hz``; WiringError for what cannot be."""
    specs = dict(base)
    for modality, given in overrides.items():
        if modality not in specs:
            raise WiringError(f"model.inputs: {modality!r} is no input of this model, which has {', '.join(specs)}")
        changes: dict[str, Any] = {key: given[key] for key in ("seconds", "rate_hz") if given.get(key) is not None}
        for key, value in changes.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
                raise WiringError(f"model.inputs.{modality}.{key}: expected a number above 0, found {value!r}")
        if specs[modality].rate_hz is None and "rate_hz" in changes:
            raise WiringError(f"model.inputs.{modality}.rate_hz: this input is a list of events and has no rate")
        specs[modality] = replace(specs[modality], **changes)
    return specs


def unit_scale(found: str, wanted: str) -> float:
    """Factor that turns values in ``found`` into ``wanted``; WiringError if they are different quantities.

    1 where any unit will do, and for counts, which say nothing that could be converted.
    """
    scale = 1.0 if not wanted or is_count(found) else factor(found, wanted)
    if scale is None:
        raise WiringError(
            f"the model wants {wanted} and the stream is in {found!r}, which does not convert; correct the unit in the "
            "sensor's StreamSpec, or wire another stream under model.inputs"
        )
    return scale


@dataclass(frozen=True, eq=False)
class _Track:
    """What can matter for some windows: samples in time order, all values finite."""

    time_ns: IntArray
    arrival_ns: IntArray
    """When each sample and all before it had arrived."""
    values: FloatArray


def cut_windows(
    spec: InputSpec,
    time_ns: IntArray,
    values: FloatArray,
    due_ns: IntArray,
    *,
    rate_hz: float | None = None,
    arrival_ns: IntArray | None = None,
    closed_ns: IntArray | None = None,
    scale: float = 1.0,
) -> tuple[Float32Array, FloatArray]:
    """Windows float32 (w, channels, length), and the coverage 0..1 of each (w,), at due times (w,), ascending.

    ``time_ns`` (n,) and ``values`` (n, c) or (n,) are a stream in order of arrival; ``rate_hz`` its nominal
    rate. With ``arrival_ns`` (n,) and ``closed_ns`` (w,) a window sees only what arrived before it closed.
    Channel k of the window is channel k modulo c of the stream. No sample at all: zeros with coverage 0.
    """
    due_ns = np.asarray(due_ns, dtype=np.int64)
    shape = (len(due_ns), spec.channels, spec.length)
    track = _usable(spec, time_ns, values, arrival_ns, due_ns)
    if not len(due_ns) or not len(track.time_ns):
        return np.zeros(shape, dtype=np.float32), np.zeros(len(due_ns))
    seen = np.full(len(due_ns), len(track.time_ns))
    if arrival_ns is not None and closed_ns is not None:
        seen = np.searchsorted(track.arrival_ns, closed_ns, side="right")
    cut = _cut_events if spec.rate_hz is None else _cut_grid
    windows, coverage = cut(spec, track, due_ns, seen, rate_hz)
    if scale != 1.0:
        windows *= np.float32(scale)
    if not seen.all():  # nothing had arrived yet
        windows[seen == 0], coverage[seen == 0] = 0.0, 0.0
    return windows, coverage


def _usable(
    spec: InputSpec, time_ns: IntArray, values: FloatArray, arrival_ns: IntArray | None, due_ns: IntArray
) -> _Track:
    arrival_ns = time_ns if arrival_ns is None else arrival_ns
    values = values[:, None] if values.ndim == 1 else values
    if len(time_ns) > 1 and (time_ns[1:] < time_ns[:-1]).any():
        order = np.argsort(time_ns, kind="stable")
        time_ns, values, arrival_ns = time_ns[order], values[order], np.maximum.accumulate(arrival_ns[order])
    if spec.rate_hz is not None and len(due_ns) and len(time_ns):
        # one sample before the first window, to interpolate from; nothing is held for longer than a window
        first = max(0, int(np.searchsorted(time_ns, due_ns[0] - _span_ns(spec))) - 1)
        time_ns, values, arrival_ns = time_ns[first:], values[first:], arrival_ns[first:]
    if not np.isfinite(values.sum()):
        finite = np.isfinite(values).all(axis=1)
        time_ns, values, arrival_ns = time_ns[finite], values[finite], arrival_ns[finite]
    if values.shape[1] != spec.channels:
        values = values[:, np.arange(spec.channels) % values.shape[1]]
    return _Track(time_ns, arrival_ns, values)


def _span_ns(spec: InputSpec) -> int:
    return round((spec.length - 1) * 1e9 / float(spec.rate_hz or 1))


def _cut_events(
    spec: InputSpec, track: _Track, due_ns: IntArray, seen: IntArray, rate_hz: float | None
) -> tuple[Float32Array, FloatArray]:
    del rate_hz  # events have none
    stop = np.minimum(np.searchsorted(track.time_ns, due_ns, side="right"), seen)
    place = stop[:, None] - spec.length + np.arange(spec.length)
    real = (place >= 0) & (place < stop[:, None])
    place = np.clip(place, 0, np.maximum(stop - 1, 0)[:, None])
    fresh = due_ns[:, None] - track.time_ns[place] <= round(spec.seconds * 1e9)
    windows = track.values[place].transpose(0, 2, 1).astype(np.float32)
    windows[stop == 0] = 0.0
    return windows, (real & fresh).mean(axis=1)


def _cut_grid(
    spec: InputSpec, track: _Track, due_ns: IntArray, seen: IntArray, rate_hz: float | None
) -> tuple[Float32Array, FloatArray]:
    step = _shared_step(spec, due_ns)
    length, count = spec.length, len(due_ns)
    grid_period_ns = 1e9 / float(spec.rate_hz or 1)
    back_ns = np.rint(np.arange(1 - length, 1) * grid_period_ns).astype(np.int64)
    period_ns = max(_period_ns(track, rate_hz), grid_period_ns)
    if step is None:
        line_ns, place = (due_ns[:, None] + back_ns).ravel(), np.arange(count * length).reshape(count, length)
    else:
        # windows overlap: resample the stretch once and cut them all out of it
        line_ns = due_ns[-1] + round(grid_period_ns) * np.arange(1 - length - step * (count - 1), 1)
        place = step * np.arange(count)[:, None] + np.arange(length)
    values, near = _resample(track, line_ns, period_ns)
    cut = values.astype(np.float32)[:, place].transpose(1, 0, 2).copy()
    near = near[place]
    _hold_tails(cut, near, back_ns, due_ns, track, seen, period_ns)
    return cut, near.sum(axis=1) / length


def _shared_step(spec: InputSpec, due_ns: IntArray) -> int | None:
    """Grid points per hop where every window lies on one grid to the nanosecond, else None."""
    period = 1e9 / float(spec.rate_hz or 1)
    hops = np.diff(due_ns)
    if not len(hops) or period != round(period) or (hops != hops[0]).any():
        return None
    step, rest = divmod(int(hops[0]), round(period))
    return step if rest == 0 and 0 < step <= spec.length else None


def _period_ns(track: _Track, rate_hz: float | None) -> float:
    """Of the stream; where it names no rate, the median interval."""
    if rate_hz:
        return 1e9 / rate_hz
    return float(np.median(np.diff(track.time_ns))) if len(track.time_ns) > 1 else 0.0


def _resample(track: _Track, grid_ns: IntArray, period_ns: float) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Values (channels, g) on grid points (g,), and whether a sample is near each."""
    time_ns = track.time_ns
    origin_ns = time_ns[0]
    grid, times = (grid_ns - origin_ns).astype(np.float64), (time_ns - origin_ns).astype(np.float64)
    values = np.stack([np.interp(grid, times, column) for column in track.values.T])
    near = (grid >= -_BEFORE * period_ns) & (grid <= times[-1] + _AFTER * period_ns)
    reach_ns = (_BEFORE + _AFTER) * period_ns * _JITTER
    holes = np.flatnonzero(np.diff(times) > reach_ns)
    if len(holes):
        place = np.searchsorted(times, grid, side="right") - 1
        inside = np.isin(place, holes)
        left = place[inside]
        values[:, inside] = track.values[left].T
        since, until = grid[inside] - times[left], times[left + 1] - grid[inside]
        near[inside] = (since <= _AFTER * period_ns) | (until <= _BEFORE * period_ns)
    return values, near


def _hold_tails(
    windows: Float32Array,
    near: NDArray[np.bool_],
    back_ns: IntArray,
    due_ns: IntArray,
    track: _Track,
    seen: IntArray,
    period_ns: float,
) -> None:
    """Where a window ends after the newest sample it may see, it holds that sample's value (in place)."""
    last = np.maximum(seen - 1, 0)
    behind_ns = due_ns - track.time_ns[last]
    start = np.searchsorted(back_ns, -behind_ns, side="right")
    first = int(start.min())
    if first == len(back_ns):
        return
    held = np.arange(first, len(back_ns)) >= start[:, None]
    newest = track.values[last].astype(np.float32)
    windows[:, :, first:] = np.where(held[:, None, :], newest[:, :, None], windows[:, :, first:])
    fresh = back_ns[first:] + behind_ns[:, None] <= _AFTER * period_ns
    near[:, first:] = np.where(held, fresh, near[:, first:])
