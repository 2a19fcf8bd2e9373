"""Oxygen saturation from red and infrared light, by the ratio of ratios, with what speaks for and against the number.

R = (pulse / steady light) of red over the same of infrared. Pulses are taken from the logarithm of the light, which is
what absorption changes (Beer and Lambert), and R is the slope of red on infrared over all of the window, with noise in
both: no peak has to be found, and noise does not make it smaller. Movement shifts both lights alike, R towards 1 and
the number towards 85 %, with fine correlation: so whether the pulses are pulses at all is part of the confidence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drivers.errors import SettingError
from drivers.quality.ppg import Pulses
from drivers.quality.pulse_band import BAND_RATE_HZ, PulseBand
from drivers.quality.rows import Mask, middle, stretches, unchanged
from drivers.quality.runs import Runs
from drivers.quality.window_beats import STRETCH_S
from drivers.quality.windows import Windows, at_rail, ramp
from drivers.types import FloatArray, IntArray, StreamSpec

_LOWEST, _HIGHEST_HZ = 0.7, 5.0
"""The band of the pulse: from this part of the pulse rate on, and up to that."""
_USUAL_RATE = 72.0
"""Per minute, where no rate can be had."""
_NOISE_HZ = (8.0, 25.0)
_LEAST_PERFUSION_PERCENT = 0.03
_WORST_SHARE = 0.1
"""Of a window at a rail, or at rest."""
_RANGE_PERCENT = (50.0, 105.0)
"""Beyond, the ratio is none of blood; above 100 it is noise of a full saturation."""
_RED_NM, _INFRARED_NM = (620, 700), (800, 1000)
REASONS = ("", "gap", "dark", "saturated", "flat", "no pulse", "range")
"""Why there is no number: too little came, no light, at a rail, stuck, no pulse in both alike, no R of blood."""


@dataclass(frozen=True)
class Calibration:
    """How a sensor's R becomes a saturation: a polynomial, or points with straight lines between them.

    The textbook's 110 - 25 R is right within some percent for 660 and 940 nm; a maker's own curve is better, such as
    ``Calibration((94.845, 30.354, -45.06))`` of Maxim's reference designs for the MAX30102.
    """

    polynomial: Sequence[float] = (110.0, -25.0)
    """Percent at R = 0, then per R, per R squared, ..."""
    points: Sequence[tuple[float, float]] = ()
    """(R, percent), R rising; used instead of the polynomial where given, and held beyond its ends."""

    def __post_init__(self) -> None:
        if len(self.points) == 1 or any(b[0] <= a[0] for a, b in zip(self.points, self.points[1:], strict=False)):
            raise SettingError(f"calibration points {list(self.points)}: expected two or more (R, percent), R rising")
        if not self.points and not self.polynomial:
            raise SettingError("calibration: expected the coefficients of a polynomial, or points")

    def percent(self, ratio: FloatArray) -> FloatArray:
        """Saturation of every R, same shape; NaN stays."""
        if self.points:
            at, percent = np.array(self.points).T
            return np.asarray(np.where(np.isnan(ratio), np.nan, np.interp(ratio, at, percent)))
        return np.asarray(np.polynomial.polynomial.polyval(ratio, np.asarray(self.polynomial, dtype=np.float64)))


TEXTBOOK = Calibration()


@dataclass(frozen=True)
class Oximetry:
    """Of windows, each (w,)."""

    spo2_percent: FloatArray
    """NaN where it cannot be measured."""
    ratio: FloatArray
    """R, NaN where there is none."""
    perfusion_percent: FloatArray
    """Pulse height of infrared over its steady light; NaN in the dark."""
    pulse_rate: FloatArray
    """Per minute, of infrared; NaN without pulses."""
    correlation: FloatArray
    """Of the two lights' pulses, -1..1."""
    error_percent: FloatArray
    """Standard error of the saturation, from how far the window's stretches agree; the calibration's is not in it."""
    confidence: FloatArray
    """0..1, below 0.5 is low; 0 where there is no number."""
    reason: NDArray[np.str_]
    """One of ``REASONS``; empty where there is a number."""


