"""Python, packages, torch and CUDA, threads, compiler: whether they fit what this package declares, and each other."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from harness.doctor.machine import Fact, Machine, State, Torch
from harness.doctor.processor import usable_cores

_DEVELOPERS = ("test", "lint")
"""Extras that no user needs."""
_WHEELS = ((11, 8), (12, 4), (12, 6), (12, 8), (12, 9), (13, 0))
"""CUDA versions that there are builds of torch 2.6 and later for."""
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(\[[^\]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?$")
_CLAUSE = re.compile(r"(>=|<=|==|!=|~=|>|<)\s*([0-9][0-9A-Za-z.]*)")


@dataclass(frozen=True)
class Requirement:
    """One line of a package's metadata: ``numpy>=1.26; extra == 'x'``."""

    package: str
    range: str
    extra: str | None

    def admits(self, version: str) -> bool:
        """The version lies in the range."""
        return all(_holds(version, sign, bound) for sign, bound in _CLAUSE.findall(self.range))


def requirement(line: str, python: tuple[int, ...], platform: str = sys.platform) -> Requirement | None:
    """What a line asks for; None if its markers say that it is not for this Python or system, or it cannot be read."""
    found = _REQUIREMENT.match(line)
    if found is None:
        return None
    extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", found[4] or "")
    system = re.search(r"sys_platform\s*==\s*['\"]([^'\"]+)['\"]", found[4] or "")
    version = re.search(r"python_version\s*([<>=!]+)\s*['\"]([^'\"]+)['\"]", found[4] or "")
    if system is not None and system[1] != platform:
        return None
    if version is not None and not _holds(".".join(map(str, python[:2])), version[1], version[2]):
        return None
    return Requirement(found[1], found[3], extra[1] if extra else None)


def _holds(version: str, sign: str, bound: str) -> bool:
    """By the numbers of a release alone: 2.13.0+cpu is 2.13.0, and 2.0rc1 is 2.0."""
    a, b = _release(version), _release(bound)
    size = max(len(a), len(b))
    ours, theirs = a + (0,) * (size - len(a)), b + (0,) * (size - len(b))
    return {
        ">=": ours >= theirs, "<=": ours <= theirs, ">": ours > theirs, "<": ours < theirs,
        "==": ours == theirs, "!=": ours != theirs, "~=": ours >= theirs and a[: len(b) - 1] == b[:-1],
    }[sign]  # fmt: skip


