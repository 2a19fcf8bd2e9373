"""What a process used goes to disk line by line and comes back, torn ends left out."""

import math

import numpy as np
import pytest

from harness.monitor import happenings, resources
from harness.monitor.happenings import STACK, Happening, happening_line, read_happenings, within
from harness.monitor.resources import Resources, read_resources, resources_of, row_line

ROWS = [
    (1_000, {"rss_bytes": 5e8, "cpu_percent": 12.5, "inbox_depth": 0.0}),
    (2_000, {"rss_bytes": 6e8, "cpu_percent": 14.0, "inbox_depth": 3.0, "cuda_bytes": 1e6}),
]


def test_rows_come_back_as_columns_and_what_a_row_lacked_is_nan(tmp_path):
    (tmp_path / resources.FILE).write_bytes(b"".join(map(row_line, ROWS)))
    found = read_resources(tmp_path)
    np.testing.assert_array_equal(found.at_ns, [1_000, 2_000])
    np.testing.assert_array_equal(found.columns["rss_bytes"], [5e8, 6e8])
    np.testing.assert_array_equal(found.columns["cuda_bytes"], [math.nan, 1e6])
    assert len(found) == 2


def test_a_row_that_a_crash_tore_is_left_out(tmp_path):
    whole = b"".join(map(row_line, ROWS))
    (tmp_path / resources.FILE).write_bytes(whole[:-7])
    np.testing.assert_array_equal(read_resources(tmp_path).at_ns, [1_000])


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / resources.FILE).write_bytes(b"\x00\x00\n" + row_line(ROWS[0]))
    with pytest.raises(ValueError, match=r"resources\.jsonl:1: expected a JSON object"):
        read_resources(tmp_path)


def test_a_run_without_the_file_used_nothing_that_is_known(tmp_path):
    found = read_resources(tmp_path)
    assert (len(found), len(found.column("rss_bytes")), read_happenings(tmp_path)) == (0, 0, ())


def test_a_value_that_is_not_finite_is_no_value():
    found = resources_of([(1, {"gpu_percent": math.nan})])
    assert math.isnan(found.column("gpu_percent")[0])
    assert row_line((1, {"gpu_percent": math.nan})) == b'{"at_ns":1}\n'


def test_an_unknown_column_is_all_nan_and_as_long_as_the_others():
    assert np.isnan(resources_of(ROWS).column("nothing")).tolist() == [True, True]
    assert len(Resources().column("nothing")) == 0


def test_happenings_come_back_as_they_were_told(tmp_path):
    told = (Happening(STACK, 5, 20, "slow (model.py:3)", 3, ("main (run.py:1)", "slow (model.py:3)")),)
    (tmp_path / happenings.FILE).write_bytes(b"".join(map(happening_line, told)))
    assert read_happenings(tmp_path) == told


def test_what_lasted_at_any_moment_of_a_span_is_within_it():
    before, into, after = (Happening(STACK, at, 10, "") for at in (0, 15, 40))
    assert within([before, into, after], 11, 30) == [into]