def wavelengths(channels: Sequence[str]) -> tuple[int, int]:
    """Which channel is red and which is infrared, by name: red, ir, infrared, or nanometres such as 660 and 940.

    SettingError unless there is exactly one of each.
    """
    kinds = [_wavelength(name) for name in channels]
    if kinds.count("red") != 1 or kinds.count("infrared") != 1:
        raise SettingError(
            f"oxygen saturation needs one red and one infrared channel; of {', '.join(channels) or 'none'}, "
            f"{kinds.count('red')} are red and {kinds.count('infrared')} infrared by name: name them red and infrared "
            "(or ir, or by nanometres: 660, 940), or give their places"
        )
    return kinds.index("red"), kinds.index("infrared")


def _wavelength(name: str) -> str:
    words = re.findall(r"[a-z]+|\d+", name.lower())
    metres = [int(word) for word in words if word.isdigit()]
    if "infrared" in name.lower() or "ir" in words or any(_INFRARED_NM[0] <= nm <= _INFRARED_NM[1] for nm in metres):
        return "infrared"
    if "red" in words or any(_RED_NM[0] <= nm <= _RED_NM[1] for nm in metres):
        return "red"
    return ""


def oximetry(windows: Windows, calibration: Calibration = TEXTBOOK, places: tuple[int, int] | None = None) -> Oximetry:
    """Saturation in every window (w, n, channels) of light, of at least four seconds.

    ``places``: numbers of the red and the infrared channel; by their names if absent.
    """
    red, infrared = places or wavelengths(windows.spec.channels)
    light = np.stack([windows.values[:, :, red], windows.values[:, :, infrared]])
    reason = np.full(len(windows), "", dtype="<U9")
    dark = light.min(axis=(0, 2)) <= 0
    band = PulseBand.of(np.log(np.where(dark[:, None], 1.0, light)).reshape(-1, light.shape[2]), windows.rate_hz)
    pulses = Pulses.of(band)
    rate = np.nan_to_num(pulses.rate.reshape(2, -1)[1], nan=_USUAL_RATE)
    waves = band.pulse(np.tile(_LOWEST / 60 * rate, 2), _HIGHEST_HZ).reshape(2, len(windows), -1)
    noise = np.square(band.rms(*_NOISE_HZ)).reshape(2, -1)
    # Without anything above 8 Hz to tell it, both lights are taken to be as noisy.
    weight = np.where(noise.min(axis=0) > 0, noise[0] / np.maximum(noise[1], 1e-300), 1.0)
    ratio, correlation = _slope(waves[0], waves[1], weight)
    perfusion = np.where(dark, np.nan, 100 * pulses.swing.reshape(2, -1)[1])
    percent = calibration.percent(ratio)
    error = _error(waves, weight, calibration, ratio)
    for name, found in _obstacles(windows, light, perfusion, correlation, percent):
        reason[found & (reason == "")] = name
    measured = reason == ""
    usable = pulses.usable().reshape(2, -1)
    sure = np.minimum(np.minimum(usable[0], usable[1]), ramp(correlation, 0.8, 0.98))
    return Oximetry(
        np.where(measured, np.minimum(percent, 100.0), np.nan), np.where(measured, ratio, np.nan), perfusion,
        np.where(measured, pulses.rate.reshape(2, -1)[1], np.nan), correlation, np.where(measured, error, np.nan),
        np.where(measured, np.minimum(sure, ramp(error, 4.0, 0.5)), 0.0), reason,
    )  # fmt: skip


