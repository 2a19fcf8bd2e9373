"""Bias: the sensor is wrong and looks fine, as after a bad calibration or with a wrong constant in its firmware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._stage import Mask, SampleDamage


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """Every value is multiplied by a gain and moved by an offset; the signal looks as good as ever.

    Streams whose values are the measurement (heart rate, SpO2) are wrong by it; `stream` names others, such as RR
    intervals, skin temperature or conductance. A waveform keeps its rhythm, and with it everything that is counted.
    """

    NAME: ClassVar[str] = "bias"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"hr_accuracy", "rr_accuracy"})
    MAY_TOUCH: ClassVar[frozenset[str]] = frozenset({"spo2_accuracy", "respiration_accuracy"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"heart_rate", "spo2"})
    NAMED: ClassVar[frozenset[str]] = frozenset({"rr"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("gain", (1.001, 1.01, 1.02, 1.05, 1.1, 1.2, 1.5))

    gain: float = key(1.2, "what each value is multiplied by", "", above=0, high=1000)
    offset: float = key(0.0, "what is then added, in the stream's unit")

    def check_keys(self) -> None:
        """Something must change."""
        if self.gain == 1 and self.offset == 0:
            raise SettingError("bias: gain 1 and offset 0 change nothing; expected another gain or offset")

    def check_fits(self, sensor: str, streams: Sequence[StreamSpec]) -> None:
        """SettingError unless there is such a stream; events without a sampling rate (RR intervals) will do."""
        if not any(s.name == self.stream and s.rate_hz is None for s in streams):
            super().check_fits(sensor, streams)

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream."""
        return _Bias(self, where)


class _Bias(SampleDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where, gain=fault.gain, offset=fault.offset)
        self._gain, self._offset = fault.gain, fault.offset

    def damage(self, first: int, times_s: FloatArray, values: FloatArray) -> tuple[FloatArray, Mask]:
        return values * self._gain + self._offset, np.ones(len(values), dtype=bool)
