"""Quality of EEG, acceleration and a wristband's heart rate: real recordings, simulated damage, and time.

    python tests/benchmarks/quality_eeg.py --data DIR [--json FILE]

DIR may hold any number of these; what is absent is named and left out. `np.load` must read them after lzma.

  openbci*.npz.xz   EEG. `x` (n, channels) in microvolt, `fs` in Hz; and if it is known when what happened, `seg_title`
                    (k,) and `seg_s` (k, 2), begin and end in s. For openbci_eeg_blinks_jaw_alpha.npz.xz (OpenBCI_GUI,
                    MIT) both are below: read off its traces by eye, in the order in which its title names them.
  empatica*.npz.xz  A wristband: `ACC` (n, 3) in 1/64 g at 32 Hz, `HR` (n,) in beats a minute at 1 Hz, `IBI` (n, 2) with
                    time and length of intervals in s (the flirt project's recording, MIT).

Every stream is scored at a hop of a second over the length that its kind looks back on. Damage: clean simulated heads
of eight electrodes, one fault on one of them, at a level that must stay good and at a bold one; AUC is that of damaged
against clean windows of this electrode.

Beside it, in the same run: NeuroKit2's eeg_badchannels, which calls an electrode bad if most of its measures (spread,
skew, zero crossings, ...) are outliers among the electrodes of the window, after NeuroKit2's own filter of 1 to 40 Hz;
its score is 1 minus the share of outliers. And the usual rule of thumb: no more than 200 microvolt from peak to peak of
the same filter's output. NeuroKit2 has no quality of acceleration or heart rate.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from drivers.clock import RealClock
from drivers.quality import Scores, score, scores, window_s
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.faults import Where
from simulators.faults.registry import make_fault
from simulators.sensor import digitise
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SECOND_NS = 1_000_000_000
BLINKS_JAW_ALPHA = {
    "blinks": (4, 8), "jaw": (8, 14.5), "blinks again": (14.5, 18), "at rest": (18, 24), "eyes closed": (26, 75.5),
    "eyes move": (75.5, 82), "jaw again": (82, 86), "head moves": (86, 90),
}  # fmt: skip
SITES = ("Fp1", "Fp2", "C3", "C4", "P7", "P8", "O1", "O2")
HIT = 2
PEOPLE, SECONDS = 8, 40
DAMAGE = {
    "white_noise": ("level", 0.1, 0.7), "emg": ("level", 0.1, 0.8), "motion": ("level", 0.1, 2.0),
    "spikes": ("level", 0.2, 4.0), "electrode_pop": ("level", 0.4, 8.0), "baseline_wander": ("level", 0.5, 6.0),
    "mains_hum": ("level", 0.3, 3.0), "hold": ("fraction", 0.1, 0.7), "clipping": ("fraction", 0.002, 0.8),
    "flatline": ("fraction", 0.02, 1.0), "lead_off": ("fraction", 0.002, 1.0),
}  # fmt: skip
"""Key, the value that must stay good, and the bold one. Mains must stay good at either."""


def archive(path: Path) -> Any:
    return np.load(io.BytesIO(lzma.decompress(path.read_bytes())))


def eeg_spec(channels: tuple[str, ...], rate_hz: float) -> StreamSpec:
    """A Cyton at its gain of 24."""
    return StreamSpec("eeg", "eeg", channels, "uV", rate_hz, lsb=0.02235, low=-187500.0, high=187500.0)


def judged(values: FloatArray, spec: StreamSpec) -> tuple[FloatArray, Scores]:
    """(ends in s (w,), scores) at a hop of a second."""
    rate_hz = spec.rate_hz or 1.0
    times = np.rint(np.arange(len(values)) * (SECOND_NS / rate_hz)).astype(np.int64)
    ends_s = np.arange(int(window_s(spec.kind)), int(len(values) / rate_hz) + 1)
    return ends_s.astype(np.float64), scores(values, times, spec, ends_s * SECOND_NS)


def area_under_roc(good: FloatArray, bad: FloatArray) -> float:
    """Chance that a good one scores higher than a bad one."""
    ranks = rankdata(np.concatenate([good, bad]))
    return float((ranks[: len(good)].sum() - len(good) * (len(good) + 1) / 2) / (len(good) * len(bad)))


def raised(found: Scores, within: Any = slice(None)) -> dict[str, float]:
    """Share of windows with each flag that comes up at all."""
    shares = {name: float(np.mean(flag[within])) for name, flag in found.flags.items()}
    return {name: round(share, 3) for name, share in shares.items() if share > 0}


# --- what others offer ------------------------------------------------------------------------


def filtered(values: FloatArray, rate_hz: float) -> FloatArray:
    """NeuroKit2's own band of 1 to 40 Hz, (n, channels)."""
    import neurokit2 as nk

    made = [nk.signal_filter(c, sampling_rate=rate_hz, lowcut=1, highcut=40, method="butterworth") for c in values.T]
    return np.stack(made, axis=1)


