"""Signals stay off the rails: share of samples at the converter's limits, or cut off flat below them.

The rails are those that the sensor's profile declares; two samples in a row make a stay there, and a single one is a
bit that was wrong on its way. An amplifier in front of the converter saturates earlier, and shows by its shape: tops of
ECG, EEG, PPG or a raw input that are flat, again and again, where such a signal never rests. Without declared rails
shape is all there is, and the reason says so; streams of other kinds without rails are not judged. A signal that moves
in steps, being held or coarse, has flat tops for another reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.types import FloatArray
from harness.rails import SHAPED, Part, at_rails, cut_off
from harness.recording import Recording, StreamData
from harness.statistics import share_interval
from harness.verdict import Outcome, Verdict

NAME = "saturation"
_NUMBERS = frozenset({"heart_rate", "rr", "spo2", "affect"})
"""Kinds whose ends are values like others: 100 % of oxygen is no saturated converter."""


@dataclass(frozen=True)
class LIMITS:
    """Limits of the saturation check."""

    max_percent: float = field(
        default=0.1, metadata={"help": "share of samples that may be at a rail or cut off flat, on any channel"}
    )

    def __post_init__(self) -> None:
        if not 0 <= self.max_percent <= 100:
            raise ValueError("saturation: expected 0 <= max_percent <= 100")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """One verdict per stream that has rails, or a shape that would show them; its worst channel counts."""
    streams = [stream for stream in recording.streams.values() if _has_rails(stream)]
    if not streams:
        reason = "no stream of this rig declares rails or has a shape that would show them"
        return [Verdict(NAME, "rig", Outcome.NOT_RUN, reason, "saturated", None, "%", limits.max_percent)]
    return [_stream(recording, stream, limits) for stream in streams]


def _has_rails(stream: StreamData) -> bool:
    spec = stream.spec
    declared = spec.low is not None or spec.high is not None
    return bool(spec.rate_hz) and spec.kind not in _NUMBERS and (declared or spec.kind in SHAPED)


def _stream(recording: Recording, stream: StreamData, limits: LIMITS) -> Verdict:
    spec, part = stream.spec, Part.of(recording, stream)
    n = len(part.values)
    if not n:
        reason = "no sample of this stream lies in the run"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "saturated", None, "%", limits.max_percent)
    rails = at_rails(part.values, spec)
    rails["cut off"] = cut_off(part.values, float(spec.rate_hz or 1.0), spec)
    hit = np.any(list(rails.values()), axis=0)
    channel = int(hit.sum(axis=0).argmax())
    count = int(hit[:, channel].sum())
    percent = 100.0 * count / n
    stretches = part.stretches(hit[:, channel])
    low, high = _interval(len(stretches), count, n, part.period_s)
    ok = percent <= limits.max_percent
    reason = "no sample is at a rail" if not count else _told(rails, channel, stretches, spec.channels)
    if len(rails) == 1:
        reason += "; by its shape alone, for its sensor's profile declares no rails"
    if not ok:
        reason += ": look at gain, range and electrodes"
    return Verdict(
        NAME, stream.key, Outcome.PASS if ok else Outcome.FAIL, reason, "saturated", percent, "%", limits.max_percent,
        n, 100 * low, 100 * high, 0.95,
    )  # fmt: skip


def _interval(stretches: int, count: int, n: int, period_s: float) -> tuple[float, float]:
    """Of the share in the long run: stretches come one by one, and of none a second without one is the least trial."""
    trials = round(n * stretches / count) if count else max(1, round(n * period_s))
    return share_interval(stretches, max(trials, stretches))


def _told(
    rails: dict[str, np.typing.NDArray[np.bool_]], channel: int, stretches: FloatArray, names: tuple[str, ...]
) -> str:
    lengths = stretches[:, 1] - stretches[:, 0]
    longest = int(lengths.argmax())
    words = {"low": "at the low rail", "high": "at the high rail", "cut off": "cut off flat below the rails"}
    counts = {word: int(rails[name][:, channel].sum()) for name, word in words.items() if name in rails}
    told = ", ".join(f"{count} samples {word}" for word, count in counts.items() if count)
    where = f" on {names[channel]}" if len(names) > 1 else ""
    return f"{told}{where}, longest {lengths[longest]:.3g} s at {stretches[longest, 0]:.2f} s"
