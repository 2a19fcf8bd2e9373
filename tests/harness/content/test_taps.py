"""Taps that both streams show: the pattern tells the lag, and an even or a single one is refused."""

import numpy as np
import pytest

from harness.content import Trace, align_taps, taps

UNEVEN_S = np.array([5.0, 5.9, 6.5, 8.1, 9.2, 11.7])


def struck(rate_hz, at_s, height, width_s=0.015, seconds=20.0, base=None, phase_s=0.0):
    """Short spikes on a stream, taken at a rate."""
    times_s = np.arange(0, seconds, 1 / rate_hz) + phase_s
    noise = 0.003 * np.random.default_rng(round(rate_hz)).standard_normal(len(times_s))
    wave = noise if base is None else base(times_s) + noise
    for moment in at_s:
        wave = wave + height * np.exp(-0.5 * ((times_s - moment) / width_s) ** 2)
    return wave, times_s


def traced(rate_hz, at_s, height, late_s=0.0, **more):
    wave, times_s = struck(rate_hz, at_s, height, **more)
    return Trace.of(wave, times_s + late_s, rate_hz)


def test_two_accelerometers_that_were_tapped_tell_their_lag():
    found = align_taps(traced(100.0, UNEVEN_S, 1.0), traced(52.0, UNEVEN_S, 0.7, late_s=0.731, phase_s=0.004))
    assert found.lag_ms == pytest.approx(731, abs=2)
    assert found.n == len(UNEVEN_S)


def test_a_tap_on_the_electrode_shows_in_an_ecg(person, rendered):
    heart, times_s = rendered(person(1), "ecg", 250.0, 0, 20)
    for moment in UNEVEN_S:
        heart[:, 0] += 8 * np.exp(-0.5 * ((times_s - moment) / 0.02) ** 2)
    ecg = Trace.of(heart[:, 0], times_s - 0.25, 250.0)
    assert len(taps(ecg)) == len(UNEVEN_S)
    assert align_taps(traced(50.0, UNEVEN_S, 2.0), ecg).lag_ms == pytest.approx(-250, abs=5)


def test_an_electrical_pulse_works_the_same_way():
    at_s = [3.0, 4.0, 5.5, 9.0, 9.7]
    pulse = [Trace.of(*struck(rate, at_s, 100.0, 0.004), rate) for rate in (1000.0, 250.0)]
    assert align_taps(*pulse).lag_ms == pytest.approx(0, abs=0.5)


def test_a_tap_that_one_stream_missed_and_a_knock_that_the_other_did_not_feel_do_no_harm():
    found = align_taps(traced(100.0, UNEVEN_S[1:], 1.0), traced(100.0, [*UNEVEN_S, 15.0], 1.0, late_s=0.3))
    assert found.lag_ms == pytest.approx(300, abs=2)


def test_even_taps_are_refused():
    even = np.arange(3.0, 19.0, 2.0)
    found = align_taps(traced(100.0, even, 1.0), traced(100.0, even[2:], 1.0, late_s=0.2))
    assert "ambiguous by whole taps" in found.refused
    assert "uneven" in found.refused


def test_a_stream_that_nobody_tapped_has_no_taps(person, rendered):
    quiet = traced(100.0, [], 1.0)
    heart, times_s = rendered(person(1), "ecg", 250.0, 0, 20)
    assert not len(taps(quiet))
    assert not len(taps(Trace.of(heart[:, 0], times_s, 250.0)))
    assert "3 are needed" in align_taps(quiet, traced(100.0, UNEVEN_S, 1.0)).refused
