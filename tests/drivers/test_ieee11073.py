import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ieee11073 import FLOAT, SFLOAT, Format


def little(text: str) -> bytes:
    """The documents print these numbers from the highest byte down."""
    return bytes.fromhex(text)[::-1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0002", 2), ("F014", 2.0), ("E0C8", 2.0), ("1002", 20), ("2002", 200), ("00C8", 200), ("04D2", 1234),
        ("0B2E", -1234),
    ],
)  # fmt: skip  # HL7/phd, MderFLOATsandSFLOATs.md
def test_short_floats_mean_what_hl7_says(text: str, value: float) -> None:
    assert SFLOAT.decode(little(text)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("FF000014", 2.0), ("FE0000C8", 2.0), ("01000002", 20), ("02000002", 200), ("000004D2", 1234),
        ("00FFFB2E", -1234), ("FE000AA0", 27.2), ("FE000AA1", 27.21), ("FF00016E", 36.6),
    ],
)  # fmt: skip  # HL7/phd and polar-ble-sdk BleHtsClientTest
def test_floats_mean_what_hl7_and_polar_say(text: str, value: float) -> None:
    assert FLOAT.decode(little(text)) == value


@pytest.mark.parametrize(
    ("form", "text", "special", "value"),
    [
        (SFLOAT, "07FF", "NaN", math.nan), (SFLOAT, "0800", "NRes", math.nan), (SFLOAT, "07FE", "+INFINITY", math.inf),
        (SFLOAT, "0802", "-INFINITY", -math.inf), (SFLOAT, "0801", "reserved", math.nan),
        (FLOAT, "007FFFFF", "NaN", math.nan), (FLOAT, "00800000", "NRes", math.nan),
        (FLOAT, "007FFFFE", "+INFINITY", math.inf), (FLOAT, "00800002", "-INFINITY", -math.inf),
        (FLOAT, "00800001", "reserved", math.nan),
    ],
)  # fmt: skip
def test_what_is_no_number_is_told_apart(form: Format, text: str, special: str, value: float) -> None:
    assert form.special(little(text)) == special
    assert form.decode(little(text)) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("text", ["07FD", "0803", "17FF", "F800"])
def test_the_neighbours_of_the_special_values_are_numbers(text: str) -> None:
    raw = int(text, 16)
    mantissa, exponent = raw & 0xFFF, raw >> 12
    mantissa -= 4096 if mantissa >= 2048 else 0
    exponent -= 16 if exponent >= 8 else 0
    assert SFLOAT.special(little(text)) == ""
    assert SFLOAT.decode(little(text)) == pytest.approx(mantissa * 10.0**exponent)


@given(st.integers(-2045, 2045), st.integers(-8, 7))
def test_every_short_float_is_written_as_it_was(mantissa: int, exponent: int) -> None:
    data = SFLOAT.encode(mantissa * 10**exponent if exponent >= 0 else mantissa / 10**-exponent, exponent)
    assert int.from_bytes(data, "little") == (exponent & 15) << 12 | mantissa & 0xFFF


@given(st.integers(-(2**23) + 3, 2**23 - 3), st.integers(-12, 12))
def test_every_float_is_written_as_it_was(mantissa: int, exponent: int) -> None:
    data = FLOAT.encode(mantissa * 10**exponent if exponent >= 0 else mantissa / 10**-exponent, exponent)
    assert int.from_bytes(data, "little") == (exponent & 255) << 24 | mantissa & 0xFFFFFF


def test_what_does_not_fit_the_mantissa_is_an_infinity_and_nothing_is_nan() -> None:
    assert SFLOAT.encode(2046, 0) == little("07FE")
    assert SFLOAT.encode(-2046, 0) == little("0802")
    assert SFLOAT.encode(2045, 0) == little("07FD")
    assert SFLOAT.encode(math.inf, 0) == little("07FE")
    assert FLOAT.encode(math.nan, -2) == little("007FFFFF")


def test_a_wrong_size_or_exponent_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="expected 2 bytes, found 4"):
        SFLOAT.decode(bytes(4))
    with pytest.raises(ValueError, match="exponent 8"):
        SFLOAT.encode(1e8, 8)
