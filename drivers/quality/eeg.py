"""EEG: an amplitude that brains have, no muscle and no bad contact on top; mains that come off cost nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from drivers.quality.cosines import Cosines
from drivers.quality.rows import Mask, middle
from drivers.quality.runs import Runs
from drivers.quality.windows import Table, Windows, at_rail, millivolt, ramp
from drivers.types import FloatArray

WINDOW_S, SHORTEST_S = 4.0, 2.0
LIMITS: Mapping[str, tuple[float, float]] = {
    "still": (0.6, 0.15),
    "weak": (1.0, 4.0),
    "saturated": (0.1, 0.01),
    "amplitude": (120.0, 60.0),
    "excursions": (0.1, 0.02),
    "baseline": (160.0, 50.0),
    "jump": (120.0, 50.0),
    "mains": (1.0, 0.3),
    "share": (0.75, 0.4),
    "rms": (18.0, 8.0),
    "loud": (60.0, 25.0),
    "eyes": (1.2, 0.0),
}
"""(bad, good) of what is measured of each electrode: shares of the time or the power, ratios, microvolt."""
_BAND_HZ = (1.0, 40.0)
_EYES_HZ = (0.5, 8.0)
_NOISE_HZ = ((30.0, 45.0), (65.0, 95.0))
"""Where a brain has least, and a muscle or an amplifier as much as elsewhere."""
_USUAL_UV = 15.0
"""Rms that an EEG in a unit without volts is taken to have."""
_FAR_UV = 300.0
_HUM = 0.35
"""Of the brain's rms: mains that are worth a word."""
_GAUSSIAN = 1.4826
"""Standard deviation over the median of the absolute values."""
_STUCK_S, _STUCK_SAMPLES = 0.1, 8
_FLAT_TOP = 3
"""Equal samples with which a flat top begins."""
_ISOLATED = 12
"""A jump is what stands out above twice the twelfth largest step of its second: a muscle makes many large steps."""
_BLINK_S = (0.04, 0.6)
_BLINK_UV = 50.0
_QUARTILES = 11.0
"""3.5 standard deviations of a Gaussian over the lower quartile of its absolute values."""
_ENOUGH = 4
"""Electrodes from which on one can be told from the others."""


def assess(windows: Windows) -> Table:
    """Parts and flags for every window; the worst electrode counts.

    A blink is no fault of an electrode: it is named, and takes no part below 0.5. Mains that a notch takes off are
    named too and cost nothing; what does not come off, because it swells and fades, does.
    """
    count, length, electrodes = windows.values.shape
    rows = np.ascontiguousarray(windows.values.transpose(0, 2, 1)).reshape(-1, length)
    unit = millivolt(windows.spec)
    spectrum = Cosines.of(rows * (1000 * unit) if unit else rows, windows.rate_hz, windows.spec.mains_hz)
    measured, hum, blink = _electrodes(windows, rows, spectrum)
    parts = _parts(measured)
    if electrodes >= _ENOUGH:
        parts["contact"] = _alike(windows, spectrum)
    worst = np.array(list(parts.values())).reshape(len(parts), count, electrodes).min(axis=2)
    low = dict(zip(parts, worst < 0.5, strict=True))
    seen: Mask = np.any(np.array((hum, blink)).reshape(2, count, electrodes), axis=2)
    flags = {name: low[name] for name in ("flat", "saturated", "baseline", "noise")}
    flags |= {"motion": low["amplitude"] | low["excursions"], "pop": low["jump"], "hum": seen[0] | low["mains"]}
    flags |= {"blink": seen[1], "off_body": low["contact"] if "contact" in low else np.zeros(count, dtype=bool)}
    return Table(dict(zip(parts, worst, strict=True)), flags)


def _electrodes(windows: Windows, rows: FloatArray, spectrum: Cosines) -> tuple[dict[str, FloatArray], Mask, Mask]:
    """What LIMITS are about, hum, and blinks, of every electrode in every window, (r,) each."""
    brain, slow, every = spectrum.waves(_BAND_HZ, _EYES_HZ, (0.0, np.inf))
    size = np.abs(brain)
    usual = _GAUSSIAN * middle(size)
    unit = np.ones(len(rows)) if millivolt(windows.spec) else _USUAL_UV / np.maximum(usual, 1e-30)
    total = np.maximum(spectrum.power(_BAND_HZ[0], min(_BAND_HZ[1], 0.45 * windows.rate_hz)), 1e-30)
    noise = _noise(spectrum)
    still, saturated = _stuck(windows, rows)
    blinks, in_blinks = _blinks(slow, windows.rate_hz, unit)
    measured = {
        "still": still,
        "weak": windows.swing(brain) * unit,
        "saturated": saturated,
        "amplitude": usual * unit,
        "excursions": (size > _FAR_UV / unit[:, None]).mean(axis=-1),
        "baseline": np.sqrt(spectrum.power(0.0, _BAND_HZ[0])) * unit,
        "jump": _jump(windows, every) * unit,
        "mains": spectrum.stray / np.sqrt(total),
        "share": noise / total,
        "rms": np.sqrt(noise) * unit,
        "loud": np.sqrt(noise) * unit,
        "eyes": in_blinks,
    }
    return measured, spectrum.line > _HUM * np.sqrt(total), blinks


