"""Simulated arrivals of a sensor's samples, with the truth: what every clock estimator is held against.

A device takes sample k when its own clock shows ``epoch + k * period``; that clock runs fast or slow by U(5, 200) ppm.
The link then delays the sample, and nothing ever overtakes: arrivals are FIFO. Each model is one kind of link, a pure
function of a generator and a length. Serial models carry one sample a chunk at 250 Hz (a USB bridge hands over what it
holds at one time), BLE models 10 samples a packet, 40 ms apart, unless their name says otherwise.

Truth comes twice. ``sampled_ns`` is when the sample was really taken: delay zero. ``host_ns`` is what arrivals can
show at all, and what an offset is judged by:

* links that only delay and often hardly do (exponential, uniform, batched, queue): the same as ``sampled_ns``;
* symmetric jitter: the middle of the jitter, which is ``sampled_ns`` too. Such a link hands over in order by sorting,
  which keeps the jitter symmetric, where holding back those that came too early would not;
* smooth lower tails (gamma, lognormal) and lines of text, where zero delay never happens and no data can tell how far
  off it is: ``sampled_ns`` plus the smallest delay that did occur in the run.

TUNED models are those the estimators may be developed on; UNTUNED ones are kept for judging them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
Delays = Callable[[np.random.Generator, int], FloatArray]

MS = 1e6
SECOND = 1e9
OS_FLOOR_NS = 0.1 * MS
"""Scale of the half-normal delay that the host's own scheduling adds on every one-sided link."""


@dataclass(frozen=True)
class Arrivals:
    """One run of one stream. Arrays (n,), in order of arrival; int64 ns but for the truths, which are float64 ns."""

    device_ns: IntArray
    arrival_ns: IntArray
    segment: IntArray
    counter: IntArray
    """Sample counter, unwrapped, from 0; what the link or the device lost is missing."""
    host_ns: FloatArray
    """Host time of each sample as far as arrivals can show it (see above)."""
    sampled_ns: FloatArray
    """Host time at which each sample was taken."""
    period_ns: float
    """Nominal sample period on the device's clock."""
    drift_ppm: float
    """Mean drift over the run. Positive: the device's clock runs fast."""
    drift_end_ppm: float
    """Drift when the last sample is taken."""
    drift_change_ppm_per_min: float = 0.0
    symmetric: bool = False
    smooth: bool = False
    """Delays have a smooth lower tail: ``host_ns`` is ``sampled_ns`` plus the smallest delay."""
    packet: int = 1
    """Samples that travel together."""
    poll_ns: float = 0.0
    """Period of the link's connection events or latency timer on the host's clock; 0: none."""
    event_loss: float = 0.0
    """Share of polls that carry nothing."""
    gap_ns: float = 0.0
    """Data missing from the middle of the run."""
    step_ns: float = 0.0
    """Jump of the device's clock."""
    step_at: int = -1
    """First sample after the jump; -1: none."""