def _release(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def facts(machine: Machine, quick: bool = False) -> list[Fact]:
    """Python, packages, extras, threads, compiler; torch and CUDA unless ``quick``, as importing it takes seconds."""
    asked = [made for line in machine.declared if (made := requirement(line, machine.python)) is not None]
    found = [_python(machine), *_packages(machine, asked), *_extras(machine, asked), _compiler(machine)]
    return [*found, _threads(machine, None)] if quick else [*found, *_torch(machine)]


def _python(machine: Machine) -> Fact:
    version = ".".join(map(str, machine.python))
    if machine.python_range and not Requirement("python", machine.python_range, None).admits(version):
        wanted = re.sub(r"[^0-9.]", "", machine.python_range.split(",")[0])
        found = f"{version}, and {machine.python_range} is needed"
        return Fact("Python", found, State.ATTENTION, f"uv venv --python {wanted}  # or another way to that Python")
    return Fact("Python", version)


def _packages(machine: Machine, asked: list[Requirement]) -> list[Fact]:
    core = [one for one in asked if one.extra is None]
    if not core:
        found = "this package is not installed, so nobody says what it needs"
        return [Fact("packages", found, State.ATTENTION, "pip install -e .")]
    bad = [fact for one in core if (fact := _package(machine, one)) is not None]
    return bad or [Fact("packages", f"all {len(core)} that are needed are there, in the declared ranges")]


def _package(machine: Machine, one: Requirement) -> Fact | None:
    """What is wrong with it; None if nothing."""
    version = machine.installed(one.package)
    fix = f"pip install '{one.package}{one.range}'"
    if version is None:
        return Fact(f"package {one.package}", "missing", State.ATTENTION, fix)
    if not one.admits(version):
        return Fact(f"package {one.package}", f"{version}, and {one.range} is needed", State.ATTENTION, fix)
    return None


def _extras(machine: Machine, asked: list[Requirement]) -> list[Fact]:
    names = sorted({one.extra for one in asked if one.extra and one.extra not in _DEVELOPERS})
    return [extra_fact(machine, name) for name in names]


def extra_fact(machine: Machine, extra: str, needed: bool = False) -> Fact:
    """Whether an optional part can be used."""
    asked = [made for line in machine.declared if (made := requirement(line, machine.python)) is not None]
    wrong = [
        f"{one.package} {machine.installed(one.package) or 'missing'}"
        for one in asked
        if one.extra == extra and not _fits(machine, one)
    ]
    if not wrong:
        return Fact(f"extra {extra}", "installed")
    state = State.ATTENTION if needed else State.ABSENT
    return Fact(f"extra {extra}", f"not usable: {', '.join(wrong)}", state, f"pip install 'spiral-hil[{extra}]'")


def _fits(machine: Machine, one: Requirement) -> bool:
    version = machine.installed(one.package)
    return version is not None and one.admits(version)


def compiler(machine: Machine) -> str:
    """The C++ compiler that torch.compile would find; empty for none."""
    named = machine.environment.get("CXX", "").split()
    programs = [*named[:1], "g++", "clang++", "c++"]
    there = (p for p in programs if (machine.exists(p) if p.startswith("/") else machine.which(p)))
    return next(there, "")


def _compiler(machine: Machine) -> Fact:
    found, headers = compiler(machine), machine.exists(f"{machine.include}/Python.h")
    if found and headers:
        return Fact("C++ compiler", f"{found}: engine: compile can be used")
    missing = f"{found}, without Python's headers" if found else "none"
    fix = "sudo apt-get install python3-dev" if found else "sudo apt-get install g++"
    return Fact("C++ compiler", f"{missing}: engine: compile cannot be used", State.ABSENT, fix)


def _torch(machine: Machine) -> list[Fact]:
    version = machine.installed("torch")
    torch = machine.torch()
    if torch is None:
        found = f"{version} is installed and cannot be imported" if version else "missing"
        fix = "python -c 'import torch'  # says why" if version else "pip install torch"
        return [Fact("torch", found, State.ATTENTION, fix), _threads(machine, None)]
    return [Fact("torch", f"{version or 'of unknown version'}"), _cuda(machine, torch), _threads(machine, torch)]


def _cuda(machine: Machine, torch: Torch) -> Fact:
    """What torch was built for against what the driver can do, as nvidia-smi tells it."""
    told = machine.run(["nvidia-smi"]) or ""
    driver = re.search(r"CUDA Version:\s*(\d+)\.(\d+)", told)
    if torch.cuda_works:
        return Fact("CUDA", f"{torch.cuda_build} works on {torch.device}")
    if driver is None and not machine.names("proc/driver/nvidia/gpus"):
        return Fact("CUDA", "no NVIDIA GPU: models run on the CPU", State.ABSENT)
    if driver is None:
        found = "there is a GPU, and nvidia-smi does not answer: its driver is not loaded"
        return Fact("CUDA", found, State.ATTENTION, "sudo modprobe nvidia && nvidia-smi")
    can = f"{driver[1]}.{driver[2]}"
    fix = _wheel(int(driver[1]), int(driver[2]))
    if torch.cuda_build is None:
        return Fact("CUDA", f"the driver offers {can}, and this torch was built without", State.ATTENTION, fix)
    if _release(torch.cuda_build)[:1] > (int(driver[1]),):
        found = f"torch was built for {torch.cuda_build}, and the driver goes up to {can}"
        return Fact("CUDA", found, State.ATTENTION, f"{fix}  # or a newer driver")
    found = f"torch for {torch.cuda_build} finds no GPU, though the driver offers {can}"
    return Fact("CUDA", found, State.ATTENTION, "env | grep CUDA_VISIBLE_DEVICES; ls -l /dev/nvidia*")


def _wheel(major: int, minor: int) -> str:
    """How to get the newest torch that a driver of this CUDA version can run."""
    fitting = [f"cu{a}{b}" for a, b in _WHEELS if (a, b) <= (major, minor)]
    if not fitting:
        return "sudo ubuntu-drivers install  # the driver is older than any that torch is built for"
    return f"pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/{fitting[-1]}"


def _threads(machine: Machine, torch: Torch | None) -> Fact:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    set_to = {name: machine.environment[name] for name in names if machine.environment.get(name)}
    cores, rest = usable_cores(machine), ", ".join(f"{name}={value}" for name, value in set_to.items())
    uses = f"torch uses {torch.threads}; " if torch else ""
    found = f"{uses}{rest or 'OMP_NUM_THREADS is not set'}; a rig sets its own (model: threads)"
    most = max([int(v) for v in set_to.values() if v.isdigit()] + ([torch.threads] if torch else []), default=0)
    if most > max(1, cores):
        fix = f"export OMP_NUM_THREADS={max(1, int(cores))}"
        return Fact("threads", f"{found}: {most} on {cores:g} cores get in each other's way", State.ATTENTION, fix)
    return Fact("threads", found)
