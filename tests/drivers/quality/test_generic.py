"""Inputs of unknown content: rails and rest are judged, hum is named."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.quality import score, scores
from drivers.types import StreamSpec

BARE = StreamSpec("exg", "exg", ("a", "b"), "uV", 250.0, lsb=0.022, low=-4000.0, high=4000.0)


def anything(seed: int = 0, count: int = 2500) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, (count, 2))


@pytest.mark.parametrize("kind", ["exg", "raw"])
def test_any_wave_is_good(kind):
    spec = StreamSpec("in", kind, ("a", "b"), "1", 250.0, lsb=0.01)
    assert score(anything(), 250.0, spec).score == 1
    assert score(np.cumsum(anything(), axis=0), 250.0, spec).score == 1


def test_one_channel_that_is_stuck_beside_one_that_lives_is_found():
    values = anything()
    values[:, 1] = 3.0
    found = score(values, 250.0, BARE)
    assert found.score == 0
    assert found.flags == {"flat"}


def test_a_channel_at_its_rail_is_saturated():
    values = anything()
    values[500:1500, 0] = 4000.0
    found = score(values, 250.0, BARE)
    assert found.score < 0.5
    assert found.flags >= {"saturated"}


@pytest.mark.parametrize("hz", [50.0, 60.0])
def test_hum_is_named_and_costs_nothing(hz):
    hum = 200 * np.sin(2 * np.pi * hz * np.arange(2500) / 250)
    found = score(anything() + hum[:, None], 250.0, BARE)
    assert found.flags == {"hum"}
    assert found.score == 1


def test_a_longer_rest_never_makes_an_input_better():
    found = []
    for rest in range(0, 2501, 250):
        values = anything()
        values[:rest] = values[0]
        found.append(score(values, 250.0, BARE).score)
    assert found == sorted(found, reverse=True)
    assert found[0] == 1
    assert found[-1] == 0


def test_a_window_of_anything_scores_the_same_alone_and_among_others():
    values = anything(2, 10000)
    values[3000:4200, 1] = 0.0
    times = np.arange(10000, dtype=np.int64) * 4_000_000
    together = scores(values, times, BARE, np.arange(10, 41) * 1_000_000_000)
    for number in range(31):
        alone = score(values[250 * number : 250 * number + 2500], 250.0, BARE)
        assert alone.parts == {name: part[number] for name, part in together.parts.items()}
