import numpy as np
import pytest

from drivers.quality import score
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SPEC = StreamSpec("spo2", "spo2", ("spo2",), "%", 1.0, lsb=1.0, low=0.0, high=100.0)
FINE = StreamSpec("spo2", "spo2", ("spo2",), "%", 1.0, lsb=0.01, low=0.0, high=100.0)


def healthy(seed: int, seconds: int = 10, spec: StreamSpec = SPEC):
    times_s = np.arange(seconds) / SPEC.rate_hz
    return digitise(make_signal({}, Subject(seed), spec, Draws(seed)).render(0, times_s), spec)


def judge_percent(*percent: float):
    return score(np.array(percent, dtype=float)[:, None], SPEC.rate_hz, SPEC)


@pytest.mark.parametrize("spec", [SPEC, FINE])
def test_healthy_people_are_scored_good_and_without_flags(spec: StreamSpec) -> None:
    for seed in range(20):
        found = score(healthy(seed, spec=spec), spec.rate_hz, spec)
        assert found.score > 0.9
        assert found.flags == frozenset()


def test_a_real_desaturation_is_no_fault_of_the_signal() -> None:
    """Breath-holding: a percent a second, down to 80 %."""
    found = score(np.linspace(89, 80, 10)[:, None], SPEC.rate_hz, SPEC)
    assert found.score > 0.9


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ([0] * 10, "off_body"),
        ([127] * 10, "off_body"),
        ([50] * 10, "off_body"),
        ([97, 88, 97, 86, 98, 85, 97, 88, 96, 84], "motion"),
    ],
)
def test_values_that_no_blood_has_are_low_and_named(values: list[int], flag: str) -> None:
    found = judge_percent(*values)
    assert found.score < 0.5
    assert flag in found.flags


def test_a_finger_taken_out_is_named_as_that_and_not_as_a_change_of_the_blood() -> None:
    found = judge_percent(98, 98, 127, 127, 127, 127, 127, 98, 97, 97)
    assert found.score < 0.5
    assert found.flags == {"off_body"}


def test_below_what_oximeters_are_accurate_at_the_score_is_low_but_nobody_is_said_to_be_absent() -> None:
    """ISO 80601-2-61 asks for accuracy over 70 to 100 %."""
    found = judge_percent(*[64] * 10)
    assert found.score < 0.5
    assert found.parts["range"] < 0.5
    assert "off_body" not in found.flags


def test_a_saturation_in_hundredths_that_never_moves_is_stuck_and_one_in_whole_percent_is_not() -> None:
    assert "flat" in score(np.full((10, 1), 97.53), 1.0, FINE).flags
    assert judge_percent(*[98] * 10).score > 0.9


def test_no_number_at_all_is_low() -> None:
    assert score(np.full((10, 1), np.nan), SPEC.rate_hz, SPEC).score < 0.5
