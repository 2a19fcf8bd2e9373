"""Beat and pulse detectors on real recordings, ours and other people's, in one run.

    python tests/benchmarks/quality_beats.py --data DIR [--only mitdb nstdb ...] [--slow]

Se (sensitivity) and PPV (positive predictive value) in percent, each beat matched once within 150 ms (ANSI/AAMI EC57),
median and standard deviation of the error in ms, CPU ms for 10 s of signal. Whatever is absent is left out by name.

DIR may hold
  mitdb/*.hea             with .dat and .atr of the same names (needs wfdb); from 5 min on as EC57 has it, and all of it
  nstdb*.npz.xz or .npz   every array NAME with its beats NAME_ann, 360 Hz or the array fs
  cpsc2019*.npz.xz        or any other .npz[.xz] with records and R peaks, in one of these layouts:
                          x (records, samples), or d or dII, its first difference; peaks as r0, r1, ... (an array for
                          each record), or r, rpeaks or ann: (records, k), filled up with -1; fs (Hz, 500 if absent).
                          Beats in the first and last half second do not count, as the challenge had it.
  bidmc*.npz[.xz]         x (samples, channels), names, fs: PLETH against the beats of an ECG channel, pulse by pulse
  welltory*.npz[.xz]      tNN (ms), rgbNN (samples, 3), rrNN (ms): red light of a phone against a strap's RR intervals
In the last two the lag between both is not known: the one that lets most pulses match is taken, and the error's
spread is what remains.
"""

from __future__ import annotations

import argparse
import io
import lzma
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from drivers.clock import RealClock
from drivers.quality.beat_stream import BeatStream
from drivers.quality.beats import bandpass, ecg_beats, energy_beats, ppg_pulses, pulses, pulses_point_up

Detector = Callable[[np.ndarray, float], np.ndarray]
BEATS = list("NLRBAaJSVrFejnE/fQ?")
REACH_S = 0.15
CHUNK_S = 0.1
PEER_METHODS = ("neurokit", "pantompkins1985", "hamilton2002", "elgendi2010", "kalidas2017")
PEERS = ("neurokit2", "sleepecg", "wfdb")


def streamed(kind: str) -> Detector:
    def detect(values, rate_hz):
        stream, step = BeatStream(rate_hz, kind), max(1, round(CHUNK_S * rate_hz))
        parts = [stream.update(values[at : at + step]) for at in range(0, len(values), step)]
        return np.concatenate([*parts, stream.finish()])

    return detect


def ecg_detectors(slow: bool) -> dict[str, Detector]:
    found: dict[str, Detector] = {
        "ours, whole": ecg_beats,
        "ours, 0.1 s chunks": streamed("ecg"),
        "energy_beats": lambda x, hz: energy_beats(bandpass(x, hz, 8.0, 20.0), hz),
    }
    if find_spec("neurokit2"):
        import neurokit2

        def of(method):
            def detect(x, hz):
                cleaned = neurokit2.ecg_clean(x, round(hz), method=method)
                return neurokit2.ecg_peaks(cleaned, round(hz), method=method)[1]["ECG_R_Peaks"]

            return detect

        found |= {f"neurokit2 {method}": of(method) for method in PEER_METHODS}
    if find_spec("sleepecg"):
        import sleepecg

        found["sleepecg"] = sleepecg.detect_heartbeats
    if find_spec("wfdb") and slow:
        from wfdb import processing

        found["wfdb xqrs"] = lambda x, hz: processing.xqrs_detect(x, hz, verbose=False)
        found["wfdb gqrs"] = lambda x, hz: processing.gqrs_detect(x, hz)
    return found


def ppg_detectors() -> dict[str, Detector]:
    def band(values, rate_hz):
        slope = np.gradient(bandpass(values, rate_hz, 0.5, 4.0))
        return pulses(slope * np.sign(np.mean(slope**3)), rate_hz)

    found: dict[str, Detector] = {"ours, whole": ppg_pulses, "ours, 0.1 s chunks": streamed("ppg"), "pulses": band}
    if find_spec("neurokit2"):
        import neurokit2

        def elgendi(x, hz):
            upright = x if pulses_point_up(x, hz) else -x
            return neurokit2.ppg_findpeaks(neurokit2.ppg_clean(upright, round(hz)), round(hz))["PPG_Peaks"]

        found["neurokit2 elgendi"] = elgendi
    return found


def matched(found: np.ndarray, truth: np.ndarray, reach: float) -> np.ndarray:
    """Errors (k,) of the matched pairs, each beat once, in the order of time: nearest of what is left first."""
    errors, at = [], 0
    for beat in truth:
        while at < len(found) and found[at] < beat - reach:
            at += 1
        best = None
        while at < len(found) and found[at] <= beat + reach:
            error = found[at] - beat
            if best is not None and abs(error) >= abs(best):
                break
            best, at = error, at + 1
        if best is not None:
            errors.append(best)
    return np.array(errors)


