"""Do the clock estimator's 95 % intervals hold the truth in 95 % of runs?

    python tests/benchmarks/clock_coverage.py [--models gauss1 ble30 ...] [--seconds 10 30 60 300] [--runs 200]
        [--jobs 2] [--json FILE]

For the fit that holds the newest sample: the mean drift over its span, the offset at its newest and at its middle
sample, the change of drift where the model's drift moves (elsewhere the answer is exactly 0 by design, since a line
suffices, and so is the truth), and the jitter. An interval that is infinite says nothing and is counted apart
(``said``: share of runs with a finite one). Jitter has no truth but what the same link shows in the long run: the
median over some runs of 20 minutes. Shares come with their 95 % Wilson interval; those wholly below 93 % (too narrow)
or above 97 % (too wide) are marked, and any mark makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import zlib
from collections.abc import Iterator
from functools import partial
from multiprocessing import Pool
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from arrivals import MODELS, Arrivals, FloatArray

from drivers.clock_fit import ClockFit, fit_clock

QUANTITIES = ("drift ppm", "newest offset ms", "middle offset ms", "drift change ppm/min", "jitter ms")
LOW, HIGH = 0.93, 0.97
UNSAID = -math.inf, math.inf
LONG_S, LONG_RUNS = 1200.0, 5


def generator(model: str, seconds: float, number: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(model.encode()), int(seconds * 1000), number, 95])


def last_fit(run: Arrivals) -> ClockFit:
    return fit_clock(run.device_ns, run.arrival_ns, run.segment)[-1]


def mean_drift_ppm(run: Arrivals, start: int, stop: int) -> float:
    """True mean drift from one sample to another; the counter goes by the oscillator, whatever the clock says."""
    told_ns = float(run.counter[stop] - run.counter[start]) * run.period_ns
    return 1e6 * (told_ns / float(run.sampled_ns[stop] - run.sampled_ns[start]) - 1)


def one_run(model: str, seconds: float, jitter_ns: float, number: int) -> FloatArray:
    """(quantities, 2): 1.0 where the interval holds the truth, 0.0 where not, nan where it is infinite; half width."""
    run = MODELS[model](generator(model, seconds, number), seconds)
    fit = last_fit(run)
    newest = fit.start + fit.n - 1
    middle = (fit.start + newest) // 2
    intervals = [(fit.drift_low_ppm, fit.drift_high_ppm, mean_drift_ppm(run, fit.start, newest))]
    for at in (newest, middle):
        low, high = fit.offset_interval_ns(float(run.device_ns[at]))
        truth = float(run.host_ns[at]) - float(run.device_ns[at])
        intervals.append((low / 1e6, high / 1e6, truth / 1e6))
    change = fit.drift_change_low_ppm_per_min, fit.drift_change_high_ppm_per_min
    intervals.append((*(change if run.drift_change_ppm_per_min else UNSAID), run.drift_change_ppm_per_min))
    intervals.append((fit.jitter_low_ns / 1e6, fit.jitter_high_ns / 1e6, jitter_ns / 1e6))
    return np.array(
        [
            (low <= truth <= high if math.isfinite(high - low) else np.nan, (high - low) / 2)
            for low, high, truth in intervals
        ]
    )


def long_run_jitter_ns(model: str) -> float:
    runs = (MODELS[model](generator(model, LONG_S, number), LONG_S) for number in range(LONG_RUNS))
    return float(np.median([last_fit(run).jitter_ns for run in runs]))


def wilson(held: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    share, z2 = held / count, 1.96**2
    half = 1.96 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    middle = share + z2 / (2 * count)
    return (middle - half) / (1 + z2 / count), (middle + half) / (1 + z2 / count)


def mark(held: int, count: int) -> str:
    low, high = wilson(held, count)
    if high < LOW:
        return "TOO NARROW"
    return "TOO WIDE" if low > HIGH else ""


def show(model: str, seconds: float, found: FloatArray) -> list[dict[str, object]]:
    """Prints a row for each quantity of (runs, quantities, 2), and returns them."""
    rows: list[dict[str, object]] = []
    for column, quantity in enumerate(QUANTITIES):
        said = np.isfinite(found[:, column, 0])
        count, held = int(said.sum()), int(np.nansum(found[:, column, 0]))
        row: dict[str, object] = {"model": model, "seconds": seconds, "quantity": quantity, "said": count / len(said)}
        text = f"{model:16} {seconds:5.0f} s  {quantity:21} said {np.mean(said):4.0%}"
        if count:
            low, high = wilson(held, count)
            half = float(np.median(found[said, column, 1]))
            row |= {"share": held / count, "low": low, "high": high, "half": half, "mark": mark(held, count)}
            text += f"  held {held / count:6.1%} [{low:6.1%}, {high:6.1%}]  half width {half:10.4f}  {row['mark']}"
        print(text.rstrip(), flush=True)
        rows.append(row)
    return rows


def summary(rows: list[dict[str, object]], quantity: str) -> Iterator[str]:
    """Markdown rows, one a model: share that holds the truth, half width in brackets."""
    cells = {(row["model"], row["seconds"]): row for row in rows if row["quantity"] == quantity}
    lengths = sorted({float(str(seconds)) for _, seconds in cells})
    yield f"| {quantity} | " + " | ".join(f"{seconds:.0f} s" for seconds in lengths) + " |"
    yield "|" + "---|" * (len(lengths) + 1)
    for model in dict.fromkeys(model for model, _ in cells):
        row = [cells.get((model, seconds), {}) for seconds in lengths]
        told = [f"{c['share']:.1%} ({c['half']:.2g})" if "share" in c else "-" if c else "" for c in row]
        yield f"| {model} | " + " | ".join(told) + " |"


def campaign(model: str, seconds: float, jitter_ns: float, runs: int, jobs: int) -> FloatArray:
    """(runs, quantities, 2)."""
    task = partial(one_run, model, seconds, jitter_ns)
    if jobs == 1:
        return np.array([task(number) for number in range(runs)])
    with Pool(jobs) as pool:
        return np.array(pool.map(task, range(runs), chunksize=4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seconds", nargs="+", type=float, default=[10.0, 30.0, 60.0, 300.0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the table to this file")
    given = parser.parse_args()
    rows: list[dict[str, object]] = []
    for model in given.models:
        jitter_ns = long_run_jitter_ns(model)
        for seconds in given.seconds:
            print(f"{model} {seconds:.0f} s ...", file=sys.stderr)
            rows += show(model, seconds, campaign(model, seconds, jitter_ns, given.runs, given.jobs))
            if given.json:  # as it grows: a campaign is long
                given.json.write_text(json.dumps(rows))
    for quantity in QUANTITIES:
        print(f"\n{quantity}: share of runs whose interval holds the truth (median half width)\n")
        print("\n".join(summary(rows, quantity)))
    marked = [row for row in rows if row.get("mark")]
    judged = sum("share" in row for row in rows)
    print(f"\n{len(marked)} of {judged} shares are outside {LOW:.0%} to {HIGH:.0%} beyond luck")
    for row in marked:
        print(f"  {row['model']}, {row['seconds']:.0f} s, {row['quantity']}: {row['share']:.1%} {row['mark']}")
    sys.exit(1 if marked else 0)


if __name__ == "__main__":
    main()
