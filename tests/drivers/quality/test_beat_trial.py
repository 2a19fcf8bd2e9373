"""Which height explains a stretch: expected values by counting, on candidates put where they are."""

from __future__ import annotations

import pytest

from drivers.quality.beat_levels import ECG, PPG
from drivers.quality.beat_path import Candidate, Chooser, Usual
from drivers.quality.beat_trial import answers, best_answer, better_answer, credit


def row(count, height, every_s=1.0, first_s=0.5, width=0.6):
    """Candidates at even distances; ``width`` times as high in the second height."""
    return [Candidate(first_s + k * every_s, height, width * height) for k in range(count)]


def merged(*rows):
    return sorted((one for each in rows for one in each), key=lambda one: one.at_s)


def knowing(candidates, height, rules=ECG.rules):
    """A chooser that has decided on candidates, by beats of a height."""
    chooser = Chooser(rules, Usual(height=height))
    for one in candidates:
        chooser.add(one)
        chooser.decide(one.at_s)
    return chooser


def test_heights_are_tried_from_the_largest_down_and_like_ones_once():
    found = answers(merged([Candidate(1.0, 50.0)], row(8, 1.0), row(8, 0.1, first_s=0.9)), 0.0, 8.0)
    assert found == [50.0, 1.0]  # each second and a half holds a beat: what is smaller is never the largest


def test_at_most_five_heights_are_tried_the_largest_and_the_smallest_among_them():
    found = answers([Candidate(2.0 * k + 0.1, 2.0**k) for k in range(12)], 0.0, 24.0)
    assert len(found) == 5
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (2048.0, 1.0)


def test_nothing_has_no_height():
    assert answers([], 0.0, 4.0) == []


def test_even_beats_with_nothing_between_explain_all():
    assert credit(row(9, 1.0), [], 1.0, 9.5) == pytest.approx(1.0)


def test_half_as_much_between_halves_what_is_explained():
    """Four times higher is clear, so twice as high is half as clear on a scale of logarithms."""
    assert credit(row(9, 1.0), row(9, 0.5, first_s=0.9), 1.0, 9.5) == pytest.approx(0.5)


def test_what_is_as_high_as_beats_between_them_leaves_nothing_explained():
    assert credit(row(9, 1.0), row(9, 1.0, first_s=0.9), 1.0, 9.5) == 0.0


def test_time_without_beats_is_not_explained():
    """Five beats in four seconds of twenty; at both ends together two intervals are owed to nobody."""
    assert credit(row(5, 1.0), [], 1.0, 20.0) == pytest.approx(4 / 18)


def test_two_beats_explain_nothing():
    assert credit(row(2, 1.0), [], 1.0, 4.0) == 0.0


def test_scattered_beats_explain_less_than_even_ones():
    scattered = [Candidate(at, 1.0) for at in (0.5, 0.9, 2.3, 2.7, 4.6, 5.1, 7.0, 8.5)]
    assert credit(scattered, [], 1.0, 9.0) < 0.5 < credit(row(9, 1.0), [], 1.0, 9.0)


def test_beats_are_chosen_before_a_movement_ten_times_as_high():
    movement, beats = [Candidate(1.2, 10.0)], row(6, 1.0, 0.8)
    tried = merged(movement, beats, row(5, 0.1, 0.8, 0.8))
    best = best_answer(PPG.rules, tried, answers(tried, 0.0, 5.0), (0.0, 5.0))
    assert {one.at_s for one in beats if one.at_s > 1.5} <= {one.at_s for one in best.beats}
    assert best.chooser.usual.height == 1.0


def test_the_higher_of_two_that_are_as_regular_is_chosen():
    tried = merged(row(6, 1.0, 0.9), row(6, 0.3, 0.9, 0.95))
    best = best_answer(PPG.rules, tried, [1.0, 0.3], (0.0, 5.5))
    assert [one.height for one in best.beats] == [1.0] * 6


def test_a_trial_leaves_its_candidates_as_they_were():
    tried = row(6, 1.0, 0.8)
    best_answer(PPG.rules, tried, [1.0], (0.0, 5.0))
    assert all(one.before is None and not one.beat and one.total == 0 for one in tried)


def test_what_has_always_been_between_beats_is_not_believed_to_be_one():
    beats, between = row(12, 1.0), row(12, 0.3, first_s=0.9)
    chooser = knowing(merged(beats, between), 1.0)
    assert not chooser.credible(0.3)
    assert chooser.credible(0.7)
    assert chooser.credible(5.0)


@pytest.mark.parametrize(("width", "believed"), [(0.6, True), (2.4, False)])
def test_beats_that_have_shrunk_have_kept_their_shape(width, believed):
    chooser = knowing(row(12, 1.0), 1.0)
    later = row(6, 0.2, 0.9, 12.5, width)
    for one in later:
        chooser.add(one)
    best = better_answer(chooser, later, 12.0, 17.5)
    assert (best is not None) is believed


def test_beats_that_have_grown_and_become_faster_at_once_are_found():
    chooser = knowing(row(12, 1.0), 1.0)
    later = row(9, 15.0, 0.55, 12.5)
    for one in later:
        chooser.add(one)
    assert chooser.usual.height == 1.0
    best = better_answer(chooser, later, 12.0, 17.5)
    assert best is not None
    assert best.chooser.usual.height == 15.0
    assert len(best.beats) == 9


def test_what_is_explained_well_is_not_given_up():
    chooser = knowing(row(6, 1.0), 1.0)
    later = merged(row(6, 1.0, 1.0, 6.5), [Candidate(9.2, 20.0)])
    for one in later:
        chooser.add(one)
    assert better_answer(chooser, later, 6.0, 12.5) is None
