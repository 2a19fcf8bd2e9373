"""What BrainFlow knows of its boards: which row of a board's data holds what, by its own descriptors.

Source: BrainFlow's documentation, "Supported Boards" and "Data Format Description", and
BoardShim.get_board_descr(). ExG is in microvolts and acceleration in g there; BrainFlow names no other unit.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from drivers.errors import MissingExtra, SettingError

BORROWERS = (-2, -3)
"""STREAMING_BOARD and PLAYBACK_FILE_BOARD have the rows of another board, the parameter ``master_board``."""
_COUNTERS = {-1: 256, 0: 256}
"""Board -> steps of its package counter, where it grows by one with each row: the synthetic board and the Cyton."""
_EXG = ("eeg", "ecg", "emg", "eog")
_OTHERS = {
    "ppg": ("ppg", "counts"), "eda": ("eda", "uS"), "temperature": ("temperature", "degC"),
    "accel": ("acceleration", "g"), "gyro": ("raw", "deg/s"), "magnetometer": ("raw", "1"), "rotation": ("raw", "1"),
}  # fmt: skip
"""Stream, named as the descriptor's row list ``<name>_channels`` -> kind and unit."""


@functools.cache
def library() -> Any:
    """BrainFlow's module ``board_shim``; MissingExtra without it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how it finds its shared library is deprecated
            from brainflow import board_shim

            board_shim.BoardShim.get_version()  # loads the library, which is what needs pkg_resources
    except ImportError as error:
        raise MissingExtra("brainflow", error) from error
    return board_shim


@functools.cache
def descriptor(board_id: int, preset: int) -> Mapping[str, Any]:
    """Rows and rate of a board; SettingError for a board or preset that BrainFlow does not have."""
    brainflow = library()
    try:
        found: Mapping[str, Any] = brainflow.BoardShim.get_board_descr(board_id, preset)
    except brainflow.BrainFlowError as error:
        known = ", ".join(f"{board.value} {board.name}" for board in brainflow.BoardIds)
        raise SettingError(
            f"BrainFlow has no board {board_id} with preset {preset} ({error}); it has {known}"
        ) from error
    return found


def counter_modulus(board_id: int) -> int:
    """Steps of the board's package counter, 0 where it does not simply grow with each row."""
    return _COUNTERS.get(board_id, 0)


def streams(found: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Stream -> rows. Rows that may be any biopotential are one stream ``exg``; the rest as BrainFlow names them."""
    claims: dict[int, list[str]] = {}
    for name in _EXG:
        for row in found.get(f"{name}_channels", ()):
            claims.setdefault(row, []).append(name)
    sorted_rows: dict[str, list[int]] = {}
    for row in sorted(claims):
        name = claims[row][0] if len(claims[row]) == 1 else "exg"
        sorted_rows.setdefault(name, []).append(row)
    for name in _OTHERS:
        rows = [row for row in dict.fromkeys(found.get(f"{name}_channels", ())) if row not in claims]
        if rows:
            sorted_rows[name] = rows
    return {name: tuple(rows) for name, rows in sorted_rows.items()}


def meaning(name: str, rows: Sequence[int], found: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and unit of a stream: by its name if that is a row list's, else by where its rows stand."""
    for other, (kind, unit) in _OTHERS.items():
        if name == other or set(rows) <= set(found.get(f"{other}_channels", ())):
            return kind, unit
    if any(set(rows) <= set(found.get(f"{exg}_channels", ())) for exg in _EXG):
        return (name if name in ("eeg", "ecg") else "exg"), "uV"
    return "raw", "1"


def labels(rows: Sequence[int], found: Mapping[str, Any]) -> tuple[str, ...]:
    """Electrode names where BrainFlow has them, else ``row`` and its number."""
    electrodes = dict(zip(found.get("eeg_channels", ()), found.get("eeg_names", "").split(","), strict=False))
    return tuple(electrodes.get(row) or f"row{row}" for row in rows)
