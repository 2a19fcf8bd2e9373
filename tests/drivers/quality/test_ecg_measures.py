"""The measures behind the ECG score, against arithmetic, scipy and what was put in."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality.ecg_lead import Lead
from drivers.quality.ecg_raw import RawLead
from drivers.quality.ecg_spikes import reach_of, spikes, unlocked, without
from drivers.quality.marks import Marks
from drivers.quality.windows import at_rail
from drivers.types import StreamSpec

SPEC = StreamSpec("ecg", "ecg", ("II",), "mV", 500.0)


def marks(*rows) -> Marks:
    row = np.repeat(np.arange(len(rows)), [len(places) for places in rows])
    return Marks(row, np.array([place for places in rows for place in places], dtype=np.int64), len(rows))


def raw(*rows, rate_hz=500.0, spec=SPEC) -> RawLead:
    return RawLead.of(np.array(rows, dtype=float), rate_hz, spec)


# --- raw lead -------------------------------------------------------------------------------------


def test_flat_is_the_share_in_runs_of_half_a_second_and_no_run_goes_over_rows():
    rng = np.random.default_rng(0)
    first, second, third = rng.normal(size=(3, 5000))
    first[1000:2000] = 0.7
    first[4000:4200] = 0.2  # 0.4 s
    second[4900:] = third[:300] = 0.1  # half a second only over the rows' border
    second[2000:2250] = -0.4
    assert raw(first, second, third).flat() == pytest.approx([0.2, 0.05, 300 / 5000])


def test_a_difference_below_a_quarter_of_the_declared_step_is_none():
    values = 1e-4 * np.random.default_rng(0).random(5000)
    assert raw(values).flat() == [0]
    assert raw(values, spec=StreamSpec("ecg", "ecg", ("II",), "mV", 500.0, lsb=0.001)).flat() == [1]


def test_held_packets_are_told_from_the_rest_of_a_quiet_lead():
    wave = np.cumsum(np.random.default_rng(0).normal(size=5000))
    held = np.repeat(wave[::50], 50)
    assert raw(held).held()[0] > 0.9
    quiet = np.round(3 * np.sin(np.arange(5000) / 400))  # rests long, and moves a step at a time
    assert raw(quiet).flat()[0] == raw(quiet).held()[0] > 0
    assert raw(wave).held() == [0]


def test_a_plateau_is_cut_off_where_the_signal_comes_and_goes_steeply():
    t = np.arange(5000) / 500
    beats = sum(np.exp(-0.5 * ((t - at) / 0.02) ** 2) for at in np.arange(0.5, 10, 0.8))
    fine = beats + 1e-4 * np.random.default_rng(0).normal(size=5000)
    cut = np.minimum(fine, 0.6)
    below = np.maximum(-fine, -0.6)
    share = np.mean(cut == 0.6)
    assert raw(fine, cut, below).plateaus() == pytest.approx([0, share, share])
    rounded = np.round(40 * np.sin(2 * np.pi * t) ** 3)  # smooth tops of a coarse converter rest as well
    assert raw(rounded).plateaus() == [0]


def test_coarseness_is_the_step_of_what_mostly_rests_in_its_range():
    stairs = np.repeat(np.tile([0.0, 0.5, 1.0, 1.5, 2.0], 20), 50)
    stuck = np.random.default_rng(0).normal(size=5000)
    stuck[1000:] = stuck[1000]
    assert raw(stairs, np.random.default_rng(0).normal(size=5000)).coarseness() == pytest.approx([0.25, 0])
    assert raw(stuck).coarseness()[0] < 0.01
    assert raw(np.zeros(5000)).coarseness() == [0]


def test_rails_are_counted_on_either_side():
    spec = StreamSpec("ecg", "ecg", ("II",), "mV", 500.0, lsb=0.01, low=-1.0, high=1.0)
    values = np.zeros((2, 100))
    values[0, :10], values[0, 50:55], values[1, 3] = 1.0, -1.0, 0.99
    assert at_rail(values, spec).mean(axis=1) == pytest.approx([0.15, 0.0])
    assert not at_rail(values, SPEC).any()


# --- a lead, filtered -------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [125.0, 250.0, 360.0, 500.0, 1000.0])
@pytest.mark.parametrize("hz", [50.0, 60.0])
def test_the_mains_rms_is_that_of_the_tone_and_what_is_beside_it_does_not_count(rate_hz, hz):
    t = np.arange(int(10 * rate_hz)) / rate_hz
    tone = np.sin(2 * np.pi * hz * t + 1)[None, :]
    other = np.sin(2 * np.pi * (hz - 5) * t)[None, :]
    assert Lead.of(tone, rate_hz).line(None)[0] == pytest.approx([np.sqrt(0.5)], rel=0.03)
    assert Lead.of(tone, rate_hz).line(110 - hz)[0] < 0.02
    assert Lead.of(other, rate_hz).line(hz)[0] < 0.02


def test_the_mains_are_no_noise():
    t = np.arange(5000) / 500
    lead = Lead.of(np.sin(2 * np.pi * 50 * t)[None, :], 500.0)
    assert lead.noise(np.zeros(1)) > 0.3
    assert lead.noise(lead.line(50.0)[1]) < 0.1


@pytest.mark.parametrize(("hz", "kept"), [(0.1, 1.0), (0.3, 1.0), (3.0, 0.0)])
def test_the_baseline_is_what_is_slow(hz, kept):
    t = np.arange(5000) / 500
    lead = Lead.of(np.sin(2 * np.pi * hz * (t - 5))[None, :], 500.0)
    middle = slice(300, -300)
    assert lead.baseline[0, middle].std() / lead.values[0, middle].std() == pytest.approx(kept, abs=0.12)


@pytest.mark.parametrize("rate_hz", [100.0, 130.0, 250.0, 360.0, 500.0, 1000.0])
def test_r_peaks_are_found_where_they_are(rate_hz):
    t = np.arange(int(10 * rate_hz)) / rate_hz
    truth = np.arange(0.5, 9.8, 0.77)
    wave = sum(np.exp(-0.5 * ((t - r) / 0.011) ** 2) + 0.3 * np.exp(-0.5 * ((t - r - 0.26) / 0.05) ** 2) for r in truth)
    lead = Lead.of(np.asarray(wave)[None, :], rate_hz)
    assert lead.beats.place / lead.rate_hz == pytest.approx(truth, abs=0.02)
    assert lead.agreement() == [1.0]


# --- spikes -----------------------------------------------------------------------------------


def test_a_spike_is_found_and_taken_out_and_the_beats_stay():
    t = np.arange(5000) / 500
    clean = np.asarray(sum(np.exp(-0.5 * ((t - r) / 0.01) ** 2) for r in np.arange(0.5, 10, 0.8)))
    hit = clean.copy()
    places = [333, 1404, 1405, 2600, 4999 - 40]
    hit[places] += [3.0, -2.0, -2.0, 4.0, 2.5]
    found = spikes(RawLead.of(np.stack([clean, hit]), 500.0, SPEC))
    assert (found.row == 1).all()
    assert found.place == pytest.approx([333, 1404, 2600, 4959], abs=1)
    mended = without(np.stack([clean, hit]), found, reach_of(500.0))
    assert np.abs(mended - clean).max() < 0.1


def test_spikes_at_a_fixed_distance_to_the_beats_are_a_pacemakers():
    beats = np.arange(100, 1250, 100)
    lead = np.zeros((2, 5000))
    locked = beats * 4 - 30
    free = np.random.default_rng(3).integers(20, 4980, len(beats))
    lead[0, locked], lead[1, free] = 2.0, 2.0
    height = unlocked(lead, marks(locked, np.sort(free)), marks(beats, beats), 4, 500.0)
    assert height.tolist() == [0.0, 2.0]
