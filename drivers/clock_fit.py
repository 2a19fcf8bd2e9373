"""A device's clock against the host's: offset, drift and jitter of each segment with honest intervals.

The delay from sensor to host is never negative, often long, and on most links nothing like normal. So the estimate
follows what the delays look like: where they end sharply below, the line under the earliest arrivals
(drivers.clock_edge); where they scatter both ways, a robust line through all (drivers.clock_centre); where the link
polls, the posterior of drivers.clock_lattice. drivers.clock_estimator gathers the data, in pieces or at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.clock_line import NODES
from drivers.types import FloatArray, IntArray

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ClockFit:
    """One stretch of a device's clock against the host clock: host = device + offset, offset moving with the drift.

    Intervals hold with 95 % confidence. Offsets include the link's smallest delay, which one-way data cannot show.
    """

    segment: int
    start: int
    """Number of the stretch's first sample in the arrays given."""
    n: int
    """Samples in the stretch."""
    arrivals: int
    """Chunks that carried them: what the estimate really rests on."""
    reference_ns: int
    """Device time at which the offset is stated: the middle of the stretch."""
    offset_ns: float
    offset_low_ns: float
    offset_high_ns: float
    drift_ppm: float
    """Mean over the stretch. Positive: the device's clock runs fast. Infinite intervals: the data say nothing."""
    drift_low_ppm: float
    drift_high_ppm: float
    jitter_ns: float
    """Robust standard deviation of the chunks' delays about the line: 1.4826 times their median distance from
    their median. Of a ``lattice`` that of their arrivals about its polls: how long packets wait for those goes by the
    phase of one against the other, and is no property that a short run would show."""
    cell_ns: float
    """Height of the strip in which batching hides the clock (0: none seen)."""
    delay_ns: tuple[float, float, float, float]
    """50 %, 95 %, 99 % and largest delay of the chunks over the earliest arrivals."""
    duration_s: float
    jitter_low_ns: float
    jitter_high_ns: float
    drift_change_ppm_per_min: float
    """0 where nothing shows that the drift moves; the interval says how much it may."""
    drift_change_low_ppm_per_min: float
    drift_change_high_ppm_per_min: float
    kind: str
    """"floor": the offset is that of the earliest arrivals; "centre": of the middle of a jitter that goes both ways;
    "lattice": of packets that wait for the link's polls, were they not to wait at all."""
    band_ns: tuple[tuple[float, float], ...]
    """Ends of the offset's interval less its estimate, evenly from the stretch's first to its last sample."""

    def host_ns(self, device_ns: IntArray) -> FloatArray:
        """Host time of device times, float64 ns."""
        return np.asarray(device_ns + self.offset_at(device_ns))

    def offset_at(self, device_ns: IntArray | int | float) -> FloatArray:
        """Estimate of (host - device) at device times, ns."""
        away_s = (np.asarray(device_ns) - self.reference_ns) / _SECOND_NS
        return np.asarray(self.offset_ns + away_s * (self.slope * _SECOND_NS + away_s * self._curve))

    @property
    def slope(self) -> float:
        """Mean change of (host - device) per device second."""
        return _slope_of(self.drift_ppm)

    @property
    def _curve(self) -> float:
        """ns/s^2"""
        return -self.drift_change_ppm_per_min * 1e3 / 120

    def drift_at(self, device_ns: float) -> float:
        """Drift at a device time, ppm; the mean drift unless that moves."""
        away_min = (device_ns - self.reference_ns) / (60 * _SECOND_NS)
        return self.drift_ppm + self.drift_change_ppm_per_min * away_min

    def offset_interval_ns(self, device_ns: float) -> tuple[float, float]:
        """95 % interval of (host - device) at a device time, from what offset and drift are known to be together.

        Outside the stretch it grows with the drift's own interval; (-inf, inf) there if no drift is known.
        """
        middle = float(self.offset_at(device_ns))
        half_ns = 0.5 * self.duration_s * _SECOND_NS
        away = device_ns - self.reference_ns
        place = away / half_ns if half_ns else 0.0
        low, high = (float(np.interp(place, NODES, ends)) for ends in zip(*self.band_ns, strict=True))
        beyond = abs(away) - half_ns
        if beyond <= 0.5:
            return middle + low, middle + high
        slopes = (_slope_of(ppm) - self.slope for ppm in (self.drift_low_ppm, self.drift_high_ppm))
        reach = sorted(float(np.copysign(beyond, away)) * slope for slope in slopes)
        return middle + low + reach[0], middle + high + reach[1]


def _slope_of(drift_ppm: float) -> float:
    if np.isinf(drift_ppm):
        return -drift_ppm
    return 1 / (1 + drift_ppm * 1e-6) - 1


def drift_of(slope: float) -> float:
    """Drift in ppm of a change of (host - device) per device second."""
    if np.isinf(slope):
        return -slope
    return (1 / (1 + slope) - 1) * 1e6


def fit_clock(
    device_ns: IntArray,
    arrival_ns: IntArray,
    segment: IntArray,
    cell_ns: float = 0.0,
    play_ns: float = 0.0,
    radio: bool = True,
) -> list[ClockFit]:
    """A ClockFit for each segment, in order, and for each part of one that a step cuts. Arguments (n,), by arrival.

    ``cell_ns``: the greatest common step of the link's polling (BLE connection interval, USB latency timer) and the
    device's packets, where the caller knows it; otherwise it is looked for in the data. It cannot be seen where the
    packet period is a whole number of polls: there every packet waits equally long, as on a link without batching.
    Where a poll is a whole number of samples and no drift shows, a sample's period is taken.

    ``play_ns``: how much later than at best the device itself may have a packet ready, in steps within the run, as a
    line of text that gains a digit. Behind a poll that looks like a slip of the clock: only the caller can know.
    ``radio``: the link may be Bluetooth. Packets whose period is also a connection interval then show the radio's clock
    as well as the device's, and the fit says how little is known.

    For a sensor whose samples carry neither time nor number, ``device_ns`` is the nominal grid that its samples are
    counted on. Then the drift is that of its sampling rate against the nominal one as long as nothing is lost, a
    lost sample looks like a step of the clock, and the offset is no property of any clock.
    """
    from drivers.clock_estimator import ClockEstimator  # it builds ClockFits

    estimator = ClockEstimator(cell_ns, play_ns, radio)
    estimator.update(device_ns, arrival_ns, segment)
    return estimator.fits()
