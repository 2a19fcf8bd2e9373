"""The noise of an input, estimated while a signal is on it, from what the signal cannot contain.

* Differences of high order (ORDER) between samples that are ``stride`` apart leave nothing of what moves smoothly, and
  white noise as it was: its rms is theirs over the root of the sum of their squared coefficients (von Neumann 1941;
  Gasser, Sroka and Jennen-Steinmetz 1986). They look at the spectrum around rate / (2 stride), where bodies show least,
  and well below half the sampling rate where the rate allows, because converters of the sigma-delta kind let little
  through up there. What is found is taken to be as dense at every frequency: noise that grows towards 0 Hz does not
  show beside a signal, and a device that filters is understated. Shorted inputs tell of both.
* Between the beats. What lies beyond three standard deviations is left out, and the rest put right for that, until
  nothing changes: the QRS, a knock and a spike are no noise.
* In quiet moments. Quarters of a second (or 60 samples) much noisier than the quietest tenth of them hold muscle,
  movement or a loose contact: they are no floor, and their share is told as ``restless``. Muscle that never rests, or
  not long enough for 60 samples, cannot be told from the input's own noise, unless it shows by its colour
  (``colour_of``): noise of an input is as dense an octave below.
* Without the mains. Sines at 50 and 60 Hz (the profile's, where it has one) and their harmonics, or at what these look
  like after sampling, are fitted to every two seconds and taken off; their strength is told as ``hum``.

Samples that are bridged, at a rail, or that do not move for a quarter of a second, count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
from scipy import stats

from drivers.quality.windows import LINE_HZ, long_runs
from drivers.types import FloatArray, StreamSpec

ORDER = {"ecg": 6, "eeg": 6, "ppg": 6, "acceleration": 4, "eda": 3, "temperature": 2}
"""Kind -> order of the differences: the faster a signal can turn, the higher."""
_LEAST_HZ = {"ecg": 125.0, "eeg": 125.0, "ppg": 50.0, "acceleration": 50.0, "eda": 8.0, "temperature": 2.0}
"""Kind -> rate at which samples are looked at, or up to twice as fast; a slower stream is taken as it is."""
_CUT = 3.0
_INSIDE = 1 - 2 * _CUT * stats.norm.pdf(_CUT) / (2 * stats.norm.cdf(_CUT) - 1)
"""Of the variance, what is left of a normal distribution that is cut there."""
_START, _START_AT = 0.3, float(stats.norm.ppf(0.65))
"""A quantile of the sizes, and what it is of a normal distribution."""
_QUIET = 2.5
"""Times the size of the quietest; of noise alone no second in a thousand is so loud."""
_BLOCK_S, _BLOCK = 0.25, 60
_FIT_S, _HARMONICS, _SHOWS, _STANDS_OUT = 2.0, 4, 0.1, 10.0
_FOLDS_HZ = 30.0
"""Slower sampling folds the mains over the signal itself; a fast thermometer averages them away."""
_STILL_S, _STILL = 0.25, 8
_FEWEST = 40

Mask = np.typing.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Floor:
    """Noise of one channel, in the stream's unit."""

    rms: float
    low: float
    high: float
    """95 % interval of ``rms``."""
    n: int
    """Differences on which it stands."""
    restless: float
    """Share of the time that is noisier for a while, 0..1."""
    hum: float
    """Rms of the mains and its harmonics; 0 where sampling does not show them."""


def colour_of(values: FloatArray, usable: Mask, rate_hz: float, spec: StreamSpec) -> float:
    """How many times as strong the noise is an octave below, 1 for white noise; 1 where that cannot be told."""
    here, below = floor_of(values, usable, rate_hz, spec), floor_of(values, usable, rate_hz, spec, octaves=1)
    return below.rms / here.rms if here and below and here.rms else 1.0


def floor_of(values: FloatArray, usable: Mask, rate_hz: float, spec: StreamSpec, octaves: int = 0) -> Floor | None:
    """Of one channel on an even grid, (n,) and (n,); None where too little of it is usable.

    ``octaves``: looked at so many octaves further down.
    """
    order, stride = ORDER[spec.kind], _stride(spec.kind, rate_hz) << octaves
    if len(values) <= order * stride + _FEWEST:
        return None
    rest = values
    for _ in range(order):
        rest = rest[stride:] - rest[:-stride]
    rest = rest / float(np.sqrt(comb(2 * order, order)))
    unusable = np.concatenate([[0], np.cumsum(~usable)])
    good = unusable[order * stride + 1 :] == unusable[: len(rest)]
    if good.sum() < _FEWEST:
        return None
    rest, hum = _without_mains(rest, good, rate_hz, stride, spec)
    size = np.abs(rest)
    kept, restless = _quiet(size, good, max(_BLOCK, round(_BLOCK_S * rate_hz)))
    if kept.sum() < _FEWEST:
        return None
    rms, n = _clipped_rms(size[kept])
    # Differences depend on each other: so many times fewer are independent
    alike = comb(4 * order, 2 * order) / comb(2 * order, order) ** 2
    spread = 1.96 * 1.2 * float(np.sqrt(alike / (2 * n)))
    return Floor(rms, rms * max(0.0, 1 - spread), rms * (1 + spread), n, restless, hum)


