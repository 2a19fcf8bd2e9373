"""Dose and effect on a PPG: light of simulated people, disturbed by known amounts, must be scored as that deserves.

Levels are fractions of the clean pulse of infrared light; red light has about half that pulse.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from drivers.quality import FLAGS, scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

BOTH = StreamSpec("ppg", "ppg", ("red", "infrared"), "counts", 64.0, lsb=1.0, low=0.0, high=262143.0)
INFRARED = StreamSpec("ppg", "ppg", ("infrared",), "counts", 64.0, lsb=1.0, low=0.0, high=262143.0)
SECONDS = 40
ENDS_NS = np.arange(10, SECONDS + 1) * 1_000_000_000
PEOPLE = range(6)


@cache
def clean_light(spec: StreamSpec, seed: int):
    times_s = np.arange(int(SECONDS * spec.rate_hz)) / spec.rate_hz
    signal = make_signal({}, Subject(seed), spec, Draws(seed, "bench", "ppg"))
    return times_s, signal.render(0, times_s), signal.span


def judged_light(spec: StreamSpec, seed: int, **fault):
    """Scores at a hop of a second, with one fault or none."""
    times_s, values, span = clean_light(spec, seed)
    if fault:
        where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, span)
        values = make_fault(fault).bind(where).apply(0, times_s, values)
    return scores(digitise(values, spec), np.rint(times_s * 1e9).astype(np.int64), spec, ENDS_NS)


@pytest.mark.parametrize("rate_hz", [25.0, 30.0, 64.0, 100.0, 250.0, 1000.0])
def test_clean_light_stays_good_and_without_flags_at_every_rate(rate_hz):
    spec = StreamSpec("ppg", "ppg", ("red", "infrared"), "counts", rate_hz, lsb=1.0, low=0.0, high=262143.0)
    for seed in PEOPLE:
        result = judged_light(spec, seed)
        assert result.score.min() >= 0.9
        assert not any(raised.any() for raised in result.flags.values())


MUST_STAY_GOOD = [
    (BOTH, {"fault": "baseline_wander", "level": 0.25}),
    (BOTH, {"fault": "emg", "level": 0.05}),
    (BOTH, {"fault": "electrode_pop", "level": 0.5}),
    (BOTH, {"fault": "mains_hum", "level": 0.05}),
    (BOTH, {"fault": "quantisation", "level": 0.02}),
    (BOTH, {"fault": "hold", "fraction": 0.2}),
    (BOTH, {"fault": "white_noise", "level": 0.05}),
    (BOTH, {"fault": "low_perfusion", "perfusion_percent": 0.5}),
    (INFRARED, {"fault": "motion", "level": 0.1}),
    (INFRARED, {"fault": "white_noise", "level": 0.1}),
    (INFRARED, {"fault": "spikes", "level": 0.5}),
]


@pytest.mark.parametrize(("spec", "fault"), MUST_STAY_GOOD)
def test_a_disturbance_that_leaves_the_pulses_alone_leaves_the_score_good(spec, fault):
    low = np.concatenate([judged_light(spec, seed, **fault).score < 0.5 for seed in PEOPLE])
    assert low.mean() <= 0.03


MUST_BE_LOW = [
    ("baseline", {"fault": "baseline_wander", "level": 8.0}),
    ("noise", {"fault": "emg", "level": 0.8}),
    ("motion noise", {"fault": "motion", "level": 0.75}),
    ("flat", {"fault": "flatline", "fraction": 0.4}),
    ("saturated", {"fault": "lead_off", "fraction": 0.4}),
    ("saturated", {"fault": "clipping", "fraction": 0.3}),
    ("flat", {"fault": "hold", "fraction": 0.7}),
    ("noise", {"fault": "white_noise", "level": 0.7}),
    ("pop", {"fault": "spikes", "level": 4.0}),
    ("coarse", {"fault": "quantisation", "level": 0.5}),
    ("low_perfusion", {"fault": "low_perfusion", "perfusion_percent": 0.1}),
]


@pytest.mark.parametrize("spec", [BOTH, INFRARED], ids=["both", "infrared"])
@pytest.mark.parametrize(("names", "fault"), MUST_BE_LOW)
def test_a_disturbance_that_ruins_the_light_is_scored_low_and_named(spec, names, fault):
    results = [judged_light(spec, seed, **fault) for seed in PEOPLE]
    low = np.concatenate([result.score < 0.5 for result in results])
    named = np.concatenate([np.any([result.flags[name] for name in names.split()], axis=0) for result in results])
    assert low.mean() >= 0.97
    assert named[low].mean() >= 0.9


def test_a_contact_that_lets_go_is_named_in_every_window_that_has_it():
    """Whether a rate can be had all the same depends on where the jumps fall, so only the flag is asked for."""
    named = np.concatenate([judged_light(BOTH, s, fault="electrode_pop", level=8.0).flags["pop"] for s in PEOPLE])
    assert named.mean() >= 0.95


def test_a_perfusion_index_of_0_3_percent_is_about_the_limit():
    """What oximeters are tested at as low perfusion: neither good nor hopeless."""
    score = np.concatenate([judged_light(BOTH, s, fault="low_perfusion", perfusion_percent=0.3).score for s in PEOPLE])
    assert 0.3 <= score.min() <= score.max() <= 0.7


@pytest.mark.parametrize(("fault", "key", "levels"), [
    ("white_noise", "level", (0.05, 0.2, 0.4, 1.0)),
    ("motion", "level", (0.02, 0.1, 0.3, 1.0)),
    ("baseline_wander", "level", (0.25, 1.0, 3.0, 12.0)),
    ("emg", "level", (0.02, 0.1, 0.3, 0.8)),
    ("spikes", "level", (0.2, 0.8, 2.0, 8.0)),
    ("hold", "fraction", (0.05, 0.3, 0.5, 0.8)),
    ("low_perfusion", "perfusion_percent", (0.8, 0.4, 0.2, 0.1)),
])  # fmt: skip
def test_more_of_it_never_makes_the_light_better(fault, key, levels):
    medians = [np.median([judged_light(INFRARED, s, fault=fault, **{key: x}).score for s in PEOPLE]) for x in levels]
    assert all(more <= less + 0.03 for less, more in pairwise(medians))  # hopeless is hopeless
    assert medians[0] > 0.9 > 0.5 > medians[-1]


@pytest.mark.parametrize("fault", [fault for _, fault in MUST_BE_LOW])
def test_every_low_score_is_explained_by_a_known_flag_and_a_low_part(fault):
    for seed in PEOPLE:
        result = judged_light(BOTH, seed, **fault)
        low = result.score < 0.5
        assert set(result.flags) <= set(FLAGS)
        assert np.any(list(result.flags.values()), axis=0)[low].all()
        assert (np.min(list(result.parts.values()), axis=0)[low] < 0.5).all()
