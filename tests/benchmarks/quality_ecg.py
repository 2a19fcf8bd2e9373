"""ECG quality on real recordings: does the score tell the leads that an expert would use from the others?

    python tests/benchmarks/quality_ecg.py --data DIR [--methods ours,templatematch] [--limit N] [--dose] [--json FILE]

DIR may hold any of these; what is absent is said by name.

cinc2011*.npz.xz   labelled ten-second leads (PhysioNet/CinC Challenge 2011; ODC-By 1.0). Signals under x, ecg or
                   signals, or as first differences under a key that starts with d: (records, n), (records, leads, n)
                   or (records, n, leads), the longer of the last two being time. Labels under y, label* or bad*, 1 is
                   bad: (records,) or (records, leads). Optional: fs (500 if absent), unit_uV_per_lsb, rec (record
                   numbers, which bring in the verdicts of quality_ecg_labels.txt).
nstdb*.npz.xz      recordings with calibrated electrode-motion noise (MIT-BIH Noise Stress Test Database; ODC-By 1.0):
                   fs, and every NAME for which there is NAME_ann; 200 units a millivolt.
mitdb/*.hea        long recordings of patients (MIT-BIH Arrhythmia Database; ODC-By 1.0); needs wfdb.

Beside our score, in the same run, NeuroKit2's (optional): templatematch and averageQRS as their mean over the lead,
zhao2018 as 1 for Excellent, 0.5 for Barely acceptable and 0 for Unacceptable; cleaning and R peaks are part of its
time. Where one raises, its lead counts as 0, and the exceptions are counted. Milliseconds are CPU time of one window
alone (median), and of ours in one call for all.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from importlib.util import find_spec
from itertools import groupby, pairwise
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from quality_ecg_data import Leads, Recording, labelled_leads, long_recordings, noisy_recordings
from scipy.stats import rankdata

from drivers.clock import RealClock
from drivers.quality import score, scores
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault

SECOND_NS = 1_000_000_000
NEUROKIT = {
    "templatematch": {"method": "templatematch"},
    "averageQRS": {"method": "averageQRS"},
    "zhao2018-simple": {"method": "zhao2018", "approach": "simple"},
    "zhao2018-fuzzy": {"method": "zhao2018", "approach": "fuzzy"},
}
VERDICTS = {"Excellent": 1.0, "Barely acceptable": 0.5, "Unacceptable": 0.0}
DOSES = [
    ("baseline_wander", "level", (0.25, 1.0, 2.0)),
    ("mains_hum", "level", (0.05, 0.2, 0.4)),
    ("emg", "level", (0.05, 0.35, 0.8)),
    ("motion", "level", (0.1, 0.35, 0.5)),
    ("electrode_pop", "level", (0.5, 4.0, 8.0)),
    ("flatline", "fraction", (0.05, 0.4)),
    ("lead_off", "fraction", (0.05, 0.4)),
    ("clipping", "fraction", (0.05, 0.5, 0.7, 0.8)),
    ("quantisation", "level", (0.02, 0.3, 0.5)),
    ("hold", "fraction", (0.2, 0.5, 0.7)),
    ("white_noise", "level", (0.2, 0.7, 1.0)),
    ("spikes", "level", (1.0, 4.0, 8.0)),
]
"""Fault, key, doses: the first of them ought to hurt nobody, the last to spoil every lead."""


def ours(lead: np.ndarray, rate_hz: float, unit: str) -> float:
    return score(lead[:, None], rate_hz, StreamSpec("ecg", "ecg", ("lead",), unit, rate_hz)).score


def neurokit(lead: np.ndarray, rate_hz: float, options: dict[str, str]) -> float:
    import neurokit2

    clean = neurokit2.ecg_clean(lead, sampling_rate=int(rate_hz), method="neurokit")
    places = neurokit2.ecg_peaks(clean, sampling_rate=int(rate_hz))[1]["ECG_R_Peaks"]
    got = neurokit2.ecg_quality(clean, rpeaks=places, sampling_rate=int(rate_hz), **options)
    return VERDICTS[got] if isinstance(got, str) else float(np.nanmean(got))


def rated(work: tuple[str, np.ndarray, float, str]) -> tuple[np.ndarray, float, int]:
    """Scores (leads,) by one method, median CPU ms of one alone, and how often it raised."""
    method, leads, rate_hz, unit = work
    warnings.simplefilter("ignore")
    got, ms, raised = np.zeros(len(leads)), np.zeros(len(leads)), 0
    for number, lead in enumerate(leads):
        began = RealClock().cpu_ns()
        try:
            got[number] = ours(lead, rate_hz, unit) if method == "ours" else neurokit(lead, rate_hz, NEUROKIT[method])
        except Exception:  # noqa: BLE001 - whatever a method under comparison raises counts against it
            raised += 1
        ms[number] = 1e-6 * (RealClock().cpu_ns() - began)
    return np.nan_to_num(got), float(np.median(ms)), raised


def sliding(values: np.ndarray, rate_hz: float, unit: str, hop_s: float = 1.0) -> tuple[np.ndarray, float]:
    """Scores of windows of ten seconds in one call, and CPU ms for each."""
    spec = StreamSpec("ecg", "ecg", ("lead",), unit, rate_hz)
    times_ns = np.rint(np.arange(len(values)) * (SECOND_NS / rate_hz)).astype(np.int64)
    ends_ns = np.rint(np.arange(10, len(values) / rate_hz + 1e-9, hop_s) * SECOND_NS).astype(np.int64)
    began = RealClock().cpu_ns()
    got = scores(np.asarray(values, dtype=float)[:, None], times_ns, spec, ends_ns).score
    return got, 1e-6 * (RealClock().cpu_ns() - began) / max(len(got), 1)


def area_under_roc(got: np.ndarray, bad: np.ndarray) -> float:
    good = ~bad
    if not good.any() or not bad.any():
        return float("nan")
    ranks = rankdata(got)
    return float((ranks[good].sum() - good.sum() * (good.sum() + 1) / 2) / (good.sum() * bad.sum()))


def labelled(leads: Leads, methods: list[str], run: Callable[..., Iterable]) -> list[dict]:
    rows: list[dict] = []
    work = [(method, leads.values, leads.rate_hz, leads.unit) for method in methods]
    for method, (got, ms, raised) in zip(methods, run(rated, work), strict=True):
        for label, given in leads.labels.items():
            known = ~np.isnan(given)
            for part, chosen in (("all", known), ("that move", known & (np.ptp(leads.values, axis=1) > 0))):
                bad = given[chosen] > 0.5
                rows.append({
                    "source": leads.name, "label": label, "leads": part, "method": method, "n": int(chosen.sum()),
                    "bad": float(bad.mean()), "auc": area_under_roc(got[chosen], bad),
                    "sensitivity": float(np.mean(got[chosen][bad] < 0.5)) if bad.any() else float("nan"),
                    "specificity": float(np.mean(got[chosen][~bad] >= 0.5)) if not bad.all() else float("nan"),
                    "ms": ms, "exceptions": raised,
                })  # fmt: skip
        if method == "ours" and leads.values.shape[1] == 10 * leads.rate_hz:
            together, batch_ms = sliding(leads.values.ravel(), leads.rate_hz, leads.unit, 10.0)
            rows.append(
                {"source": leads.name, "batch_ms": batch_ms, "same_as_alone": bool(np.array_equal(together, got))}
            )
    return rows


def recording(one: Recording) -> dict:
    got, ms = sliding(one.values, one.rate_hz, one.unit)
    share = {f"p{p:02d}": float(np.percentile(got, p)) for p in (5, 50, 95)}
    return {"source": one.name, "windows": len(got), "low": float(np.mean(got < 0.5)), **share, "batch_ms": ms}


def falling(found: list[tuple[Recording, dict]]) -> list[dict]:
    """Whether each record's median score falls with its noise."""
    rows = []
    key = lambda pair: pair[0].name.rpartition("e")[0]  # noqa: E731
    for name, group in groupby(sorted((p for p in found if p[0].noise_db is not None), key=key), key=key):
        levels = sorted(group, key=lambda pair: -(pair[0].noise_db or 0))
        medians = [row["p50"] for _, row in levels]
        rows.append({"source": name, "noise_db": [one.noise_db for one, _ in levels], "median": medians,
                     "falls": all(a > b for a, b in pairwise(medians))})  # fmt: skip
    return rows


