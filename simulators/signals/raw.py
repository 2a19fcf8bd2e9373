"""Test waveforms: a sine, a ramp or a constant that mathematics can check to the last bit."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled
from simulators.subject import Subject

_SHAPES = ("sine", "ramp", "constant")


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the raw signal."""

    shape: str = field(default="sine", metadata={"help": "sine, ramp (a sawtooth from -1 to 1) or constant"})
    frequency_hz: float = field(default=1.0, metadata={"help": "periods per second of a sine or a ramp"})
    amplitude: float | None = field(
        default=None, metadata={"help": "in the stream's unit; if absent a quarter of its rails, or 1 without rails"}
    )
    offset: float | None = field(
        default=None, metadata={"help": "in the stream's unit; if absent the middle of its rails, or 0 without rails"}
    )

    def __post_init__(self) -> None:
        if self.shape not in _SHAPES:
            raise SettingError(f"raw: shape is {self.shape!r}; there is {', '.join(_SHAPES)}")
        if self.frequency_hz <= 0:
            raise SettingError(f"raw: frequency_hz is {self.frequency_hz}; it must be above 0")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Raw:
    """The signal of one stream."""
    return Raw(spec, options)


class Raw(Sampled):
    """The same value on every channel."""

    def __init__(self, spec: StreamSpec, options: OPTIONS) -> None:
        low, high = (-4.0 if spec.low is None else spec.low), (4.0 if spec.high is None else spec.high)
        middle = (low + high) / 2 if spec.low is not None and spec.high is not None else 0.0
        quarter = (high - low) / 4 if spec.low is not None and spec.high is not None else 1.0
        self._amplitude = quarter if options.amplitude is None else options.amplitude
        self._offset = middle if options.offset is None else options.offset
        self._options, self._channels = options, len(spec.channels)
        self.span = 2 * abs(self._amplitude) or 1.0

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, channels) in the stream's unit."""
        turns = times_s * self._options.frequency_hz
        if self._options.shape == "sine":
            wave = np.sin(2 * np.pi * turns)
        elif self._options.shape == "ramp":
            wave = 2 * (turns - np.floor(turns)) - 1
        else:
            wave = np.zeros(len(times_s))
        return np.repeat((self._offset + self._amplitude * wave)[:, None], self._channels, axis=1)
