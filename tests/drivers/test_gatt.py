"""UUIDs in one form."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import SettingError
from drivers.gatt import uuid128

BASE = uuid.UUID("00000000-0000-1000-8000-00805F9B34FB")  # Bluetooth Core Specification, vol. 3, part B, 2.5.1


def test_the_heart_rate_service_in_every_spelling_is_one_uuid() -> None:
    spellings: list[int | str] = [
        0x180D,
        "180d",
        "0x180D",
        " 180D ",
        "0000180d",
        "0000180D-0000-1000-8000-00805F9B34FB",
    ]
    assert {uuid128(one) for one in spellings} == {"0000180d-0000-1000-8000-00805f9b34fb"}


@given(st.integers(0, 0xFFFFFFFF))
def test_a_short_uuid_is_the_base_uuid_plus_the_number_times_2_to_the_96(short: int) -> None:
    expected = str(uuid.UUID(int=BASE.int + (short << 96)))
    assert uuid128(short) == uuid128(f"{short:08X}") == expected
    if short < 0x10000:
        assert uuid128(f"{short:04x}") == expected


@given(st.uuids())
def test_a_long_uuid_is_lowered_and_kept(long: uuid.UUID) -> None:
    assert uuid128(str(long).upper()) == str(long) == uuid128(uuid128(str(long)))


@pytest.mark.parametrize(
    "wrong", ["", "18", "180", "180dd", "180g", "180d180", "0000180d00001000800000805f9b34fb", -1, 2**32]
)
def test_what_is_no_uuid_is_refused_with_an_example(wrong: int | str) -> None:
    with pytest.raises(SettingError, match="180d"):
        uuid128(wrong)
