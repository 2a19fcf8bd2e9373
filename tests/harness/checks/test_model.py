"""Outputs that are no numbers, and windows that never came to the model."""

import numpy as np

from harness.checks.model import LIMITS, check
from harness.verdict import Outcome


def test_finite_outputs_pass(a_recording):
    (verdict,) = check(a_recording(), LIMITS())
    assert verdict.outcome is Outcome.PASS


def test_one_nan_in_one_window_fails(a_recording, some_windows):
    windows = some_windows()
    windows.outputs[17, 3] = np.nan
    (verdict,) = check(a_recording(windows=windows), LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == 1


def test_windows_that_never_came_to_the_model_are_not_its_fault(a_recording, some_windows):
    windows = some_windows()
    windows.stamps_ns[17, 1:] = -1
    windows.outputs[17] = np.nan
    (verdict,) = check(a_recording(windows=windows), LIMITS())
    assert verdict.outcome is Outcome.PASS


def test_no_window_is_not_green(a_recording, some_windows):
    (verdict,) = check(a_recording(windows=some_windows(0)), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN
