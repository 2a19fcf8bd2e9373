"""Packets of ten samples at 100 Hz, 100 ms each, with stamps of a device that has run for a while."""

import numpy as np
import pytest

from drivers.packet_clock import Incident, PacketClock, Placed

RATE_HZ, COUNT, PACKET_NS, BOOT_NS = 100.0, 10, 100_000_000, 599_616_000_000_000_000


def stamp_ns(number: int, error: float = 0.0) -> int:
    return BOOT_NS + round(number * PACKET_NS * (1 + error))


def run(numbers, *, even=True, late_ns=lambda n: 0, error=0.0, jump_ns=lambda n: 0, clock=None):
    """(incidents, placed) of packets number ..., each sent when its last sample was taken."""
    clock = clock or PacketClock(RATE_HZ, even)
    found = [
        item
        for n in numbers
        for item in clock.place(n, stamp_ns(n, error) + jump_ns(n), COUNT, n * PACKET_NS + late_ns(n))
    ]
    return [f for f in found if isinstance(f, Incident)], [f for f in found if isinstance(f, Placed)]


def test_the_last_sample_has_the_packets_stamp_and_the_others_lie_evenly_before_it() -> None:
    incidents, placed = run(range(5))
    assert not incidents
    times = np.concatenate([p.device_ns for p in placed])
    assert [int(p.device_ns[-1]) for p in placed] == [stamp_ns(n) for n in range(5)], "exact to the nanosecond"
    assert set(np.diff(times).tolist()) == {10_000_000}
    assert np.concatenate([p.index for p in placed]).tolist() == list(range(50))


def test_between_two_packets_the_device_s_own_pace_counts_and_not_the_nominal_one() -> None:
    _, placed = run(range(3), error=1e-3)
    steps = np.diff(placed[2].device_ns)
    assert np.allclose(steps, 10_010_000, atol=1)


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("missing", [[5], [5, 6, 7], list(range(5, 65)), [3, 9, 10]])
def test_lost_packets_are_counted_in_samples(missing: list[int], even: bool) -> None:
    incidents, placed = run([n for n in range(80) if n not in missing], even=even)
    assert {i.kind for i in incidents} == {"lost"}
    assert sum(i.count for i in incidents) == COUNT * len(missing)
    index = np.concatenate([p.index for p in placed])
    assert index[-1] == 80 * COUNT - 1
    assert {p.segment for p in placed} == {0}


@pytest.mark.parametrize("error", [-200e-6, 200e-6])
def test_an_hour_s_silence_of_a_clock_that_is_off_is_still_counted_exactly(error: float) -> None:
    """Host and device differ by 200 ppm, which is 72 samples in an hour, and the device's own count is exact."""
    numbers = [*range(50), *range(36_050, 36_060)]
    incidents, _ = run(numbers, error=error)
    assert [i.count for i in incidents] == [36_000 * COUNT]


def test_a_late_packet_is_no_loss() -> None:
    incidents, placed = run(range(40), late_ns=lambda n: 3_000_000_000 if 10 <= n < 30 else 0)
    assert not incidents
    assert len(placed) == 40


def test_a_repeated_packet_is_told_and_left_out() -> None:
    incidents, placed = run([0, 1, 2, 2, 1, 3])
    assert [(i.kind, i.count) for i in incidents] == [("repeated", COUNT)] * 2
    assert len(placed) == 4


def test_a_packet_that_was_overtaken_fills_its_place() -> None:
    incidents, placed = run([0, 1, 3, 4, 2, 5])
    assert [(i.kind, i.count) for i in incidents] == [("lost", COUNT), ("reordered", COUNT)]
    late = next(p for p in placed if p.packet == 2)
    assert late.index.tolist() == list(range(20, 30))
    assert late.device_ns[-1] == stamp_ns(2)


@pytest.mark.parametrize("jump_ns", [700_000_000, -700_000_000, 10_000_000_000])
def test_a_clock_that_jumps_begins_a_segment_and_no_loss(jump_ns: int) -> None:
    incidents, placed = run(range(20), jump_ns=lambda n: jump_ns if n >= 8 else 0)
    assert [i.kind for i in incidents] == ["reset"]
    assert f"{jump_ns / 1e6:.0f} ms" in incidents[0].detail
    assert [p.segment for p in placed] == [0] * 8 + [1] * 12, "no packet is given up for it"
    assert placed[8].index.tolist() == list(range(10))


def test_one_packet_with_a_wrong_stamp_is_given_up_alone() -> None:
    incidents, placed = run(range(20), jump_ns=lambda n: 5_000_000_000_000 if n == 8 else 0)
    assert [(i.kind, i.packet) for i in incidents] == [("odd", 8), ("lost", 9)]
    assert incidents[1].count == COUNT
    assert {p.segment for p in placed} == {0}


def test_a_restart_begins_a_segment_whatever_the_clock_says() -> None:
    clock = PacketClock[int](RATE_HZ)
    run(range(5), clock=clock)
    clock.restart()
    incidents, placed = run(range(5, 8), clock=clock)
    assert not incidents
    assert [p.segment for p in placed] == [1, 1, 1]
