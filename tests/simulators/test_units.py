"""Units."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.types import StreamSpec
from simulators.units import factor, scaling


@pytest.mark.parametrize(
    ("given", "wanted", "times"),
    [
        ("mV", "uV", 1000.0), ("µV", "mV", 1e-3), ("V", "V", 1.0), ("uS", "nS", 1e3), ("s", "ms", 1e3),
        ("g", "mg", 1e3), ("g", "m/s2", 9.80665), ("C", "°C", 1.0), ("counts", "", 1.0), ("mV", "uS", None),
        ("mV", "counts", None), ("furlong", "V", None),
    ],
)  # fmt: skip
def test_units_convert_by_their_prefixes(given: str, wanted: str, times: float | None) -> None:
    assert factor(given, wanted) == (None if times is None else pytest.approx(times))


def test_counts_get_the_middle_half_of_the_rails() -> None:
    scale = scaling(StreamSpec("x", "ecg", ("x",), "counts", 1.0, low=0.0, high=1023.0), "mV", -2.0, 2.0)
    assert scale(np.array([-2.0, 0.0, 2.0])) == pytest.approx([255.75, 511.5, 767.25])


def test_counts_without_rails_are_left_as_they_are() -> None:
    assert scaling(StreamSpec("x", "ecg", ("x",), "counts", 1.0), "mV", -2.0, 2.0)(np.array([1.5])) == 1.5


def test_a_unit_of_another_quantity_is_refused() -> None:
    with pytest.raises(SettingError, match="'mmHg', which 'mV' does not convert into"):
        scaling(StreamSpec("x", "ecg", ("x",), "mmHg", 1.0), "mV", -2.0, 2.0)
