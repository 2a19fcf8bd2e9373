"""EDA, respiration and skin temperature: scores and events on simulated truth and on real recordings, beside NeuroKit2.

    python tests/benchmarks/quality_slow.py [--data DIR] [--json FILE]

Without --data only the simulated part runs. DIR may hold, each as an xz-compressed .npz archive:

    empatica*.npz.xz   EDA (n,) in microsiemens and TEMP (n,) in degrees Celsius of a wristband, with EDA_hdr and
                       TEMP_hdr whose second entry is the sampling rate in Hz
    neurokit*.npz.xz   x (n, channels), names (channels,) among them EDA and RSP, fs the sampling rate
    bidmc*.npz.xz      the same with a channel RESP: impedance of the chest, any unit (BIDMC, ODC-By 1.0)

What is absent is named and left out. Without neurokit2 (pip install neurokit2) its columns are left out.
Milliseconds are CPU time of this process.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from drivers.clock import RealClock
from drivers.quality import score, scores, window_s
from drivers.quality.breaths import breath_rate, find_breaths
from drivers.quality.skin_responses import find_responses
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.profile import make_profile
from simulators.signals.registry import make_signal
from simulators.subject import Subject

try:
    import neurokit2
except ImportError:
    neurokit2 = None

EDA_METHODS = ("neurokit", "gamboa2008", "kim2004", "vanhalem2020", "nabian2018")
BREATH_METHODS = ("khodadad2018", "biosppy", "scipy")
SECONDS = 300
PEOPLE = range(8)
FAILURES = (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError)
failed: Counter[str] = Counter()
"""What NeuroKit2 raised; such a recording counts as one without any event."""


# --- NeuroKit2 --------------------------------------------------------------------------------


def their_responses(values, rate_hz: float, method: str):
    """(onsets in s, amplitudes); its usual threshold, a tenth of the largest, cannot be given in microsiemens."""
    try:
        clean = neurokit2.eda_clean(values, sampling_rate=rate_hz)
        phasic = neurokit2.eda_phasic(clean, sampling_rate=rate_hz, method="highpass")["EDA_Phasic"].to_numpy()
        _, info = neurokit2.eda_peaks(phasic, sampling_rate=rate_hz, method=method, amplitude_min=0.1)
    except FAILURES as error:
        failed[f"{method}: {type(error).__name__}"] += 1
        return np.empty(0), np.empty(0)
    onset, amplitude = (np.asarray(info[name], dtype=float) for name in ("SCR_Onsets", "SCR_Amplitude"))
    told = np.isfinite(onset) & np.isfinite(amplitude)
    return onset[told] / rate_hz, amplitude[told]


def their_breaths(values, rate_hz: float, method: str):
    """Onsets of inspiration in s."""
    clean = "khodadad2018" if method == "scipy" else method
    try:
        wave = neurokit2.rsp_clean(values, sampling_rate=rate_hz, method=clean)
        _, info = neurokit2.rsp_peaks(wave, sampling_rate=rate_hz, method=method)
    except FAILURES as error:
        failed[f"{method}: {type(error).__name__}"] += 1
        return np.empty(0)
    return np.asarray(info["RSP_Troughs"], dtype=float) / rate_hz


# --- measures ---------------------------------------------------------------------------------


def matches(found, true, reach_s: float) -> list[tuple[int, int]]:
    """Pairs of (found, true), each at most once, nearest first."""
    if not len(found) or not len(true):
        return []
    distance = np.abs(found[:, None] - true[None, :])
    pairs, used, hit = [], set(), set()
    for place in np.argsort(distance, axis=None).tolist():
        one, other = divmod(place, len(true))
        if distance[one, other] > reach_s:
            break
        if one not in used and other not in hit:
            pairs.append((one, other))
            used.add(one)
            hit.add(other)
    return pairs


def f1(found, true, reach_s: float) -> float:
    return 2 * len(matches(found, true, reach_s)) / max(1, len(found) + len(true))


def judged(values, rate_hz: float, kind: str, unit: str, lsb=None) -> dict:
    """Share of low windows at a hop of a second, what flags there were, and ms per window among others and alone."""
    spec = StreamSpec(kind, kind, (kind,), unit, rate_hz, lsb=lsb)
    column = np.asarray(values, dtype=float)[:, None]
    times_ns = np.rint(np.arange(len(column)) * 1e9 / rate_hz).astype(np.int64)
    length = window_s(kind)
    ends = np.arange(int(length), int(len(column) / rate_hz) + 1) * 1_000_000_000
    clock = RealClock()
    began = clock.cpu_ns()
    table = scores(column, times_ns, spec, ends)
    batch_ms = 1e-6 * (clock.cpu_ns() - began) / len(ends)
    size = round(length * rate_hz)
    windows = [column[a : a + size] for a in np.linspace(0, len(column) - size, 100).astype(int)]
    began = clock.cpu_ns()
    for window in windows:
        score(window, rate_hz, spec)
    alone_ms = 1e-6 * (clock.cpu_ns() - began) / len(windows)
    return {
        "windows": len(ends),
        "low": float(np.mean(table.score < 0.5)),
        "median": float(np.median(table.score)),
        "flags": {name: float(np.mean(raised)) for name, raised in table.flags.items() if raised.any()},
        "ms_among_others": batch_ms,
        "ms_alone": alone_ms,
    }


# --- simulated truth --------------------------------------------------------------------------


def simulated(kind: str, unit: str, seed: int, rate_hz: float, options: dict, profile: dict):
    spec = StreamSpec(kind, kind, (kind,), unit, rate_hz)
    subject = Subject(seed, make_profile(profile))
    signal = make_signal(options, subject, spec, Draws(seed, "bench"))
    return signal.render(0, np.arange(round(SECONDS * rate_hz)) / rate_hz)[:, 0], subject


def within(times_s, low_s: float = 3.0, high_s: float = SECONDS - 5.0):
    return (times_s >= low_s) & (times_s < high_s)


def response_accuracy(detect, rate_hz: float, options: dict, profile: dict) -> dict:
    """F1 at 1 s over PEOPLE, and the median relative error of the amplitudes that were found."""
    hits = total = 0
    errors: list[float] = []
    for seed in PEOPLE:
        values, subject = simulated("eda", "uS", seed, rate_hz, options, profile)
        true = subject.scrs(0.0, float(SECONDS))
        onset, amplitude = detect(values, rate_hz)
        inner, real = within(onset), within(true.onset_s)
        onset, amplitude = onset[inner], amplitude[inner]
        pairs = matches(onset, true.onset_s[real], 1.0)
        hits += 2 * len(pairs)
        total += len(onset) + int(np.sum(real))
        errors += [abs(amplitude[a] / true.amplitude_us[real][b] - 1) for a, b in pairs]
    return {"f1": hits / max(1, total), "amplitude_error": float(np.median(errors)) if errors else float("nan")}


def breath_accuracy(detect, rate_hz: float, options: dict, profile: dict) -> dict:
    """Mean error of the rate in windows of 30 s over PEOPLE, and F1 of the onsets at 0.5 s."""
    errors, scored = [], []
    ends = np.arange(40.0, SECONDS - 10.0)
    for seed in PEOPLE:
        values, subject = simulated("respiration", "a.u.", seed, rate_hz, options, profile)
        true = subject.breaths(-30.0, SECONDS + 30.0).onset_s
        found = detect(values, rate_hz)
        errors.append(np.abs(breath_rate(found, ends)[0] - breath_rate(true, ends)[0]))
        scored.append(f1(found[within(found)], true[within(true)], 0.5))
    return {"rate_error_per_min": float(np.nanmean(np.concatenate(errors))), "f1": float(np.mean(scored))}


def own_responses(values, rate_hz: float):
    found = find_responses(values, rate_hz)
    return found.onset_s, found.amplitude_us


def simulated_responses() -> dict:
    cases = {
        "rest, 2 nS noise, 8 Hz": (8.0, {}, {}),
        "rest, 2 nS, 4 Hz": (4.0, {}, {}),
        "rest, 2 nS, 100 Hz": (100.0, {}, {}),
        "rest, 10 nS, 8 Hz": (8.0, {"noise_us": 0.01}, {}),
        "rest, 20 nS, 8 Hz": (8.0, {"noise_us": 0.02}, {}),
        "stress, 2 nS, 8 Hz": (8.0, {}, {"script": "stress"}),
        "15 a minute, 2 nS, 8 Hz": (8.0, {}, {"scr_per_min": 15.0}),
    }
    table: dict[str, dict] = {}
    print("\nSimulated skin conductance responses: F1 at 1 s (median amplitude error)")
    for case, given in cases.items():
        row = {"ours": response_accuracy(own_responses, *given)}
        for method in EDA_METHODS if neurokit2 else ():
            row[method] = response_accuracy(lambda v, r, m=method: their_responses(v, r, m), *given)
        table[case] = row
        print(f"  {case:26}" + "  ".join(f"{n} {r['f1']:.3f} ({r['amplitude_error']:.0%})" for n, r in row.items()))
    return table


def simulated_breaths() -> dict:
    cases = {
        "clean, 25 Hz": (25.0, {}, {}),
        "clean, 125 Hz": (125.0, {}, {}),
        "6 a minute": (25.0, {}, {"breath_rate_per_min": 6.0}),
        "30 a minute": (25.0, {}, {"breath_rate_per_min": 30.0}),
        "45 a minute": (25.0, {}, {"breath_rate_per_min": 45.0}),
        "noise 0.1 of a breath": (25.0, {"noise": 0.1}, {}),
        "noise 0.3": (25.0, {"noise": 0.3}, {}),
        "noise 0.5": (25.0, {"noise": 0.5}, {}),
    }
    table: dict[str, dict] = {}
    print("\nSimulated breaths: mean error of the rate in 30 s, per minute (F1 of onsets at 0.5 s)")
    for case, given in cases.items():
        row = {"ours": breath_accuracy(lambda v, r: find_breaths(v, r).onset_s, *given)}
        for method in BREATH_METHODS if neurokit2 else ():
            row[method] = breath_accuracy(lambda v, r, m=method: their_breaths(v, r, m), *given)
        table[case] = row
        print(f"  {case:22}" + "  ".join(f"{n} {r['rate_error_per_min']:.2f} ({r['f1']:.3f})" for n, r in row.items()))
    return table


def simulated_scores() -> dict:
    table = {}
    print("\nSimulated clean signals: windows falsely low")
    for kind, unit, rate_hz in (("eda", "uS", 8.0), ("respiration", "a.u.", 25.0), ("temperature", "C", 4.0)):
        rows = [judged(simulated(kind, unit, seed, rate_hz, {}, {})[0], rate_hz, kind, unit) for seed in PEOPLE]
        table[kind] = {name: float(np.mean([r[name] for r in rows])) for name in ("low", "ms_among_others", "ms_alone")}
        print(f"  {kind:12} {told(table[kind])}")
    return table


# --- real recordings --------------------------------------------------------------------------


def archive(path: Path):
    return np.load(io.BytesIO(lzma.decompress(path.read_bytes())))


def told(row: dict) -> str:
    flags = ", ".join(f"{name} {share:.1%}" for name, share in row.get("flags", {}).items())
    return (
        f"low {row['low']:.1%}{' (' + flags + ')' if flags else ''}; {row['ms_among_others']:.3f} ms per window among "
        f"others, {row['ms_alone']:.3f} ms alone"
    )


def eda_report(values, rate_hz: float) -> dict:
    row = judged(values, rate_hz, "eda", "uS")
    found = find_responses(values, rate_hz)
    row["responses"] = {"ours": len(found.onset_s)}
    row["f1_with_ours"] = {}
    for method in EDA_METHODS if neurokit2 else ():
        onset, _ = their_responses(np.asarray(values, dtype=float), rate_hz, method)
        row["responses"][method] = len(onset)
        row["f1_with_ours"][method] = f1(found.onset_s, onset, 1.0)
    print(f"  EDA {told(row)}")
    print(f"    responses {row['responses']}")
    print("    F1 with ours at 1 s: " + ", ".join(f"{k} {v:.2f}" for k, v in row["f1_with_ours"].items()))
    return row


def breath_report(values, rate_hz: float) -> dict:
    row = judged(values, rate_hz, "respiration", "a.u.")
    onset = find_breaths(values, rate_hz).onset_s
    ends = np.arange(30.0, len(values) / rate_hz + 1)
    rate, covered = breath_rate(onset, ends)
    row |= {"breaths": {"ours": len(onset)}, "rate_per_min": float(np.nanmean(rate)), "covered": float(covered.mean())}
    row["f1_with_ours"], row["rate_difference"] = {}, {}
    for method in BREATH_METHODS if neurokit2 else ():
        theirs = their_breaths(np.asarray(values, dtype=float), rate_hz, method)
        row["breaths"][method] = len(theirs)
        row["f1_with_ours"][method] = f1(onset, theirs, 1.0)
        row["rate_difference"][method] = float(np.nanmean(np.abs(breath_rate(theirs, ends)[0] - rate)))
    print(f"  respiration {told(row)}")
    print(f"    {row['rate_per_min']:.1f} a minute over {row['covered']:.0%} of the time; breaths {row['breaths']}")
    for method, difference in row["rate_difference"].items():
        print(
            f"    {method}: F1 with ours at 1 s {row['f1_with_ours'][method]:.3f}, rate {difference:.2f} a minute off"
        )
    return row


def empatica(data) -> dict:
    table = {"eda": eda_report(data["EDA"], float(str(data["EDA_hdr"][1]).split(",")[0]))}
    row = judged(data["TEMP"], float(str(data["TEMP_hdr"][1]).split(",")[0]), "temperature", "C")
    print(f"  temperature {told(row)}")
    return table | {"temperature": row}


def columns(data) -> dict:
    rate_hz, table = float(data["fs"]), {}
    for number, name in enumerate(data["names"].tolist()):
        if name.upper() == "EDA":
            table["eda"] = eda_report(data["x"][:, number], rate_hz)
        if name.upper() in ("RSP", "RESP"):
            table["respiration"] = breath_report(data["x"][:, number], rate_hz)
    return table


RECORDINGS = {"empatica*.npz.xz": empatica, "neurokit*.npz.xz": columns, "bidmc*.npz.xz": columns}


def recorded(directory: Path) -> dict:
    table = {}
    for pattern, report in RECORDINGS.items():
        paths = sorted(directory.glob(pattern))
        if not paths:
            print(f"\n{pattern}: none in {directory}; left out")
        for path in paths:
            print(f"\n{path.name}")
            table[path.name] = report(archive(path))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="directory of the recordings")
    parser.add_argument("--json", type=Path, help="file to write every figure to")
    given = parser.parse_args()
    if neurokit2 is None:
        print("neurokit2 is not installed (pip install neurokit2): its columns are left out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NeuroKit2's own, about short or unusual signals
        results = {
            "scores": simulated_scores(), "responses": simulated_responses(), "breaths": simulated_breaths(),
            "recordings": recorded(given.data) if given.data else {},
        }  # fmt: skip
    if failed:
        print("\nNeuroKit2 raised: " + ", ".join(f"{what} x {count}" for what, count in sorted(failed.items())))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
