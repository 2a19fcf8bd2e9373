import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.signals.ppg import OPTIONS, signal
from simulators.subject import Subject

TIMES_S = np.arange(30 * 75) / 75


def spec(high: float | None = 255.0, rate_hz: float = 75.0) -> StreamSpec:
    return StreamSpec("ppg", "ppg", ("pleth",), "counts", rate_hz, lsb=1.0, low=0.0, high=high)


def render(options: OPTIONS, high: float = 255.0) -> np.ndarray:
    return signal(Subject(5), spec(high), Draws(5, "test"), options).render(0, TIMES_S)[:, 0]


@pytest.mark.parametrize("high", [127.0, 255.0, 65535.0])
def test_a_pleth_fills_its_rails_and_stays_within_them(high: float) -> None:
    values = render(OPTIONS(), high)
    assert 0 < values.min() < 0.2 * high
    assert 0.6 * high < values.max() < high


def test_every_beat_is_a_pulse_that_rises_behind_its_foot() -> None:
    subject, values = Subject(5), render(OPTIONS(noise_percent=0))
    feet = subject.feet(1.0, 28.0)
    later = np.interp(feet + 0.2, TIMES_S, values)
    assert np.all(later - np.interp(feet, TIMES_S, values) > 0.3 * 255 * 0.6)


def test_a_pleth_that_is_not_upright_is_the_mirror_image() -> None:
    up, down = render(OPTIONS(noise_percent=0)), render(OPTIONS(noise_percent=0, upright=False))
    assert np.allclose(up + down, 255.0)


def test_a_pleth_without_rails_is_refused() -> None:
    with pytest.raises(SettingError, match="needs low and high"):
        signal(Subject(5), spec(None), Draws(5, "test"), OPTIONS())