def _parts(measured: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """0..1 each, (r,). Noise counts where it is both a large share and large, or so loud that nothing helps."""
    bad, good = np.array([LIMITS[name] for name in measured]).T[..., None]
    ramps = dict(zip(measured, ramp(np.array(list(measured.values())), bad, good), strict=True))
    noise = np.minimum(np.maximum(ramps.pop("share"), ramps.pop("rms")), ramps.pop("loud"))
    return {"flat": np.minimum(ramps.pop("still"), ramps.pop("weak")), "noise": noise, **ramps}


def _stuck(windows: Windows, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Shares of each row that do not change for a tenth of a second, and that lie at a rail or on a flat top, (r,)."""
    runs = Runs.of(windows.unchanged(rows))
    still = runs.longer(max(_STUCK_SAMPLES, round(_STUCK_S * windows.rate_hz)) - 1).share()
    railed = windows.mean(at_rail(rows, windows.spec))
    if len(runs.longer(_FLAT_TOP - 1)):
        railed = np.maximum(railed, np.repeat(windows.mean(windows.clipped()), windows.values.shape[2]))
    return still, railed


def _noise(spectrum: Cosines) -> FloatArray:
    """Power (r,) within the brain's band of a noise as dense as it is where a brain has least."""
    top = 0.45 * spectrum.rate_hz
    density = spectrum.density(min(_NOISE_HZ[0][0], 0.6 * top), min(_NOISE_HZ[0][1], top))
    if top > _NOISE_HZ[1][1]:
        density = np.maximum(density, spectrum.density(*_NOISE_HZ[1]))
    return np.asarray(density * max(min(_BAND_HZ[1], top) - _BAND_HZ[0], 0.0))


def _jump(windows: Windows, wave: FloatArray) -> FloatArray:
    """Largest step from sample to sample that stands alone, (r,)."""
    steps = np.zeros_like(wave)
    np.abs(wave[:, 1:] - wave[:, :-1], out=steps[:, 1:])
    steps = windows.seconds(steps)
    last = steps.shape[-1] - 1
    usual = max(last - _ISOLATED, 0)
    ranked = np.partition(steps, (usual, last), axis=-1)
    alone = (ranked[..., last] - 2 * ranked[..., usual]).max(axis=-1)
    return np.asarray(np.maximum(alone, 0.0))


def _blinks(slow: FloatArray, rate_hz: float, unit: FloatArray) -> tuple[Mask, FloatArray]:
    """Whether an eye blinked, and the share of the time in which one did, (r,)."""
    slow = np.abs(slow)
    quarter = slow.shape[-1] // 4
    rest = np.partition(slow, quarter, axis=-1)[:, quarter]
    over = slow > np.maximum(_BLINK_UV / unit, _QUARTILES * rest)[:, None]
    least, most = (max(2, round(length_s * rate_hz)) for length_s in _BLINK_S)
    share = Runs.of(over).longer(least, most).share()
    return share > 0, share


def _alike(windows: Windows, spectrum: Cosines) -> FloatArray:
    """Whether an electrode sees what some other one sees, (r,); 1 where the others do not agree either."""
    count, length, electrodes = windows.values.shape
    top = int(np.ceil(_BAND_HZ[1] * 2 * length / windows.rate_hz))
    part = spectrum.coefficients[:, 1:top].reshape(count, electrodes, -1)
    part = part / np.maximum(np.sqrt((part * part).sum(axis=-1, keepdims=True)), 1e-30)
    best = np.zeros((count, electrodes))
    for one in range(electrodes):
        close = np.abs((part * part[:, one : one + 1]).sum(axis=-1))
        close[:, one] = 0.0
        best[:, one] = close.max(axis=1)
    agreed = ramp(middle(best), 0.55, 0.8)[:, None]
    return np.asarray(1 - agreed * (1 - ramp(best, 0.15, 0.4))).ravel()
