"""What detections prove, from binomial sums; which level is claimed, from runs made up by hand."""

from math import comb

import pytest

from harness.scorecard.claims import Seeds, candidate, claim, falls_again, power_high, power_low, promised, seeds_needed
from harness.scorecard.score import Measured, Run, Score
from harness.scorecard.targets import Target
from harness.scorecard.trial import Finding, Trace, Trial
from harness.verdict import Outcome

SEEDS = Seeds(pilots=2, proofs=3)
LOST = Measured("delivery", "lost")


def at_least(k, n, p):
    """P(X >= k) of a binomial X."""
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


@pytest.mark.parametrize(("detected", "n"), [(59, 59), (58, 59), (8, 10), (1, 1), (3, 20), (300, 300)])
def test_at_the_lower_bound_so_many_detections_come_by_chance_in_one_of_twenty(detected, n):
    assert at_least(detected, n, power_low(detected, n)) == pytest.approx(0.05)


@pytest.mark.parametrize(("detected", "n"), [(0, 59), (1, 59), (8, 10), (0, 1)])
def test_at_the_upper_bound_so_few_detections_come_by_chance_in_one_of_twenty(detected, n):
    assert 1 - at_least(detected + 1, n, power_high(detected, n)) == pytest.approx(0.05)


def test_the_ends_are_certain():
    assert power_low(0, 10) == 0.0
    assert power_high(10, 10) == 1.0


def test_59_of_59_prove_95_percent_and_58_of_58_do_not():
    assert power_low(59, 59) > 0.95 > power_low(58, 58)
    assert seeds_needed(0.95) == 59
    assert seeds_needed(0.99) == 299  # as for a 99th percentile: Hahn and Meeker, Statistical Intervals
    assert seeds_needed(0.5) == 5


def test_pilots_and_proofs_share_no_seed():
    assert set(SEEDS.pilot()).isdisjoint(SEEDS.proof())
    assert (len(SEEDS.pilot()), len(SEEDS.proof())) == (2, 3)


def scored(*levels, fault="dropout", role="chest", checks=("delivery",)):
    """A score of one target; each level is a text of one letter per seed from 1 on: f found, ? undecided, . missed."""
    made = Score([Target(fault, role, key="mean_lost_percent", levels=tuple(map(float, range(1, len(levels) + 1))))])
    made.judged = {(check, "lost", f"{role}/ecg") for check in checks}
    for level, seen in enumerate(levels):
        found = {"f": Run(right=frozenset({LOST})), "?": Run(undecided=frozenset({"delivery"})), ".": Run()}
        made.cells[0, level] = {seed: found[letter] for seed, letter in enumerate(seen, 1)}
    return made


def test_the_smallest_level_at_which_nothing_was_missed_is_the_candidate():
    assert candidate(scored("..", ".f", "ff", "ff"), 0, "delivery") == 2
    assert candidate(scored("..", ".f"), 0, "delivery") is None


def test_a_level_that_misses_one_proof_gives_way_to_the_next():
    assert candidate(scored("..", "ffff.", "ff"), 0, "delivery") == 2


def test_a_claim_counts_only_the_runs_that_did_not_choose_its_level():
    made = claim(scored("..", "fffff"), 0, "delivery", SEEDS)
    assert (made.level, made.detected, made.n) == (1, 3, 3)
    assert made.proven == pytest.approx(0.05 ** (1 / 3))


def test_without_a_level_the_boldest_one_says_how_near_it_came():
    made = claim(scored("..", "f."), 0, "delivery", SEEDS)
    assert (made.level, made.detected, made.n) == (None, 1, 2)


@pytest.mark.parametrize(("runs", "too_short"), [
    ("fff?", True), ("fff.", False), ("ff?.", False), ("ff??", False), ("????", False), ("....", False),
])  # fmt: skip
def test_runs_are_too_short_where_none_was_passed_and_most_were_found_out(runs, too_short):
    made = claim(scored("....", runs), 0, "delivery", SEEDS)
    assert (made.level, made.detected, made.undecided, made.n) == (None, runs.count("f"), runs.count("?"), 4)
    assert made.too_short == too_short


def test_runs_that_find_it_always_at_some_level_are_long_enough():
    assert not claim(scored("fff?", "ffff"), 0, "delivery", SEEDS).too_short


def test_a_verdict_that_cannot_tell_counts_only_where_the_damage_is_and_the_check_did_not_fail():
    def told(subject, outcome, check="quality"):
        role = subject.split("/")[0]
        return Finding(check, "good windows", subject, outcome, frozenset({role}), "")

    target = Target("flatline", "wrist", "skin", key="fraction", levels=(0.5,))
    cases = {
        (told("wrist/skin", Outcome.INCONCLUSIVE),): {"quality"},
        (told("wrist/ppg", Outcome.INCONCLUSIVE),): set(),
        (told("wrist/skin", Outcome.INCONCLUSIVE, "sync"),): set(),
        (told("wrist/skin", Outcome.INCONCLUSIVE), told("wrist/skin", Outcome.FAIL)): set(),
    }
    for findings, undecided in cases.items():
        score = Score([target])
        score.add(Trace(Trial(0, 0, 1), findings))
        assert score.cells[0, 0][1].undecided == undecided


def test_a_bolder_level_that_is_found_less_is_told_and_one_unlucky_run_is_not():
    for bolder, told in (("." * 12, [1]), ("f" * 11 + ".", [])):
        score = scored("fffff", bolder)
        assert falls_again(score, claim(score, 0, "delivery", SEEDS), 0.95) == told


def test_a_check_that_gives_no_verdict_about_a_place_promises_nothing_there():
    score = scored("ff")
    assert promised(score, ["delivery", "latency"]) == [(0, "delivery")]
    score.judged = {("delivery", "lost", "wrist/ppg")}
    assert promised(score, ["delivery"]) == []


def test_a_verdict_about_the_whole_rig_is_about_what_windows_wait_for():
    score = scored("ff", fault="jitter")
    score.judged, score.waited_for = {("latency", "p99 latency", "rig")}, {"chest/ecg"}
    assert promised(score, ["latency"]) == [(0, "latency")]
    score.waited_for = {"wrist/ppg"}
    assert promised(score, ["latency"]) == []


def test_a_place_is_promised_by_the_measures_that_the_fault_changes_elsewhere():
    """A sensor whose first sample is judged and whose losses are not is not promised that a loss is seen."""
    score = scored("ff")
    score.targets = [*score.targets, Target("dropout", "strap", levels=(1.0,))]
    score.judged |= {("delivery", "first sample", "strap/heart_rate")}
    assert promised(score, ["delivery"]) == [(0, "delivery")]


def test_a_check_that_nothing_must_change_is_asked_of_what_may_change_it():
    score = scored("ff", fault="clock_drift", checks=("sync", "rate"))
    assert promised(score, ["sync", "rate"]) == [(0, "sync"), (0, "rate")]


def test_what_is_promised_of_a_fault_does_not_depend_on_which_others_are_tried():
    """Quality is for the faults that it must notice, tried or not; lost samples may lower it."""
    alone = scored("ff", fault="dropout", checks=("delivery", "quality"))
    assert promised(alone, ["delivery", "quality"]) == [(0, "delivery")]
    alone.targets = [*alone.targets, Target("mains_hum", "chest", "ecg", levels=(1.0,))]
    assert (0, "quality") not in promised(alone, ["delivery", "quality"])
