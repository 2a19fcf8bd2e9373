"""Recordings for quality_ecg.py: labelled single leads, and long recordings with or without calibrated noise."""

from __future__ import annotations

import io
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LABELS = Path(__file__).with_name("quality_ecg_labels.txt")
_VERDICTS = {"good": 1.0, "rather-good": 0.75, "either": 0.5, "rather-bad": 0.25, "bad": 0.0}


@dataclass(frozen=True)
class Leads:
    """Labelled leads, one window each."""

    name: str
    values: np.ndarray
    """(leads, n)"""
    rate_hz: float
    unit: str
    labels: dict[str, np.ndarray]
    """What the label is of -> (leads,), 1 bad, 0 good, NaN neither."""
    record: np.ndarray
    """(leads,) number of the record that each lead is of."""


@dataclass(frozen=True)
class Recording:
    """One long lead. ``noise_db`` is the signal-to-noise ratio that its noise was calibrated to."""

    name: str
    values: np.ndarray
    rate_hz: float
    unit: str
    noise_db: int | None = None


def _archive(path: Path):
    return np.load(io.BytesIO(lzma.decompress(path.read_bytes())))


def labelled_leads(directory: Path) -> Iterator[Leads]:
    """Of every cinc2011*.npz.xz."""
    for path in sorted(directory.glob("cinc2011*.npz.xz")):
        data = _archive(path)
        yield _leads(path.name.removesuffix(".npz.xz"), {key: data[key] for key in data.files})


def _leads(name: str, data: dict[str, np.ndarray]) -> Leads:
    key = next((k for k in data if k in ("x", "ecg", "signals")), None)
    key = key or next((k for k in data if k.startswith("d") and data[k].ndim >= 2), None)
    if key is None:
        raise ValueError(f"{name}: no signals under x, ecg, signals or d*; keys are {', '.join(data)}")
    values = np.asarray(data[key], dtype=np.float64)
    if values.ndim == 3 and values.shape[1] > values.shape[2]:
        values = values.transpose(0, 2, 1)
    if key.startswith("d"):
        values = np.cumsum(values, axis=-1)
    per = values.shape[1] if values.ndim == 3 else 1
    records, leads = len(values), values.reshape(len(values) * per, -1)
    record = np.repeat(np.arange(records), per)
    labels = {}
    for label in (k for k in data if k == "y" or k.startswith(("label", "bad"))):
        given = np.asarray(data[label])
        if given.shape[:1] == (records,) and given.size in (records, len(leads)):
            whole = per == 1 or given.size == len(leads)
            told = f"{label}{'' if whole else ', of the record'}"
            labels[told] = (given.ravel() if given.size == len(leads) else given.ravel()[record]).astype(float)
    if "rec" in data and per == 1 and LABELS.exists() and set(_by_eye()) & set(data["rec"].tolist()):
        seen = np.array([_by_eye().get(str(number), 1.0) for number in data["rec"]])
        labels["by eye, clear ones"] = np.where(seen == 0, 1.0, np.where(seen == 1, 0.0, np.nan))
        labels["by eye, all but 'either'"] = np.where(seen == 0.5, np.nan, seen < 0.5)
    if not labels:
        raise ValueError(f"{name}: no labels under y, label* or bad* for {records} records of {per} leads")
    scale = data.get("unit_uV_per_lsb")
    unit, factor = ("counts", 1.0) if scale is None else ("uV", float(scale))
    return Leads(name, leads * factor, float(data.get("fs", np.array(500))), unit, labels, record)


def _by_eye() -> dict[str, float]:
    rows = (line.split() for line in LABELS.read_text().splitlines() if line and not line.startswith("#"))
    return {record: _VERDICTS[verdict] for record, verdict in rows}


def noisy_recordings(directory: Path) -> Iterator[Recording]:
    """Of every nstdb*.npz.xz, 200 units a millivolt: 118e06 is record 118 with noise at 6 dB, 118e_6 at -6 dB."""
    for path in sorted(directory.glob("nstdb*.npz.xz")):
        data = _archive(path)
        for key in (k for k in data.files if f"{k}_ann" in data.files):
            level = re.search(r"e(_?)(\d+)$", key)
            noise_db = int(level[2]) * (-1 if level[1] else 1) if level else None
            yield Recording(key, data[key] / 200.0, float(data["fs"]), "mV", noise_db)


def long_recordings(directory: Path) -> Iterator[Recording]:
    """Every lead of mitdb/*.hea."""
    import wfdb

    for path in sorted((directory / "mitdb").glob("*.hea")):
        record = wfdb.rdrecord(str(path.with_suffix("")))
        for number, name in enumerate(record.sig_name):
            values = np.nan_to_num(record.p_signal[:, number])
            yield Recording(f"mitdb {path.stem} {name}", values, float(record.fs), "mV")
