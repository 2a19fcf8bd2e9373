"""The score of what a pulse oximeter shows: few counts, no steady light, a foot that rests on one value."""

import numpy as np
import pytest

from drivers.quality import scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.signals.ppg import OPTIONS, signal
from simulators.subject import Subject

SEVEN_BITS = StreamSpec("ppg", "ppg", ("pleth",), "counts", 60.0, lsb=1.0, low=0.0, high=127.0)
TIMES_S = np.arange(40 * 60) / 60


def pleth(seed: int) -> np.ndarray:
    subject = Subject(seed)
    return signal(subject, SEVEN_BITS, Draws(seed, "test"), OPTIONS()).render(0, TIMES_S)


def judge(values: np.ndarray):
    counts = np.clip(np.rint(values), 0, 127)
    return scores(counts, np.rint(TIMES_S * 1e9).astype(np.int64), SEVEN_BITS, np.arange(12, 41) * 10**9)


@pytest.mark.parametrize("seed", range(4))
def test_a_clean_pleth_of_7_bits_is_good_and_not_called_saturated(seed: int) -> None:
    table = judge(pleth(seed))
    assert (table.score > 0.7).all()
    assert not table.flags["saturated"].any()


@pytest.mark.parametrize("level", [0.6, 0.7])
def test_a_pleth_with_its_tops_cut_off_is_saturated(level: float) -> None:
    values = pleth(1)
    table = judge(np.minimum(values, level * values.max()))
    assert table.flags["saturated"].mean() > 0.9


def test_a_pleth_without_a_finger_is_flat() -> None:
    """A CMS50 then sends 0x40."""
    assert (judge(np.full((len(TIMES_S), 1), 64.0)).score < 0.5).all()
