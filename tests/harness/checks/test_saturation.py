"""Samples at a rail, or cut off flat below it, are counted exactly; a signal that only rests or steps has none."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.types import StreamSpec
from harness.checks.saturation import LIMITS, check
from harness.recording import StreamData
from harness.verdict import Outcome

S = 1_000_000_000
RATE_HZ = 250.0


def spec_of(kind="ecg", lsb=0.02, low=-1000.0, high=1000.0, rate_hz=RATE_HZ, channels=("x",), unit="uV"):
    return StreamSpec(kind, kind, channels, unit, rate_hz, lsb=lsb, low=low, high=high, counted=True)


def waves(seconds=30.0, height=800.0, rate_hz=RATE_HZ, hz=1.3):
    """A swing that never rests, with noise far above the converter's step."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    noise = np.random.default_rng(0).standard_normal(len(time_s))
    return height * np.sin(2 * np.pi * hz * time_s) + 3 * noise


def data(spec, *channels):
    values = np.stack([np.rint(each / spec.lsb) * spec.lsb if spec.lsb else each for each in channels], axis=1)
    index = np.arange(len(values))
    time_ns = np.rint(index * 1e9 / spec.rate_hz).astype(np.int64) + 100 * S
    return StreamData("chest", spec, values, index, np.zeros(len(index), np.int64), time_ns, time_ns, None)


def judged(a_recording, stream, **limits):
    (verdict,) = check(a_recording([stream]), LIMITS(**limits))
    return verdict


def test_a_signal_within_its_rails_passes(a_recording):
    verdict = judged(a_recording, data(spec_of(), waves()))
    assert verdict.outcome is Outcome.PASS
    assert verdict.value == 0.0
    assert verdict.high < 15  # none in 30 s: 3 / 30 by the rule of three, two-sided 3.7


@pytest.mark.parametrize(("rail", "level"), [("high", 1000.0), ("low", -1000.0)])
def test_samples_at_a_rail_are_counted_and_the_rail_is_named(a_recording, rail, level):
    values = waves()
    values[1000:1060] = level
    values[3000:3015] = level
    verdict = judged(a_recording, data(spec_of(), values))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(100 * 75 / 7500)
    assert f"75 samples at the {rail} rail" in verdict.reason
    assert "longest 0.24 s at 4.00 s" in verdict.reason
    assert verdict.low < verdict.value < verdict.high


def test_a_share_within_the_limit_passes_and_is_told(a_recording):
    values = waves()
    values[1000:1006] = 1000.0
    assert judged(a_recording, data(spec_of(), values)).outcome is Outcome.PASS
    assert judged(a_recording, data(spec_of(), values), max_percent=0.05).outcome is Outcome.FAIL


def test_a_signal_that_is_driven_into_the_rails_is_saturated_as_long_as_it_would_be_beyond(a_recording):
    values = waves(height=1500.0)
    beyond = float(np.mean(np.abs(values) >= 1000.0))
    verdict = judged(a_recording, data(spec_of(), np.clip(values, -1000, 1000)))
    assert verdict.value == pytest.approx(100 * beyond, rel=0.01)
    assert "low rail" in verdict.reason
    assert "high rail" in verdict.reason


@pytest.mark.parametrize("kind", ["ecg", "eeg", "exg", "raw"])
def test_an_amplifier_that_saturates_below_the_rails_shows_by_flat_ends(a_recording, kind):
    values = waves()
    beyond = float(np.mean(np.abs(values) > 600))
    verdict = judged(a_recording, data(spec_of(kind), np.clip(values, -600, 600)))
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(100 * beyond, rel=0.1)
    assert "cut off flat below the rails" in verdict.reason


def test_without_declared_rails_the_shape_is_judged_and_that_is_said(a_recording):
    spec = spec_of("ecg", lsb=None, low=None, high=None)
    clean = judged(a_recording, data(spec, waves()))
    cut = judged(a_recording, data(spec, np.clip(waves(), -600, 600)))
    assert (clean.outcome, cut.outcome) == (Outcome.PASS, Outcome.FAIL)
    assert all("by its shape alone" in each.reason for each in (clean, cut))


def test_round_tops_within_one_step_of_a_coarse_converter_are_no_clipping(a_recording):
    """A slow swing rests on its top step by itself."""
    time_s = np.arange(7500) / RATE_HZ
    values = 100 * np.sin(2 * np.pi * 1.3 * time_s)
    verdict = judged(a_recording, data(spec_of("raw", lsb=1.0), values))
    assert verdict.outcome is Outcome.PASS
    assert verdict.value == 0.0


@pytest.mark.parametrize("step", [100.0, 400.0])
def test_coarse_steps_are_no_clipping(a_recording, step):
    verdict = judged(a_recording, data(spec_of(), np.rint(waves() / step) * step))
    assert verdict.value == 0.0


def test_values_that_are_held_are_no_clipping(a_recording):
    values = waves()
    held = values[np.arange(7500) // 25 * 25]
    verdict = judged(a_recording, data(spec_of(), held))
    assert verdict.value == 0.0


def test_a_flat_line_is_no_saturation(a_recording):
    values = waves()
    values[2000:5000] = values[2000]
    assert judged(a_recording, data(spec_of(), values)).outcome is Outcome.PASS


def test_breaths_may_rest_at_one_end_and_not_at_both(a_recording):
    spec = spec_of("respiration", lsb=0.01, low=None, high=None, rate_hz=25.0, unit="1")
    breaths = 100 * np.sin(2 * np.pi * 0.25 * np.arange(750) / 25.0)
    resting, cut = np.maximum(breaths, -60.0), np.clip(breaths, -60.0, 60.0)
    assert judged(a_recording, data(spec, resting)).outcome is Outcome.PASS
    assert judged(a_recording, data(spec, cut)).outcome is Outcome.FAIL


def test_the_worst_channel_counts_and_is_named(a_recording):
    values = waves()
    bad = values.copy()
    bad[1000:1100] = 1000.0
    verdict = judged(a_recording, data(spec_of(channels=("i", "ii")), values, bad))
    assert verdict.value == pytest.approx(100 * 100 / 7500)
    assert "on ii" in verdict.reason


def test_a_hundred_per_cent_of_oxygen_is_no_saturated_converter(a_recording):
    spec = StreamSpec("spo2", "spo2", ("spo2",), "%", 1.0, lsb=1.0, low=0.0, high=100.0)
    (verdict,) = check(a_recording([data(spec, np.full(30, 100.0))]), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN


def test_a_stream_without_samples_is_inconclusive(a_recording):
    assert judged(a_recording, data(spec_of(), np.zeros(0))).outcome is Outcome.INCONCLUSIVE


def test_a_limit_that_is_no_share_is_refused():
    with pytest.raises(ValueError, match="max_percent"):
        LIMITS(max_percent=101)
