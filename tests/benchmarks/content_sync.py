"""Prints how well content tells synchronisation, and exits with 1 where a target is missed.

    python tests/benchmarks/content_sync.py [--trials 300] [--data DIR]

An ECG (250 Hz) and a PPG (100 Hz) of one simulated person, cut out at a random time and put apart by up to 1.5 s, are
aligned over 10 s. The truth is the offset plus what this person's pulse takes at that time, R peak to steepest rise,
without its scatter from beat to beat. Then drifts over ten minutes, simulated streams against their rendered truth,
and with --data the recording bidmc01, of a heart that hardly varies: a window is refused, or has the lag of the others
and one that a pulse can have.
"""

from __future__ import annotations

import argparse
import io
import lzma
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivers.clock import RealClock
from drivers.types import FloatArray, StreamSpec
from harness.content import (
    Alignment,
    Template,
    Trace,
    align_beats,
    align_pulses,
    align_template,
    over_windows,
    pulse_rises,
    r_peaks,
)
from harness.content.rendered import without_noise
from simulators.draws import Draws
from simulators.signals.registry import make_signal
from simulators.subject import Subject, make_profile

CLOCK = RealClock()
SPECS = {
    "ecg": StreamSpec("ecg", "ecg", ("ii",), "mV", 250.0),
    "ppg": StreamSpec("ppg", "ppg", ("ir",), "counts", 100.0),
    "respiration": StreamSpec("respiration", "respiration", ("chest",), "a.u.", 25.0),
    "acceleration": StreamSpec("acceleration", "acceleration", ("x", "y", "z"), "g", 50.0),
    "eda": StreamSpec("eda", "eda", ("eda",), "uS", 16.0),
    "eeg": StreamSpec("eeg", "eeg", ("Fp1", "O1"), "uV", 256.0),
    "affect": StreamSpec("affect", "affect", ("valence", "arousal"), "1", 10.0),
    "temperature": StreamSpec("temperature", "temperature", ("skin",), "C", 4.0),
}
NOISES = {"clean": ({}, {}), "noisy": ({"noise_uv": 150.0}, {"noise_percent": 3.5})}
"""ECG: 15 % of the R peak; PPG: seven times its usual 0.5 % of the pulse."""


@dataclass(frozen=True)
class Trial:
    error_ms: float
    covered: bool
    refused: bool
    rmssd_ms: float
    cpu_ms: float
    reason: str = ""


def rise_s() -> float:
    """From the foot that the simulator counts from to the steepest rise of its pulse, on a grid of 0.1 ms."""
    found, subject = [], Subject(3)
    signal = make_signal(without_noise({}, "ppg"), subject, SPECS["ppg"], Draws(0))
    for foot_s in subject.feet(5.0, 25.0).tolist():
        times_s = foot_s + np.arange(0.05, 0.2, 1e-4)
        found.append(times_s[np.argmax(np.gradient(signal.render(0, times_s)[:, 0]))] - foot_s)
    return float(np.mean(found))


def traces(
    seed: int, noise: str, seconds: float, offset_s: float, ppm: float = 0.0
) -> tuple[Trace, Trace, float, float]:
    """ECG, PPG whose stamps are offset and drift, the true lag at the middle in s, and the RMSSD in ms."""
    random = np.random.default_rng(seed)
    subject = Subject(seed, make_profile({"heart_rate_bpm": float(random.uniform(55, 85))}))
    begin_s = float(random.uniform(0, 60))
    both = []
    for kind, options in zip(("ecg", "ppg"), NOISES[noise], strict=True):
        spec = SPECS[kind]
        signal = make_signal({"signal": kind, **options}, subject, spec, Draws(seed, kind))
        times_s = begin_s + random.uniform(0, 0.01) + np.arange(0, seconds, 1 / spec.rate_hz)
        both.append((signal.render(0, times_s)[:, 0], times_s, spec.rate_hz))
    (ecg, ecg_s, ecg_hz), (ppg, ppg_s, ppg_hz) = both
    middle_s = begin_s + seconds / 2
    beats = subject.beat_events(begin_s, begin_s + seconds)
    travel_s = float(np.mean(subject.profile.pat_ms * (1 - 0.16 * np.maximum(subject.arousal(beats.r_s), 0)))) / 1e3
    stamps_s = ppg_s + offset_s + ppm * 1e-6 * (ppg_s - middle_s)
    rmssd_ms = 1e3 * float(np.sqrt(np.mean(np.diff(beats.rr_s[1:]) ** 2)))
    return Trace.of(ecg, ecg_s, ecg_hz), Trace.of(ppg, stamps_s, ppg_hz), offset_s + travel_s, rmssd_ms


