"""Our clock estimator beside its peers on the same simulated arrivals: drift in ppm, offset of the newest sample in ms.

    python tests/benchmarks/clock_estimators.py [--models gauss1 exp5 ...] [--seconds 10 30 60 300] [--runs 60]
        [--jobs 2] [--json FILE] [--peers FILE ...]

Each cell of a table is median / 95 % of the absolute error over the runs. Drift is judged as the mean over the run, or
as that at its end where the model's drift moves. Every method sees the same runs; ``--peers`` takes the peers' errors
from the --json of an earlier campaign over these runs, since they cost most of the time. At the end: each cell in which
a peer is better than ours by more than the runs' own luck (paired bootstrap), the targets, and CPU time per second of
stream. Exit code 1 if there is such a cell or a target is missed.
"""

from __future__ import annotations

import argparse
import json
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
from peers import PEERS, Estimate, lsl_differs_s

from drivers.clock import RealClock
from drivers.clock_fit import fit_clock

OURS = "ours"
METRICS = ("drift ppm", "offset ms")
STATISTICS = {"median": 50.0, "95 %": 95.0}
LUCK = 0.001
"""A peer counts as better where ours would be no worse in fewer than this share of resampled campaigns."""
TARGETS = (
    ("stall", 60.0, "drift ppm", 0.15),
    ("exp5", 60.0, "offset ms", 0.15),
    ("gap", 60.0, "offset ms", 0.05),
)
"""Model, length in s, metric, largest median error allowed."""
COST_MS = 1.0
"""CPU time per second of stream that ours may take."""
LSL_TOLERANCE_S = 1e-8


def ours(run: Arrivals) -> Estimate:
    """The fit that holds the newest sample."""
    last = fit_clock(run.device_ns, run.arrival_ns, run.segment)[-1]
    newest = int(run.device_ns[-1])
    mapped = float(last.host_ns(np.array([newest]))[0])
    drift = last.drift_at(newest) if run.drift_change_ppm_per_min else last.drift_ppm
    return Estimate(drift, mapped - float(run.arrival_ns[0]))


METHODS = {**PEERS, OURS: ours}


def one_run(names: list[str], model: str, seconds: float, number: int) -> FloatArray:
    """(names, 3) absolute drift error, absolute offset error, CPU ms per second of stream, of the methods named."""
    rng = np.random.default_rng([zlib.crc32(model.encode()), int(seconds * 1000), number])
    run, clock = MODELS[model](rng, seconds), RealClock()
    truth_ppm = run.drift_end_ppm if run.drift_change_ppm_per_min else run.drift_ppm
    truth_ns = float(run.host_ns[-1]) - float(run.arrival_ns[0])
    found = np.empty((len(names), 3))
    for row, name in zip(found, names, strict=True):
        began = clock.cpu_ns()
        got = METHODS[name](run)
        row[2] = (clock.cpu_ns() - began) / 1e6 / seconds
        row[:2] = abs(got.drift_ppm - truth_ppm), abs(got.newest_ns - truth_ns) / 1e6
    return np.nan_to_num(found, nan=np.inf, posinf=np.inf)


def campaign(model: str, seconds: float, runs: int, jobs: int, names: list[str]) -> FloatArray:
    """(runs, names, 3)."""
    task = partial(one_run, names, model, seconds)
    if jobs == 1:
        return np.array([task(number) for number in range(runs)])
    with Pool(jobs) as pool:
        return np.array(pool.map(task, range(runs), chunksize=2))


def sources() -> int:
    """Changes with anything that the peers' errors depend on here."""
    files = [Path(__file__).with_name(f"{name}.py") for name in ("arrivals", "peers")]
    return zlib.crc32(b"".join(file.read_bytes() for file in files))


def write(path: Path, results: dict[tuple[str, float], FloatArray]) -> None:
    cells = [{"model": model, "seconds": seconds, "errors": e.tolist()} for (model, seconds), e in results.items()]
    columns = [*METRICS, "cpu ms/s"]
    path.write_text(json.dumps({"sources": sources(), "methods": list(METHODS), "columns": columns, "cells": cells}))


def read_peers(path: Path) -> dict[tuple[str, float], FloatArray]:
    """The (runs, peers, 3) of an earlier campaign."""
    told = json.loads(path.read_text())
    if told["sources"] != sources() or told["methods"] != list(METHODS):
        sys.exit(
            f"{path} is of other arrivals or other peers than these; leave --peers out and write it anew with --json"
        )
    return {(cell["model"], cell["seconds"]): np.array(cell["errors"])[:, : len(PEERS)] for cell in told["cells"]}


def statistic(errors: FloatArray, share: float) -> FloatArray:
    """Over the first axis; "higher" keeps infinite errors infinite rather than nan."""
    return np.asarray(np.percentile(errors, share, axis=0, method="higher"))


def better_peers(errors: FloatArray) -> Iterator[tuple[str, str, str, float, float]]:
    """(metric, statistic, peer, ours, the peer's) of (runs, methods, 3) errors, best peer first, where luck is none."""
    names, luck = list(METHODS), np.random.default_rng(0)
    resampled = luck.integers(0, len(errors), (4000, len(errors)))
    mine = names.index(OURS)
    for column, metric in enumerate(METRICS):
        drawn = np.moveaxis(errors[resampled, :, column], 1, 0)
        for label, share in STATISTICS.items():
            values, spread = statistic(errors[:, :, column], share), statistic(drawn, share)
            for peer in np.argsort(values):
                if values[peer] >= values[mine]:
                    break
                if np.mean(spread[:, mine] <= spread[:, peer]) < LUCK:
                    yield metric, label, names[peer], float(values[mine]), float(values[peer])
                    break


