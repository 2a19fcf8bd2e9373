"""One simulated person behind several sensors, cut out anywhere and put apart by known amounts."""

from collections.abc import Callable

import numpy as np
import pytest

from drivers.types import FloatArray, StreamSpec
from harness.content import Trace
from simulators.draws import Draws
from simulators.signals.registry import make_signal
from simulators.subject import Subject, make_profile

CHANNELS = {"acceleration": ("x", "y", "z"), "eeg": ("Fp1", "O1"), "affect": ("valence", "arousal")}
UNITS = {"ecg": "mV", "ppg": "counts", "acceleration": "g", "eda": "uS", "eeg": "uV", "temperature": "C", "affect": "1"}
RISE_S = 0.1275
"""From the simulated pulse's foot to its steepest rise: 0.207 - 0.080 s of its systolic Gaussian, and 0.5 ms because
the other one pulls; found on a grid of 0.1 ms."""

Render = Callable[..., tuple[FloatArray, FloatArray]]


def render(person: Subject, kind: str, rate_hz: float, start_s: float, seconds: float, **options: object):
    """(values (n, channels), times_s (n,)) of one stream."""
    spec = StreamSpec(kind, kind, CHANNELS.get(kind, ("c",)), UNITS.get(kind, "a.u."), rate_hz)
    signal = make_signal({"signal": kind, **options}, person, spec, Draws(person.seed, kind))
    times_s = start_s + np.arange(0, seconds, 1 / rate_hz)
    return signal.render(0, times_s), times_s


@pytest.fixture(scope="session")
def rendered() -> Render:
    return render


@pytest.fixture(scope="session")
def trace() -> Callable[..., Trace]:
    """(person, kind, rate_hz, start_s, seconds, late_s=, ppm=, **options) -> the stream as a trace, stamped wrongly."""

    def make(person, kind, rate_hz, start_s, seconds, late_s=0.0, ppm=0.0, **options):
        values, times_s = render(person, kind, rate_hz, start_s, seconds, **options)
        middle_s = start_s + seconds / 2
        return Trace.of(values[:, 0], times_s + late_s + ppm * 1e-6 * (times_s - middle_s), rate_hz)

    return make


@pytest.fixture(scope="session")
def person() -> Callable[..., Subject]:
    return lambda seed=1, **profile: Subject(seed, make_profile(profile))


@pytest.fixture(scope="session")
def travel_ms() -> Callable[..., float]:
    """R peak to steepest rise of a person at a time, without the scatter from beat to beat."""

    def of(person: Subject, start_s: float, seconds: float) -> float:
        arousal = np.maximum(person.arousal(person.beats(start_s, start_s + seconds)), 0)
        return person.profile.pat_ms * float(np.mean(1 - 0.16 * arousal)) + 1e3 * RISE_S

    return of