def _stride(kind: str, rate_hz: float) -> int:
    return max(1, int(rate_hz // _LEAST_HZ[kind]))


def _clipped_rms(size: FloatArray) -> tuple[float, int]:
    """Rms of (k,) sizes of a normal variable with some that are none of it among them, and how many it stands on."""
    rms = float(np.quantile(size, _START)) / _START_AT
    inside = size
    for _ in range(30):
        inside = size[size <= _CUT * rms]
        found = float(np.sqrt(np.mean(inside**2) / _INSIDE)) if len(inside) else 0.0
        if abs(found - rms) <= 1e-3 * rms:
            break
        rms = found
    return rms, max(len(inside), 1)


def _quiet(size: FloatArray, good: Mask, block: int) -> tuple[Mask, float]:
    """Good (k,) in blocks that are about as quiet as the quietest tenth, and the share of good ones that are not."""
    starts = np.arange(0, len(size), block)
    starts = starts[: max(1, len(size) // block)]
    number = np.minimum(np.arange(len(size)) // block, len(starts) - 1)
    level = np.full(len(starts), np.inf)
    for place, start in enumerate(starts.tolist()):
        stop = start + block if place < len(starts) - 1 else len(size)
        part = size[start:stop][good[start:stop]]
        if len(part) >= block // 4:
            level[place] = np.partition(part, len(part) // 2)[len(part) // 2]
    known = np.sort(level[np.isfinite(level)])
    if not len(known):
        return good, 0.0
    kept = good & (level <= _QUIET * known[len(known) // 10])[number]
    told = good & np.isfinite(level)[number]
    return kept, float(1 - kept.sum() / max(int(told.sum()), 1))


def _without_mains(
    rest: FloatArray, good: Mask, rate_hz: float, stride: int, spec: StreamSpec
) -> tuple[FloatArray, float]:
    """Differences (k,) less the mains, and the rms of the mains in the signal that they are of."""
    if rate_hz < _FOLDS_HZ:
        return rest, 0.0
    lines_hz, gains = _lines(rate_hz, stride, spec)
    if not len(lines_hz):
        return rest, 0.0
    count = max(1, round(len(rest) / (_FIT_S * rate_hz)))
    size = len(rest) // count
    time_s = np.arange(size) / rate_hz
    waves = np.stack([wave(2 * np.pi * hz * time_s) for wave in (np.cos, np.sin) for hz in lines_hz], axis=1)
    most = _CUT * _clipped_rms(np.abs(rest[good]))[0]  # a QRS must not pass for hum
    table = np.where(good, np.clip(rest, -most, most), 0.0)[: count * size].reshape(count, size)
    found = table @ np.linalg.pinv(waves).T
    power = np.sum(found.reshape(count, 2, -1) ** 2, axis=1)
    by_chance = 4 / size * np.mean(table**2, axis=1, keepdims=True) * gains**2
    standing = np.tile(
        power > _STANDS_OUT * by_chance, 2
    )  # muscle has a little of every frequency, and is left as it is
    out = rest.copy()
    out[: count * size] -= (np.where(standing, found, 0.0) @ waves.T).ravel()
    hum = found / np.tile(gains, 2)
    return out, float(np.sqrt(np.median(np.sum(hum**2, axis=1)) / 2))


def _lines(rate_hz: float, stride: int, spec: StreamSpec) -> tuple[FloatArray, FloatArray]:
    """Where the mains and their harmonics show after sampling, Hz (k,), and what differences make of them (k,)."""
    order = ORDER[spec.kind]
    lines: set[float] = set()
    for mains_hz in (spec.mains_hz,) if spec.mains_hz else LINE_HZ:
        real = mains_hz * np.arange(1, _HARMONICS + 1)
        lines |= set(np.round(np.abs(real - rate_hz * np.rint(real / rate_hz)), 6).tolist())
    hz = np.array(sorted(lines))
    gain = np.abs(2 * np.sin(np.pi * hz * stride / rate_hz)) ** order / float(np.sqrt(comb(2 * order, order)))
    seen = (gain > _SHOWS) & (hz > 1) & (hz < rate_hz / 2 - 1)
    return hz[seen], gain[seen]


def still(values: FloatArray, rate_hz: float) -> Mask:
    """Which of (n,) do not move for a quarter of a second: held, or at rest on one step of the converter."""
    equal = np.zeros((1, len(values)), dtype=bool)
    equal[0, 1:] = np.diff(values) == 0
    return np.asarray(long_runs(equal, max(_STILL, round(_STILL_S * rate_hz)))[0])


def range_of(count: int) -> float:
    """Expected peak-to-peak of so many draws of a normal distribution, in standard deviations (Tippett 1925).

    By Blom's approximation of the largest of n.
    """
    return 2 * float(stats.norm.ppf((count - 0.375) / (count + 0.25)))
