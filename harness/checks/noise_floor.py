"""The noise of the input itself stays below a limit, in physical units, beside a signal or with inputs shorted.

Beside a signal it is told from what the signal cannot contain, and is white noise of that density; harness/floor.py
says how beats, muscle in bursts and the mains are kept apart. Where nothing but noise is there (inputs shorted, a
patient simulator's flat line), its peak-to-peak is read off directly. An EEG is noise itself: brain and muscle above
40 Hz count into what is found, so that its floor is known from above only, and a limit worth having needs shorted
inputs. Of a PPG the noise is told in per cent of the steady light, as the perfusion index is; a pleth that is sent
without its steady light is held to a share of its pulse's height.

Respiration has no unit to have a limit in, and numbers such as a heart rate have no input whose noise could show.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from drivers.quality.windows import millivolt, siemens
from drivers.types import FloatArray, StreamSpec
from harness.content.trace import Trace
from harness.floor import ORDER, Floor, colour_of, floor_of, range_of, still
from harness.recording import Recording, StreamData
from harness.verdict import Outcome, Verdict

NAME = "noise_floor"
_ANY_S = 10
"""ECG standards ask for the peak-to-peak in any ten seconds."""
_ALONE = 1.15
"""Times the noise: what moves no more than that in ten seconds is nothing but noise."""
_HIDDEN = 0.5
"""Of the converter's step: noise below it does not reliably move the last bit."""
_FEWEST = 20
_COLOURED = 2.0
"""Times as much an octave below: the noise of an input is white, or nearly, where a body's signal has ended."""
_MOST_PERFUSION = 0.3
"""A pulse beyond that share of the light was made by arithmetic: the steady light is not in the stream."""
_CELSIUS = frozenset({"C", "degC", "°C"})
_MG = {"g": 1e3, "G": 1e3, "mg": 1.0, "m/s2": 1e3 / 9.80665, "m/s^2": 1e3 / 9.80665}

Mask = np.typing.NDArray[np.bool_]


@dataclass(frozen=True)
class LIMITS:
    """Limits of the noise floor check."""

    max_ecg_uv_pp: float = field(
        default=50.0, metadata={"help": "ECG: peak-to-peak in any 10 s, referred to the input (IEC 60601-2-47)"}
    )
    max_eeg_uv_rms: float = field(
        default=10.0, metadata={"help": "EEG: rms, what brain and muscle have above 40 Hz included; shorted: 1"}
    )
    max_ppg_percent: float = field(default=0.3, metadata={"help": "PPG: rms, of the steady light"})
    max_pleth_percent: float = field(
        default=5.0, metadata={"help": "PPG that is sent without its steady light: rms, of the pulse's height"}
    )
    max_eda_us: float = field(default=0.02, metadata={"help": "EDA: rms, microsiemens"})
    max_temperature_c: float = field(default=0.05, metadata={"help": "skin temperature: rms, degrees Celsius"})
    max_acceleration_mg: float = field(default=20.0, metadata={"help": "acceleration: rms, thousandths of gravity"})

    def __post_init__(self) -> None:
        if min(getattr(self, each.name) for each in fields(self)) <= 0:
            raise ValueError(f"noise_floor: expected {', '.join(each.name for each in fields(self))} above 0")


@dataclass(frozen=True, slots=True)
class _Measure:
    """How a stream's noise is told."""

    limit: float
    unit: str
    scale: float
    """Of the unit per unit of the stream."""
    peaks: bool = False
    """Peak-to-peak, not rms."""


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """One verdict per stream whose input has a noise; its worst channel counts."""
    streams = [each for each in recording.streams.values() if each.spec.kind in ORDER and each.spec.rate_hz]
    verdicts = [_stream(recording, stream, limits) for stream in streams]
    if not verdicts:
        reason = f"no stream of this rig is of a kind whose noise has a limit ({', '.join(sorted(ORDER))})"
        verdicts.append(Verdict(NAME, "rig", Outcome.NOT_RUN, reason, "noise floor"))
    return verdicts


