"""Affect as an emotion estimator gives it: valence and arousal in -1..1, observed with noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.rendering import Sampled, white
from simulators.subject import Subject
from simulators.units import scaling

_SEEN = ("valence", "arousal", "confidence")


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the affect signal."""

    noise: float = field(default=0.05, metadata={"help": "standard deviation of the estimator's error"})
    delay_s: float = field(default=0.0, metadata={"help": "how long the face or voice lags behind the feeling"})

    def __post_init__(self) -> None:
        if self.noise < 0 or not 0 <= self.delay_s <= 60:
            raise SettingError("affect: noise must not be negative and delay_s must be 0..60")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Affect:
    """The signal of one stream."""
    return Affect(subject, spec, draws, options)


class Affect(Sampled):
    """Columns by channel name: valence, arousal, and an estimator's confidence in 0..1."""

    def __init__(self, subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> None:
        self._subject, self._draws, self._options = subject, draws, options
        self._seen = [_seen(name, spec) for name in spec.channels]
        self._low = np.array([0.0 if seen == "confidence" else -1.0 for seen in self._seen])
        self._scale = scaling(spec, "1", -1.0, 1.0)
        self.span = 0.5 * abs(self._scale.gain)  # a change of feeling, for a steady one has no amplitude

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, channels) in the stream's unit."""
        felt = times_s - self._options.delay_s
        values = self._options.noise * white(self._draws, first, len(times_s), len(self._seen))
        for column, seen in enumerate(self._seen):
            if seen == "confidence":
                values[:, column] += 0.85
            else:
                values[:, column] += self._subject.valence(felt) if seen == "valence" else self._subject.arousal(felt)
        return self._scale(np.minimum(np.maximum(values, self._low), 1.0))


def _seen(name: str, spec: StreamSpec) -> str:
    for seen in _SEEN:
        if seen[:5] in name.lower():
            return seen
    raise SettingError(f"stream {spec.name!r}: affect has no channel {name!r}; it has {', '.join(_SEEN)}")
