"""Each stream samples at its declared rate and evenly, by the device's counter or clock against the host's clock.

How small an error is found follows from the interval: one of tolerance_percent plus half its width. Found with 95 %
power in 30 s, at default limits and with a host that is half a millisecond late now and then: a rate that is 1.05 % off
on a Cyton's serial line, 1.2 % on counted packets behind connection events every 30 ms; on both, five seconds in which
it is 4 % off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from harness.clocks import StreamClock, clock_of, drift_known
from harness.rate import own_rate_hz, rate_wander, silences_s
from harness.recording import Recording, StreamData
from harness.verdict import Outcome, Verdict

NAME = "rate"
_FEWEST = 10


@dataclass(frozen=True)
class LIMITS:
    """Limits of the rate check."""

    tolerance_percent: float = field(default=1.0, metadata={"help": "how far the rate may be from the declared one"})
    max_wander_percent: float = field(
        default=3.0, metadata={"help": "how far the rate of any five seconds may be from the mean over the run"}
    )

    def __post_init__(self) -> None:
        if not (0 < self.tolerance_percent < 100 and 0 < self.max_wander_percent < 100):
            raise ValueError(
                "rate: expected 0 < tolerance_percent < 100 and 0 < max_wander_percent < 100, "
                f"found {self.tolerance_percent} and {self.max_wander_percent}"
            )


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """Per stream with a rate: the rate, and its wander where the run is long enough; NOT_RUN if no stream has one.

    Both are of the time in which the stream sampled; the verdict says when it did not.
    """
    verdicts = [v for s in recording.streams.values() if s.spec.rate_hz for v in _stream(recording, s, limits)]
    return verdicts or [Verdict(NAME, "rig", Outcome.NOT_RUN, "no stream of this rig has a rate")]


def _stream(recording: Recording, stream: StreamData, limits: LIMITS) -> list[Verdict]:
    clock = clock_of(stream)
    verdicts = [_rate(recording, stream, clock, limits)]
    if stream.spec.counted or stream.spec.timed:
        verdicts += _wander(recording, stream, clock, limits)
    return verdicts


def _rate(recording: Recording, stream: StreamData, clock: StreamClock, limits: LIMITS) -> Verdict:
    nominal, fit = float(stream.spec.rate_hz or 0), clock.main
    n = len(stream.index)
    if fit is None or fit.n < _FEWEST or not np.isfinite(fit.drift_high_ppm - fit.drift_low_ppm):
        reason = f"{n} samples are too few to tell the rate: at least {_FEWEST} over a few seconds are needed"
        reason += _silence(recording, stream)
        return Verdict(NAME, stream.key, Outcome.INCONCLUSIVE, reason, "rate", None, "Hz", nominal, n)
    own = own_rate_hz(stream)
    value, low, high = (own * (1 + ppm * 1e-6) for ppm in (fit.drift_ppm, *drift_known(clock, fit)))
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
    reason += _silence(recording, stream)
    return Verdict(NAME, stream.key, outcome, reason, "rate", value, "Hz", nominal, n, low, high, 0.95)


def _silence(recording: Recording, stream: StreamData) -> str:
    silences = silences_s(recording, stream)
    if not silences:
        return ""
    duration_s = (recording.stop_ns - recording.start_ns) / 1e9
    last = silences[-1]
    told = ", ".join(f"{begin:.1f} to {end:.1f} s" for begin, end in silences[:3]) + " ..." * (len(silences) > 3)
    fell = "; it fell silent and did not come back" if last[1] >= duration_s and last[0] > 0 else ""
    sent_s = duration_s - sum(end - begin for begin, end in silences)
    return f"; silent from {told}, so this is the rate of the other {sent_s:.1f} s{fell}"


def _wander(recording: Recording, stream: StreamData, clock: StreamClock, limits: LIMITS) -> list[Verdict]:
    """Nothing where there are too few windows to compare."""
    limit, found = limits.max_wander_percent, rate_wander(stream, clock)
    if found is None:
        return []
    reason = (
        f"over {found.windows} windows of {found.window_s:g} s the rate has a standard deviation of {found.sd:.3g} %"
    )
    if found.low > limit:
        outcome = Outcome.FAIL
        at_s = (found.at_ns - recording.start_ns) / 1e9
        reason += f" and is {found.largest:.2g} % off at {at_s:.0f} s: is the sampling timed by software that is busy?"
    elif found.high <= limit:
        outcome = Outcome.PASS
    else:
        outcome = Outcome.INCONCLUSIVE
        reason += "; delays on this link scatter too much to tell more: a longer run or a steadier link would"
    return [
        Verdict(
            NAME, stream.key, outcome, reason, "rate wander", found.largest, "%", limit, found.windows,
            found.low, found.high, 0.95,
        )
    ]  # fmt: skip
