"""The clock behind a link that polls: is there a poll, and what do arrivals on its grid say about the clock?"""

from __future__ import annotations

import numpy as np

from drivers.clock_lattice import fit_lattice
from drivers.clock_poll import chunks, find_poll, lattice_cell

MS = 1e6


def polled_arrivals(ready_ns, poll_ns, first_ns=0.0):
    """Each time's next poll, ns."""
    return (first_ns + np.ceil((ready_ns - first_ns) / poll_ns) * poll_ns).astype(np.int64)


def test_a_connection_interval_is_found_to_the_microsecond():
    device = (np.arange(1000) * 40 * MS).astype(np.int64)
    arrival = polled_arrivals(device * (1 + 50e-6), 30 * MS)
    assert abs(find_poll(arrival, device) - 30 * MS) < 1e3


def test_packets_on_a_link_that_does_not_poll_show_no_period():
    device = (np.arange(1000) * 40 * MS).astype(np.int64)
    arrival = (device * (1 + 50e-6) + np.random.default_rng(1).exponential(5 * MS, 1000)).astype(np.int64)
    assert find_poll(arrival, device) == 0.0


def test_a_clock_that_does_not_slide_is_known_to_the_common_step_of_polls_and_packets():
    device = (np.arange(250) * 40 * MS).astype(np.int64)
    arrival = polled_arrivals(device + 3 * MS, 30 * MS)
    assert abs(lattice_cell(arrival, device, 30 * MS) - 10 * MS) < 1e3
    at, last, _ = chunks(arrival, device)
    fit = fit_lattice(last / 1e9, at - last, 30 * MS, 10 * MS)
    assert fit is not None
    assert fit.offset_low_ns < 3 * MS - float(arrival[0]) + float(device[0]) < fit.offset_high_ns