class Tally:
    """What one detector did on some records."""

    def __init__(self) -> None:
        self.true = self.found = self.hits = self.lapses = 0
        self.errors_ms: list[float] = []
        self.cpu_ns, self.seconds = 0, 0.0

    def add(self, found, truth, rate_hz, counted=(0.0, np.inf)) -> None:
        """Beats in samples; only those within the ``counted`` seconds count, their partners may lie outside."""
        low, high = (edge * rate_hz for edge in counted)
        found, truth = np.sort(np.asarray(found, dtype=float)), np.sort(np.asarray(truth, dtype=float))
        found_in, truth_in = (beats[(beats >= low) & (beats <= high)] for beats in (found, truth))
        reach = REACH_S * rate_hz
        errors = matched(found, truth_in, reach)
        self.hits += len(errors)
        self.lapses += len(found_in) - len(matched(truth, found_in, reach))
        self.true, self.found = self.true + len(truth_in), self.found + len(found_in)
        self.errors_ms += (1000 * errors / rate_hz).tolist()

    def line(self, name: str) -> str:
        errors = np.array(self.errors_ms) if self.errors_ms else np.array([np.nan])
        sensitivity = 100 * self.hits / max(self.true, 1)
        predictive = 100 * (self.found - self.lapses) / max(self.found, 1)
        took = 1e-6 * self.cpu_ns / max(self.seconds, 1e-9) * 10
        return (
            f"  {name:28s} Se {sensitivity:6.2f}  PPV {predictive:6.2f}  beats {self.true}, found {self.found}  "
            f"error {np.median(errors):6.1f} ms, sd {np.std(errors):5.1f}  {took:7.2f} ms per 10 s"
        )


def run(tally: Tally, detect: Detector, values: np.ndarray, rate_hz: float) -> np.ndarray:
    """Beats, with the CPU time noted; a detector that gives up found none."""
    began = RealClock().cpu_ns()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = np.asarray(detect(values, rate_hz), dtype=float)
    except Exception as failure:  # noqa: BLE001 - whatever other people's code raises is a result
        print(f"  ({type(failure).__name__}: {failure})"[:150])
        found = np.empty(0)
    tally.cpu_ns += RealClock().cpu_ns() - began
    tally.seconds += len(values) / rate_hz
    return found[np.isfinite(found)]


def compare(title: str, records, detectors: dict[str, Detector], stretches: dict[str, tuple[float, float]]) -> None:
    """Every detector on all (values, rate, beats) of a collection; ends at or below 0 count from each record's end."""
    print(title)
    for name, detect in detectors.items():
        tallies = {label: Tally() for label in stretches}
        for values, rate_hz, truth in records:
            found = run(next(iter(tallies.values())), detect, values, rate_hz)
            length_s = len(values) / rate_hz
            for (low, high), tally in zip(stretches.values(), tallies.values(), strict=True):
                tally.add(found, truth, rate_hz, (low, length_s + high if high <= 0 else high))
        first = next(iter(tallies.values()))
        for label, tally in tallies.items():
            tally.cpu_ns, tally.seconds = first.cpu_ns, first.seconds
            print(tally.line(f"{name}{label}"))


def archive(path: Path):
    data = path.read_bytes()
    return np.load(io.BytesIO(lzma.decompress(data) if path.suffix == ".xz" else data), allow_pickle=False)


def archives(directory: Path, pattern: str) -> list[Path]:
    found = sorted([*directory.glob(f"{pattern}.npz.xz"), *directory.glob(f"{pattern}.npz")])
    if not found:
        raise FileNotFoundError(f"{directory} holds no {pattern}.npz or {pattern}.npz.xz")
    return found


def mitdb(directory: Path, slow: bool) -> None:
    import wfdb

    names = sorted((directory / "mitdb").glob("*.hea"))
    if not names:
        raise FileNotFoundError(f"{directory / 'mitdb'} holds no .hea")
    for header in names:
        name = str(header.with_suffix(""))
        record, marks = wfdb.rdrecord(name), wfdb.rdann(name, "atr")
        truth = marks.sample[np.isin(marks.symbol, BEATS)]
        for channel in range(record.p_signal.shape[1]):
            values = np.nan_to_num(record.p_signal[:, channel])
            compare(
                f"mitdb {header.stem}, channel {channel} ({record.sig_name[channel]})",
                [(values, float(record.fs), truth)],
                ecg_detectors(slow),
                {"": (-1.0, 1e9), " from 5 min": (300.0, 1e9)},
            )


def nstdb(directory: Path, slow: bool) -> None:
    for path in archives(directory, "nstdb*"):
        data = archive(path)
        rate_hz = float(data["fs"]) if "fs" in data.files else 360.0
        for name in [each.removesuffix("_ann") for each in data.files if each.endswith("_ann")]:
            record = (data[name].astype(float), rate_hz, data[f"{name}_ann"])
            compare(f"nstdb {name}", [record], ecg_detectors(slow), {"": (-1.0, 1e9)})