def windows_of(values: FloatArray, rate_hz: float, ends_s: FloatArray) -> Iterator[FloatArray]:
    length = round(window_s("eeg") * rate_hz)
    for end_s in ends_s.tolist():
        stop = round(end_s * rate_hz)
        yield values[stop - length : stop]


def neurokit_scores(values: FloatArray, rate_hz: float, ends_s: FloatArray) -> FloatArray:
    """1 minus the share of outlying measures of every electrode, (w, channels)."""
    import neurokit2 as nk

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of electrodes without any variance
        tables = [nk.eeg_badchannels(window.T)[1]["Bad"] for window in windows_of(values, rate_hz, ends_s)]
    return 1 - np.stack([table.to_numpy(dtype=np.float64) for table in tables])


def thumb_scores(values: FloatArray, rate_hz: float, ends_s: FloatArray) -> FloatArray:
    """0.5 at 200 microvolt from peak to peak, less beyond, (w, channels)."""
    return np.stack([100 / np.maximum(np.ptp(w, axis=0), 1e-9) for w in windows_of(values, rate_hz, ends_s)])


def others(values: FloatArray, rate_hz: float, ends_s: FloatArray) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Name -> scores (w, channels), and which of them it calls bad."""
    try:
        clean = filtered(values, rate_hz)
        bad = neurokit_scores(clean, rate_hz, ends_s)
    except ImportError as absent:
        print(f"  NeuroKit2 left out: {absent}")
        return {}
    thumb = thumb_scores(clean, rate_hz, ends_s)
    return {"eeg_badchannels": (bad, bad <= 0.5), "200 uV rule": (thumb, thumb < 0.5)}


# --- real recordings --------------------------------------------------------------------------


def segments(path: Path, data: Any) -> dict[str, tuple[float, float]]:
    if "seg_title" in data.files:
        return {str(t): (float(a), float(b)) for t, (a, b) in zip(data["seg_title"], data["seg_s"], strict=True)}
    return dict(BLINKS_JAW_ALPHA) if path.name.startswith("openbci_eeg_blinks_jaw_alpha") else {}


def openbci(path: Path) -> dict[str, Any]:
    data = archive(path)
    wave, rate_hz = np.asarray(data["x"], dtype=np.float64), float(data["fs"])
    names = tuple(str(number + 1) for number in range(wave.shape[1]))
    found = [judged(wave[:, [number]], eeg_spec((name,), rate_hz)) for number, name in enumerate(names)]
    ends_s, together = judged(wave, eeg_spec(names, rate_hz))
    beside = others(wave, rate_hz, ends_s)
    print(f"{path.name}: {len(names)} electrodes, {len(ends_s)} windows; low per electrode, all together, flags")
    rows = {}
    titled = segments(path, data)
    for title, (begin_s, end_s) in {"all of it": (0.0, ends_s[-1]), **titled}.items():
        lead_s = min(window_s("eeg"), end_s - begin_s - 2)  # of short events a window holds more than the event
        within = (ends_s >= begin_s + lead_s) & (ends_s <= end_s)
        low = [float(np.mean(each.score[within] < 0.5)) for _, each in found]
        flags = {
            name: round(float(np.mean([each.flags[name][within] for _, each in found])), 3) for name in together.flags
        }
        rows[title] = {
            "windows": int(within.sum()),
            "low": low,
            "low_together": float(np.mean(together.score[within] < 0.5)),
            "median": float(np.median([each.score[within] for _, each in found])),
            "flags": {name: share for name, share in flags.items() if share},
            **{f"low_{name}": np.mean(bad[within], axis=0).tolist() for name, (_, bad) in beside.items()},
        }
        told = " ".join(f"{share:4.0%}" for share in low)
        print(f"  {title:13s} {within.sum():3d}  {told} | {rows[title]['low_together']:4.0%} | {rows[title]['flags']}")
        for name in beside:
            print(f"    {name:15s} {' '.join(f'{share:4.0%}' for share in rows[title][f'low_{name}'])}")
    return {"electrodes": len(names), "segments": rows}


def empatica(path: Path) -> dict[str, Any]:
    data, result = archive(path), {}
    acceleration = StreamSpec("acc", "acceleration", tuple("xyz"), "g", 32.0, lsb=1 / 64, low=-2.0, high=127 / 64)
    _, found = judged(data["ACC"] / 64.0, acceleration)
    result["acceleration"] = {
        "low": float(np.mean(found.score < 0.5)), "worn": float(np.mean(found.parts["worn"] == 1)),
        "flags": raised(found),
    }  # fmt: skip
    _, found = judged(
        data["HR"].astype(np.float64)[:, None], StreamSpec("hr", "heart_rate", ("hr",), "bpm", 1.0, lsb=0.01)
    )
    result["heart_rate"] = {"low": float(np.mean(found.score < 0.5)), "flags": raised(found)}
    at_s, length_s = data["IBI"].astype(np.float64).T
    times = np.rint(at_s * SECOND_NS).astype(np.int64)
    ends = np.arange(int(at_s[0]) + 10, int(at_s[-1])) * SECOND_NS
    found = scores(length_s[:, None], times, StreamSpec("rr", "rr", ("ibi",), "s", None, lsb=1 / 64), ends)
    known = ~np.isnan(found.score)
    result["intervals"] = {
        "low": float(np.mean(found.score[known] < 0.5)), "known": float(known.mean()), "flags": raised(found, known),
    }  # fmt: skip
    print(f"{path.name}: {json.dumps(result)}")
    print("  (NeuroKit2 has no quality of acceleration or heart rate: not available)")
    return result


# --- damage -----------------------------------------------------------------------------------


def head(seed: int) -> tuple[FloatArray, FloatArray, float]:
    """Times (n,), microvolt (n, 8) of a simulated person, and the usual amplitude."""
    spec = eeg_spec(SITES, 250.0)
    times_s = np.arange(SECONDS * 250) / 250
    signal = make_signal({}, Subject(seed), spec, Draws(seed, "bench", "eeg"))
    return times_s, signal.render(0, times_s), signal.span


def damaged(seed: int, name: str, key: str, level: float) -> FloatArray:
    """The same head with a fault on one electrode."""
    times_s, values, span = head(seed)
    spec = eeg_spec((SITES[HIT],), 250.0)
    fault = make_fault({"fault": name, key: level, "stream": "eeg"})
    where = Where("bench", 0, Draws(seed, "fault"), lambda truth: None, spec, span)
    values = values.copy()
    values[:, [HIT]] = fault.bind(where).apply(0, times_s, values[:, [HIT]])
    return digitise(values, eeg_spec(SITES, 250.0))


def columns(values: FloatArray) -> tuple[dict[str, tuple[FloatArray, FloatArray]], dict[str, float]]:
    """Scores and verdicts on the one electrode by everybody, (w,) each, and our flags."""
    ends_s, found = judged(values[:, [HIT]], eeg_spec((SITES[HIT],), 250.0))
    table = {"ours": (found.score, found.score < 0.5)}
    table |= {name: (value[:, HIT], bad[:, HIT]) for name, (value, bad) in others(values, 250.0, ends_s).items()}
    return table, raised(found)


def merged(parts: list[dict[str, tuple[FloatArray, FloatArray]]]) -> dict[str, tuple[FloatArray, FloatArray]]:
    return {
        name: (np.concatenate([p[name][0] for p in parts]), np.concatenate([p[name][1] for p in parts]))
        for name in parts[0]
    }


def injections() -> dict[str, Any]:
    clean = merged([columns(digitise(head(seed)[1], eeg_spec(SITES, 250.0)))[0] for seed in range(PEOPLE)])
    result: dict[str, Any] = {"clean": {name: float(bad.mean()) for name, (_, bad) in clean.items()}}
    print(f"simulated, {PEOPLE} heads: falsely low {json.dumps(result['clean'])}; AUC and share low of each:")
    for name, (key, good, bold) in DAMAGE.items():
        for level in (good, bold):
            tables, flags = zip(*(columns(damaged(seed, name, key, level)) for seed in range(PEOPLE)), strict=True)
            table = merged(list(tables))
            row = {
                who: {"auc": area_under_roc(clean[who][0], value), "low": float(bad.mean())}
                for who, (value, bad) in table.items()
            }
            told = {flag: float(np.mean([each.get(flag, 0.0) for each in flags])) for each in flags for flag in each}
            result[f"{name} {key} {level:g}"] = {**row, "flags": told}
            line = "  ".join(f"{who} {cell['auc']:.2f} / {cell['low']:4.0%}" for who, cell in row.items())
            print(f"  {name + ' ' + format(level, 'g'):22s} {line}  {{{', '.join(sorted(told))}}}")
    return result


# --- time -------------------------------------------------------------------------------------


def fastest_ms(work: Callable[[], object], times: int) -> float:
    """CPU time of the fastest of five rounds, per call."""
    work()
    rounds = []
    for _ in range(5):
        began = RealClock().cpu_ns()
        for _ in range(times):
            work()
        rounds.append(1e-6 * (RealClock().cpu_ns() - began) / times)
    return min(rounds)


def speed() -> dict[str, Any]:
    two = digitise(head(1)[1], eeg_spec(SITES, 250.0))[:, [0, 6]]
    rest = np.random.default_rng(0).normal(0, 0.01, (2000, 3)) + np.array([0.0, 0.0, 1.0])
    beat = 60 + np.random.default_rng(0).normal(0, 1, (40, 1))
    mood = np.random.default_rng(0).normal(0.2, 0.05, (400, 2))
    streams = {
        "eeg, 2 electrodes": (two, eeg_spec(("Fp1", "O1"), 250.0)),
        "acceleration, 50 Hz": (rest, StreamSpec("a", "acceleration", tuple("xyz"), "g", 50.0, lsb=0.001)),
        "heart rate": (beat, StreamSpec("h", "heart_rate", ("hr",), "bpm", 1.0, lsb=1.0)),
        "affect, 10 Hz": (mood, StreamSpec("m", "affect", ("valence", "arousal"), "1", 10.0, lsb=0.001)),
        "exg, 250 Hz": (two[:, :1], StreamSpec("x", "exg", ("one",), "uV", 250.0, lsb=0.02235)),
    }
    result = {}
    for name, (values, spec) in streams.items():
        rate_hz = spec.rate_hz or 1.0
        window = values[: round(window_s(spec.kind) * rate_hz)]
        result[name] = {
            "alone_ms": fastest_ms(lambda w=window, r=rate_hz, s=spec: score(w, r, s), 100),
            "batch_ms": fastest_ms(lambda v=values, s=spec: judged(v, s), 5) / len(judged(values, spec)[0]),
        }
        print(f"  {name:20s} {result[name]['alone_ms']:.3f} ms alone, {result[name]['batch_ms']:.4f} ms among others")
    try:
        eight = filtered(head(1)[1][:1000], 250.0)
        took = fastest_ms(lambda: neurokit_scores(eight, 250.0, np.array([4.0])), 3)
        result["eeg_badchannels, 8 electrodes"] = {"alone_ms": took}
        print(f"  NeuroKit2's eeg_badchannels takes {took:.1f} ms for 8 electrodes, without its filter")
    except ImportError as absent:
        print(f"  NeuroKit2 left out: {absent}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the recordings")
    parser.add_argument("--json", type=Path, help="write the tables to this file")
    given = parser.parse_args()
    result: dict[str, Any] = {}
    for pattern, measure in (("openbci*.npz.xz", openbci), ("empatica*.npz.xz", empatica)):
        paths = sorted(given.data.glob(pattern))
        if not paths:
            print(f"{pattern}: left out, there is none in {given.data}")
        for path in paths:
            result[path.name] = measure(path)
    result["simulated"] = injections()
    print("CPU time per window:")
    result["time"] = speed()
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
