import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.lines import Layout, LineReader, decimals, nmea_checksum, write_rows
from drivers.types import Batch

THREE = Layout("csv", ("a", "b", "c"), ("%.3f", "%d", "%.1f"))


def read(layout: Layout, *chunks: bytes) -> np.ndarray:
    reader = LineReader(layout)
    reader.restart(aligned=True)
    tables = [reader.feed(Batch.single(chunk, k))[0] for k, chunk in enumerate(chunks)]
    return np.concatenate(tables)


@pytest.mark.parametrize(
    ("body", "checksum"),
    [
        (b"XY,10.1,20.0", 0x03),
        (b"GPGLL,5300.97914,N,00259.98174,E,125926,A", 0x28),
        (b"GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,", 0x47),
    ],
)
def test_the_checksum_is_that_of_published_nmea_sentences(body: bytes, checksum: int) -> None:
    assert nmea_checksum(body) == checksum


@pytest.mark.parametrize(
    ("lsb", "places"),
    [(1, 0), (2, 0), (0.5, 1), (0.1, 1), (0.05, 2), (0.001, 3), (0.00025, 5), (None, 6), (4.5 / 7, 3)],
)
def test_a_step_needs_so_many_decimals(lsb: float | None, places: int) -> None:
    assert decimals(lsb) == places


cell = st.one_of(
    st.just(""), st.just("nan"), st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-9999, 9999).map(str), st.text("0123456789.eE+-_ax ", max_size=6),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(cell, min_size=2, max_size=4).map(",".join), min_size=4, max_size=12))
def test_a_block_is_read_as_its_lines_are_one_by_one(lines: list[str]) -> None:
    chunks = [line.encode() + b"\r\n" for line in lines]
    assert np.array_equal(read(THREE, b"".join(chunks)), read(THREE, *chunks), equal_nan=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.one_of(st.none(), st.integers(-10_000, 10_000))] * 3), min_size=1, max_size=20))
@pytest.mark.parametrize("form", ["csv", "label", "jsonl"])
def test_what_is_written_is_read(form: str, cells: list[tuple[int | None, ...]]) -> None:
    table = np.array([[np.nan if x is None else x / 10 for x in row] for row in cells])
    table = table[~np.isnan(table).all(axis=1)]
    if not len(table):
        return
    for nmea in (False, True):
        layout = Layout(form, ("a", "b", "c"), ("%.1f", "%.2f", "%.3f"), nmea=nmea)
        data, ends = write_rows(layout, table)
        assert ends.tolist() == [k + 1 for k, byte in enumerate(data) if byte == ord("\n")]
        np.testing.assert_allclose(read(layout, data), table, atol=1e-12)