def _measure(spec: StreamSpec, values: FloatArray, limits: LIMITS) -> _Measure | None:
    """None where the stream's unit has nothing to do with the limit's."""
    volt, us = millivolt(spec), siemens(spec)
    if spec.kind == "ecg" and volt:
        return _Measure(limits.max_ecg_uv_pp, "uV", 1e3 * volt, peaks=True)
    if spec.kind == "eeg" and volt:
        return _Measure(limits.max_eeg_uv_rms, "uV", 1e3 * volt)
    if spec.kind == "eda" and us:
        return _Measure(limits.max_eda_us, "uS", us)
    if spec.kind == "temperature" and spec.unit in _CELSIUS:
        return _Measure(limits.max_temperature_c, "C", 1.0)
    if spec.kind == "acceleration" and spec.unit in _MG:
        return _Measure(limits.max_acceleration_mg, "mg", _MG[spec.unit])
    if spec.kind == "ppg":
        bottom, steady, top = (float(level) for level in np.abs(np.quantile(values, (0.02, 0.5, 0.98))))
        if abs(top - bottom) < _MOST_PERFUSION * steady:
            return _Measure(limits.max_ppg_percent, "% of the light", 100 / steady)
        height = abs(top - bottom)
        return _Measure(limits.max_pleth_percent, "% of the pulse", 100 / height if height else float("inf"))
    return None


@dataclass(frozen=True, slots=True)
class _Found:
    """Of one channel, in the limit's unit."""

    value: float
    low: float
    high: float
    floor: Floor
    how: str
    colour: float = 1.0
    """Times as strong an octave below; looked at beyond the limit only."""


def _stream(recording: Recording, stream: StreamData, limits: LIMITS) -> Verdict:
    spec, rate_hz = stream.spec, float(stream.spec.rate_hz or 1.0)
    inside = (stream.time_ns >= recording.start_ns) & (stream.time_ns < recording.stop_ns)
    values, times_s = stream.values[inside], (stream.time_ns[inside] - recording.start_ns) / 1e9
    # One light's steady part is not another's
    measures = [_measure(spec, channel, limits) for channel in values.T] if len(values) else []
    known = [measure for measure in measures if measure is not None and np.isfinite(measure.scale)]
    if len(known) < len(measures) or not measures:
        reason = f"a stream in {spec.unit!r} cannot be held to the limit of its kind"
        reason = reason if len(values) else "no sample of this stream lies in the run"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "noise floor", n=len(values))
    found = [_channel(channel, times_s, rate_hz, spec, m) for channel, m in zip(values.T, known, strict=True)]
    if spec.lsb and all(_hidden(each, channel, spec.lsb) for each, channel in zip(found, values.T, strict=True)):
        return _by_step(stream, known[0], len(values))
    seen = [(each, number) for number, each in enumerate(found) if each is not None]
    if not seen:
        reason = "too few samples that move: is the input connected, and the run long enough?"
        return Verdict(
            NAME, stream.key, Outcome.INCONCLUSIVE, reason, "noise floor", None, known[0].unit, known[0].limit,
            len(values),
        )  # fmt: skip
    worst, number = max(seen, key=lambda each: each[0].value / known[each[1]].limit)
    return _verdict(stream, worst, spec.channels[number], known[number])


def _hidden(found: _Found | None, channel: FloatArray, lsb: float) -> bool:
    """The noise hardly moves the last bit, but the input lives: it has moved at all."""
    if found is not None:
        return found.floor.rms < _HIDDEN * lsb
    return len(channel) >= _FEWEST and bool(np.any(np.diff(channel)))


def _railed(values: FloatArray, spec: StreamSpec) -> Mask:
    near, out = 0.5 * (spec.lsb or 0.0), np.zeros(len(values), dtype=bool)
    for rail, sign in ((spec.low, -1.0), (spec.high, 1.0)):
        if rail is not None:
            out |= sign * (values - rail) >= -near
    return out


