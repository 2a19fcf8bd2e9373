"""Which plain values may stand for which types, by Python's and YAML's own rules."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from drivers.errors import SettingError
from drivers.field_types import described, fits
from drivers.registry import load_sensor, make_settings


@pytest.mark.parametrize(
    ("hint", "good", "bad"),
    [
        (int, [0, -3], [True, 1.0, "1", None]),
        (float, [0, 1.5], [True, "1", float("nan"), float("inf"), None]),
        (bool, [True, False], [0, 1, "true", None]),
        (str, ["", "a"], [1, None, ["a"]]),
        (int | None, [1, None], ["1", 1.5]),
        (Literal["a", "b"], ["a"], ["c", None]),
        (Sequence[int], [[], [1], (1, 2)], ["12", 1, [1.5]]),
        (tuple[float, ...], [[1], (2.5,)], [1.0, ["a"]]),
        (Mapping[str, Sequence[int]], [{}, {"a": [1]}], [[1], {"a": 1}, {1: [1]}]),
        (Any, [None, 1, "a", {}], []),
        (Mapping[str, Any], [{"a": object()}], ["a"]),
    ],
)
def test_a_value_fits_its_type_and_no_other(hint, good, bad):
    assert all(fits(value, hint) for value in good)
    assert not any(fits(value, hint) for value in bad)


def test_types_are_described_in_words():
    assert described(int | None) == "a whole number or nothing"
    assert described(Mapping[str, Sequence[int]]) == "a mapping, each value a list, each a whole number"
    assert described(Literal["a", "b"]) == "'a' or 'b'"
    assert described(object) == "a value that fits"


@pytest.mark.parametrize(
    ("sensor", "settings", "words"),
    [
        ("heart-rate", {"battery_percent": "87"}, "'battery_percent' is '87'; expected a whole number"),
        ("heart-rate", {"energy": "yes"}, "'energy' is 'yes'; expected true or false"),
        ("openbci-cyton", {"gain": True}, "'gain' is True; expected a whole number"),
        ("openbci-cyton", {"streams": 5}, "'streams' is 5; expected a mapping"),
    ],
)
def test_a_setting_of_the_wrong_type_is_told_by_its_name(sensor, settings, words):
    with pytest.raises(SettingError, match=words):
        make_settings(load_sensor(sensor), settings)
