"""Each stream samples at its declared rate, by the device's counter or clock against the host's clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.clock_fit import ClockFit, fit_clock
from drivers.timebase import arrivals_tell
from drivers.types import FloatArray, IntArray
from harness.recording import Recording, StreamData
from harness.verdict import Outcome, Verdict

NAME = "rate"
_FEWEST = 10


@dataclass(frozen=True)
class LIMITS:
    """Limits of the rate check."""

    tolerance_percent: float = field(default=1.0, metadata={"help": "how far the rate may be from the declared one"})

    def __post_init__(self) -> None:
        if not 0 < self.tolerance_percent < 100:
            raise ValueError(f"rate: expected 0 < tolerance_percent < 100, found {self.tolerance_percent}")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """One verdict per stream with a rate; NOT_RUN if no stream has one."""
    verdicts = [_stream(s, limits) for s in recording.streams.values() if s.spec.rate_hz]
    return verdicts or [Verdict(NAME, "rig", Outcome.NOT_RUN, "no stream of this rig has a rate")]


def _stream(stream: StreamData, limits: LIMITS) -> Verdict:
    nominal = float(stream.spec.rate_hz or 0)
    n = len(stream.index)
    fit = _longest(fit_clock(_grid_ns(stream, nominal), stream.arrival_ns, stream.segment))
    if fit is None or fit.n < _FEWEST or not np.isfinite(fit.drift_high_ppm - fit.drift_low_ppm):
        reason = f"{n} samples are too few to tell the rate: at least {_FEWEST} over a few seconds are needed"
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "rate", None, "Hz", nominal, n)
    own = _declared_rate_factor(stream, nominal)
    value, low, high = (
        nominal * own * (1 + ppm * 1e-6) for ppm in (fit.drift_ppm, fit.drift_low_ppm, fit.drift_high_ppm)
    )
    least, most = nominal * (1 - limits.tolerance_percent / 100), nominal * (1 + limits.tolerance_percent / 100)
    reason = f"{value:.6g} Hz measured, {nominal:g} Hz declared"
    if least <= low and high <= most:
        outcome = Outcome.PASS
    elif high < least or low > most:
        outcome = Outcome.FAIL
        reason += "; is the rate in the sensor's settings the one that it runs at?"
    else:
        outcome = Outcome.INCONCLUSIVE
        reason += "; the interval straddles the tolerance, so run longer"
    return Verdict(NAME, stream.key, outcome, reason, "rate", value, "Hz", nominal, n, low, high, 0.95)


def _longest(fits: list[ClockFit]) -> ClockFit | None:
    return max(fits, key=lambda fit: fit.n, default=None)


def _grid_ns(stream: StreamData, nominal_hz: float) -> IntArray:
    """Time of each sample by the device: its clock where it has one, else its sample count.

    Where nothing counts, samples that come further apart than a link delays them are counted by their arrivals.
    """
    if stream.device_ns is not None:
        return stream.device_ns
    if arrivals_tell(stream.spec) and len(stream.arrival_ns):
        steps = np.rint(np.diff(stream.arrival_ns, prepend=stream.arrival_ns[0]) * (nominal_hz * 1e-9))
        return np.asarray(np.rint(np.cumsum(steps) * (1e9 / nominal_hz)), dtype=np.int64)
    return np.asarray(np.rint(stream.index * (1e9 / nominal_hz)), dtype=np.int64)


def _declared_rate_factor(stream: StreamData, nominal_hz: float) -> float:
    """Samples per second of the device's own clock over the nominal rate.

    A sensor that stamps its samples may keep good time and still take them at another rate. Gaps are
    losses, not a low rate: only intervals up to 1.5 medians count.
    """
    if stream.device_ns is None:
        return 1.0
    steps: FloatArray = np.diff(stream.device_ns).astype(np.float64)
    steps = steps[steps > 0]
    usual = steps[steps <= 1.5 * np.median(steps)] if len(steps) else steps
    return float(1e9 / usual.mean() / nominal_hz) if len(usual) else 1.0