def _slope(red: FloatArray, infrared: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope of red on infrared (..., m) with noise in both, and their correlation, both (...).

    Deming's regression; ``weight`` (...) is the variance of red's noise over that of infrared's. NaN where they do not
    rise together.
    """
    rr, ii, ri = ((a * b).sum(axis=-1) for a, b in ((red, red), (infrared, infrared), (red, infrared)))
    correlation = ri / np.maximum(np.sqrt(rr * ii), 1e-300)
    excess = rr - weight * ii
    slope = np.full(rr.shape, np.nan)
    np.divide(excess + np.sqrt(excess * excess + 4 * weight * ri * ri), 2 * ri, out=slope, where=ri > 0)
    return slope, correlation


def _error(waves: FloatArray, weight: FloatArray, calibration: Calibration, ratio: FloatArray) -> FloatArray:
    """Standard error of the saturation, (w,), from the slopes of the window's stretches."""
    parts = stretches(waves, round(STRETCH_S * BAND_RATE_HZ))
    slopes = _slope(parts[0], parts[1], np.repeat(weight[:, None], parts.shape[2], axis=1))[0]
    apart = np.abs(calibration.percent(slopes) - calibration.percent(ratio)[:, None])
    return np.asarray(1.4826 * middle(np.where(np.isnan(apart), 100.0, apart)) / np.sqrt(parts.shape[2]))


def _obstacles(
    windows: Windows, light: FloatArray, perfusion: FloatArray, correlation: FloatArray, percent: FloatArray
) -> list[tuple[str, Mask]]:
    """Reasons against a number, the plainest first, each (w,)."""
    rests = (
        Runs.of(unchanged(light).reshape(-1, light.shape[2]))
        .longer(round(0.5 * windows.rate_hz))
        .share()
        .reshape(2, -1)
    )
    with np.errstate(invalid="ignore"):
        return [
            ("dark", light.min(axis=(0, 2)) <= 0),
            ("saturated", at_rail(light, windows.spec).mean(axis=2).max(axis=0) > _WORST_SHARE),
            ("flat", rests.max(axis=0) > 0.5),
            ("no pulse", ~(perfusion >= _LEAST_PERFUSION_PERCENT) | ~(correlation > 0.3)),
            ("range", ~((percent >= _RANGE_PERCENT[0]) & (percent <= _RANGE_PERCENT[1]))),
        ]


def oximetry_at(
    values: FloatArray, times_ns: IntArray, spec: StreamSpec, ends_ns: IntArray, length_s: float = 10.0,
    calibration: Calibration = TEXTBOOK, places: tuple[int, int] | None = None,
) -> Oximetry:  # fmt: skip
    """Saturation in the windows of a recording that end at ``ends_ns`` (w,) and look back ``length_s`` each.

    ``values`` (n, channels) at ``times_ns`` (n,), ascending; short holes are filled by straight lines, and a window
    that lacks more than a fifth of its samples has no number, for the reason "gap".
    """
    if spec.rate_hz is None:
        raise SettingError(f"stream {spec.name!r} has no sampling rate: light comes as samples at a fixed rate")
    size = max(4, round(length_s * spec.rate_hz))
    if len(times_ns) < 2:
        rows, there = np.zeros((len(ends_ns), size, len(spec.channels))), np.zeros(len(ends_ns))
    else:
        at = np.asarray(ends_ns)[:, None] - np.rint(np.arange(size, 0, -1) * (1e9 / spec.rate_hz)).astype(np.int64)
        rows = np.stack([np.interp(at, times_ns, channel) for channel in values.T], axis=2)
        there = np.diff(np.searchsorted(times_ns, np.stack([at[:, 0] - 1, np.asarray(ends_ns)], axis=1)), axis=1)[:, 0]
    found = oximetry(Windows(rows, spec.rate_hz, spec), calibration, places)
    lacking = there < 0.8 * size
    return replace(
        found, spo2_percent=np.where(lacking, np.nan, found.spo2_percent), ratio=np.where(lacking, np.nan, found.ratio),
        pulse_rate=np.where(lacking, np.nan, found.pulse_rate), confidence=np.where(lacking, 0.0, found.confidence),
        reason=np.where(lacking, "gap", found.reason),
    )  # fmt: skip
