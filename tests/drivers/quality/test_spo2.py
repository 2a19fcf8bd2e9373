import numpy as np
import pytest

from drivers.quality import score
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SPEC = StreamSpec("spo2", "spo2", ("spo2",), "%", 1.0, lsb=1.0, low=0.0, high=100.0)


def healthy(seed: int, seconds: int = 10):
    times_s = np.arange(seconds) / SPEC.rate_hz
    return digitise(make_signal({}, Subject(seed), SPEC, Draws(seed)).render(0, times_s), SPEC)


def test_healthy_people_are_scored_good_and_without_flags() -> None:
    for seed in range(20):
        found = score(healthy(seed), SPEC.rate_hz, SPEC)
        assert found.score > 0.9
        assert found.flags == frozenset()


def test_a_real_desaturation_is_no_fault_of_the_signal() -> None:
    """Breath-holding: a percent a second, down to 80 %."""
    found = score(np.linspace(89, 80, 10)[:, None], SPEC.rate_hz, SPEC)
    assert found.score > 0.9


@pytest.mark.parametrize(
    ("values", "flag"),
    [([0] * 10, "off_body"), ([50] * 10, "off_body"), ([97, 88, 97, 86, 98, 85, 97, 88, 96, 84], "motion")],
)
def test_values_that_no_blood_has_are_low_and_named(values: list[int], flag: str) -> None:
    found = score(np.array(values, dtype=float)[:, None], SPEC.rate_hz, SPEC)
    assert found.score < 0.5
    assert flag in found.flags


def test_no_number_at_all_is_low() -> None:
    assert score(np.full((10, 1), np.nan), SPEC.rate_hz, SPEC).score < 0.5
