"""Medical numbers (IEEE 11073-20601): SFLOAT of 16 bits and FLOAT of 32, a decimal mantissa and exponent each."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """One of the two sizes, little-endian on the wire as in Bluetooth's characteristics."""

    size: int
    """Bytes."""
    mantissa_bits: int

    @property
    def largest(self) -> int:
        """Of the mantissas that are numbers: the three above it, and their counterparts below, are not."""
        return (1 << self.mantissa_bits - 1) - 3

    def decode(self, data: bytes) -> float:
        """The number: NaN for "no number", "not at this resolution" and the reserved value; ValueError for the size."""
        raw = self._raw(data)
        if self.special(data):
            return {"+INFINITY": math.inf, "-INFINITY": -math.inf}.get(self.special(data), math.nan)
        exponent = _signed(raw >> self.mantissa_bits, 8 * self.size - self.mantissa_bits)
        mantissa = _signed(raw & (1 << self.mantissa_bits) - 1, self.mantissa_bits)
        # a quotient of whole numbers is the float nearest to the decimal fraction, a product is not always
        return float(mantissa * 10**exponent) if exponent >= 0 else float(mantissa / 10**-exponent)

    def special(self, data: bytes) -> str:
        """What stands there instead of a number: NaN, NRes, +INFINITY, -INFINITY or reserved; "" for a number."""
        return self._specials().get(self._raw(data), "")

    def encode(self, value: float, exponent: int) -> bytes:
        """``value`` to the nearest 10**exponent; a value too large for that is an infinity, NaN is NaN."""
        if math.isnan(value):
            return self._write("NaN")
        scaled = value / 10.0**exponent if exponent >= 0 else value * 10.0**-exponent
        if abs(scaled) > self.largest + 0.5:
            return self._write("+INFINITY" if value > 0 else "-INFINITY")
        exponent_bits = 8 * self.size - self.mantissa_bits
        if not -(1 << exponent_bits - 1) <= exponent < 1 << exponent_bits - 1:
            raise ValueError(f"exponent {exponent}: expected {exponent_bits} bits with sign")
        top = (exponent & (1 << exponent_bits) - 1) << self.mantissa_bits
        return (top | round(scaled) & (1 << self.mantissa_bits) - 1).to_bytes(self.size, "little")

    def _raw(self, data: bytes) -> int:
        if len(data) != self.size:
            raise ValueError(f"expected {self.size} bytes, found {len(data)}")
        return int.from_bytes(data, "little")

    def _specials(self) -> dict[int, str]:
        middle = 1 << self.mantissa_bits - 1
        names = {-2: "+INFINITY", -1: "NaN", 0: "NRes", 1: "reserved", 2: "-INFINITY"}
        return {middle + away: name for away, name in names.items()}

    def _write(self, special: str) -> bytes:
        raw = next(raw for raw, name in self._specials().items() if name == special)
        return raw.to_bytes(self.size, "little")


def _signed(raw: int, bits: int) -> int:
    return raw - (1 << bits) if raw >> bits - 1 else raw


SFLOAT = Format(2, 12)
FLOAT = Format(4, 24)
