"""Which part of a mapping a constructor objects to."""

import pytest

from drivers.errors import SettingError
from harness.blame import objections


def makes(**checks):
    """A constructor that holds each key against a condition, one error at a time, in the order given."""

    def make(given):
        for key, good in checks.items():
            if key in given and not good(given[key]):
                raise SettingError(f"{key} will not do")

    return make


def test_what_is_fine_is_not_objected_to():
    assert objections({"a": 1}, makes(a=lambda v: v == 1)) == []


def test_every_bad_key_is_found_although_one_error_is_raised_at_a_time():
    make = makes(a=lambda v: v > 0, b=lambda v: v > 0, c=lambda v: v > 0)
    assert objections({"a": -1, "b": 1, "c": -1}, make) == [(("a",), "a will not do"), (("c",), "c will not do")]


def test_the_deepest_part_at_fault_is_named():
    def make(given):
        for name, channels in given["streams"].items():
            for channel in channels:
                if channel > 8:
                    raise SettingError(f"stream {name!r}: channel {channel} is too high")

    found = objections({"streams": {"ecg": [1, 2], "eeg": [7, 9, 8]}}, make, needed=["streams"])
    assert found == [(("streams", "eeg", 1), "stream 'eeg': channel 9 is too high")]


def test_of_two_that_contradict_each_other_the_later_is_named():
    def make(given):
        if given.get("start_s", 0) >= given.get("stop_s", 99):
            raise SettingError("start_s is not before stop_s")

    assert objections({"start_s": 20, "stop_s": 10}, make) == [(("stop_s",), "start_s is not before stop_s")]


def test_an_error_that_only_the_search_brings_about_is_not_told():
    def make(given):
        if given.get("unit") == "furlong":
            raise SettingError("unit 'furlong' is unknown")
        if "scale" in given and "unit" not in given:
            raise SettingError("scale needs a unit")

    assert objections({"unit": "furlong", "scale": 2}, make) == [(("unit",), "unit 'furlong' is unknown")]


def test_what_no_part_is_to_blame_for_is_blamed_on_the_whole():
    def make(given):
        raise SettingError("not today")

    assert objections({"a": 1, "b": [2]}, make) == [((), "not today")]


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError("division by zero"), AttributeError("lower")])
def test_an_error_that_no_author_foresaw_is_a_problem_and_no_traceback(error):
    def make(given):
        if "a" in given:
            raise error

    ((where, message),) = objections({"a": 1, "b": 2}, make)
    assert where == ("a",)
    assert message.startswith(type(error).__name__)


def test_a_list_without_end_is_blamed_as_a_whole():
    asked = []

    def make(given):
        asked.append(1)
        if len(given.get("columns", ())) > 5:
            raise SettingError("columns: too many")

    assert objections({"columns": list(range(10_000))}, make) == [(("columns",), "columns: too many")]
    assert len(asked) < 20