def show(model: str, seconds: float, errors: FloatArray) -> None:
    for row, name in enumerate(METHODS):
        cells = [
            " / ".join(f"{statistic(errors[:, row, column], share):9.3f}" for share in STATISTICS.values())
            for column in range(len(METRICS))
        ]
        cost = f"{np.median(errors[:, row, 2]):8.3f}"
        print(f"{model:16} {seconds:5.0f} s  {name:16}  {cells[0]}    {cells[1]}    {cost}", flush=True)


def number(value: float) -> str:
    """Two digits, thousands without a fraction."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.2g}".rstrip(".")


def summary(results: dict[tuple[str, float], FloatArray], column: int) -> Iterator[str]:
    """Markdown rows, one a model: median / 95 % of ours, and in brackets that peer's whose median is smallest."""
    lengths = sorted({seconds for _, seconds in results})
    yield f"| {METRICS[column]} | " + " | ".join(f"{seconds:.0f} s" for seconds in lengths) + " |"
    yield "|" + "---|" * (len(lengths) + 1)
    names = list(METHODS)
    for model in dict.fromkeys(model for model, _ in results):
        cells = []
        for errors in (results.get((model, seconds)) for seconds in lengths):
            if errors is None:
                cells.append("")
                continue
            both = np.array([statistic(errors[:, :, column], share) for share in STATISTICS.values()])
            best = int(np.argmin(both[0, : len(PEERS)]))
            mine, theirs = (" / ".join(number(value) for value in both[:, row]) for row in (names.index(OURS), best))
            cells.append(f"**{mine}** ({theirs} {names[best]})")
        yield f"| {model} | " + " | ".join(cells) + " |"


def lsl_check() -> None:
    """Says whether the dejitter solved here is the installed liblsl's."""
    run = MODELS["stall"](np.random.default_rng(0), 60.0)
    try:
        differs = lsl_differs_s(run)
    except (ImportError, RuntimeError, OSError) as error:
        print(f"LSL dejitter: not checked against the installed liblsl: {error}")
        return
    print(f"LSL dejitter: differs from the installed liblsl's stamps by at most {differs * 1e9:.3f} ns over 60 s")
    if differs > LSL_TOLERANCE_S:
        sys.exit(
            "LSL dejitter: peers.lsl_line() is not what this liblsl does; the comparison would be of something else"
        )


def missed_targets(results: dict[tuple[str, float], FloatArray]) -> list[str]:
    missed = []
    mine = list(METHODS).index(OURS)
    for model, seconds, metric, limit in TARGETS:
        if (model, seconds) in results:
            value = float(statistic(results[model, seconds][:, mine, METRICS.index(metric)], 50.0))
            print(f"{model}, {seconds:.0f} s: median {metric} {value:.3f}, target {limit}")
            if value > limit:
                missed.append(f"{model} {seconds:.0f} s {metric}")
    cost = max(float(np.median(errors[:, mine, 2])) for errors in results.values())
    print(f"CPU of ours: at most {cost:.3f} ms per second of stream, target {COST_MS}")
    return [*missed, *(["CPU time"] if cost > COST_MS else [])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seconds", nargs="+", type=float, default=[10.0, 30.0, 60.0, 300.0])
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every error to this file")
    parser.add_argument("--peers", nargs="+", type=Path, default=[], help="files of --json with the peers' errors")
    given = parser.parse_args()
    lsl_check()
    known: dict[tuple[str, float], FloatArray] = {}
    for path in given.peers:
        known |= read_peers(path)
    print(f"{'model':16} {'':7}  {'method':16}  {'drift error ppm':>21}    {'offset error ms':>21}    CPU ms per s")
    results: dict[tuple[str, float], FloatArray] = {}
    for model in given.models:
        for seconds in given.seconds:
            print(f"{model} {seconds:.0f} s ...", file=sys.stderr)
            theirs = known.get((model, seconds), np.empty((0, 0, 0)))[: given.runs]
            names = [OURS] if len(theirs) == given.runs else list(METHODS)
            errors = campaign(model, seconds, given.runs, given.jobs, names)
            results[model, seconds] = np.concatenate([theirs, errors], axis=1) if names == [OURS] else errors
            show(model, seconds, results[model, seconds])
            if given.json:  # as it grows: a campaign is long
                write(given.json, results)
    for column, metric in enumerate(METRICS):
        print(f"\n{metric}: **ours, median / 95 %** (the peer with the smallest median)\n")
        print("\n".join(summary(results, column)))
    print("\nours against the best peer")
    lost = [(m, s, *worse) for (m, s), errors in results.items() for worse in better_peers(errors)]
    for model, seconds, metric, label, peer, mine, best in lost:
        print(f"  {model}, {seconds:.0f} s: {label} of {metric} {mine:.4g}, {peer} {best:.4g}")
    cells = len(results) * len(METRICS) * len(STATISTICS)
    print(f"{len(lost)} of {cells} cells in which a peer is better beyond luck")
    missed = missed_targets(results)
    print("missed: " + ", ".join(missed) if missed else "every target that was run is met")
    sys.exit(1 if lost or missed else 0)


if __name__ == "__main__":
    main()
