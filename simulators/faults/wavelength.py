"""Wavelength: a pulse oximeter's red light is not of the colour that its calibration is for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from drivers.errors import SettingError
from drivers.quality.oximetry import wavelengths
from drivers.types import FloatArray, StreamSpec
from simulators.faults import SampleFault, SampleStage, Where, key
from simulators.faults._pulse import PulseDamage


@dataclass(frozen=True, kw_only=True)
class FAULT(SampleFault):
    """The pulse in the red light is larger or smaller than the calibration expects, as with an LED of another colour.

    Light levels, rhythm and shape stay, so that the signal looks as good as ever; the ratio of ratios is off by the
    factor, and the oxygen saturation with it. Blood absorbs less the longer a red light's wave is, by per cents a
    nanometre.
    """

    NAME: ClassVar[str] = "wavelength"
    TOUCHES: ClassVar[frozenset[str]] = frozenset({"spo2_accuracy"})
    KINDS: ClassVar[frozenset[str]] = frozenset({"ppg"})
    LEVELS: ClassVar[tuple[str, tuple[float, ...]]] = ("gain", (1.01, 1.1, 1.2, 1.4, 1.7, 2))

    gain: float = key(1.7, "what the pulse in the red light is multiplied by", "", above=0, high=3)

    def check_keys(self) -> None:
        """Something must change."""
        if self.gain == 1:
            raise SettingError("wavelength: gain 1 changes nothing; expected another")

    def check_fits(self, sensor: str, streams: Sequence[StreamSpec]) -> None:
        """SettingError unless there is a stream of red and infrared light."""
        super().check_fits(sensor, streams)
        meant = [s for s in streams if (s.name == self.stream if self.stream else s.kind in self.KINDS)]
        reasons = [reason for reason in map(_unlit, meant) if reason]
        if len(reasons) == len(meant):
            raise SettingError(f"{self.NAME}: {sensor}: {reasons[0]}")

    def bind(self, where: Where) -> SampleStage:
        """The stage for one stream; of one without two lights it is the first channel's pulse."""
        return _Wavelength(self, where)


def _unlit(spec: StreamSpec) -> str:
    """Why a stream is not of red and infrared light, or nothing."""
    try:
        wavelengths(spec.channels)
    except SettingError as error:
        return str(error)
    return ""


class _Wavelength(PulseDamage):
    def __init__(self, fault: FAULT, where: Where) -> None:
        super().__init__(fault, where, gain=fault.gain)
        channels = where.spec.channels if where.spec else ("",)
        self._factor = np.ones((1, len(channels)))
        self._factor[0, 0 if where.spec is None or _unlit(where.spec) else wavelengths(channels)[0]] = fault.gain

    def factor(self, steady: FloatArray) -> FloatArray:
        return self._factor
