"""Records against Python's struct, an independent layout of the same C types."""

import struct
import zlib

import numpy as np
import pytest

from drivers.records import Field, Layout, limits

CODES = {
    "u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "u64": "Q", "i64": "q",
    "f32": "f", "f64": "d",
}  # fmt: skip


@pytest.mark.parametrize(("order", "mark"), [("little", "<"), ("big", ">")])
def test_every_type_is_laid_out_as_struct_does(order: str, mark: str) -> None:
    layout = Layout([Field(kind, kind) for kind in CODES], order, "none")
    numbers = [200, -100, 60000, -30000, 4_000_000_000, -2_000_000_000, 2**50, -(2**50), 1.5, -2.25]
    data = struct.pack(mark + "".join(CODES.values()), *numbers)
    rows = np.frombuffer(data, dtype=np.uint8)[None, :]
    assert layout.size == len(data)
    assert [layout.numbers(rows, kind)[0, 0] for kind in CODES] == numbers
    columns = {kind: np.array([[number]]) for kind, number in zip(CODES, numbers, strict=True)}
    assert layout.pack(columns).tobytes() == data


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(
    ("kind", "number"), [("i24", -2), ("i24", -8388608), ("u24", 16777215), ("i24", 8388607), ("u24", 5)]
)
def test_24_bits_are_those_of_int_to_bytes(order: str, kind: str, number: int) -> None:
    layout = Layout([Field("x", "u8"), Field("v", kind, 2)], order, "none")
    data = b"\x07" + number.to_bytes(3, order, signed=kind[0] == "i") * 2
    assert layout.numbers(np.frombuffer(data, dtype=np.uint8)[None, :], "v").tolist() == [[number, number]]
    assert layout.pack({"x": np.array([[7]]), "v": np.array([[number, number]])}).tobytes() == data
    low, high = limits(kind)
    assert low <= number <= high


@pytest.mark.parametrize(("order", "mark"), [("little", "<I"), ("big", ">I")])
def test_the_check_is_behind_the_fields_in_their_byte_order(order: str, mark: str) -> None:
    layout = Layout([Field("v", "u16", 3)], order, "crc32")
    row = layout.pack({"v": np.array([[1, 2, 3]])})
    assert row[0, 6:].tobytes() == struct.pack(mark, zlib.crc32(row[0, :6].tobytes()))
    assert layout.valid(row).tolist() == [True]
    row[0, 2] ^= 1
    assert layout.valid(row).tolist() == [False]


@pytest.mark.parametrize("check", ["crc8", "crc16", "crc32"])
def test_every_single_damaged_bit_is_noticed(check: str) -> None:
    layout = Layout([Field("v", "u8", 5)], "little", check)
    row = layout.pack({"v": np.array([[9, 8, 7, 6, 5]])})
    damaged = np.repeat(row, layout.size * 8, axis=0)
    bit = np.arange(layout.size * 8)
    damaged[bit, bit // 8] ^= (1 << bit % 8).astype(np.uint8)
    assert not layout.valid(damaged).any()