def labelled(data) -> list[tuple[np.ndarray, float, np.ndarray]] | None:
    """Records with their R peaks in any of the layouts above, or None."""
    names = set(data.files)
    signals = next((data[each] for each in ("x", "d", "dII", "signals") if each in names), None)
    if signals is None or signals.ndim != 2:
        return None
    values = signals.astype(float) if "x" in names or "signals" in names else np.cumsum(signals.astype(float), axis=1)
    peaks = [data[f"r{k}"] for k in range(len(values)) if f"r{k}" in names]
    if len(peaks) != len(values):
        table = next((data[each] for each in ("r", "rpeaks", "ann") if each in names), None)
        if table is None or len(table) != len(values):
            return None
        peaks = [np.asarray(row)[np.asarray(row) >= 0] for row in table]
    rate_hz = float(data["fs"]) if "fs" in names else 500.0
    return [(one, rate_hz, np.asarray(own).ravel()) for one, own in zip(values, peaks, strict=True)]


def cpsc2019(directory: Path, slow: bool) -> None:
    done = 0
    for path in sorted([*directory.glob("*.npz.xz"), *directory.glob("*.npz")]):
        if path.name.startswith(("nstdb", "bidmc", "welltory")):
            continue
        records = labelled(archive(path))
        if records is not None:
            done += 1
            compare(f"{path.name}, {len(records)} records", records, ecg_detectors(slow), {"": (0.5, -0.5)})
    if not done:
        raise FileNotFoundError(f"{directory} holds no .npz with records and R peaks")


def lagged(found_s: np.ndarray, beats_s: np.ndarray, lags_s: np.ndarray) -> tuple[np.ndarray, float]:
    """Beats moved to where most of what was found matches."""

    def hits(lag_s: float) -> tuple[int, float]:
        near = np.searchsorted(beats_s, found_s - lag_s).clip(1, len(beats_s) - 1)
        away = np.minimum(np.abs(beats_s[near] - found_s + lag_s), np.abs(beats_s[near - 1] - found_s + lag_s))
        return int((away <= REACH_S).sum()), -float(np.minimum(away, REACH_S).mean())

    best = float(max(lags_s, key=hits)) if len(found_s) and len(beats_s) > 1 else 0.0
    return beats_s + best, best


def against_beats(title: str, channels, lags_s: np.ndarray) -> None:
    """Pulses of (values, rate, beats in s) against beats that come earlier by an unknown time."""
    print(title)
    for name, detect in ppg_detectors().items():
        tally, counts = Tally(), []
        for values, rate_hz, beats_s in channels:
            found = run(tally, detect, values, rate_hz)
            moved_s, _ = lagged(found / rate_hz, beats_s, lags_s)
            moved_s = moved_s[(moved_s >= 0) & (moved_s < len(values) / rate_hz)]
            hits = matched(found, moved_s * rate_hz, REACH_S * rate_hz)
            middle = np.median(hits) if len(hits) else 0.0
            tally.add(found - middle, moved_s * rate_hz, rate_hz)
            counts.append(abs(len(found) / max(len(moved_s), 1) - 1))
        print(f"{tally.line(name)}, count off by {100 * np.mean(counts):.1f} %")


def bidmc(directory: Path, slow: bool) -> None:
    channels = []
    for path in archives(directory, "bidmc*"):
        data = archive(path)
        names, rate_hz = [str(each) for each in data["names"]], float(data["fs"])
        wave, lead = (
            data["x"][:, next(names.index(each) for each in wanted if each in names)].astype(float)
            for wanted in (("PLETH",), ("II", "V", "AVR"))
        )
        channels.append((wave, rate_hz, ecg_beats(lead, rate_hz) / rate_hz))
    against_beats(f"bidmc, PLETH of {len(channels)} against the ECG's beats", channels, np.arange(0, 1, 0.01))


def welltory(directory: Path, slow: bool) -> None:
    channels = []
    for path in archives(directory, "welltory*"):
        data = archive(path)
        for number in [each[1:] for each in data.files if each.startswith("t") and f"rr{each[1:]}" in data.files]:
            at_s, red = data[f"t{number}"] / 1000, data[f"rgb{number}"][:, 0].astype(float)
            even = np.interp(np.arange(at_s[0], at_s[-1], 1 / 30), at_s, red)
            channels.append((even, 30.0, np.cumsum(data[f"rr{number}"].astype(float)) / 1000))
    against_beats(f"welltory, {len(channels)} phones against a strap", channels, np.arange(-3, 3, 0.02))


MEASURES = {each.__name__: each for each in (mitdb, nstdb, cpsc2019, bidmc, welltory)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the recordings")
    parser.add_argument("--only", nargs="+", choices=list(MEASURES), default=list(MEASURES), help="some of them")
    parser.add_argument("--slow", action="store_true", help="wfdb's detectors too, which take ten times as long")
    options = parser.parse_args()
    for absent in [each for each in PEERS if not find_spec(each)]:
        print(f"{absent}: left out, not installed")
    for name in options.only:
        try:
            MEASURES[name](options.data, options.slow)
        except (FileNotFoundError, ImportError) as missing:
            print(f"{name}: left out, {missing}")


if __name__ == "__main__":
    main()
