"""Prints how clock steps and gaps longer than a counter's turn fare on each link; exits with 1 if a target is missed.

``python tests/benchmarks/clock_steps.py [--runs 40] [--hours 0] [model ...]``

Steps: a jump of 0.5 s either way in the middle 60 % of a minute; share found, delay from the step to the chunk that
made it certain, size error, and false alarms, on the same run without the step too. Declared power: a step of the size
that smallest_visible_ms() states, looked for as such, is found; half of it is not. Gaps: five dropouts of 257 to 2000
samples a minute, without and with a stall of 100 to 850 ms at their end, for counters of 8, 12 and 16 bits, beside what
the counter alone says (difference modulo its steps) and the nearest number of turns by the silence.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from drivers.clock_steps import find_steps, smallest_visible_ms
from drivers.counter import CounterUnwrapper

sys.path.insert(0, str(Path(__file__).parent))
from arrivals import MODELS, MS, SECOND, Arrivals, clock, stalled, stepped

STEP_NS = 500_000_000
LINKS = tuple(name for name in MODELS if "step" not in name)
SLOW = {"polar": 2.3, "stall": 1.35, "ble30_stall": 1.4, "tcp": 1.35}
"""Seconds until a step is found, for links that cannot show all within one: three packets of Polar's take 1.7 s, and a
stall hides for half a second more what comes in it."""


@dataclass
class StepScore:
    runs: int = 0
    found: int = 0
    delays_ms: list[float] = field(default_factory=list)
    errors_ms: list[float] = field(default_factory=list)
    within_error: int = 0
    false: int = 0
    visible_ms: list[float] = field(default_factory=list)
    visible_found: int = 0
    half_told: int = 0


def score_steps(name: str, runs: int, seconds: float = 60.0, seed: int = 0) -> StepScore:
    score = StepScore()
    for run in range(runs):
        rng = np.random.default_rng((seed, run))
        clean = MODELS[name](rng, seconds)
        score.runs += 1
        score.false += len(find_steps(clean.device_ns, clean.arrival_ns, clean.segment))
        jumped = stepped(rng, clean, STEP_NS)
        told = find_steps(jumped.device_ns, jumped.arrival_ns, jumped.segment)
        true = [step for step in told if abs(step.size_ns - jumped.step_ns) < STEP_NS / 5]
        score.false += len(told) - len(true[:1])
        if true:
            error = abs(true[0].size_ns - jumped.step_ns)
            score.found += 1
            score.delays_ms.append((true[0].found_at_ns - jumped.sampled_ns[jumped.step_at]) / MS)
            score.errors_ms.append(error / MS)
            score.within_error += error <= true[0].error_ns
        visible = smallest_visible_ms(clean.device_ns, clean.arrival_ns, clean.segment)
        score.visible_ms.append(visible)
        for share in (1.0, 0.5):
            jumped = stepped(rng, clean, round(share * visible * MS))
            told = find_steps(jumped.device_ns, jumped.arrival_ns, jumped.segment, smallest_ms=visible)
            near = any(
                abs(jumped.arrival_ns[step.index] - jumped.arrival_ns[jumped.step_at]) < 3 * SECOND for step in told
            )
            if share == 1.0:
                score.visible_found += near
            else:
                score.half_told += near
    return score


def with_gaps(rng: np.random.Generator, given: Arrivals, stall: bool) -> tuple[np.ndarray, np.ndarray]:
    """Counter and arrivals with about five dropouts of 257 to 2000 samples a minute, whole packets."""
    n, packet = len(given.counter), given.packet
    keep = np.ones(n, dtype=bool)
    count = min(5, n // 3000)
    for place in (np.arange(count) + rng.uniform(0.2, 0.5, count)) * n / max(count, 1):
        first = int(place) // packet * packet
        keep[first : first + -(-int(rng.integers(257, 2001)) // packet) * packet] = False
    arrival = given.arrival_ns
    for edge in np.flatnonzero(np.diff(keep.astype(np.int8)) == 1) + 1 if stall else ():
        until = int(arrival[edge] + rng.uniform(100, 850) * MS)
        arrival = np.where((np.arange(n) >= edge) & (arrival < until), until, arrival)
    return given.counter[keep], arrival[keep]


def score_gaps(name: str, runs: int, bits: int, stall: bool, seed: int = 0) -> np.ndarray:
    """Gaps (right, told to be unsure, wrong) and (right by modulus, right by nearest turn)."""
    counts = np.zeros(5, dtype=np.int64)
    for run in range(runs):
        rng = np.random.default_rng((seed, 3, run))
        given = MODELS[name](rng, 60.0)
        counts += gaps_of(given, *with_gaps(rng, given, stall), 1 << bits)
    return counts


def gaps_of(given: Arrivals, counter: np.ndarray, arrival: np.ndarray, modulus: int) -> np.ndarray:
    incidents = CounterUnwrapper(modulus, given.period_ns).update(counter % modulus, arrival).incidents
    lost = {i.position: i.count for i in incidents if i.kind == "lost"}
    unsure = np.array([i.position for i in incidents if i.kind in ("ambiguous", "reset")])
    counts = np.zeros(5, dtype=np.int64)
    for place in (np.flatnonzero(np.diff(counter) > 1) + 1).tolist():
        missing = int(counter[place] - counter[place - 1] - 1)
        told = bool(((unsure >= place) & (unsure < place + 2 * modulus + 500)).any())
        counts[0 if lost.get(place) == missing else 1 if told else 2] += 1
        by_modulus = (int(counter[place]) - int(counter[place - 1]) - 1) % modulus
        silence = float(arrival[place] - arrival[place - 1]) / given.period_ns - 1
        counts[3] += by_modulus == missing
        counts[4] += by_modulus + modulus * round((silence - by_modulus) / modulus) == missing
    return counts


def false_alarms(hours: float, seed: int = 0) -> int:
    """Steps told in so many hours of a serial link with 0.25 stalls of 100 to 500 ms a second and a drift."""
    rng = np.random.default_rng((seed, 2))
    taken = clock(rng, hours * 3600)
    at = np.maximum.accumulate(taken.sampled_ns + rng.exponential(1 * MS, len(taken.counter)))
    late = stalled(rng, _arriving(taken, at))
    return len(find_steps(late.device_ns, late.arrival_ns, late.segment))


def _arriving(taken: Arrivals, at_ns: np.ndarray) -> Arrivals:
    return replace(taken, arrival_ns=np.ceil(at_ns).astype(np.int64))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=LINKS, metavar="model")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--hours", type=float, default=0.0, help="of a link with stalls, for false alarms")
    given = parser.parse_args()
    missed: list[str] = []
    print("link              found  delay ms p50/95/max  error ms p50/95  in bound  false/h  visible ms  found  half")
    for name in given.models:
        s = score_steps(name, given.runs)
        delay, error = np.quantile(s.delays_ms, (0.5, 0.95, 1)), np.quantile(s.errors_ms, (0.5, 0.95))
        bound, alarms = s.within_error / max(s.found, 1), s.false * 30 / s.runs
        print(
            f"{name:16s} {s.found:3d}/{s.runs:<3d} {delay[0]:7.0f}/{delay[1]:4.0f}/{delay[2]:4.0f}  {error[0]:7.2f}/"
            f"{error[1]:6.2f} {bound:9.0%} {alarms:8.1f} {np.median(s.visible_ms):11.1f}"
            f" {s.visible_found / s.runs:6.0%} {s.half_told / s.runs:5.0%}"
        )
        limit_ms = 1000 * SLOW.get(name, 1.0)
        missed += [f"{name}: a step was missed"] * (s.found < s.runs)
        missed += [f"{name}: {s.false} false alarms"] * (s.false > 0)
        missed += [f"{name}: 95 % found after {delay[1]:.0f} ms"] * bool(delay[1] > limit_ms)
        least = 0.95 * s.runs - 0.36 * s.runs**0.5  # what chance allows of 95 %
        missed += [f"{name}: {s.visible_found} of {s.runs} visible steps found"] * (s.visible_found < least)
    print("\nlink             bits stall  right unsure wrong   by modulus  nearest turn")
    for name in given.models:
        for bits in (8, 12, 16):
            for stall in (False, True):
                right, unsure, wrong, modulus, nearest = score_gaps(name, max(given.runs // 4, 1), bits, stall)
                total = max(right + unsure + wrong, 1)
                print(
                    f"{name:16s} {bits:4d} {'yes' if stall else 'no ':5s} {right / total:6.1%} {unsure / total:6.1%}"
                    f" {wrong / total:6.1%} {modulus / total:10.1%} {nearest / total:10.1%}"
                )
                missed += [f"{name}: {wrong} of {total} gaps wrong at {bits} bits"] * bool(wrong > 0.01 * total)
    if given.hours:
        alarms = false_alarms(given.hours)
        print(f"\n{alarms} false alarms in {given.hours:g} hours with stalls")
        missed += ["false alarms in the long run"] * (alarms > 0)
    print("\n".join(["", "missed:", *missed]) if missed else "\nall targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
