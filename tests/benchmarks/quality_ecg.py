"""ECG quality and beats on real, expert-labelled recordings, and PPG quality against a chest strap.

    python tests/benchmarks/quality_ecg.py --data DIR

DIR holds cinc2011_leadII_dev499.npz.xz (PhysioNet/CinC Challenge 2011, set a, lead II; ODC-By 1.0),
nstdb118_24dB_6dB.npz.xz (MIT-BIH Noise Stress Test Database; ODC-By 1.0), mitdb/100 (MIT-BIH Arrhythmia
Database; ODC-By 1.0) and welltory_01_to_10.npz.xz (Welltory PPG dataset; CC0). What is absent is left out by name.
"""

from __future__ import annotations

import argparse
import io
import lzma
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from drivers.clock import RealClock
from drivers.quality import score_windows
from drivers.quality.beats import bandpass, ecg_beats, pulses
from drivers.types import StreamSpec

SECOND_NS = 1_000_000_000


def archive(path: Path):
    return np.load(io.BytesIO(lzma.decompress(path.read_bytes())))


def judged(values, rate_hz, kind, unit):
    """(ends in s, scores, CPU ms per window) at a hop of one second."""
    spec = StreamSpec(kind, kind, ("a",), unit, rate_hz)
    times_ns = np.rint(np.arange(len(values)) * SECOND_NS / rate_hz).astype(np.int64)
    ends_s = np.arange(10, int(len(values) / rate_hz) + 1)
    began = RealClock().cpu_ns()
    scored, _ = score_windows(np.asarray(values, dtype=float)[:, None], times_ns, spec, ends_s * SECOND_NS)
    return ends_s, scored, 1e-6 * (RealClock().cpu_ns() - began) / len(ends_s)


def area_under_roc(score, bad):
    ranks = rankdata(score)
    good = ~bad
    return (ranks[good].sum() - good.sum() * (good.sum() + 1) / 2) / (good.sum() * bad.sum())


def cinc2011(directory: Path) -> None:
    data = archive(directory / "cinc2011_leadII_dev499.npz.xz")
    results = [judged(np.cumsum(lead.astype(float)), 500.0, "ecg", "uV") for lead in data["dII"]]
    got, bad = np.array([scored[0] for _, scored, _ in results]), data["y"] == 1
    print(
        f"CinC 2011, lead II against a label for 12 leads: n {len(got)}, AUC {area_under_roc(got, bad):.3f}, "
        f"Se {np.mean(got[bad] < 0.5):.3f}, Sp {np.mean(got[~bad] >= 0.5):.3f}, "
        f"{np.mean([ms for *_, ms in results]):.2f} ms per window alone"
    )


def nstdb(directory: Path) -> None:
    data = archive(directory / "nstdb118_24dB_6dB.npz.xz")
    for name in ("118e24", "118e06"):
        _, got, ms = judged(data[name] / 200, 360.0, "ecg", "mV")
        se, ppv = agreement(ecg_beats(data[name] / 200.0, 360.0), data[f"{name}_ann"], 360.0)
        print(
            f"NSTDB {name}: median score {np.median(got):.2f}, low {np.mean(got < 0.5):.0%}, {ms:.2f} ms per window; "
            f"beats Se {se:.2%} PPV {ppv:.2%}"
        )


def agreement(found, truth, rate_hz):
    """Sensitivity and positive predictive value at 150 ms."""
    reach = 0.15 * rate_hz
    gaps = [np.abs(a[:, None] - b[None, :]).min(axis=1) for a, b in ((truth, found), (found, truth))]
    return np.mean(gaps[0] <= reach), np.mean(gaps[1] <= reach)


def mitdb(directory: Path) -> None:
    import wfdb

    lead = wfdb.rdrecord(str(directory / "mitdb" / "100")).p_signal[:, 0]
    marks = wfdb.rdann(str(directory / "mitdb" / "100"), "atr")
    truth = marks.sample[np.isin(marks.symbol, list("NLRBAaJSVrFejnE/fQ?"))]
    began = RealClock().cpu_ns()
    found = ecg_beats(lead, 360.0)
    took_us = 1e-3 * (RealClock().cpu_ns() - began)
    se, ppv = agreement(found, truth, 360.0)
    _, got, ms = judged(lead, 360.0, "ecg", "mV")
    print(
        f"mitdb 100: {len(truth)} beats, Se {se:.2%}, PPV {ppv:.2%}, "
        f"{took_us * 360 / len(lead):.0f} us per second; "
        f"low {np.mean(got < 0.5):.1%} of windows, {ms:.2f} ms per window"
    )


def welltory(directory: Path) -> None:
    data, errors, got = archive(directory / "welltory_01_to_10.npz.xz"), [], []
    for number in range(1, 11):
        at_s, red = data[f"t{number:02d}"] / 1000, data[f"rgb{number:02d}"][:, 0].astype(float)
        wave = np.interp(np.arange(at_s[0], at_s[-1], 1 / 30), at_s, red)
        rr_s = data[f"rr{number:02d}"].astype(float) / 1000
        slope = np.gradient(bandpass(wave, 30.0, 0.5, 4.0))
        found = pulses(slope * np.sign(np.mean(slope**3)), 30.0) / 30
        strap = np.cumsum(rr_s)
        for end, scored in zip(*judged(wave, 30.0, "ppg", "counts")[:2], strict=True):
            near, beats = rr_s[(strap > end - 10) & (strap <= end)], found[(found > end - 10) & (found <= end)]
            if len(near) > 3 and len(beats) > 2:
                errors.append(abs(60 / np.median(np.diff(beats)) - 60 / np.median(near)))
                got.append(scored)
    error, good = np.array(errors), np.array(got) >= 0.5
    print(
        f"Welltory, pulse rate of a phone's camera against a chest strap: n {len(good)}, {good.mean():.0%} good; "
        f"mean error {error[good].mean():.2f} bpm where good, {error[~good].mean():.2f} where low"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the recordings")
    directory = parser.parse_args().data
    for measure in (mitdb, nstdb, cinc2011, welltory):
        try:
            measure(directory)
        except (FileNotFoundError, ImportError) as absent:
            print(f"{measure.__name__}: left out, {absent}")


if __name__ == "__main__":
    main()
