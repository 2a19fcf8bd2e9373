"""Units of streams and recordings: what converts into what, and what a device's own counts mean."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec

_PREFIXES = {"": 1.0, "k": 1e3, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12}
_BASES = {"V": "volt", "S": "siemens", "A": "ampere", "s": "second", "g": "g", "Ohm": "ohm"}
_OTHERS = {
    "C": ("celsius", 1.0), "degC": ("celsius", 1.0), "bpm": ("per minute", 1.0), "1/min": ("per minute", 1.0),
    "m/s2": ("g", 1 / 9.80665), "m/s^2": ("g", 1 / 9.80665), "G": ("g", 1.0),
}  # fmt: skip
_COUNTS = frozenset({"", "1", "%", "au", "a.u.", "arb.", "nu", "count", "counts", "adu", "adc", "lsb", "raw", "code"})


def _known(unit: str) -> tuple[str, float] | None:
    """(quantity, size in its base unit), or None for a unit that is not in the table."""
    plain = unit.strip().replace("µ", "u").replace("μ", "u").replace("°", "").replace("²", "2").replace("Ω", "Ohm")
    if plain in _OTHERS:
        return _OTHERS[plain]
    for base, quantity in _BASES.items():
        if plain.endswith(base) and plain[: -len(base)] in _PREFIXES:
            return quantity, _PREFIXES[plain[: -len(base)]]
    return None


def is_count(unit: str) -> bool:
    """A number without a physical unit: ADC codes, arbitrary units, percent of full scale."""
    return unit.strip().lower() in _COUNTS


def factor(given: str, wanted: str) -> float | None:
    """What a value in ``given`` is multiplied with to be in ``wanted``; None if they do not convert."""
    if given == wanted or (is_count(given) and is_count(wanted)):
        return 1.0
    here, there = _known(given), _known(wanted)
    if here is None or there is None or here[0] != there[0]:
        return None
    return here[1] / there[1]


@dataclass(frozen=True, slots=True)
class Scaling:
    """From a signal's natural unit to a stream's unit."""

    gain: float
    offset: float

    def __call__(self, values: FloatArray) -> FloatArray:
        """Values in the stream's unit, same shape."""
        if self.offset == 0.0:
            return values if self.gain == 1.0 else values * self.gain
        return values * self.gain + self.offset


def scaling(spec: StreamSpec, natural_unit: str, low: float, high: float) -> Scaling:
    """How a signal that lives in low..high ``natural_unit`` is given in the stream's unit.

    A physical unit is converted. A stream in counts or arbitrary units has the signal in the
    middle half of its rails, or as it is where it has none. SettingError if neither is possible.
    """
    gain = factor(natural_unit, spec.unit)
    if gain is not None and not is_count(spec.unit):
        return Scaling(gain, 0.0)
    if gain is None and not is_count(spec.unit):
        raise SettingError(
            f"stream {spec.name!r} ({spec.kind}) is in {spec.unit!r}, which {natural_unit!r} does not convert into; "
            f"give the stream a unit of the same quantity, or 'counts' with rails"
        )
    if spec.low is None or spec.high is None:
        return Scaling(1.0, 0.0)
    gain = 0.5 * (spec.high - spec.low) / (high - low)
    return Scaling(gain, spec.low + 0.25 * (spec.high - spec.low) - gain * low)
