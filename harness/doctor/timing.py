"""How late this machine is, measured in about a second: waking up, and stamping bytes that arrive on a port.

One loop sleeps until every fifth millisecond, notes how late it wakes, and writes a byte into a pseudo terminal whose
other end is read as any serial port is (drivers.links.serial). The byte's stamp less the moment of writing is the
error of a stamp, with the kernel's terminal, the scheduler and the interpreter lock in it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from drivers.clock import Clock, RealClock
from drivers.types import Batch, LinkItem
from harness.doctor.machine import Fact, State

_STEP_NS = 5_000_000
_READS = 2000
_PATIENCE_NS = 1_000_000_000
_STAMP_MS, _WAKE_MS, _WORST_MS = 5.0, 5.0, 50.0
"""A twentieth of a budget of 100 ms; half of it for the worst moment."""
_COARSE_NS = 10_000
_STEPPED_MS = 1.0
_BUSY = "top -o %CPU  # end what computes here"


@dataclass(frozen=True)
class Timing:
    """What one measurement showed, ns."""

    late_ns: tuple[int, ...]
    """By how much each wake-up came after it was due."""
    stamp_ns: tuple[int, ...]
    """By how much each byte's stamp came after it was written; empty where there are no pseudo terminals."""
    resolution_ns: int
    """Smallest step that the clock was seen to make; 0 if it was not seen to move."""
    apart_ns: int
    """By how much the wall clock moved more than the monotonic one over the measurement."""
    lasted_ns: int = 1_000_000_000
    why_no_stamps: str = ""


def measure(seconds: float = 1.0, clock: Clock | None = None) -> Timing:
    """Lateness of waking and stamping over ``seconds`` of real time."""
    clock = clock or RealClock()
    wall, begun_ns = clock.utc(), clock.now_ns()
    resolution = _resolution_ns(clock)
    try:
        late, stamps, why = *_loop(clock, max(1, int(seconds * 1e9 / _STEP_NS))), ""
    except (OSError, ImportError) as trouble:  # no pseudo terminals here
        late, stamps, why = [], [], str(trouble)
    lasted_ns = clock.now_ns() - begun_ns
    passed = clock.utc() - wall
    wall_ns = (passed.days * 86_400_000_000 + passed.seconds * 1_000_000 + passed.microseconds) * 1000
    return Timing(tuple(late), tuple(stamps), resolution, wall_ns - lasted_ns, lasted_ns, why)


def _resolution_ns(clock: Clock) -> int:
    readings = [clock.now_ns() for _ in range(_READS)]
    steps = [b - a for a, b in pairwise(readings) if b > a]
    return min(steps, default=0)


def _loop(clock: Clock, count: int) -> tuple[list[int], list[int]]:
    """(late, stamp errors): each byte is known by its place in the order in which all come."""
    import pty

    from drivers.links.serial import SerialLink

    master, slave = pty.openpty()
    arrived: list[int] = []
    link = SerialLink(os.ttyname(slave), clock, reconnect=False, low_latency=False)
    try:
        link.open(lambda item: arrived.extend(_stamps(item)))
        late, sent = _write(clock, master, count)
        until_ns = clock.now_ns() + _PATIENCE_NS
        while len(arrived) < count and clock.now_ns() < until_ns:  # the last bytes are on their way
            clock.sleep_until(clock.now_ns() + _STEP_NS // 5)
    finally:
        link.close()
        os.close(master)
        os.close(slave)
    return late, [stamp - at for at, stamp in zip(sent, arrived, strict=False)]


def _write(clock: Clock, master: int, count: int) -> tuple[list[int], list[int]]:
    late, sent = [], []
    due_ns = clock.now_ns()
    for _ in range(count):
        due_ns = max(due_ns + _STEP_NS, clock.now_ns())  # after a late wake-up, the next one is due anew
        clock.sleep_until(due_ns)
        now_ns = clock.now_ns()
        late.append(now_ns - due_ns)
        sent.append(now_ns)
        os.write(master, b"\x55")
    return late, sent


def _stamps(item: LinkItem) -> list[int]:
    """One for each byte."""
    if not isinstance(item, Batch):
        return []
    return [at_ns for data, at_ns in item.chunks() for _ in data]


def quantile_ms(values_ns: Sequence[int], quantile: float) -> float:
    """Nearest rank, ms."""
    ranked = sorted(values_ns)
    return ranked[max(0, math.ceil(quantile * len(ranked)) - 1)] / 1e6


def facts(timing: Timing) -> list[Fact]:
    """Stamp error, lateness of waking, resolution of the clock, and whether the wall clock was moved."""
    return [_stamp_fact(timing), *_wake_fact(timing), _clock_fact(timing), _wall_fact(timing)]


def _stamp_fact(timing: Timing) -> Fact:
    if not timing.stamp_ns:
        why = timing.why_no_stamps or "no byte came through a pseudo terminal"
        return Fact("stamp error", f"cannot be measured: {why}", State.ABSENT)
    p50, p99 = (quantile_ms(timing.stamp_ns, q) for q in (0.5, 0.99))
    found = f"{p50:.2f} / {p99:.2f} ms late (median / p99 of {len(timing.stamp_ns)} bytes)"
    if p99 > _STAMP_MS:
        fix = f"{_BUSY}; in the rig, reader: process keeps stamps right beside a model"
        return Fact("stamp error", found, State.ATTENTION, fix)
    return Fact("stamp error", found)


def _wake_fact(timing: Timing) -> list[Fact]:
    if not timing.late_ns:
        return []
    p99, most = quantile_ms(timing.late_ns, 0.99), max(timing.late_ns) / 1e6
    found = f"wakes {p99:.2f} / {most:.2f} ms late (p99 / largest of {len(timing.late_ns)})"
    if p99 > _WAKE_MS or most > _WORST_MS:
        return [Fact("scheduling", found, State.ATTENTION, f"{_BUSY}; or: sudo nice -n -10 hil run RIG")]
    return [Fact("scheduling", found)]


def _clock_fact(timing: Timing) -> Fact:
    if not timing.resolution_ns or timing.resolution_ns > _COARSE_NS:
        found = f"moves in steps of {timing.resolution_ns / 1e6:g} ms" if timing.resolution_ns else "did not move"
        fix = "cat /sys/devices/system/clocksource/clocksource0/available_clocksource  # a better one may be there"
        return Fact("monotonic clock", f"{found}: stamps are no finer", State.ATTENTION, fix)
    return Fact("monotonic clock", f"steps of {timing.resolution_ns} ns at most, with the reading of it")


def _wall_fact(timing: Timing) -> Fact:
    ppm = 1e6 * timing.apart_ns / max(timing.lasted_ns, 1)
    if abs(timing.apart_ns) > _STEPPED_MS * 1e6:
        found = f"moved by {timing.apart_ns / 1e6:+.1f} ms against the monotonic clock meanwhile: somebody sets it"
        return Fact("wall clock", found, State.ATTENTION, "timedatectl timesync-status  # or another program sets it")
    return Fact("wall clock", f"{ppm:+.0f} ppm against the monotonic clock over {timing.lasted_ns / 1e9:.1f} s")
