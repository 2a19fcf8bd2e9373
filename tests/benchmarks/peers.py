"""What else maps a device's clock to the host's, run on the same simulated arrivals.

* ``OLS``: least squares of arrival on device time.
* ``pyxdf clock_sync``: pyxdf's own ``_clock_sync`` on its own stream object; the offsets that it robustly fits are one
  way here (arrival - device time of every sample), since nothing between a sensor and its host measures two ways.
* ``pyxdf dejitter``: pyxdf's own ``_jitter_removal``: arrival on sample index, in segments.
* ``LSL dejitter``: liblsl's ``proc_dejitter``: recursive least squares of arrival on sample index that forgets with a
  half life of 90 s. Recursive least squares with forgetting is weighted least squares with the first guess as a prior,
  so it is solved at once; lsl_as_installed() runs the real library over loopback, and lsl_differs_s() says by how much
  the two differ.
* ``hull``: the line under all delays that is lowest at their mean time, an edge of the lower convex hull (Moon, Skelly
  and Towsley, INFOCOM 1999; Zhang, Liu and Xia, INFOCOM 2002).

Dejitters get a stamp per sample on its index, as LSL makes them: the samples of one packet are spaced by the nominal
period, back from the packet's arrival. The others get the same stamps beside the device's time.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyxdf.pyxdf as pyxdf
from arrivals import SECOND, Arrivals, FloatArray

_STAMPS_START_S = 1000.0
"""Stamps count from here: liblsl takes stamps below 1 s for none."""
_LSL_HALF_LIFE_S = 90.0
_LSL_PRIOR = 1e-10
"""liblsl starts with a variance of 1e10 for level (about the first whole second) and rate."""

logging.getLogger(pyxdf.__name__).setLevel(logging.ERROR)


@dataclass(frozen=True)
class Estimate:
    """What a method says at the end of a run. Drift is nan where it says none."""

    drift_ppm: float
    newest_ns: float
    """Host time of the newest sample, counted from the run's first arrival."""


def stamps_s(run: Arrivals) -> FloatArray:
    """(n,) one stamp per sample, counted from the first arrival; the samples of a packet are a nominal period apart."""
    back = np.arange(run.packet - 1, -1, -1) * run.period_ns / SECOND
    return np.asarray((run.arrival_ns - run.arrival_ns[0]) / SECOND - np.resize(back, len(run.arrival_ns)))


def device_s(run: Arrivals) -> FloatArray:
    return np.asarray((run.device_ns - run.device_ns[0]) / SECOND)


def ols(run: Arrivals) -> Estimate:
    device, stamps = device_s(run), stamps_s(run)
    away = device - device.mean()
    slope = float(away @ (stamps - device)) / float(away @ away)
    newest = float((stamps - device).mean()) + slope * away[-1] + device[-1]
    return Estimate(_drift_ppm(slope), newest * SECOND)


def hull(run: Arrivals) -> Estimate:
    device, delay = device_s(run), stamps_s(run) - device_s(run)
    order = np.lexsort((delay, device))  # a clock that stepped back goes over the same times twice
    x, y = device[order], delay[order]
    first = np.concatenate([[True], np.diff(x) > 0])
    at, level = lower_hull(x[first], y[first])
    edge = int(np.clip(np.searchsorted(at, x.mean()), 1, len(at) - 1))
    slope = float((level[edge] - level[edge - 1]) / (at[edge] - at[edge - 1]))
    newest = device[-1] + level[edge] + slope * (device[-1] - at[edge])
    return Estimate(_drift_ppm(slope), newest * SECOND)


