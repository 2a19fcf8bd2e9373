"""Which interval is which: found again whatever was lost, doubled, shifted or scaled."""

import numpy as np
import pytest

from harness.accuracy.intervals import beats_of, between_beats, ends_of, match, reported


def heart(n=80, seed=1):
    """Beats of a heart that varies: intervals of 0.9 s, standard deviation 45 ms, in waves."""
    rng = np.random.default_rng(seed)
    waves = 0.05 * np.sin(2 * np.pi * np.arange(n) / 4.3) + 0.03 * rng.normal(size=n)
    return np.cumsum(0.9 + waves)


def known(beats):
    return np.arange(len(beats)) > 0


def strap(beats, late_s=0.4):
    """Intervals as a strap reports them: once a second, those of the beats since the report before."""
    return np.diff(beats), np.ceil(beats[1:] + late_s)


def test_beats_that_are_all_there_are_all_found_with_their_errors():
    beats = heart()
    off = np.random.default_rng(2).normal(0, 0.002, len(beats))
    found = match(between_beats(beats + off), beats, known(beats), 10.0)
    assert found.error_s == pytest.approx(np.diff(off))
    assert found.alike.all()
    assert (found.missed.sum(), found.extra.sum()) == (0, 0)


@pytest.mark.parametrize("late_s", [0.0, 0.7, 3.1, 8.0, -1.5])
def test_a_stamp_that_is_late_or_early_does_not_matter(late_s):
    beats = heart()
    found = match(reported(np.diff(beats), beats[1:] + late_s), beats, known(beats), 10.0)
    assert np.abs(found.error_s[3:-3]).max() < 1e-9


def test_reports_of_a_strap_are_found_too():
    beats = heart()
    found = match(reported(*strap(beats)), beats, known(beats), 10.0)
    assert np.nanmax(np.abs(found.error_s)) < 1e-9
    assert (found.missed.sum(), found.extra.sum()) == (0, 0)


def test_a_missed_beat_is_counted_and_spoils_no_other_interval():
    beats = heart()
    found = match(between_beats(np.delete(beats, 30)), beats, known(beats), 10.0)
    assert (found.missed.sum(), found.extra.sum()) == (1, 0)
    assert np.abs(found.error_s[found.alike]).max() < 1e-9
    assert found.alike.sum() >= len(beats) - 6


def test_an_extra_beat_is_counted_and_spoils_no_other_interval():
    beats = heart()
    found = match(between_beats(np.sort(np.append(beats, beats[30] + 0.4))), beats, known(beats), 10.0)
    assert (found.missed.sum(), found.extra.sum()) == (0, 1)
    assert np.abs(found.error_s[found.alike]).max() < 1e-9
    assert found.alike.sum() >= len(beats) - 6


def test_intervals_that_were_lost_on_their_way_are_no_missed_beats():
    beats = heart()
    rr, stamps = strap(beats)
    kept = np.ones(len(rr), dtype=bool)
    kept[[10, 11, 12, 40, 41]] = False
    found = match(reported(rr[kept], stamps[kept]), beats, known(beats), 10.0)
    assert (found.missed.sum(), found.extra.sum()) == (0, 0)
    assert np.abs(found.error_s).max() < 1e-9


@pytest.mark.parametrize(("gain", "offset_s"), [(1.0, 0.020), (1.1, 0.0), (0.95, -0.010)])
def test_intervals_that_are_wrong_alike_are_found_and_stay_wrong(gain, offset_s):
    beats = heart()
    found = match(reported(gain * np.diff(beats) + offset_s, beats[1:] + 0.3), beats, known(beats), 10.0)
    wrong = (gain - 1) * np.diff(beats) + offset_s
    assert np.median(np.abs(found.error_s - wrong)) < 1e-9
    assert float(np.nanmean(found.error_s)) == pytest.approx(float(wrong.mean()), abs=0.002)


def test_a_clock_that_jumps_by_half_a_second_harms_nothing():
    beats = heart()
    moved = beats + np.where(np.arange(len(beats)) > 40, 0.5, 0.0)
    found = match(between_beats(moved), beats, known(beats), 10.0)
    assert np.abs(np.delete(found.error_s, 40)).max() < 1e-9


def test_beats_can_be_had_back_from_a_straps_intervals():
    beats = heart()
    again, whole = beats_of(*strap(beats))
    assert np.diff(again) == pytest.approx(np.diff(beats[1:]))
    assert whole.sum() == len(again) - 1


def test_where_a_strap_was_silent_its_beats_are_not_joined():
    rr, stamps = strap(heart())
    kept = np.ones(len(rr), dtype=bool)
    kept[20:30] = False
    again, whole = beats_of(rr[kept], stamps[kept])
    assert not whole[20]
    assert abs(again[-1] - heart()[-1]) < 2.5


def test_too_few_beats_are_no_reference():
    assert match(between_beats(heart(5)), np.array([1.0, 2.0]), np.array([False, True]), 10.0) is None
    assert match(between_beats(np.array([1.0])), heart(), known(heart()), 10.0) is None


def test_intervals_that_are_reported_together_ended_one_after_the_other():
    """What they cover does not depend on how many of them one report holds."""
    each_s = np.array([0.9, 0.8, 0.7, 1.0, 0.9, 0.8])
    ended_s = np.cumsum(each_s)
    reports = reported(each_s, np.repeat(ended_s[[2, 5]], 3))
    assert ends_of(reports) == pytest.approx(ended_s)
    beats = between_beats(np.append(0.0, ended_s))
    assert ends_of(beats) == pytest.approx(ended_s)
    assert len(ends_of(reported(np.empty(0), np.empty(0)))) == 0


def test_where_two_reports_are_lost_close_together_those_between_are_not_taken_for_their_neighbours():
    """The intervals alone fit the neighbouring beats nearly as well; the stamps say, mostly, where some are missing."""
    wrong, cases = 0, 0
    for seed in range(12):
        beats = heart(60, seed)
        length_s, stamp_s = strap(beats)
        reports = np.unique(stamp_s)
        for lost in range(15, 40, 3):
            kept = ~np.isin(stamp_s, reports[[lost, lost + 2]])
            found = match(reported(length_s[kept], stamp_s[kept]), beats, known(beats), 10.0)
            assert found.alike.sum() > 50
            wrong += bool((np.abs(found.error_s[found.alike]) > 1e-6).any())
            cases += 1
    assert wrong < cases / 5
