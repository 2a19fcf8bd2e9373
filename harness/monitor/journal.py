"""What was noticed beside a run, in memory and in files that only grow; a full disk ends the files, not the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from drivers.rawlog import AppendFile, DiskError
from harness.monitor import happenings, resources
from harness.monitor.happenings import Happening, happening_line
from harness.monitor.resources import Resources, Row, resources_of, row_line

MOST_HAPPENINGS = 10_000
"""A consumer that is overdue all day would fill memory and disk."""


class Journal:
    """Written by one thread; read when it has ended. ``directory`` None: in memory only."""

    def __init__(self, directory: Path | None) -> None:
        self.rows: list[Row] = []
        self.happenings: list[Happening] = []
        self._directory = directory
        self._files: dict[str, AppendFile] = {}

    def used(self, at_ns: int, values: Mapping[str, float]) -> None:
        """A row of resources."""
        self.rows.append((at_ns, dict(values)))
        self._append(resources.FILE, row_line(self.rows[-1]))

    def happened(self, happening: Happening) -> None:
        """Something that kept the consumer; beyond MOST_HAPPENINGS they are dropped."""
        if len(self.happenings) < MOST_HAPPENINGS:
            self.happenings.append(happening)
            self._append(happenings.FILE, happening_line(happening))

    def resources(self) -> Resources:
        """All rows as columns."""
        return resources_of(self.rows)

    def close(self) -> None:
        """Release the files; what comes later is kept in memory."""
        self._directory = None
        for file in self._files.values():
            file.close()

    def _append(self, name: str, line: bytes) -> None:
        if self._directory is None:
            return
        try:
            if name not in self._files:
                self._files[name] = AppendFile(self._directory / name)
            self._files[name].write(line)
        except DiskError:  # the recorder meets the same disk, and says so in the run's verdict
            self.close()
