"""Whole vectors of polar-ble-sdk's unit tests and of Polar's online_measurement.pdf, read by the parts of the codec."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from drivers import polar_golden
from drivers import polar_pmd as pmd


def h(text: str) -> bytes:
    return bytes.fromhex(text)


# --- deltas -----------------------------------------------------------------------------------

_MULTI = h(
    "c9ff12001100030941fe2b0f9c0bbf15004f00041ef1ef00f0c123e4edf4d1f1f1f5ff22de3100f1fe21021f0e2b1f00e220000e02e11e20ff"
    "f1f102c5d002e0e102030a312efbba902baa0e23409e030414e3eff30f021f01e00f049e13e2d004e222e2c20e200f2002fe000f1c32ee030a"
    "890007087c00ce2fe83a9e03041e010011194f002f12fd13ff0e100000f1c012e4ef21000001f1ffff0210102b510b4e31fc2ebf3114ec0e2f"
    "52ef030a069e040e02a888eee0079a00040a1f211e4e2efec6c002ef030102ee11030af8130000f040bfa5e7007600"
)


@pytest.mark.parametrize(
    ("payload", "channels", "bits", "count", "first", "last"),
    [
        (_MULTI, 3, 16, 140, [[-55, 18, 17], [-54, 18, 18], [-55, 17, 17]], [-51, 19, 16]),
        (polar_golden.REAL_PPG[10:], 4, 22, 50, [[-517445, -484483, -476780, -646945]],
         [-517453, -484524, -476908, -646937]),
        (polar_golden.TEST_PPG[10:], 4, 24, 42, [[11564, 30658, -11565, -30659]], [18480, 27058, -18481, -27059]),
        (polar_golden.TEST_ACC[10:], 3, 16, 57, [[1905, 27376, -29282]], [12274, 20173, -32449]),
        (h("F1FF1400F003" "0601" "7B0F08"), 3, 16, 2, [[-15, 20, 1008]], [-20, 17, 1008]),
        (h("EAFF08000D00" "0301" "DF00"), 3, 16, 2, [[-22, 8, 13]], [-23, 11, 16]),
        (h("E2E6FA15490A" "0601" "7F20FC"), 3, 16, 2, [[-6430, 5626, 2633]], [-6431, 5627, 2635]),
    ],
    ids=["several blocks", "real PPG", "PPG", "acceleration", "acceleration in mg", "gyroscope", "magnetometer"],
)  # fmt: skip
def test_compressed_frames_hold_what_their_sources_say(payload, channels, bits, count, first, last) -> None:
    found = pmd.decompress(payload, channels, bits)
    assert len(found) == count
    assert found[: len(first)].tolist() == first
    assert found[-1].tolist() == last


def test_the_first_block_of_a_real_verity_s_acceleration() -> None:
    """online_measurement.pdf prints the frame without its end: three samples are enough of the block of 29."""
    begun = h("D0FF6501E40F081DFC07FF0C13F2")
    found = pmd.decompress(begun + bytes(87 - 6), 3, 16)
    assert found[:3].tolist() == [[-48, 357, 4068], [-52, 364, 4067], [-40, 383, 4053]]


@pytest.mark.parametrize(
    ("payload", "what"),
    [("F1FF1400F0", "first sample"), ("F1FF1400F003 00 05", "0 bits"), ("F1FF1400F003 21 01 0000", "33 bits"),
     ("F1FF1400F003 06 01 7B0F", "ends 1 bytes behind"), ("F1FF1400F003 06 FF 7B0F08", "255 deltas")],
)  # fmt: skip
def test_what_is_wrong_with_a_compressed_frame_is_said(payload: str, what: str) -> None:
    assert what in pmd.decompress(h(payload), 3, 16)


@given(arrays(np.int64, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=st.integers(-(2**21), 2**21 - 1)))
def test_compression_loses_nothing(values) -> None:
    assert np.array_equal(pmd.decompress(pmd.compress(values, 22), values.shape[1], 22), values)


@given(
    arrays(np.int64, st.tuples(st.integers(1, 80), st.just(3)), elements=st.integers(-(2**15), 2**15 - 1)),
    st.integers(20, 219),
)
def test_a_compressed_frame_is_as_full_as_it_can_be(values, room: int) -> None:
    full = pmd.compressed_frame(values, 16, room, 50)
    if full is None:
        assert len(values) < 50
        assert len(pmd.compress(values, 16)) <= room
        return
    count, shown = full
    assert len(pmd.compress(values[:count], 16)) <= room
    assert count == 50 or len(pmd.compress(values[: count + 1], 16)) > room
    assert count - 1 <= shown < len(values)


# --- plain samples ----------------------------------------------------------------------------


def test_raw_acceleration_of_polar_s_test() -> None:
    frame = pmd.parse_frame(h(
        "02009435770000000001f7ffffffe703f8fffeffe503f9ffffffe503faffffffe603fafffeffe603f9ffffffe503f8ffffffe603f8fffe"
        "ffe603faffffffe503faffffffe703faffffffe503f8ffffffe603f7ffffffe603f8fffeffe603f9fffeffe703f9ff0000e603f9ffffff"
        "e603f7fffeffe503f9ffffffe503f9ffffffe503faff0000e603f9fffeffe603f8ffffffe603f8ffffffe503f9ffffffe603f9ffffffe5"
        "03faffffffe603f9ffffffe503f9ffffffe503f8fffeffe603f9ffffffe603f9ffffffe603f9ff0000e503f9fffeffe603f8fffeffe603"
        "f7fffeffe603"
    ))  # fmt: skip
    assert (frame.kind, frame.stamp_ns, frame.form) == (2, 2_000_000_000, 1)
    found = pmd.plain_samples(frame.payload, 3, 2)
    assert len(found) == 36
    assert found[:3].tolist() == [[-9, -1, 999], [-8, -2, 997], [-7, -1, 997]]
    assert found[-1].tolist() == [-9, -2, 998]


@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(-(2**23), 2**23 - 1)))
def test_three_byte_numbers_are_read_as_they_were_written(values) -> None:
    assert np.array_equal(pmd.signed_le(pmd.to_signed_le(values, 3), 3), values)


def test_time_stamps_are_the_nanoseconds_of_the_frame() -> None:
    real = pmd.parse_frame(h("02EA54A2428B4552080145FFE4FFB503"))
    assert real.stamp_ns == 599_618_164_814_402_794
    assert pmd.parse_frame(polar_golden.REAL_PPG).stamp_ns == 799_443_547_265_317_677
    assert "292 years" in pmd.parse_frame(h("00" + "FF" * 8 + "00" + "000000"))
    assert "10 bytes" in pmd.parse_frame(bytes(10))


# --- control point ----------------------------------------------------------------------------


def test_settings_are_read_in_any_order() -> None:
    assert pmd.parse_settings(h("00013400010110000204F500F401E803D007040103")) == (
        {pmd.RATE: (52,), pmd.RESOLUTION: (16,), pmd.RANGE: (245, 500, 1000, 2000), pmd.CHANNELS: (3,)}, b"",
    )  # fmt: skip
    found, rest = pmd.parse_settings(h("02010800 0001C800 01011000"))
    assert list(found.items()) == [(pmd.RANGE, (8,)), (pmd.RATE, (200,)), (pmd.RESOLUTION, (16,))]
    assert rest == b""


def test_a_byte_that_begins_no_setting_is_left_over() -> None:
    """An H10 ends its answer to a start with one."""
    answer = pmd.parse_answer(h("F00202000001"))
    assert (answer.op, answer.kind, answer.status, answer.more) == (2, 2, 0, False)
    assert pmd.parse_settings(answer.parameters) == ({}, b"\x01")


def test_a_verity_s_factor_is_a_float() -> None:
    found, _ = pmd.parse_settings(pmd.parse_answer(h("F0020200 00 0501 40DA7F39")).parameters)
    assert pmd.factor_of(found[pmd.FACTOR][0]) == pytest.approx(0.000244, rel=1e-6)


def test_refusals_may_end_early() -> None:
    answer = pmd.parse_answer(h("F001060700"))
    assert (answer.kind, answer.status, answer.meaning) == (6, 7, "invalid resolution")
    assert pmd.parse_answer(h("F0020206")).meaning == "already in state"
    assert pmd.parse_answer(h("F00202")) is None
    assert pmd.parse_answer(h("010102")) is None


@given(st.binary(max_size=60))
def test_no_bytes_make_the_parsers_raise(data: bytes) -> None:
    pmd.parse_settings(data)
    pmd.parse_answer(data)
    pmd.parse_frame(data)
    pmd.decompress(data, 3, 16)
    pmd.plain_samples(data, 3, 2)
