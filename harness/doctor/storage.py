"""The disk that runs are written to: whether it takes them, how much room it has, how fast it is."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from drivers.clock import Clock
from harness.doctor.machine import Fact, State

_LEAST_GB = 1.0
"""A four-sensor rig records some 30 MB an hour; raw EEG of 16 channels some 200."""
_LEAST_MB_PER_S = 5.0
_SLOWEST_SYNC_MS = 500.0
_TRIED = 4 << 20


@dataclass(frozen=True)
class Disk:
    """What was measured in one folder."""

    folder: Path
    free_gb: float
    mb_per_s: float | None = None
    """Of 4 MiB that were written and synchronised; None where nothing could be written."""
    sync_ms: float = 0.0
    """How long it took until they were on the disk."""
    trouble: str = ""


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there already."""
    return next((one for one in (folder, *folder.parents) if one.is_dir()), Path.cwd())


def measure(folder: Path, clock: Clock, quick: bool = False) -> Disk:
    """Free room and, unless ``quick``, the speed of a file of 4 MiB that is gone again afterwards."""
    place = nearest(folder.absolute())
    free = shutil.disk_usage(place).free / 1e9
    if quick:
        trouble = "" if os.access(place, os.W_OK | os.X_OK) else "no permission to write there"
        return Disk(place, free, trouble=trouble)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            begun_ns = clock.now_ns()
            file.write(b"\x5a" * _TRIED)
            file.flush()
            written_ns = clock.now_ns()
            os.fsync(file.fileno())
            ended_ns = clock.now_ns()
    except OSError as trouble:
        return Disk(place, free, trouble=trouble.strerror or str(trouble))
    spent_s = max(ended_ns - begun_ns, 1) / 1e9
    return Disk(place, free, _TRIED / 1e6 / spent_s, (ended_ns - written_ns) / 1e6)


def facts(disk: Disk) -> list[Fact]:
    """Whether it can be written to, room, and speed where that was measured."""
    name = f"disk at {disk.folder}"
    if disk.trouble:
        fix = f"sudo chown $USER {shlex.quote(str(disk.folder))}  # or: hil run RIG --out FOLDER"
        return [Fact(name, f"cannot be written to: {disk.trouble}", State.ATTENTION, fix)]
    room = f"{disk.free_gb:.1f} GB free"
    if disk.free_gb < _LEAST_GB:
        return [Fact(name, f"only {room}", State.ATTENTION, f"du -xh --max-depth=2 {disk.folder} | sort -h | tail")]
    if disk.mb_per_s is None:
        return [Fact(name, room)]
    speed = f"{room}, writes {disk.mb_per_s:.0f} MB/s, {disk.sync_ms:.0f} ms to be safe on it"
    if disk.mb_per_s < _LEAST_MB_PER_S or disk.sync_ms > _SLOWEST_SYNC_MS:
        fix = "hil run RIG --out FOLDER  # on a faster disk, such as a local SSD or /dev/shm"
        return [Fact(name, f"{speed}: slow", State.ATTENTION, fix)]
    return [Fact(name, speed)]