def dosed(leads: Leads, most: int) -> list[dict]:
    """Share of good leads scored low with each dose. Good: by the last label, and scored good as they are."""
    bad = list(leads.labels.values())[-1]
    good = [lead for lead in leads.values[bad == 0] if ours(lead, leads.rate_hz, leads.unit) >= 0.5]
    good = good[:: max(1, len(good) // most)][:most]
    times_s = np.arange(leads.values.shape[1]) / leads.rate_hz
    rail = 2.0 * max(np.abs(lead).max() for lead in good)
    spec = StreamSpec("ecg", "ecg", ("lead",), leads.unit, leads.rate_hz, None, -rail, rail)
    rows = []
    for fault, key, doses in DOSES:
        for dose in doses:
            low = []
            for number, lead in enumerate(good):
                span = float(np.ptp(np.percentile(lead, [1, 99])))
                where = Where("lead", 0, Draws(number, fault), lambda truth: None, spec, span)
                hurt = make_fault({"fault": fault, key: dose}).bind(where).apply(0, times_s, lead[:, None])
                low.append(score(np.clip(hurt, -rail, rail), leads.rate_hz, spec).score < 0.5)
            rows.append({"source": leads.name, "fault": fault, key: dose, "n": len(low), "low": float(np.mean(low))})
    return rows


def told(row: dict) -> str:
    """One line for people."""
    figures = {"auc": "AUC {:.3f}", "sensitivity": "Se {:.3f}", "specificity": "Sp {:.3f}", "bad": "{:.0%} bad",
               "ms": "{:.2f} ms alone", "batch_ms": "{:.2f} ms in a batch", "low": "{:.1%} low"}  # fmt: skip
    return ", ".join(
        figures[key].format(value) if key in figures
        else str(value) if key in ("source", "method", "label", "fault")
        else f"{key.replace('_', ' ')} {value:.3g}" if isinstance(value, float)
        else f"{key.replace('_', ' ')} {value}"
        for key, value in row.items()
    )  # fmt: skip


def chosen_methods(asked: str) -> list[str]:
    methods = asked.split(",") if asked else ["ours", *NEUROKIT]
    unknown = set(methods) - {"ours", *NEUROKIT}
    if unknown:
        raise SystemExit(f"--methods: {', '.join(sorted(unknown))} unknown; there are ours, {', '.join(NEUROKIT)}")
    if find_spec("neurokit2") is None and set(methods) != {"ours"}:
        print("neurokit2 is not installed (pip install neurokit2): its methods are left out")
        methods = [method for method in methods if method == "ours"]
    return methods


def measured(directory: Path, methods: list[str], limit: int | None, dose: int, run: Callable[..., Iterable]):
    """Rows of figures, one source after the other."""
    found = 0
    for leads in labelled_leads(directory):
        found += 1
        step = slice(None) if not limit else slice(None, None, max(1, len(leads.values) // limit))
        labels = {name: label[step] for name, label in leads.labels.items()}
        part = Leads(leads.name, leads.values[step], leads.rate_hz, leads.unit, labels, leads.record[step])
        yield from labelled(part, methods, run)
        if dose:
            yield from dosed(part, dose)
    if not found:
        yield {"source": "cinc2011*.npz.xz", "absent": "labelled leads are left out"}
    noisy = [(one, recording(one)) for one in noisy_recordings(directory)]
    yield from (row for _, row in noisy)
    yield from falling(noisy)
    if not noisy:
        yield {"source": "nstdb*.npz.xz", "absent": "calibrated noise is left out"}
    if not list((directory / "mitdb").glob("*.hea")) or find_spec("wfdb") is None:
        yield {"source": "mitdb/*.hea", "absent": "or wfdb is (pip install wfdb): long recordings are left out"}
    else:
        yield from (recording(one) for one in long_recordings(directory))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the recordings")
    parser.add_argument("--methods", default="", help=f"of ours, {', '.join(NEUROKIT)}; all by default")
    parser.add_argument("--limit", type=int, help="about so many labelled leads, evenly picked")
    parser.add_argument("--dose", type=int, nargs="?", const=80, default=0, help="disturb so many good leads (80)")
    parser.add_argument("--jobs", type=int, default=1, help="processes for the methods; times are of shared cores then")
    parser.add_argument("--json", type=Path, help="write all figures there as well")
    asked = parser.parse_args()
    methods, rows = chosen_methods(asked.methods), []
    with Pool(asked.jobs) if asked.jobs > 1 else nullcontext() as pool:
        for row in measured(asked.data, methods, asked.limit, asked.dose, pool.map if pool else map):
            print(told(row), flush=True)
            rows.append(row)
    if asked.json:
        plain = [{key: None if value != value else value for key, value in row.items()} for row in rows]  # NaN
        asked.json.write_text(json.dumps(plain, indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
