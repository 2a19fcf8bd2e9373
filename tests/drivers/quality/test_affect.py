"""Affect: simulated people, and what lost faces and broken estimators look like."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality import score, scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.profile import Profile
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SPEC = StreamSpec("affect", "affect", ("valence", "arousal"), "1", 10.0, lsb=0.001, low=-1.0, high=1.0)
PERCENT = StreamSpec("affect", "affect", ("valence", "arousal"), "%", 10.0, lsb=0.1, low=0.0, high=100.0)


def alive(seed: int = 0, count: int = 100) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).normal(0.2, 0.05, (count, 2)), -1, 1)


@pytest.mark.parametrize("script", ["rest", "stress", "joy", "calm"])
def test_clean_affect_of_twenty_people_stays_good_and_without_flags(script):
    times_s = np.arange(400) / 10
    for seed in range(20):
        signal = make_signal({}, Subject(seed, Profile(script=script)), SPEC, Draws(seed, "bench", "affect"))
        values = digitise(signal.render(0, times_s), SPEC)
        found = scores(values, np.rint(times_s * 1e9).astype(np.int64), SPEC, np.arange(10, 41) * 1_000_000_000)
        assert found.score.min() >= 0.9
        assert not any(raised.any() for raised in found.flags.values())


@pytest.mark.parametrize(("spoil", "flag"), [
    (lambda v: v * 0 + 0.3, "flat"),
    (lambda v: v * 7, "off_body"),
    (lambda v: np.where(np.arange(100)[:, None] < 90, 1.0, v), "saturated"),
    (lambda v: np.where(np.arange(100)[:, None] // 10 % 2, 0.9, -0.9) + 0.0 * v, "pop"),
], ids=["stuck", "beyond its scale", "at its end", "to and fro"])  # fmt: skip
def test_a_broken_estimate_is_low_and_named(spoil, flag):
    found = score(spoil(alive()), 10.0, SPEC)
    assert found.score < 0.5
    assert flag in found.flags
    assert min(found.parts.values()) < 0.5


def test_a_scale_is_what_the_profile_says_it_is():
    good = 50 + 50 * alive()
    assert score(good, 10.0, PERCENT).score > 0.9
    assert "off_body" in score(good, 10.0, SPEC).flags
    assert "off_body" in score(good + 60, 10.0, PERCENT).flags


def test_one_change_of_feeling_however_sudden_is_believed():
    values = alive()
    values[50:] = -values[50:] - 0.5
    assert score(values, 10.0, SPEC).score > 0.9


def test_a_longer_freeze_never_makes_an_affect_better():
    found = []
    for frozen in range(0, 101, 10):
        values = alive()
        values[:frozen] = values[0]
        found.append(score(values, 10.0, SPEC).score)
    assert found == sorted(found, reverse=True)
    assert found[0] == 1
    assert found[-1] == 0


def test_a_window_of_affect_scores_the_same_alone_and_among_others():
    values = alive(3, 400)
    values[100:140] = values[100]
    together = scores(values, np.arange(400) * 100_000_000, SPEC, np.arange(10, 41) * 1_000_000_000)
    for number in range(31):
        alone = score(values[10 * number : 10 * number + 100], 10.0, SPEC)
        assert alone.parts == {name: part[number] for name, part in together.parts.items()}
