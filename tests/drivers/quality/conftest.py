"""Streams of simulated people, disturbed by known amounts and scored."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from drivers.quality import Scores, scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SECONDS = 40
ENDS_NS = np.arange(10, SECONDS + 1) * 1_000_000_000


@cache
def _rendered(spec: StreamSpec, seed: int):
    times_s = np.arange(int(SECONDS * spec.rate_hz)) / spec.rate_hz
    signal = make_signal({}, Subject(seed), spec, Draws(seed, "bench", spec.kind))
    return times_s, signal.render(0, times_s), signal.span


def _dosed(spec: StreamSpec, seed: int, **fault) -> Scores:
    times_s, values, span = _rendered(spec, seed)
    if fault:
        where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, span)
        values = make_fault(fault).bind(where).apply(0, times_s, values)
    return scores(digitise(values, spec), np.rint(times_s * 1e9).astype(np.int64), spec, ENDS_NS)


@pytest.fixture(scope="session")
def dosed():
    """``dosed(spec, seed, **fault)``: scores of 40 s of a simulated person's stream, at a hop of a second.

    With one fault, given as a rig file's keys, or none. Levels are fractions of the clean amplitude.
    """
    return _dosed
