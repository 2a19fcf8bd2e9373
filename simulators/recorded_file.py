"""Reads recordings of real signals: WFDB, EDF, BDF, CSV, NumPy."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from drivers.errors import SettingError
from drivers.types import FloatArray

Wanted: TypeAlias = Sequence[str | int] | None
"""Channels by name or number, or None for those that the stream itself names, or the only one."""


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """Channels of one rate from a file."""

    values: FloatArray
    """(n, channels), finite."""
    rate_hz: float | None
    """None where the file does not say."""
    units: tuple[str | None, ...]
    """None where the file does not say."""


def read_recorded(path: Path, wanted: Wanted, stream_channels: Sequence[str]) -> Recorded:
    """Channels of a file; SettingError if it is absent, unreadable or lacks a channel."""
    readers = {
        ".hea": _read_wfdb, ".dat": _read_wfdb, ".edf": _read_edf, ".bdf": _read_edf,
        ".csv": _read_csv, ".npy": _read_npy, ".npz": _read_npz,
    }  # fmt: skip
    if not path.suffix and path.with_suffix(".hea").is_file():
        path = path.with_suffix(".hea")  # WFDB records are named without an ending
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise SettingError(f"recording {path}: cannot read {path.suffix or 'a name without ending'!r}; there is "
                           f"{', '.join(readers)}")  # fmt: skip
    if not path.is_file():
        raise SettingError(f"recording {path}: no such file")
    recorded = reader(path, wanted, stream_channels)
    if len(recorded.values) < 4:
        raise SettingError(f"recording {path}: it has {len(recorded.values)} samples; at least 4 are wanted")
    return Recorded(_without_gaps(path, recorded.values), recorded.rate_hz, recorded.units)


def pick(path: Path, names: Sequence[str], wanted: Wanted, stream_channels: Sequence[str]) -> list[int]:
    """Numbers of the channels to play; SettingError lists those there are."""
    there = f"it has {', '.join(f'{n}: {name}' for n, name in enumerate(names))}"
    if wanted is None:
        lower = [name.lower() for name in names]
        if all(channel.lower() in lower for channel in stream_channels):
            return [lower.index(channel.lower()) for channel in stream_channels]
        if len(names) == 1:
            return [0]
        raise SettingError(f"recording {path}: say which channel is played with 'channel:'; {there}")
    picked = []
    for channel in wanted:
        if isinstance(channel, int) and 0 <= channel < len(names):
            picked.append(channel)
        elif isinstance(channel, str) and channel in names:
            picked.append(list(names).index(channel))
        else:
            raise SettingError(f"recording {path}: no channel {channel!r}; {there}")
    return picked


def _package(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as absent:
        raise SettingError(
            f"recording {path}: reading it needs the package {name!r}: pip install 'spiral-hil[recordings]'"
        ) from absent


def _unreadable(path: Path, error: Exception) -> SettingError:
    return SettingError(f"recording {path}: it cannot be read: {type(error).__name__}: {error}")


def _read_wfdb(path: Path, wanted: Wanted, stream_channels: Sequence[str]) -> Recorded:
    wfdb = _package("wfdb", path)
    try:
        record = wfdb.rdrecord(str(path.with_suffix("")))
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise _unreadable(path, error) from error
    columns = pick(path, record.sig_name, wanted, stream_channels)
    units = tuple(record.units[column] for column in columns)
    return Recorded(np.asarray(record.p_signal, dtype=np.float64)[:, columns], float(record.fs), units)


def _read_edf(path: Path, wanted: Wanted, stream_channels: Sequence[str]) -> Recorded:
    edfio = _package("edfio", path)
    try:
        file = (edfio.read_bdf if path.suffix.lower() == ".bdf" else edfio.read_edf)(path)
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise _unreadable(path, error) from error
    columns = pick(path, [signal.label for signal in file.signals], wanted, stream_channels)
    signals = [file.signals[column] for column in columns]
    rates = {float(signal.sampling_frequency) for signal in signals}
    if len(rates) != 1:
        raise SettingError(f"recording {path}: its channels have different rates, {sorted(rates)} Hz; play one")
    values = np.stack([np.asarray(signal.data, dtype=np.float64) for signal in signals], axis=1)
    return Recorded(values, rates.pop(), tuple(signal.physical_dimension or None for signal in signals))


def _read_csv(path: Path, wanted: Wanted, stream_channels: Sequence[str]) -> Recorded:
    """A header line of channel names, then one line per sample; a blank cell is a missing sample."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        head = file.readline()
        try:
            dialect: Any = csv.Sniffer().sniff(head, ",;\t")
        except csv.Error:
            dialect = csv.excel
        names = [name.strip() for name in next(csv.reader([head], dialect), [])]
        if not names or all(_is_number(name) for name in names):
            raise SettingError(f"recording {path}: its first line must be a header of channel names, not {head[:60]!r}")
        columns = pick(path, names, wanted, stream_channels)
        rows = [_csv_row(path, row, columns, n) for n, row in enumerate(csv.reader(file, dialect), 2) if row]
    return Recorded(np.array(rows, dtype=np.float64).reshape(-1, len(columns)), None, (None,) * len(columns))