def trial(seed: int, noise: str, rise: float, seconds: float = 10.0) -> Trial:
    offset_s = float(np.random.default_rng([seed, 1]).uniform(-1.5, 1.5))
    ecg, ppg, lag_s, rmssd_ms = traces(seed, noise, seconds, offset_s)
    began = CLOCK.cpu_ns()
    found = align_pulses(r_peaks(ecg), ppg)
    cpu_ms = (CLOCK.cpu_ns() - began) / 1e6
    true_ms = 1e3 * (lag_s + rise)
    covered = found.low_ms <= true_ms <= found.high_ms
    return Trial(found.lag_ms - true_ms, covered, found.refused is not None, rmssd_ms, cpu_ms, found.refused or "")


class Targets:
    """What was asked for, and whether it was met."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def row(self, name: str, value: float, asked: str, good: bool) -> None:
        print(f"{'ok    ' if good else 'MISSED'}  {name:<58} {value:9.3f}   {asked}")
        if not good:
            self.missed.append(name)


def pulses(targets: Targets, count: int, rise: float) -> None:
    for noise, most_ms in (("clean", 1.5), ("noisy", 4.0)):
        trials = [trial(seed, noise, rise) for seed in range(count)]
        kept = [t for t in trials if not t.refused]
        error = np.abs([t.error_ms for t in kept])
        varied = [t for t in trials if t.rmssd_ms >= 20]
        refused = 100 * np.mean([t.refused for t in varied])
        covered = 100 * np.mean([t.covered for t in kept])
        name = f"ECG and PPG, 10 s, {noise}, {count} trials"
        targets.row(
            f"{name}: median error", float(np.median(error)), f"ms, at most {most_ms:g}", np.median(error) <= most_ms
        )
        print(f"        {name}: p95 {np.percentile(error, 95):.2f} ms, largest {error.max():.2f} ms, "
              f"CPU {np.median([t.cpu_ms for t in trials]):.1f} ms an alignment")  # fmt: skip
        wrong = int((error > 150).sum())
        targets.row(f"{name}: wrong beat", wrong, "none", wrong == 0)
        most = 5.0 if noise == "clean" else 20.0
        targets.row(f"{name}: refused at RMSSD >= 20 ms", float(refused), f"%, below {most:g}", refused < most)
        slack = 0.0 if count >= 1000 else 300 / np.sqrt(count) * 0.1
        targets.row(f"{name}: interval covers", float(covered), "%, 93 to 97", 93 - slack <= covered <= 97 + slack)


def drifts(targets: Targets) -> None:
    for noise in NOISES:
        for ppm in (0.0, 50.0, 200.0, 1000.0):
            ecg, ppg, _, _ = traces(int(ppm) + 5, noise, 600.0, 0.4, ppm)
            beats_s = r_peaks(ecg)

            def align(start_s: float, stop_s: float, beats_s: FloatArray = beats_s, ppg: Trace = ppg) -> Alignment:
                inside = (beats_s >= start_s) & (beats_s < stop_s)
                return align_beats(beats_s[inside], pulse_rises(ppg.between(start_s - 3, stop_s + 3)))

            found = over_windows(align, float(ecg.times_s[0]), float(ecg.times_s[-1]))
            error = found.drift_ppm - ppm
            words = f"ppm, within 5 (interval {found.drift_low_ppm - ppm:+.1f} to {found.drift_high_ppm - ppm:+.1f})"
            targets.row(f"drift of {ppm:g} ppm over 600 s, {noise}: error", error, words, abs(error) <= 5)


def against_truth(kind: str, seed: int, lag_s: float, seconds: float = 10.0) -> Alignment:
    spec, subject = SPECS[kind], Subject(seed)
    noisy, clean = (
        make_signal(given, subject, spec, Draws(seed, kind)) for given in ({"signal": kind}, without_noise({}, kind))
    )
    random = np.random.default_rng([seed, 2])
    times_s = float(random.uniform(0, 60)) + np.arange(0, seconds, 1 / spec.rate_hz)
    template_s = np.arange(times_s[0] - 4, times_s[-1] + 4, 1e-3)
    template = Template(float(template_s[0]), 1000.0, clean.render(0, template_s))
    return align_template(noisy.render(0, times_s), times_s + lag_s, template)


def rendered(targets: Targets, count: int) -> None:
    print("matched filter against the rendered truth (refusals counted, no target but the PPG's)")
    for kind, seconds in (("ppg", 10.0), ("ecg", 10.0), ("eeg", 30.0), ("respiration", 30.0), ("acceleration", 30.0),
                          ("eda", 60.0), ("affect", 60.0), ("temperature", 60.0)):  # fmt: skip
        errors, covered, refused = [], 0, 0
        for seed in range(count):
            lag_s = float(np.random.default_rng([seed, 3]).uniform(-1.5, 1.5))
            found = against_truth(kind, seed, lag_s, seconds)
            if found.refused is not None:
                refused += 1
                continue
            errors.append(found.lag_ms - 1e3 * lag_s)
            covered += found.low_ms <= 1e3 * lag_s <= found.high_ms
        spread = float(np.std(errors)) if errors else np.nan
        share = 100 * covered / max(len(errors), 1)
        text = f"{kind} over {seconds:g} s: error's standard deviation"
        if kind == "ppg":
            targets.row(text, spread, "ms, at most 0.7", spread <= 0.7)
        print(f"        {text} {spread:.3f} ms, interval covers {share:.0f} %, refused {refused} of {count}")


def bidmc(targets: Targets, folder: Path) -> None:
    path = folder / "bidmc01.npz.xz"
    if not path.exists():
        print(f"        no {path}: the real recording is left out")
        return
    data = np.load(io.BytesIO(lzma.decompress(path.read_bytes())))
    names = [str(name).strip().lower() for name in data["names"]]
    ecg, ppg = (np.asarray(data["x"][:, names.index(name)], dtype=np.float64) for name in ("ii", "pleth"))
    ecg_all, ppg_all = (Trace.of(wave, np.arange(len(wave)) / 125.0, 125.0) for wave in (ecg, ppg))
    for seconds in (10.0, 30.0, 60.0):
        lags, refused = [], 0
        windows = np.arange(0, len(ecg) / 125.0 - seconds, seconds / 2)
        for start_s in windows.tolist():
            found = align_pulses(
                r_peaks(ecg_all.between(start_s, start_s + seconds)), ppg_all.between(start_s, start_s + seconds)
            )
            refused += found.refused is not None
            lags += [found.lag_ms] if found.refused is None else []
        off = [lag for lag in lags if abs(lag - np.median(lags)) > 150 or not 100 < lag < 900]
        wrong = len(off)
        print(f"        bidmc01, {seconds:g} s: {refused} of {len(windows)} refused, "
              f"median lag {np.median(lags) if lags else np.nan:.0f} ms")  # fmt: skip
        targets.row(f"bidmc01, {seconds:g} s windows: mismatched by whole beats", wrong, "none", wrong == 0)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="How well content tells synchronisation.")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--data", type=Path, default=None, help="folder that holds bidmc01.npz.xz")
    given = parser.parse_args(arguments)
    targets = Targets()
    pulses(targets, given.trials, rise_s())
    drifts(targets)
    rendered(targets, max(20, given.trials // 5))
    if given.data is not None:
        bidmc(targets, given.data)
    print(f"{len(targets.missed)} targets missed" + "".join(f"\n    {name}" for name in targets.missed))
    return 1 if targets.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
