"""Recordings made by hand, so that checks are judged against what was put in."""

from dataclasses import replace

import numpy as np
import pytest

from drivers.types import StreamSpec
from harness.recording import Recording, StreamData, Windows
from harness.rig import Rig, SensorEntry

S = 1_000_000_000
MS = 1_000_000


def stream_of(role="chest", name="ecg", rate_hz=250.0, seconds=30.0, kind="ecg", keep=None, delay_ns=3 * MS, **spec):
    """A stream that a perfect sensor sends; ``keep`` (a mask of n) leaves samples out."""
    rate = rate_hz or 1.0
    n = int(seconds * rate)
    index = np.arange(n)
    mask = np.ones(n, bool) if keep is None else keep(index) if callable(keep) else keep
    time_ns = (index * 1e9 / rate).astype(np.int64)[mask] + 100 * S
    counted = spec.pop("counted", True)
    timed = spec.pop("timed", False)
    fields = StreamSpec(name, kind, ("v",), "uV", rate_hz, counted=counted, timed=timed, **spec)
    return StreamData(
        role, fields, np.zeros((int(mask.sum()), 1)), index[mask], np.zeros(int(mask.sum()), np.int64),
        time_ns + delay_ns, time_ns + delay_ns, (time_ns - 100 * S) if timed else None,
    )  # fmt: skip


def windows_of(n=325, latency_ms=20.0, waited_for=("chest/ecg",), outputs=6):
    due = 104 * S + np.arange(n) * 80 * MS
    spent = np.broadcast_to(np.asarray(latency_ms, dtype=float), n) * MS
    closed = due + (spent / 2).astype(np.int64)
    judged = due + spent.astype(np.int64)
    stamps = np.stack([due, closed, closed, closed, judged, judged], axis=1)
    return Windows(stamps, tuple(waited_for), np.zeros((n, len(waited_for)), np.int64), np.zeros((n, outputs)))


def recording_of(streams=None, windows=None, events=(), limits=None, **changes):
    streams = [stream_of()] if streams is None else streams
    roles = list(dict.fromkeys(s.role for s in streams))
    rig = Rig("bench", {r: SensorEntry(r, "openbci-cyton") for r in roles}, limits=limits or {"latency": {}})
    made = Recording(rig, 100 * S, 130 * S, {s.key: s for s in streams}, tuple(events), windows or windows_of(), {}, {})
    return replace(made, **changes)


@pytest.fixture
def a_stream():
    return stream_of


@pytest.fixture
def some_windows():
    return windows_of


@pytest.fixture
def a_recording():
    return recording_of