def _csv_row(path: Path, row: list[str], columns: list[int], line: int) -> list[float]:
    try:
        return [float(row[column]) if row[column].strip() else np.nan for column in columns]
    except (ValueError, IndexError) as error:
        raise SettingError(f"recording {path}, line {line}: a number is wanted in each column, not {row}") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_npy(path: Path, wanted: Wanted, stream_channels: Sequence[str]) -> Recorded:
    values = _array(path, _load_numpy(path), path.name)
    columns = pick(path, [str(n) for n in range(values.shape[1])], wanted, stream_channels)
    return Recorded(values[:, columns], None, (None,) * len(columns))


def _read_npz(path: Path, wanted: Wanted, stream_channels: Sequence[str]) -> Recorded:
    """Each array (n,) is a channel under its own name; a single number ``rate_hz`` is the rate."""
    archive = _load_numpy(path)
    if "rate_hz" in archive and np.ndim(archive["rate_hz"]):
        raise SettingError(f"recording {path}: its rate_hz must be a single number")
    rate_hz = float(archive["rate_hz"]) if "rate_hz" in archive else None
    names = [name for name in archive if name != "rate_hz"]
    columns = pick(path, names, wanted, stream_channels)
    arrays = [_array(path, archive[names[column]], names[column])[:, 0] for column in columns]
    if len({len(array) for array in arrays}) != 1:
        raise SettingError(f"recording {path}: the channels have different lengths, {[len(a) for a in arrays]}")
    return Recorded(np.stack(arrays, axis=1), rate_hz, (None,) * len(columns))


def _load_numpy(path: Path) -> Any:
    try:
        loaded = np.load(path, allow_pickle=False)
        return {name: loaded[name] for name in loaded.files} if path.suffix.lower() == ".npz" else loaded
    except Exception as error:  # whatever a damaged file makes the reader raise
        raise _unreadable(path, error) from error


def _array(path: Path, values: Any, name: str) -> FloatArray:
    if values.ndim not in (1, 2) or not (np.issubdtype(values.dtype, np.number) and np.isrealobj(values)):
        raise SettingError(f"recording {path}: {name} is {values.dtype} of shape {values.shape}; numbers (n,) or "
                           "(n, channels) are wanted")  # fmt: skip
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def _without_gaps(path: Path, values: FloatArray) -> FloatArray:
    """Missing samples (not finite) become a straight line between their neighbours."""
    known = np.isfinite(values)
    if known.all():
        return values
    filled, number = values.copy(), np.arange(len(values), dtype=np.float64)
    for column, good in enumerate(known.T):
        if not good.any():
            raise SettingError(f"recording {path}: a channel has no sample at all")
        filled[~good, column] = np.interp(number[~good], number[good], values[good, column])
    return filled
