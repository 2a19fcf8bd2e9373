"""PPG quality on real recordings: does a good score mean that the light gives the right heart rate?

    python tests/benchmarks/quality_ppg.py --data DIR [--json FILE]

DIR may hold any number of these; what is absent is named and left out.

welltory*.npz.xz   a phone's camera on a fingertip, and a chest strap (Welltory PPG dataset; CC0). For every number ##:
                   t## (n,) ms, rgb## (n, colours) light times 1000, rr## (k,) ms intervals of the strap, the first of
                   which begins at t = 0 within some seconds. Every colour that moves at all is a channel of its own.
bidmc*.npz.xz      intensive care (BIDMC; ODC-By 1.0): fs (1,) Hz, names (c,), x (n, c) with a column PLETH. No truth.
empatica*.npz.xz   a wristband (MIT): BVP (n,) at 64 Hz; HR (k,) bpm once a second from second 10 on, smoothed; IBI
                   (b, 2) time of each beat that the band trusts, and the interval before it, in s.

The error of a window is that of its median interval against the strap's; "aligned" after the strap has been shifted, by
one lag for a recording, to where its intervals fit best (the two were not started at the same moment).
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from drivers.clock import RealClock
from drivers.quality import score, scores
from drivers.quality.beats import ppg_pulses
from drivers.quality.ppg import Pulses
from drivers.quality.pulse_band import PulseBand
from drivers.types import StreamSpec

SECOND_NS = 1_000_000_000
WINDOW_S, CAMERA_HZ, WRONG_BPM = 10, 30.0, 5.0
COLOURS = ("red", "green", "blue")
LAGS_S = np.arange(-4.0, 4.01, 0.1)
NEUROKIT = ("templatematch", "dissimilarity", "ho2025", "skewness", "relative_power")
"""Methods of ppg_quality; of each the direction that does better is taken."""


@dataclass
class Windows:
    """Of one channel of one recording, each (w,)."""

    channel: str
    error: np.ndarray
    aligned: np.ndarray
    own: np.ndarray
    """Aligned, with the pulses found within the window alone."""
    other: np.ndarray
    """Aligned, with NeuroKit2's peaks; NaN without it."""
    indices: dict[str, np.ndarray] = field(default_factory=dict)


def archive(path: Path):
    return np.load(io.BytesIO(lzma.decompress(path.read_bytes())))


def stamps(count: int, rate_hz: float) -> np.ndarray:
    return np.rint(np.arange(count) * (SECOND_NS / rate_hz)).astype(np.int64)


def rates(at_s: np.ndarray, ends_s: np.ndarray) -> np.ndarray:
    """60 / the median interval of the beats in every window, NaN where there are fewer than four."""
    found = np.full(len(ends_s), np.nan)
    for number, end in enumerate(ends_s):
        within = (at_s > end - WINDOW_S) & (at_s <= end)
        if within.sum() >= 4:
            found[number] = 60 / np.median(np.diff(at_s[within]))
    return found


def lag_s(pulses_s: np.ndarray, rr_s: np.ndarray) -> float:
    """Shift of the strap after which its intervals are those of the light."""
    at, lengths, strap = pulses_s[1:], np.diff(pulses_s), np.cumsum(rr_s)
    apart = [np.median(np.abs(lengths - np.interp(at, strap + lag, rr_s))) for lag in LAGS_S]
    return float(LAGS_S[int(np.argmin(apart))])


# --- Welltory -------------------------------------------------------------------------------------------------------


