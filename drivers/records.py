"""Binary records as C structs lay them out: tables of bytes into columns of numbers and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.crc import crc8_rows, crc16_rows, crc32_rows
from drivers.framing import Bytes
from drivers.types import FloatArray, IntArray

TYPES: Mapping[str, tuple[int, str]] = {
    "u8": (1, "u1"), "i8": (1, "i1"), "u16": (2, "u2"), "i16": (2, "i2"), "u24": (3, ""), "i24": (3, ""),
    "u32": (4, "u4"), "i32": (4, "i4"), "u64": (8, "u8"), "i64": (8, "i8"), "f32": (4, "f4"), "f64": (8, "f8"),
}  # fmt: skip
"""Name -> bytes, and what numpy calls it; 24 bits have no name there."""
CHECKS: Mapping[str, int] = {"none": 0, "crc8": 1, "crc16": 2, "crc32": 4}
"""Name -> bytes behind the record."""
_CRC8 = 0x07


def limits(kind: str) -> tuple[int, int] | None:
    """Smallest and largest number of an integer type; None for a floating one."""
    bits = 8 * TYPES[kind][0]
    if kind[0] == "f":
        return None
    return (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass(frozen=True, slots=True)
class Field:
    """``count`` numbers of one type, one behind the other."""

    name: str
    type: str
    count: int = 1

    @property
    def size(self) -> int:
        """Bytes."""
        return TYPES[self.type][0] * self.count


class Layout:
    """Fields without gaps between them, and a check behind them."""

    def __init__(self, fields: Sequence[Field], byte_order: str, check: str) -> None:
        self.fields = tuple(fields)
        self._order = ">" if byte_order == "big" else "<"
        self._check = check
        ends = np.cumsum([each.size for each in fields]).tolist()
        self.payload = int(ends[-1])
        self.size = self.payload + CHECKS[check]
        self._at = {each.name: (end - each.size, end, each.type) for each, end in zip(fields, ends, strict=True)}

    def valid(self, rows: Bytes) -> NDArray[np.bool_]:
        """(n,) whether the check behind each record of (n, size) is right."""
        return np.asarray((self._sums(rows[:, : self.payload]) == rows[:, self.payload :]).all(axis=1))

    def _sums(self, rows: Bytes) -> Bytes:
        """The check's bytes for records without it, (n, bytes)."""
        if self._check == "none":
            return np.empty((len(rows), 0), dtype=np.uint8)
        if self._check == "crc8":
            return crc8_rows(rows, _CRC8)[:, None]
        sums = crc16_rows(rows) if self._check == "crc16" else crc32_rows(rows)
        size = sums.dtype.itemsize
        return sums.astype(f"{self._order}u{size}").view(np.uint8).reshape(len(rows), size)

    def numbers(self, rows: Bytes, name: str) -> FloatArray:
        """One field of records (n, size) as (n, count)."""
        return self._column(rows, name).astype(np.float64)

    def integers(self, rows: Bytes, name: str) -> IntArray:
        """An integer field of one number, exactly, (n,); what exceeds 63 bits wraps."""
        return self._column(rows, name)[:, 0].astype(np.int64)

    def _column(self, rows: Bytes, name: str) -> NDArray[np.generic]:
        start, stop, kind = self._at[name]
        part = np.ascontiguousarray(rows[:, start:stop])
        code = TYPES[kind][1]
        if code:
            return part.view(self._order + code)
        wide = np.zeros((len(part), part.shape[1] // 3, 4), dtype=np.uint8)  # the number in the upper 24 of 32 bits
        at = 0 if self._order == ">" else 1
        wide[:, :, at : at + 3] = part.reshape(len(part), -1, 3)
        whole = wide.view(self._order + kind[0] + "4")[:, :, 0]
        return np.asarray(whole >> 8)

    def pack(self, columns: Mapping[str, NDArray[np.generic]]) -> Bytes:
        """Columns (n, count) by field name as records (n, size); a field that is not there is zeros."""
        count = len(next(iter(columns.values())))
        rows = np.zeros((count, self.size), dtype=np.uint8)
        for name, values in columns.items():
            start, stop, kind = self._at[name]
            code = TYPES[kind][1]
            if code:
                part = values.astype(self._order + code).view(np.uint8)
            else:
                wide = values.astype(self._order + "i4").view(np.uint8).reshape(count, -1, 4)
                part = wide[:, :, 1:] if self._order == ">" else wide[:, :, :3]
            rows[:, start:stop] = part.reshape(count, -1)
        rows[:, self.payload :] = self._sums(rows[:, : self.payload])
        return rows
