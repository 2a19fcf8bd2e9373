"""The simulated person: one life, told the same way however it is asked about, within published ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import SettingError
from drivers.types import FloatArray
from simulators.profile import SCENARIOS
from simulators.subject import Profile, Subject, make_profile

_GRID = np.arange(0.0, 200.0, 0.37)


def _life(subject: Subject, until_s: float) -> list[FloatArray]:
    scrs, blinks, breaths = subject.scrs(0, until_s), subject.blinks(0, until_s), subject.breaths(0, until_s)
    return [
        subject.beats(0, until_s), subject.rr(0, until_s), subject.feet(0, until_s), subject.pat(0, until_s),
        breaths.onset_s, breaths.depth, scrs.onset_s, scrs.amplitude_us, scrs.tau_rise_s, scrs.tau_decay_s,
        blinks.onset_s, blinks.duration_s, blinks.amplitude_uv,
    ]  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(asked=st.lists(st.tuples(st.integers(0, 6), st.floats(-5, 400)), max_size=8))
def test_what_was_asked_before_changes_nothing(asked: list[tuple[int, float]]) -> None:
    subject = Subject(5, Profile(script="stress"))
    questions = (
        lambda t: subject.beats(t, t + 1), lambda t: subject.breaths(t, t + 1), lambda t: subject.scrs(0, t),
        lambda t: subject.breathing(np.array([t])), lambda t: subject.heart_rate(np.array([t])),
        lambda t: subject.arousal(np.array([t])), lambda t: subject.spo2(np.array([t, 0.0])),
    )  # fmt: skip
    for number, at in asked:
        questions[number](at)
    fresh = Subject(5, Profile(script="stress"))
    assert all(np.array_equal(a, b) for a, b in zip(_life(subject, 200), _life(fresh, 200), strict=True))


@pytest.mark.parametrize("name", ["arousal", "valence", "spo2", "heart_rate", "breathing"])
def test_a_moment_has_one_value_in_any_company(name: str) -> None:
    together = getattr(Subject(2), name)(_GRID)
    alone = Subject(2)
    assert [float(getattr(alone, name)(np.array([t]))[0]) for t in _GRID[::-1]] == together[::-1].tolist()


def test_events_are_cut_at_start_included_and_stop_excluded() -> None:
    subject = Subject(3)
    beats = subject.beats(0, 30)
    assert np.array_equal(np.concatenate([subject.beats(0, beats[7]), subject.beats(beats[7], 30)]), beats)
    assert subject.beats(beats[7], 30)[0] == beats[7]


def test_the_same_seed_is_the_same_person_and_another_is_another() -> None:
    assert np.array_equal(Subject(8).beats(0, 60), Subject(8).beats(0, 60))
    assert not np.array_equal(Subject(8).beats(0, 60), Subject(9).beats(0, 60))
    assert not np.array_equal(Subject(8).scrs(0, 600).onset_s, Subject(9).scrs(0, 600).onset_s)


@pytest.mark.parametrize("seed", range(5))
def test_a_resting_heart_varies_as_resting_hearts_do(seed: int) -> None:
    rr_ms = 1000 * Subject(seed).rr(0, 300)
    assert 20 <= rr_ms.std() <= 80  # SDNN of five minutes
    assert 20 <= np.sqrt(np.mean(np.diff(rr_ms) ** 2)) <= 80  # RMSSD
    assert 60000 / rr_ms.mean() == pytest.approx(65, abs=3)


def test_rr_is_the_difference_of_the_beats() -> None:
    subject = Subject(1)
    assert subject.rr(0, 100)[1:] == pytest.approx(np.diff(subject.beats(0, 100)), abs=1e-12)


def test_breathing_moves_the_heart() -> None:
    subject = Subject(4)
    beats = subject.beats(0, 300)
    middles = (beats[1:] + beats[:-1]) / 2
    r = np.corrcoef(subject.breathing(middles), 1 / np.diff(beats))[0, 1]
    assert r > 0.5  # respiratory sinus arrhythmia: faster while full
    still = Subject(4, Profile(hrv_breath_percent=0.0))
    beats = still.beats(0, 300)
    middles = (beats[1:] + beats[:-1]) / 2
    assert abs(np.corrcoef(still.breathing(middles), 1 / np.diff(beats))[0, 1]) < 0.25


def test_breaths_follow_each_other_without_gap_at_the_wanted_rate() -> None:
    breaths = Subject(1, Profile(breath_rate_per_min=12.0)).breaths(0, 600)
    ends = breaths.onset_s + breaths.inspiration_s + breaths.expiration_s
    assert ends[:-1] == pytest.approx(breaths.onset_s[1:], abs=1e-9)
    assert len(breaths.onset_s) / 10 == pytest.approx(12, rel=0.05)
    assert np.all(breaths.inspiration_s < breaths.expiration_s)


def test_lungs_are_empty_at_onset_and_full_after_inspiration() -> None:
    subject = Subject(1)
    breaths = subject.breaths(0, 60)
    assert subject.breathing(breaths.onset_s) == pytest.approx(0, abs=1e-6)
    assert subject.breathing(breaths.onset_s + breaths.inspiration_s) == pytest.approx(breaths.depth, rel=1e-6)


def test_a_slow_long_breath_is_told_to_its_end() -> None:
    subject = Subject(1, Profile(breath_rate_per_min=4.0, script="calm"))
    first = subject.breaths(0, 60)
    late = first.onset_s[1] - 0.01
    assert Subject(1, Profile(breath_rate_per_min=4.0, script="calm")).breathing(np.array([late]))[0] < 0.01


@pytest.mark.parametrize("seed", range(3))
def test_arousal_raises_heart_rate_responses_and_breathing_and_shrinks_the_pulse(seed: int) -> None:
    calm, tense = (Subject(seed, Profile(script=((0.0, level, 0.0),))) for level in (0.0, 0.8))
    assert tense.rr(0, 600).mean() < 0.85 * calm.rr(0, 600).mean()
    assert len(tense.scrs(0, 600).onset_s) > 2 * len(calm.scrs(0, 600).onset_s)
    assert len(tense.breaths(0, 600).onset_s) > 1.15 * len(calm.breaths(0, 600).onset_s)
    assert tense.pat(0, 600).mean() < calm.pat(0, 600).mean() - 0.02
    assert tense.beat_events(0, 600).perfusion.mean() < 0.8 * calm.beat_events(0, 600).perfusion.mean()


def test_pulses_arrive_when_the_profile_says() -> None:
    pat_ms = 1000 * Subject(1, Profile(pat_ms=174.0, pat_jitter_ms=4.0)).pat(0, 1000)
    assert pat_ms.mean() == pytest.approx(174, abs=2)
    assert pat_ms.std() == pytest.approx(4, abs=1)


def test_feet_are_beats_with_their_arrival_time() -> None:
    subject = Subject(1)
    expected = subject.beats(-5, 65) + subject.pat(-5, 65)
    assert np.array_equal(subject.feet(0, 60), expected[(expected >= 0) & (expected < 60)])


def test_a_script_is_followed_by_straight_lines() -> None:
    subject = Subject(1, Profile(script=((0.0, 0.0, 0.0), (100.0, 0.8, -0.6))))
    t = np.linspace(0, 100, 400)
    assert np.abs(subject.arousal(t) - 0.008 * t).mean() < 0.05
    assert np.abs(subject.valence(t) + 0.006 * t).mean() < 0.05
    assert subject.arousal(np.array([1e4]))[0] == pytest.approx(0.8, abs=0.15)  # the last point holds


def test_saturation_is_near_the_profile_and_never_above_hundred() -> None:
    assert Subject(1, Profile(spo2_percent=82.0)).spo2(_GRID) == pytest.approx(82, abs=0.5)
    assert Subject(1, Profile(spo2_percent=100.0)).spo2(_GRID).max() <= 100


def test_no_time_asked_gives_no_value() -> None:
    subject = Subject(1)
    for name in ("arousal", "valence", "spo2", "heart_rate", "breathing"):
        assert getattr(subject, name)(np.empty(0)).shape == (0,)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"heart_rate_bpm": 500}, "30..200"),
        ({"heart_rate_bpm": "fast"}, "a number is wanted"),
        ({"heart_rate_bpm": float("nan")}, "30..200"),
        ({"heart_rate": 60}, "heart_rate_bpm"),
        ({"script": "strss"}, "did you mean 'stress'"),
        ({"script": []}, "arousal"),
        ({"script": [[0, 0]]}, "point 0"),
        ({"script": [[0, 0, 2]]}, "valence 2"),
        ({"script": [[5, 0, 0], [5, 0, 0]]}, "not after 5 s"),
    ],
)
def test_a_bad_profile_is_refused_with_its_key(bad: dict[str, object], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        make_profile(bad)


def test_a_profile_comes_from_plain_values_as_a_rig_file_has_them() -> None:
    profile = make_profile({"heart_rate_bpm": 72, "script": [[0, 0.1, 0], [10, 0.5, -0.5]]})
    assert profile.heart_rate_bpm == 72.0
    assert profile.points == ((0.0, 0.1, 0.0), (10.0, 0.5, -0.5))
    assert make_profile().points == SCENARIOS["rest"]
