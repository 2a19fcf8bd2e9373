"""Default levels turn clean simulated signals bad, and a twentieth of a disturbance leaves them good.

Both by the quality score, on two subjects; clean signals are scored beside them.
"""

import numpy as np
import pytest

from drivers.quality.stream import scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import SampleFault, Where
from simulators.faults.registry import fault_names, load_fault, make_fault
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SPECS = {
    "ecg": StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0, lsb=2.2e-5, low=-187.5, high=187.5),
    "ppg": StreamSpec("ppg", "ppg", ("ppg_red", "ppg_ir"), "counts", 64.0, lsb=1, low=0, high=262143),
    "eda": StreamSpec("eda", "eda", ("eda",), "uS", 8.0, lsb=0.001, low=0, high=100),
    "temperature": StreamSpec("skin", "temperature", ("skin",), "degC", 4.0, lsb=0.01, low=0, high=60),
    "respiration": StreamSpec("belt", "respiration", ("belt",), "%", 25.0, lsb=0.01, low=0, high=100),
    "eeg": StreamSpec("eeg", "eeg", ("fp1", "fp2"), "uV", 250.0, lsb=0.022, low=-187500, high=187500),
    "acceleration": StreamSpec("acc", "acceleration", ("x", "y", "z"), "g", 50.0, lsb=0.001, low=-4, high=4),
    "exg": StreamSpec("exg", "exg", ("one",), "uV", 250.0, lsb=0.022, low=-187500, high=187500),
    "raw": StreamSpec("raw", "raw", ("one",), "1", 100.0, lsb=0.001, low=-10, high=10),
}
SECONDS = 32
EVERY = [load_fault(name) for name in fault_names() if issubclass(load_fault(name), SampleFault)]
FAULTS = [fault for fault in EVERY if "quality" in fault.TOUCHES]
PAIRS = [(fault, kind) for fault in FAULTS for kind in sorted(fault.KINDS)]
LEVELLED = [(fault, kind) for fault, kind in PAIRS if hasattr(fault, "DEFAULT_LEVELS") and fault.NAME != "clipping"]


def low_share(kind: str, given: dict | None) -> float:
    spec, low, known = SPECS[kind], 0, 0
    for seed in (1, 2):
        times = np.arange(round(SECONDS * spec.rate_hz)) / spec.rate_hz
        signal = make_signal({"signal": kind}, Subject(seed), spec, Draws(seed, "subject"))
        values = signal.render(0, times)
        if given:
            fault = make_fault(given)
            where = Where("bench", 0, Draws(seed, fault.NAME), lambda truth: None, spec, signal.span)
            values = fault.bind(where).apply(0, times, values)
        ends = np.arange(12, SECONDS + 1, 2) * 1_000_000_000
        found = scores(digitise(values, spec), np.rint(times * 1e9).astype(np.int64), spec, ends).score
        low += np.count_nonzero(found < 0.5)
        known += np.count_nonzero(~np.isnan(found))
    assert known
    return low / known


@pytest.mark.parametrize("kind", SPECS)
def test_a_clean_signal_scores_good(kind):
    assert low_share(kind, None) == 0


@pytest.mark.parametrize(("fault", "kind"), PAIRS, ids=lambda value: getattr(value, "NAME", value))
def test_the_default_level_is_seen_by_the_quality_score(fault, kind):
    # a score over less than ten seconds (eeg) is good again between the spells of a fault
    assert low_share(kind, {"fault": fault.NAME}) >= (0.5 if kind == "eeg" else 0.9)


@pytest.mark.parametrize(("fault", "kind"), LEVELLED, ids=lambda value: getattr(value, "NAME", value))
def test_a_twentieth_of_the_default_level_is_harmless(fault, kind):
    level = fault.DEFAULT_LEVELS.get(kind, fault.DEFAULT_LEVELS[""]) / 20
    assert low_share(kind, {"fault": fault.NAME, "level": level}) == 0
