"""A red LED of another colour: the ratio of ratios is off by its factor, and nothing else about the light changes."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.errors import SettingError
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.signals.registry import make_signal
from simulators.subject import Subject

RATE_HZ = 64.0
LIGHT = StreamSpec("ppg", "ppg", ("ppg_red", "ppg_ir"), "counts", RATE_HZ, lsb=1, low=0, high=262143)
GREEN = StreamSpec("ppg", "ppg", ("green",), "counts", RATE_HZ, lsb=1, low=0, high=262143)


def lights(gain: float | None) -> np.ndarray:
    """(n, 2) red and infrared, 20 s behind the time in which the steady part is found."""
    times = np.arange(round(60 * RATE_HZ)) / RATE_HZ
    signal = make_signal({"signal": "ppg"}, Subject(3), LIGHT, Draws(3, "subject"))
    values = signal.render(0, times)
    if gain is not None:
        where = Where("wrist", 0, Draws(3, "wavelength"), lambda truth: None, LIGHT, signal.span)
        values = make_fault({"fault": "wavelength", "gain": gain}).bind(where).apply(0, times, values)
    return values[round(40 * RATE_HZ) :]


def perfusion(values: np.ndarray) -> np.ndarray:
    """(2,) AC / DC in the band of the pulse, by the spectrum."""
    spectrum = np.abs(np.fft.rfft((values - values.mean(axis=0)) * np.hanning(len(values))[:, None], axis=0))
    hertz = np.fft.rfftfreq(len(values), 1 / RATE_HZ)
    return np.sqrt((spectrum[(hertz > 0.6) & (hertz < 6)] ** 2).sum(axis=0)) / values.mean(axis=0)


@pytest.mark.parametrize("gain", [0.7, 1.3, 1.7])
def test_the_ratio_of_ratios_is_off_by_the_gain_and_the_infrared_light_is_untouched(gain):
    clean, damaged = lights(None), lights(gain)
    assert np.array_equal(damaged[:, 1], clean[:, 1])
    assert damaged[:, 0].mean() == pytest.approx(clean[:, 0].mean(), rel=1e-3)
    (red, infrared), (red_now, infrared_now) = perfusion(clean), perfusion(damaged)
    assert (red_now / infrared_now) / (red / infrared) == pytest.approx(gain, rel=0.02)


def test_it_is_refused_where_there_are_no_two_lights_and_where_it_changes_nothing():
    make_fault({"fault": "wavelength"}).check_fits("wrist", (LIGHT,))
    with pytest.raises(SettingError, match="wavelength: band: oxygen saturation needs one red and one infrared"):
        make_fault({"fault": "wavelength"}).check_fits("band", (GREEN,))
    with pytest.raises(SettingError, match="wavelength needs stream 'eda'"):
        make_fault({"fault": "wavelength", "stream": "eda"}).check_fits("wrist", (LIGHT,))
    with pytest.raises(SettingError, match="gain 1 changes nothing"):
        make_fault({"fault": "wavelength", "gain": 1})