def _channel(
    channel: FloatArray, times_s: FloatArray, rate_hz: float, spec: StreamSpec, measure: _Measure
) -> _Found | None:
    """Of one channel (n,) as it came."""
    trace = Trace.of(channel, times_s, rate_hz)
    usable = trace.usable & ~_railed(trace.values, spec) & ~still(trace.values, rate_hz)
    floor = floor_of(trace.values, usable, rate_hz, spec)
    if floor is None:
        return None
    whole = len(trace.values) == len(channel) and not (_railed(channel, spec) | still(channel, rate_hz)).any()
    alone = _alone(channel, rate_hz, floor.rms) if whole else 0.0
    factor, how = measure.scale, "with nothing else on the input" if alone else "beside the signal"
    if measure.peaks:
        factor *= range_of(round(_ANY_S * rate_hz))
        how += f", {floor.rms * measure.scale:.3g} {measure.unit} rms"
    if measure.peaks and alone:
        peaks = measure.scale * alone
        return _Found(peaks, peaks, peaks, floor, how)
    found = _Found(floor.rms * factor, floor.low * factor, floor.high * factor, floor, how)
    if found.low > measure.limit:
        found = replace(found, colour=colour_of(trace.values, usable, rate_hz, spec))
    return found


def _alone(values: FloatArray, rate_hz: float, rms: float) -> float:
    """Largest peak-to-peak in ten seconds if that is all noise of this rms, else 0."""
    size = round(_ANY_S * rate_hz)
    count = len(values) // size
    if not count:
        return 0.0
    table = values[: count * size].reshape(count, size)
    if float(np.median(table.std(axis=1))) > _ALONE * rms:
        return 0.0
    second = max(1, round(rate_hz))
    whole = values[: len(values) // second * second].reshape(-1, second)
    reach = np.lib.stride_tricks.sliding_window_view
    tops, bottoms = (reach(each, min(_ANY_S, len(whole))) for each in (whole.max(axis=1), whole.min(axis=1)))
    return float(np.max(tops.max(axis=1) - bottoms.min(axis=1)))


def _by_step(stream: StreamData, measure: _Measure, n: int) -> Verdict:
    """The converter's step hides the noise: what the step makes of it is all that can be said."""
    step = (stream.spec.lsb or 0.0) * measure.scale
    most = step if measure.peaks else step / float(np.sqrt(12))
    fits = most <= measure.limit
    reason = f"hidden below the converter's step of {step:.3g} {measure.unit}: at most {most:.3g} {measure.unit}"
    reason += "" if fits else ", and the step is too coarse for this limit"
    return Verdict(
        NAME, stream.key, Outcome.PASS if fits else Outcome.INCONCLUSIVE, reason, "noise floor", most, measure.unit,
        measure.limit, n, 0.0, most, 0.95,
    )  # fmt: skip


def _verdict(stream: StreamData, found: _Found, channel: str, measure: _Measure) -> Verdict:
    floor, unit = found.floor, measure.unit
    kind = "peak-to-peak in 10 s" if measure.peaks else "rms"
    where = f" on {channel}" if len(stream.spec.channels) > 1 else ""
    reason = f"{found.value:.3g} {unit} {kind}{where}, {found.how}"
    if floor.hum * measure.scale > found.value:
        reason += f"; the mains' {floor.hum * measure.scale:.3g} {unit} rms are left out"
    if floor.restless > 0.05:
        reason += (
            f"; {100 * floor.restless:.0f} % of the time is noisier, as with muscle or a loose contact, and left out"
        )
    if found.low > measure.limit and found.colour > _COLOURED:
        outcome = Outcome.INCONCLUSIVE
        reason += f", but {found.colour:.1f} times as much an octave below, as movement and muscle have it"
    elif found.low > measure.limit:
        outcome = Outcome.FAIL
        reason += ": look at shielding, gain, supply, electrodes"
    elif found.high <= measure.limit:
        outcome = Outcome.PASS
    else:
        outcome = Outcome.INCONCLUSIVE
        reason += "; too near to the limit to tell in so short a run"
    return Verdict(
        NAME, stream.key, outcome, reason, "noise floor", found.value, unit, measure.limit, floor.n, found.low,
        found.high, 0.95,
    )  # fmt: skip
