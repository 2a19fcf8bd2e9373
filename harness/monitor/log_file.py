"""A file of whole lines: rotated by size, one process each, and no reason to stop when the disk is full."""

from __future__ import annotations

import errno
import logging
import os
import sys
from importlib import import_module
from io import FileIO
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

fcntl: Any
try:
    fcntl = import_module("fcntl")
except ImportError:  # on Windows, where each process has to be given a name of its own
    fcntl = None


class LineFile(RotatingFileHandler):
    """Appends each record as one line with one write, so that kill -9 leaves whole lines.

    At ``rotate_bytes`` the file becomes ``NAME.1``, that one ``NAME.2`` and so on; ``keep`` of them stay. A file that
    another process writes to is left to it: then this one's name has the process id in it, see ``path``.
    OSError where the file cannot be opened. What goes wrong later is told on stderr once; then lines are counted in
    ``lost`` until the disk takes some again.
    """

    def __init__(self, path: str | Path, rotate_bytes: int = 10_000_000, keep: int = 5) -> None:
        wanted = Path(path)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        self.lost = 0
        self._told = False
        super().__init__(wanted, maxBytes=rotate_bytes, backupCount=keep, delay=True)
        self._file: FileIO | None = self._claim()

    @property
    def path(self) -> Path:
        """Where the lines go."""
        return Path(self.baseFilename)

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line; never raises."""
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001  a formatter that fails must not stop who logs
            self.handleError(record)
            return
        try:
            self._append(line)
        except (OSError, ValueError) as error:
            self.lost += 1
            self._tell(error)

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self._file = self._claim()
        size = os.fstat(self._file.fileno()).st_size
        if self.maxBytes and size and size + len(line) > self.maxBytes:
            self._file = self._rotated(self._file)
            size = os.fstat(self._file.fileno()).st_size
        written = self._file.write(line)
        if written != len(line):  # the disk took a part of it: take that back, so that what is there are whole lines
            self._file.truncate(size)
            raise OSError(28, "no space left on device")

    def _rotated(self, full: FileIO) -> FileIO:
        """A new file; the full one is let go of only then, so that no other process takes it meanwhile."""
        if fcntl is None:  # where an open file cannot be renamed
            full.close()
        self._file = None
        try:
            self.doRollover()
            return self._claim()
        finally:
            full.close()

    def _claim(self) -> FileIO:
        """The file of this name, or the first that no other process has with this one's id in its name."""
        wanted = self.path
        number = 0
        while True:
            tail = f".{os.getpid()}" + (f".{number}" if number > 1 else "") if number else ""
            path = wanted.with_name(f"{wanted.stem}{tail}{wanted.suffix}")
            file = _locked(path)
            if file is not None:
                self.baseFilename = os.path.abspath(path)  # noqa: PTH100  as logging itself does
                return file
            number += 1

    def _tell(self, error: Exception) -> None:
        if self._told:
            return
        self._told = True
        why = getattr(error, "strerror", None) or str(error)
        sys.stderr.write(f"log: {self.path} takes no more lines ({why}); everything else goes on without it\n")

    def close(self) -> None:
        """Close the file; what was logged is in it already."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
        super().close()


def _locked(path: Path) -> FileIO | None:
    """The file, to append to; None if another process has it, or this one by another handle."""
    while True:
        file = path.open("ab", buffering=0)
        if fcntl is None:
            return file
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                file.close()
                return None
            return file  # this kind of file cannot be locked
        if _is_at(file, path):
            return file
        file.close()  # its owner put it aside between open and lock


def _is_at(file: FileIO, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(file.fileno())
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