def lower_hull(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Corners of the lower convex hull; x ascends. A point above its neighbours' chord is no corner, whatever else
    goes with it, so all such points may go at once."""
    while len(x) > 2:
        turn = (x[1:-1] - x[:-2]) * (y[2:] - y[:-2]) - (x[2:] - x[:-2]) * (y[1:-1] - y[:-2])
        keep = np.concatenate([[True], turn > 0, [True]])
        if keep.all():
            break
        x, y = x[keep], y[keep]
    return x, y


def _stream(run: Arrivals, time_stamps: FloatArray) -> pyxdf.StreamData:
    info = {"channel_count": ["1"], "nominal_srate": [str(SECOND / run.period_ns)], "channel_format": ["float32"]}
    stream = pyxdf.StreamData({"info": info})
    stream.time_stamps = time_stamps
    return stream


def pyxdf_clock_sync(run: Arrivals) -> Estimate:
    device, stamps = device_s(run), stamps_s(run)
    stream = _stream(run, device.copy())
    stream.clock_times, stream.clock_values = device.tolist(), (stamps - device).tolist()
    pyxdf._clock_sync({1: stream})
    start, stop = stream.clock_segments[-1]
    mapped = stream.time_stamps
    slope = (mapped[stop] - mapped[start]) / (device[stop] - device[start]) - 1 if stop > start else np.nan
    return Estimate(_drift_ppm(slope), float(mapped[-1]) * SECOND)


def pyxdf_dejitter(run: Arrivals) -> Estimate:
    stream = _stream(run, stamps_s(run) + _STAMPS_START_S)
    pyxdf._jitter_removal({1: stream})
    start, stop = stream.segments[-1]
    mapped = stream.time_stamps
    period = (mapped[stop] - mapped[start]) / (stop - start) if stop > start else np.nan
    return Estimate(_drift_ppm(period * SECOND / run.period_ns - 1), float(mapped[-1] - _STAMPS_START_S) * SECOND)


def lsl_dejitter(run: Arrivals) -> Estimate:
    level, period = lsl_line(stamps_s(run) + _STAMPS_START_S, SECOND / run.period_ns)
    return Estimate(_drift_ppm(period * SECOND / run.period_ns - 1), (level - _STAMPS_START_S) * SECOND)


def lsl_line(stamps: FloatArray, rate_hz: float) -> tuple[float, float]:
    """The newest stamp as liblsl smooths it, in s, and the period that it holds by then, in s."""
    index, base = np.arange(len(stamps), dtype=np.float64), np.floor(stamps[0])
    forget = 2.0 ** (-1 / (rate_hz * _LSL_HALF_LIFE_S))
    weight, prior = forget ** index[::-1], forget ** len(stamps) * _LSL_PRIOR
    away = stamps - base - index / rate_hz  # from the first guess: level 0 at the base, nominal period
    moment = np.array([[weight.sum() + prior, weight @ index], [weight @ index, weight @ index**2 + prior]])
    level, extra = np.linalg.solve(moment, np.array([weight @ away, (weight * index) @ away]))
    period = 1 / rate_hz + extra
    return float(base + level + index[-1] * period), float(period)


def lsl_as_installed(stamps: FloatArray, rate_hz: float) -> FloatArray:
    """(n,) stamps as the installed liblsl dejitters them, over a loopback stream. s"""
    import pylsl

    name = f"dejitter-{uuid.uuid4()}"
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo(name, "clock", 1, rate_hz, "float32", name))
    found = pylsl.resolve_byprop("source_id", name, timeout=10.0)
    if not found:
        raise TimeoutError(f"liblsl does not see its own stream {name}: needs multicast or broadcast on loopback")
    inlet = pylsl.StreamInlet(found[0], max_buflen=1000, processing_flags=pylsl.proc_dejitter, recover=False)
    inlet.open_stream(timeout=10.0)
    outlet.wait_for_consumers(10.0)
    outlet.push_chunk(np.zeros((len(stamps), 1), dtype=np.float32), stamps.tolist())
    got: list[float] = []
    while len(got) < len(stamps):
        _, more = inlet.pull_chunk(timeout=10.0, max_samples=len(stamps) - len(got), min_samples=1)
        if not len(more):
            raise TimeoutError(f"liblsl handed over {len(got)} of {len(stamps)} samples")
        got.extend(more)
    return np.array(got)


def lsl_differs_s(run: Arrivals) -> float:
    """Largest difference of lsl_line() and the installed liblsl over some lengths of one run."""
    stamps, rate_hz = stamps_s(run) + _STAMPS_START_S, SECOND / run.period_ns
    real = lsl_as_installed(stamps, rate_hz)
    lengths = np.unique(np.geomspace(250, len(stamps), 8).astype(int))
    return max(abs(lsl_line(stamps[:n], rate_hz)[0] - float(real[n - 1])) for n in lengths)


def _drift_ppm(slope: float) -> float:
    """From (change of host - device) per device second."""
    return (1 / (1 + slope) - 1) * 1e6


PEERS: dict[str, Callable[[Arrivals], Estimate]] = {
    "OLS": ols,
    "pyxdf clock_sync": pyxdf_clock_sync,
    "pyxdf dejitter": pyxdf_dejitter,
    "LSL dejitter": lsl_dejitter,
    "hull": hull,
}
