"""How samples are cut changes no bit of any signal; the seed changes them all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.types import KINDS, FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.signals import Signal
from simulators.signals.registry import make_signal, signal_names
from simulators.subject import Profile, Subject

_CHANNELS = {
    "ppg": ("red", "ir"), "acceleration": ("x", "y", "z"), "affect": ("valence", "arousal"),
    "eeg": ("Fp1", "C3", "O1"), "exg": tuple("abcdefgh"), "ecg": ("I", "II", "V1"),
}  # fmt: skip
_UNITS = {
    "ecg": "mV", "ppg": "counts", "eda": "uS", "respiration": "a.u.", "temperature": "C", "eeg": "uV", "exg": "uV",
    "acceleration": "g", "affect": "1", "heart_rate": "bpm", "rr": "ms", "spo2": "%", "raw": "mV",
}  # fmt: skip
_SAMPLED = [kind for kind in KINDS if kind != "rr"]
_COUNT = 700


def _spec(kind: str, rate_hz: float | None) -> StreamSpec:
    return StreamSpec(kind, kind, _CHANNELS.get(kind, (kind,)), _UNITS[kind], rate_hz)


def _signal(kind: str, rate_hz: float | None, seed: int = 3) -> Signal:
    options = {"steps_per_min": 100.0} if kind == "acceleration" else {}
    subject = Subject(seed, Profile(script="stress"))
    return make_signal({"signal": kind, **options}, subject, _spec(kind, rate_hz), Draws(seed, kind))


def _times(rate_hz: float) -> FloatArray:
    return 17.3 + np.arange(_COUNT) / (rate_hz * (1 + 83e-6))


def _in_chunks(signal: Signal, times_s: FloatArray, sizes: list[int]) -> FloatArray:
    parts, at, turn = [], 0, 0
    while at < len(times_s):
        size = sizes[turn % len(sizes)]
        parts.append(signal.render(at, times_s[at : at + size]))
        at, turn = min(at + size, len(times_s)), turn + 1
    return np.concatenate(parts)


def test_every_kind_of_stream_has_its_signal() -> None:
    assert set(KINDS) <= set(signal_names())


@pytest.mark.parametrize("kind", _SAMPLED)
@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.integers(0, 90), min_size=1).filter(any), rate_hz=st.sampled_from([7.0, 64.0, 250.0]))
def test_chunks_of_any_size_give_the_same_bits(kind: str, sizes: list[int], rate_hz: float) -> None:
    times_s = _times(rate_hz)
    whole = _signal(kind, rate_hz).render(0, times_s)
    assert whole.shape == (_COUNT, len(_spec(kind, rate_hz).channels))
    assert np.isfinite(whole).all()
    assert np.array_equal(_in_chunks(_signal(kind, rate_hz), times_s, sizes), whole)


@pytest.mark.parametrize("kind", _SAMPLED)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 333])
def test_single_samples_and_odd_chunks_give_the_same_bits(kind: str, size: int) -> None:
    times_s = _times(50.0)
    assert np.array_equal(_in_chunks(_signal(kind, 50.0), times_s, [size]), _signal(kind, 50.0).render(0, times_s))


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.floats(0, 60), max_size=20))
def test_beats_are_cut_between_calls_without_loss(cuts: list[float]) -> None:
    edges = [0.0, *sorted(cuts), 60.0]
    signal = _signal("rr", None)
    parts = [signal.events(a, b) for a, b in itertools.pairwise(edges)]
    times_s, values = _signal("rr", None).events(0.0, 60.0)
    assert np.array_equal(np.concatenate([part[0] for part in parts]), times_s)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), values)


@pytest.mark.parametrize("kind", [kind for kind in _SAMPLED if kind != "raw"])
def test_a_seed_always_gives_the_same_signal_and_another_seed_another(kind: str) -> None:
    times_s = _times(25.0)
    assert np.array_equal(_signal(kind, 25.0).render(0, times_s), _signal(kind, 25.0).render(0, times_s))
    assert not np.array_equal(_signal(kind, 25.0).render(0, times_s), _signal(kind, 25.0, seed=4).render(0, times_s))


@pytest.mark.parametrize("kind", KINDS)
def test_the_span_is_a_positive_amplitude_that_the_signal_really_has(kind: str) -> None:
    signal = _signal(kind, None if kind == "rr" else 50.0)
    assert signal.span > 0
    values = signal.events(0, 120)[1] if kind == "rr" else signal.render(0, np.arange(6000) / 50.0)
    assert signal.span < 3 * np.ptp(values) + 1e-12


def test_signals_refuse_what_their_stream_cannot_ask() -> None:
    with pytest.raises(TypeError, match="needs a rate_hz"):
        _signal("ecg", 50.0).events(0, 1)
    with pytest.raises(TypeError, match="events"):
        _signal("rr", None).render(0, np.zeros(3))