def camera(directory: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Every recording: its name, light (n, colours) at 30 Hz, and RR intervals in s."""
    files = sorted(directory.glob("welltory*.npz.xz"))
    if not files:
        raise FileNotFoundError(f"no welltory*.npz.xz in {directory}")
    for path in files:
        data = archive(path)
        for number in sorted(re.fullmatch(r"t(\d+)", key).group(1) for key in data.files if re.fullmatch(r"t\d+", key)):
            if not {f"rgb{number}", f"rr{number}"} <= set(data.files):
                print(f"welltory {path.name}: t{number} has no rgb{number} or rr{number}, left out")
                continue
            at_s, first = np.unique(data[f"t{number}"] / 1000, return_index=True)
            light = data[f"rgb{number}"][first].reshape(len(first), -1) / 1000
            grid = np.arange(at_s[0], at_s[-1], 1 / CAMERA_HZ)
            yield number, np.stack([np.interp(grid, at_s, c) for c in light.T], axis=1), data[f"rr{number}"] / 1000


def judged(light: np.ndarray, rr_s: np.ndarray, channel: str, lag: float, others: bool) -> Windows:
    spec = StreamSpec("ppg", "ppg", (channel,), "counts", CAMERA_HZ)
    ends_s = np.arange(WINDOW_S, min(len(light) / CAMERA_HZ, rr_s.sum()) + 1e-9)
    strap_s, pulses_s = np.cumsum(rr_s), ppg_pulses(light, CAMERA_HZ) / CAMERA_HZ
    rows = np.stack([light[round((end - WINDOW_S) * CAMERA_HZ) : round(end * CAMERA_HZ)] for end in ends_s])
    ours, truth, shifted = (rates(at_s, ends_s) for at_s in (pulses_s, strap_s, strap_s + lag))
    found = Windows(
        channel, np.abs(ours - truth), np.abs(ours - shifted),
        np.abs(Pulses.of(PulseBand.of(rows, CAMERA_HZ)).rate - shifted), np.full(len(ends_s), np.nan),
    )  # fmt: skip
    table = scores(light[:, None], stamps(len(light), CAMERA_HZ), spec, np.rint(ends_s * SECOND_NS).astype(np.int64))
    found.indices["spiral-hil"] = table.score
    found.indices["orphanidou rules"] = orphanidou(light, pulses_s, ends_s)
    if others:
        indices, peaks_s = neurokit(light, ends_s)
        found.indices |= indices
        found.other = np.abs(rates(peaks_s, ends_s) - shifted)
    return found


def orphanidou(light: np.ndarray, pulses_s: np.ndarray, ends_s: np.ndarray) -> np.ndarray:
    """Mean template correlation, less 1 where a rule of Orphanidou 2015 is broken; 0.86 is the limit for a PPG."""
    found = np.full(len(ends_s), -1.0)
    for number, end in enumerate(ends_s):
        at = pulses_s[(pulses_s > end - WINDOW_S) & (pulses_s <= end)]
        if len(at) < 4:
            continue
        rr = np.diff(at)
        half = round(np.median(rr) / 2 * CAMERA_HZ)
        centres = np.rint(at * CAMERA_HZ).astype(int)
        centres = centres[(centres >= half) & (centres + half < len(light))]
        shapes = light[centres[:, None] + np.arange(-half, half + 1)]
        mean = shapes.mean(axis=0)
        likeness = np.mean([np.corrcoef(shape, mean)[0, 1] for shape in shapes if np.ptp(shape) > 0] or [0.0])
        plausible = 40 <= 60 / rr.mean() <= 180 and rr.max() <= 3 and rr.max() / rr.min() < 2.2
        found[number] = likeness - (0 if plausible else 1)
    return found


def neurokit(light: np.ndarray, ends_s: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Mean over each window of NeuroKit2's indices of the whole recording, on its own cleaning, and its peaks in s."""
    import neurokit2 as nk

    rate = round(CAMERA_HZ)
    upright = light * np.sign(np.mean(np.diff(light) ** 3) or 1)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cleaned = nk.ppg_clean(upright, sampling_rate=rate)
        peaks_s = np.asarray(nk.ppg_peaks(cleaned, sampling_rate=rate)[1]["PPG_Peaks"]) / rate
        for method in NEUROKIT:
            extra = {"ppg_raw": upright, "window_sec": WINDOW_S, "overlap_sec": WINDOW_S - 1}
            options = extra if method == "relative_power" else {}
            try:
                index = np.asarray(nk.ppg_quality(cleaned, sampling_rate=rate, method=method, **options), dtype=float)
            except Exception as failed:  # noqa: BLE001 - it has no single kind of error for a signal that it cannot take
                print(f"neurokit2 {method}: {type(failed).__name__}: {failed}")
                continue
            index = -np.abs(index) if method == "dissimilarity" else index
            found[f"neurokit2 {method}"] = np.array([
                np.nanmean(index[round((end - WINDOW_S) * rate) : round(end * rate)]) for end in ends_s
            ])  # fmt: skip
    return found, peaks_s


def area_under_roc(index: np.ndarray, bad: np.ndarray) -> float:
    ranks, good = rankdata(index), ~bad
    if not good.any() or not bad.any():
        return float("nan")
    return float((ranks[good].sum() - good.sum() * (good.sum() + 1) / 2) / (good.sum() * bad.sum()))


ERRORS = {"error": "as recorded", "aligned": "aligned", "own": "window's pulses", "other": "neurokit2's peaks"}


def figures(windows: list[Windows], name: str) -> dict[str, float]:
    """Of one index over some channels."""
    index = np.concatenate([w.indices.get(name, np.full(len(w.error), np.nan)) for w in windows])
    errors = {key: np.concatenate([getattr(w, key) for w in windows]) for key in ERRORS}
    there = ~np.any([np.isnan(error) for error in errors.values() if not np.isnan(error).all()], axis=0)
    index = np.where(np.isnan(index), np.nanmin(index, initial=0.0), index)[there]
    result: dict[str, float] = {"windows": int(there.sum())}
    limit = {"spiral-hil": 0.5, "orphanidou rules": 0.86}.get(name)
    kept = index >= limit if limit is not None else index >= np.quantile(index, 0.24)
    result["kept"] = float(kept.mean())
    for key, error in errors.items():
        error = error[there]
        result |= {f"{key} kept": float(error[kept].mean()), f"{key} low": float(error[~kept].mean())}
        both = [area_under_roc(side * index, error > WRONG_BPM) for side in (1, -1)]
        result[f"{key} AUC"] = max(both) if limit is None else both[0]
    return result


def welltory(directory: Path, others: bool) -> dict:
    windows = []
    for number, light, rr_s in camera(directory):
        live = [c for c in range(light.shape[1]) if np.ptp(light[:, c]) > 0.5]
        lags = [lag_s(ppg_pulses(light[:, c], CAMERA_HZ) / CAMERA_HZ, rr_s) for c in live]
        print(f"recording {number}: strap {-np.median(lags):.1f} s ahead; {', '.join(COLOURS[c] for c in live)}")
        windows += [judged(light[:, c], rr_s, COLOURS[c], float(np.median(lags)), others) for c in live]
    names = list(dict.fromkeys(name for w in windows for name in w.indices))
    print(
        f"\n{'heart rate error, bpm; AUC for an error > 5 bpm':56s}"
        + "".join(f"{name:>19s}" for name in ERRORS.values())
    )
    print(f"{'':44s}{'n':>5s}{'kept':>7s}" + "   kept   low   AUC" * len(ERRORS))
    result = {}
    for colour in ("red", "green", "blue", "all"):
        chosen = [w for w in windows if colour in (w.channel, "all")]
        for name in names if chosen else ():
            row = figures(chosen, name)
            result[f"{colour}: {name}"] = row
            cells = "".join(
                f"{row[f'{key} kept']:7.2f}{row[f'{key} low']:6.1f}{row[f'{key} AUC']:6.3f}" for key in ERRORS
            )
            print(f"{colour:7s}{name:37s}{row['windows']:5d}{row['kept']:7.0%}{cells}")
    print("(an index without a limit of its own keeps the best 76 %; of its two directions the better counts)\n")
    return result


# --- without a strap ------------------------------------------------------------------------------------------------


def bidmc(directory: Path, others: bool) -> dict:
    files, result = sorted(directory.glob("bidmc*.npz.xz")), {}
    if not files:
        raise FileNotFoundError(f"no bidmc*.npz.xz in {directory}")
    for path in files:
        data = archive(path)
        rate = float(np.ravel(data["fs"])[0])
        pleth = data["x"][:, [str(name) for name in data["names"]].index("PLETH")].astype(float)[:, None]
        spec = StreamSpec("ppg", "ppg", ("pleth",), "a.u.", rate)
        ends_s = np.arange(WINDOW_S, int(len(pleth) / rate) + 1)
        table = scores(pleth, stamps(len(pleth), rate), spec, ends_s * SECOND_NS)
        low = ends_s[table.score < 0.5]
        result[path.name] = {"windows": len(ends_s), "low": float(np.mean(table.score < 0.5))}
        print(
            f"{path.name}: {len(low)} of {len(ends_s)} windows low ({len(low) / len(ends_s):.1%}), at {low.tolist()} s"
        )
    return result


def empatica(directory: Path, others: bool) -> dict:
    files, result = sorted(directory.glob("empatica*.npz.xz")), {}
    if not files:
        raise FileNotFoundError(f"no empatica*.npz.xz in {directory}")
    for path in files:
        data = archive(path)
        wave, rate = data["BVP"].astype(float), 64.0
        spec = StreamSpec("bvp", "ppg", ("bvp",), "a.u.", rate)
        ends_s = np.arange(WINDOW_S, int(len(wave) / rate) + 1)
        got = scores(wave[:, None], stamps(len(wave), rate), spec, ends_s * SECOND_NS).score
        error = np.abs(
            rates(ppg_pulses(wave, rate) / rate, ends_s) - data["HR"][np.minimum(ends_s - 10, len(data["HR"]) - 1)]
        )
        seen = np.array([((data["IBI"][:, 0] > end - WINDOW_S) & (data["IBI"][:, 0] <= end)).sum() for end in ends_s])
        there, good, trusted = ~np.isnan(error), got >= 0.5, seen >= 3
        result[path.name] = row = {
            "windows": len(ends_s), "kept": float(good.mean()),
            "windows in which the band trusts three beats or more": int(trusted.sum()),
            "of them kept": float(good[trusted].mean()) if trusted.any() else None,
            "of the others kept": float(good[~trusted].mean()) if (~trusted).any() else None,
            "AUC for those": area_under_roc(got, ~trusted),
            "difference to the band's rate, kept": float(error[there & good].mean()) if (there & good).any() else None,
            "difference to the band's rate, low": float(error[there & ~good].mean()) if (there & ~good).any() else None,
        }  # fmt: skip
        print(f"{path.name}, wrist: " + ", ".join(f"{k} {v:.3g}" for k, v in row.items() if v is not None))
    return result


def price(directory: Path, others: bool) -> dict:
    """CPU of a 10 s window, alone and among others."""
    clock, result = RealClock(), {}
    for rate, channels in ((64.0, 2), (100.0, 2), (100.0, 1)):
        t = np.arange(int(210 * rate)) / rate
        pulse = np.exp(-0.5 * (((t * 1.2) % 1 - 0.3) / 0.1) ** 2)
        noise = np.random.default_rng(0).normal(0, 10, (len(t), channels))
        light = np.rint(1e5 * (1 + 0.02 * pulse[:, None]) + noise)
        names = ("red", "infrared")[:channels]
        spec = StreamSpec("ppg", "ppg", names, "counts", rate, lsb=1.0, low=0.0, high=262143.0)
        window = light[: int(WINDOW_S * rate)]
        score(window, rate, spec)
        began = clock.cpu_ns()
        for _ in range(100):
            score(window, rate, spec)
        alone = 1e-8 * (clock.cpu_ns() - began)
        began = clock.cpu_ns()
        scores(light, stamps(len(light), rate), spec, np.arange(10, 210) * SECOND_NS)
        together = 1e-6 * (clock.cpu_ns() - began) / 200
        result[f"{channels} channels at {rate:g} Hz"] = {"alone ms": alone, "in batch ms": together}
        print(f"10 s window, {channels} channel(s) at {rate:g} Hz: {alone:.2f} ms alone, {together:.2f} ms in batch")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the recordings")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    asked = parser.parse_args()
    try:
        import neurokit2  # noqa: F401

        others = True
    except ImportError as absent:
        others = False
        print(f"neurokit2 left out: {absent}")
    result = {}
    for part in (welltory, bidmc, empatica, price):
        try:
            result[part.__name__] = part(asked.data, others)
        except FileNotFoundError as absent:
            print(f"{part.__name__} left out: {absent}")
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
