"""A machine as the doctor sees it: files below a root, the output of some commands, and what Python tells.

Every fact comes through here, so that a test can give a made-up machine. Nothing here writes or needs to be root.
"""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from importlib import metadata
from pathlib import Path

_PATIENCE_S = 2.0
"""No command is waited for longer."""
_CONNECT_S = 0.5
"""Within one machine a connection takes less than a thousandth of it."""
_OWN = "spiral-hil"


class State(StrEnum):
    """How it stands with one fact."""

    OK = "ok"
    ATTENTION = "attention"
    ABSENT = "absent"
    """It is not there, and nothing that was asked about needs it; or it cannot be told here."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is true of this machine."""

    name: str
    found: str
    """A clause for a person."""
    state: State = State.OK
    fix: str = ""
    """One line to paste where attention is needed; where something is absent, what would bring it."""


@dataclass(frozen=True)
class Torch:
    """What torch says of itself once it is imported."""

    threads: int
    cuda_build: str | None
    """CUDA version that it was built for; None for a CPU build."""
    cuda_works: bool
    device: str = ""


Runner = Callable[[Sequence[str]], str | None]


@dataclass(frozen=True)
class Machine:
    """A view of a machine; see ``this_machine``. Paths are given without the leading slash."""

    root: Path
    run: Runner = lambda command: None
    """Output of a command; None if it is not there, fails, or takes too long."""
    access: Callable[[Path], bool] = lambda path: True
    """This process may read and write the path."""
    installed: Callable[[str], str | None] = lambda package: None
    """Version of a Python package."""
    listens: Callable[[str, int], bool] = lambda host, port: False
    """Something takes TCP connections at this address of the machine itself."""
    torch: Callable[[], Torch | None] = lambda: None
    """Imports torch, which takes seconds; None where it cannot be."""
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str = "user"
    gids: frozenset[int] = frozenset()
    pid: int = 1
    cores: int = 1
    """That this process may use."""
    python: tuple[int, int, int] = (3, 11, 0)
    python_range: str = ""
    declared: tuple[str, ...] = ()
    """Requirements of this package, as its metadata states them."""
    include: str = "usr/include/python3"
    """Where this Python's headers would be."""

    def path(self, relative: str) -> Path:
        """Below the root."""
        return self.root / relative.lstrip("/")

    def text(self, relative: str) -> str:
        """A file's content without blanks at the ends; empty if it cannot be read."""
        try:
            return self.path(relative).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def number(self, relative: str) -> int | None:
        """A file's content as a whole number, if it is one."""
        text = self.text(relative)
        return int(text) if text.lstrip("-").isdigit() else None

    def exists(self, relative: str) -> bool:
        """There is such a path."""
        try:
            return self.path(relative).exists()
        except OSError:
            return False

    def names(self, folder: str, pattern: str = "*") -> list[str]:
        """What is in a folder, sorted; nothing if it cannot be read."""
        try:
            return sorted(found.name for found in self.path(folder).glob(pattern))
        except OSError:
            return []

    def which(self, program: str) -> bool:
        """It is on the path for programs."""
        folders = self.environment.get("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").split(":")
        return any(self.exists(f"{folder}/{program}") for folder in folders if folder.startswith("/"))

    def processes(self) -> Iterator[tuple[int, str]]:
        """Numbers and names of what runs."""
        for number in self.names("proc", "[0-9]*"):
            yield int(number), self.text(f"proc/{number}/comm")

    def running(self, name: str) -> bool:
        """A process of that name runs."""
        return any(found == name for _, found in self.processes())

    def holders(self, device: str) -> list[tuple[int, str]]:
        """Processes other than this one that have ``/dev/...`` open, as far as this user may see."""
        others = [number for number in self.names("proc", "[0-9]*") if int(number) != self.pid]
        return [(int(n), self.text(f"proc/{n}/comm")) for n in others if device in self._open_files(n)]

    def _open_files(self, process: str) -> Iterator[str]:
        for name in self.names(f"proc/{process}/fd"):
            try:
                yield str(self.path(f"proc/{process}/fd/{name}").readlink())
            except OSError:  # it was closed meanwhile
                continue

    def group(self, gid: int) -> tuple[str, list[str]]:
        """A group's name and members, by etc/group."""
        for line in self.text("etc/group").splitlines():
            name, _, number, members = (line.split(":") + [""] * 4)[:4]
            if number == str(gid):
                return name, [member for member in members.split(",") if member]
        return str(gid), []


def this_machine() -> Machine:
    """The one that this process runs on."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        about = metadata.metadata(_OWN)
        declared, python_range = tuple(metadata.requires(_OWN) or ()), about["Requires-Python"] or ""
    except metadata.PackageNotFoundError:  # it runs from a checkout that is not installed
        declared, python_range = (), ""
    return Machine(
        root=Path("/"), run=_output, access=partial(os.access, mode=os.R_OK | os.W_OK), installed=_version,
        listens=_listens, torch=_torch, environment=dict(os.environ), user=_user(),
        gids=frozenset({*os.getgroups(), os.getegid()}) if hasattr(os, "getgroups") else frozenset(),
        pid=os.getpid(), cores=usable, python=sys.version_info[:3], python_range=python_range, declared=declared,
        include=_include(),
    )  # fmt: skip


def _output(command: Sequence[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def _listens(host: str, port: int) -> bool:
    import socket

    try:
        with socket.create_connection((host, port), timeout=_CONNECT_S):
            return True
    except OSError:
        return False


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _torch() -> Torch | None:
    try:
        import torch
    except Exception:  # noqa: BLE001  a library that does not fit raises what it likes while it is loaded
        return None
    works = torch.cuda.is_available()
    return Torch(torch.get_num_threads(), torch.version.cuda, works, torch.cuda.get_device_name(0) if works else "")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "$USER"


def _include() -> str:
    import sysconfig

    return sysconfig.get_paths()["include"]