def clock(
    rng: np.random.Generator,
    seconds: float,
    period_ns: float = 4 * MS,
    change_ppm_per_min: float = 0.0,
    packet: int = 1,
) -> Arrivals:
    """Samples as they are taken: the arrivals of a link without any delay. Whole packets only."""
    n = max(int(seconds * SECOND / period_ns) // packet, 1) * packet
    counter = np.arange(n, dtype=np.int64)
    steps_s = counter * period_ns / SECOND
    first = 1e-6 * float(rng.uniform(5, 200) * rng.choice([-1, 1]))
    change = 1e-6 * change_ppm_per_min / 60 * float(rng.choice([-1, 1]))
    start, epoch = float(rng.uniform(1e12, 1e14)), int(rng.integers(0, 10**14))
    host_s = np.asarray(steps_s / (1 + first), dtype=np.float64)
    if change:
        host_s = np.asarray(np.log1p(change * host_s) / change)
    sampled = start + host_s * SECOND
    mean = steps_s[-1] / host_s[-1] - 1 if n > 1 else first
    return Arrivals(
        device_ns=epoch + np.rint(counter * period_ns).astype(np.int64),
        arrival_ns=np.rint(sampled).astype(np.int64),
        segment=np.zeros(n, dtype=np.int64),
        counter=counter,
        host_ns=sampled,
        sampled_ns=sampled,
        period_ns=period_ns,
        drift_ppm=1e6 * mean,
        drift_end_ppm=1e6 * (first + change * float(steps_s[-1])),
        drift_change_ppm_per_min=1e6 * 60 * change,
        packet=packet,
    )


def os_floor(rng: np.random.Generator, n: int) -> FloatArray:
    return np.asarray(np.abs(rng.normal(0, OS_FLOOR_NS, n)))


def in_order(rng: np.random.Generator, taken: Arrivals, delay_ns: FloatArray) -> Arrivals:
    """Each sample a chunk, delayed, held back behind those before it; the host's own floor comes on top."""
    at = np.maximum.accumulate(taken.sampled_ns + delay_ns)
    at = np.maximum.accumulate(at + os_floor(rng, len(at)))
    return replace(taken, arrival_ns=np.ceil(at).astype(np.int64))


def smallest_delay_counts(taken: Arrivals) -> Arrivals:
    """Judge offsets by the smallest delay that occurred."""
    floor = float(np.min(taken.arrival_ns - taken.sampled_ns))
    return replace(taken, host_ns=taken.sampled_ns + floor, smooth=True)


def serial(
    rng: np.random.Generator, seconds: float, delays: Delays, smooth: bool = False, change_ppm_per_min: float = 0.0
) -> Arrivals:
    """One sample a chunk at 250 Hz."""
    taken = clock(rng, seconds, change_ppm_per_min=change_ppm_per_min)
    taken = in_order(rng, taken, delays(rng, len(taken.counter)))
    return smallest_delay_counts(taken) if smooth else taken


def symmetric(rng: np.random.Generator, seconds: float, jitter: Delays, change_ppm_per_min: float = 0.0) -> Arrivals:
    """Arrivals as often early as late about the truth, as a host's noisy stamps are."""
    taken = clock(rng, seconds, change_ppm_per_min=change_ppm_per_min)
    at = np.sort(taken.sampled_ns + jitter(rng, len(taken.counter)))
    return replace(taken, arrival_ns=np.rint(at).astype(np.int64), symmetric=True)


def exponential(ms: float) -> Delays:
    return lambda rng, n: rng.exponential(ms * MS, n)


def queue(rng: np.random.Generator, n: int) -> FloatArray:
    """A server of exponential 2.8 ms per sample, one sample each 4 ms: waits hang together (Lindley's recursion)."""
    service = rng.exponential(2.8 * MS, n)
    walk = np.concatenate([[0.0], np.cumsum(service[:-1] - 4 * MS)])
    return np.asarray(walk - np.minimum.accumulate(walk) + service)


def wifi(rng: np.random.Generator, n: int) -> FloatArray:
    """Exponential 1 ms; in bursts (0.5 s long, 3 s apart, on average) 10 ms and exponential 20 ms more."""
    busy = _two_states(rng, n, quiet=3 * 250, busy=0.5 * 250)
    return rng.exponential(1 * MS, n) + np.where(busy, 10 * MS + rng.exponential(20 * MS, n), 0.0)


def _two_states(rng: np.random.Generator, n: int, quiet: float, busy: float) -> NDArray[np.bool_]:
    """(n,) busy or not. Three times as many spells as needed on average: no run can come out short."""
    lengths = np.ceil(rng.exponential(np.tile([quiet, busy], 3 * n // int(quiet + busy) + 40))).astype(np.int64)
    return np.asarray(np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)[:n])


def tcp(rng: np.random.Generator, n: int) -> FloatArray:
    """Exponential 1 ms; one segment in 500 is lost and sent again after 200 ms, then 400 ms: the rest waits behind."""
    lost = np.minimum(rng.geometric(1 - 1 / 500, n) - 1, 4)
    return rng.exponential(1 * MS, n) + 200 * MS * (2.0**lost - 1)


def batched(
    rng: np.random.Generator, taken: Arrivals, poll_ns: float, loss: float = 0.0, blur_ns: float = 0.0
) -> Arrivals:
    """What is complete by a poll arrives with it, all at one time. Polls come each ``poll_ns``, at most ``blur_ns``
    late; a share ``loss`` of them carries nothing."""
    last = np.arange(taken.packet - 1, len(taken.counter), taken.packet)
    ready = taken.sampled_ns[last]
    count = int((ready[-1] - ready[0]) / poll_ns) + 400
    polls = ready[0] - float(rng.uniform(0, poll_ns)) + poll_ns * np.arange(count) + rng.uniform(0, blur_ns, count)
    polls = polls[rng.random(count) >= loss]
    which = np.searchsorted(polls, ready)
    at = np.maximum.accumulate(polls + os_floor(rng, len(polls)))[which]
    at = np.repeat(np.ceil(at).astype(np.int64), taken.packet)
    return replace(taken, arrival_ns=at, poll_ns=poll_ns, event_loss=loss)


def ble(
    rng: np.random.Generator,
    seconds: float,
    interval_ms: float = 30.0,
    period_ms: float = 4.0,
    packet: int = 10,
    loss: float = 0.05,
    own_clock_ppm: float = 0.0,
) -> Arrivals:
    """Packets wait for a connection event; the radio's clock may be off by up to ``own_clock_ppm``."""
    taken = clock(rng, seconds, period_ms * MS, packet=packet)
    poll = interval_ms * MS * (1 + 1e-6 * float(rng.uniform(-own_clock_ppm, own_clock_ppm)))
    return batched(rng, taken, poll, loss)


def usb(rng: np.random.Generator, seconds: float, timer_ms: float, frame_ms: float = 1.0) -> Arrivals:
    """A USB bridge hands over what it holds each ``timer_ms``, when the host asks for it, somewhere in a 1 ms frame.
    ``frame_ms`` 0: it always asks at the same point of the frame, so that nothing blurs the polls."""
    return batched(rng, clock(rng, seconds), timer_ms * MS, blur_ns=frame_ms * MS)


def stalled(rng: np.random.Generator, given: Arrivals, per_s: float = 0.25) -> Arrivals:
    """What would arrive during a stall of 100 to 500 ms arrives at its end."""
    at = given.arrival_ns
    lasts = float(at[-1] - at[0]) / SECOND
    starts = np.sort(at[0] + rng.uniform(0, lasts, rng.poisson(per_s * lasts)) * SECOND)
    ends = np.maximum.accumulate(starts + rng.uniform(100, 500, len(starts)) * MS)
    if not len(starts):
        return given
    before = np.searchsorted(starts, at, side="right") - 1
    until = np.where(before >= 0, ends[before], 0.0)
    late = np.ceil(until).astype(np.int64)
    return replace(given, arrival_ns=np.maximum.accumulate(np.maximum(at, late)))


def stepped(rng: np.random.Generator, given: Arrivals, step_ns: int = 500_000_000) -> Arrivals:
    """The device's clock jumps, ahead or back, between two packets in the middle 60 % of the run."""
    packets = len(given.counter) // given.packet
    at = given.packet * int(packets * rng.uniform(0.2, 0.8))
    step = step_ns * int(rng.choice([-1, 1]))
    device = given.device_ns.copy()
    device[at:] += step
    return replace(given, device_ns=device, step_ns=float(step), step_at=at)


def gapped(rng: np.random.Generator, given: Arrivals, gap_ns: float = 1.96 * SECOND) -> Arrivals:
    """Samples of ``gap_ns`` never arrive; the counter shows it."""
    n = len(given.counter)
    lost = round(gap_ns / given.period_ns)
    first = int((n - lost) * rng.uniform(0.2, 0.8))
    keep = np.r_[0:first, first + lost : n]
    cut = {
        name: getattr(given, name)[keep]
        for name in ("device_ns", "arrival_ns", "segment", "counter", "host_ns", "sampled_ns")
    }
    return replace(given, **cut, gap_ns=gap_ns)


def text(rng: np.random.Generator, seconds: float) -> Arrivals:
    """64 lines a second at 115200 baud, some numbers longer than others, and an exponential 1 ms."""
    taken = clock(rng, seconds, SECOND / 64)
    at_s = taken.counter / 64
    extra = (np.sin(2 * np.pi * (at_s * 0.25 + rng.random())) > 0.3) + (
        np.sin(2 * np.pi * (at_s * 1.2 + rng.random())) > 0
    )
    line_ns = (14 + extra) * 10 * SECOND / 115200
    return smallest_delay_counts(in_order(rng, taken, line_ns + rng.exponential(1 * MS, len(at_s))))


Model = Callable[[np.random.Generator, float], Arrivals]


def gauss1(rng: np.random.Generator, seconds: float, change_ppm_per_min: float = 0.0) -> Arrivals:
    return symmetric(rng, seconds, lambda g, n: g.normal(0, 1 * MS, n), change_ppm_per_min)


def exp1(rng: np.random.Generator, seconds: float) -> Arrivals:
    return serial(rng, seconds, exponential(1))


_TUNED: dict[str, Model] = {
    "gauss1": gauss1,
    "exp5": partial(serial, delays=exponential(5)),
    "ble30": ble,
    "ftdi16": partial(usb, timer_ms=16),
    "ftdi16_sharp": partial(usb, timer_ms=16, frame_ms=0.0),
    "stall": lambda rng, seconds: stalled(rng, exp1(rng, seconds)),
    "ble30_stall": lambda rng, seconds: stalled(rng, ble(rng, seconds)),
    "drifting_exp5": partial(serial, delays=exponential(5), change_ppm_per_min=2.0),
    "drifting_gauss1": partial(gauss1, change_ppm_per_min=2.0),
    "step": lambda rng, seconds: stepped(rng, exp1(rng, seconds)),
    "ble30_step": lambda rng, seconds: stepped(rng, ble(rng, seconds)),
    "gap": lambda rng, seconds: gapped(rng, exp1(rng, seconds)),
}
_UNTUNED: dict[str, Model] = {
    "uniform8": partial(serial, delays=lambda rng, n: rng.uniform(0, 8 * MS, n)),
    "lognormal": partial(serial, delays=lambda rng, n: rng.lognormal(np.log(2 * MS), 0.8, n), smooth=True),
    "gamma3": partial(serial, delays=lambda rng, n: rng.gamma(3, 2 * MS, n), smooth=True),
    "student3": partial(symmetric, jitter=lambda rng, n: 0.7 * MS * rng.standard_t(3, n)),
    "laplace": partial(symmetric, jitter=lambda rng, n: rng.laplace(0, 1 * MS, n)),
    "queue": partial(serial, delays=queue),
    "wifi": partial(serial, delays=wifi),
    "exp20": partial(serial, delays=exponential(20)),
    "ble45": partial(ble, interval_ms=45, period_ms=5.23),
    "polar": partial(ble, interval_ms=50, period_ms=1e3 / 130, packet=73),
    "ble7": partial(ble, interval_ms=7.5),
    "ble30_ppm": partial(ble, own_clock_ppm=50),
    "ftdi8": partial(usb, timer_ms=8),
    "ftdi1": partial(usb, timer_ms=1),
    "ble30_loss1": partial(ble, loss=0.01),
    "ble30_loss15": partial(ble, loss=0.15),
    "tcp": partial(serial, delays=tcp),
    "text": text,
}
TUNED, UNTUNED = tuple(_TUNED), tuple(_UNTUNED)
MODELS: dict[str, Model] = _TUNED | _UNTUNED
