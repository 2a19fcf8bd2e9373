"""Processors, clocks and memory: what decides how late this machine wakes up, and how it tells the time."""

from __future__ import annotations

import re

from harness.doctor.machine import Fact, Machine, State
from harness.doctor.ports import contained

_SLOW_CLOCKS = ("hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies")
"""Reading one takes a microsecond and more, or it moves in milliseconds."""
_CLOCK = "sys/devices/system/clocksource/clocksource0"
_MANAGED = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
"""Drivers under which the governor called powersave raises the clock on demand, as others' schedutil does."""
_LEAST_MB = 500
_SWAPPED = 0.1


def facts(machine: Machine) -> list[Fact]:
    """Clock source, time of day, cores, load, governor, machine, memory, swap."""
    return [
        _clock_source(machine), _time_of_day(machine), _cores(machine), _load(machine), *_governor(machine),
        _where(machine), *_memory(machine),
    ]  # fmt: skip


def _clock_source(machine: Machine) -> Fact:
    now, there = machine.text(f"{_CLOCK}/current_clocksource"), machine.text(f"{_CLOCK}/available_clocksource").split()
    if not now:
        return Fact("clock source", "cannot be told here", State.ABSENT)
    better = next((name for name in ("tsc", "kvm-clock", "arch_sys_counter") if name in there), "")
    if now in _SLOW_CLOCKS:
        why = "sudo dmesg | grep -iE 'tsc|clocksource'  # why it is"
        fix = f"echo {better} | sudo tee /{_CLOCK}/current_clocksource" if better else why
        return Fact("clock source", f"{now}, which is slow or coarse to read", State.ATTENTION, fix)
    return Fact("clock source", now)


def _time_of_day(machine: Machine) -> Fact:
    """Stamps are monotonic and need no NTP; dates of runs, and comparisons with other machines, do."""
    told = (machine.run(["timedatectl", "show", "-p", "NTPSynchronized", "--value"]) or "").strip()
    if told == "yes" or machine.exists("run/systemd/timesync/synchronized"):
        return Fact("time of day", "synchronised")
    chrony = machine.run(["chronyc", "-n", "tracking"]) or ""
    if re.search(r"Leap status\s*:\s*Normal", chrony):
        return Fact("time of day", "synchronised by chrony")
    if told == "no" or chrony:
        fix = "sudo timedatectl set-ntp true"
        return Fact("time of day", "not synchronised: dates of runs may be wrong", State.ATTENTION, fix)
    found = "nobody here says whether it is synchronised"
    return Fact("time of day", found, State.ABSENT, "timedatectl timesync-status")


def quota(machine: Machine) -> float | None:
    """Cores' worth of time that the control group grants; None where it does not limit."""
    told = machine.text("sys/fs/cgroup/cpu.max").split()
    if len(told) == 2 and told[0].isdigit():
        return int(told[0]) / int(told[1])
    granted, period = (machine.number(f"sys/fs/cgroup/cpu/cpu.cfs_{key}_us") for key in ("quota", "period"))
    return granted / period if granted and period and granted > 0 else None


def usable_cores(machine: Machine) -> float:
    """Cores that this process can keep busy."""
    limit = quota(machine)
    return machine.cores if limit is None else min(machine.cores, limit)


def _cores(machine: Machine) -> Fact:
    limit, usable = quota(machine), usable_cores(machine)
    found = f"{machine.cores} usable" + (f", of which the control group grants {limit:g}" if limit else "")
    if usable < 2:
        fix = "docker run --cpus 2 ..." if contained(machine) or limit else "nproc  # two or more are needed"
        return Fact("cores", f"{found}: reader and model take turns", State.ATTENTION, fix)
    return Fact("cores", found)


def _load(machine: Machine) -> Fact:
    told = machine.text("proc/loadavg").split()
    if not told:
        return Fact("load", "cannot be told here", State.ABSENT)
    load, cores = float(told[0]), usable_cores(machine)
    found = f"{load:g} over the last minute, on {cores:g} cores"
    if load > cores:
        fix = "top -o %CPU  # and end what is not needed"
        return Fact("load", f"{found}: others compute too", State.ATTENTION, fix)
    return Fact("load", found)


def _governor(machine: Machine) -> list[Fact]:
    """The slowest governor of all cores; nothing on machines that have none."""
    cores = machine.names("sys/devices/system/cpu", "cpu[0-9]*")
    told = {machine.text(f"sys/devices/system/cpu/{core}/cpufreq/scaling_governor") for core in cores} - {""}
    if not told:
        return []
    driver = machine.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_driver")
    slow = sorted(told & {"powersave", "conservative"})
    found = f"{', '.join(sorted(told))} ({driver or 'no driver told'})"
    if slow and not (driver in _MANAGED and slow == ["powersave"]):
        fix = "sudo cpupower frequency-set -g performance"
        return [Fact("CPU governor", f"{found}: cores stay slow while a window is due", State.ATTENTION, fix)]
    return [Fact("CPU governor", found)]


def _where(machine: Machine) -> Fact:
    container = contained(machine)
    vendor = " ".join(machine.text(f"sys/class/dmi/id/{key}") for key in ("sys_vendor", "product_name")).strip()
    flags = re.search(r"^flags\s*:.*\bhypervisor\b", machine.text("proc/cpuinfo"), re.MULTILINE)
    virtual = f"a virtual machine{f' ({vendor})' if vendor else ''}" if flags else vendor or "hardware"
    return Fact("machine", f"{f'a {container} container on ' if container else ''}{virtual}")


def _memory(machine: Machine) -> list[Fact]:
    told = dict(re.findall(r"^(\w+):\s+(\d+) kB", machine.text("proc/meminfo"), re.MULTILINE))
    if "MemAvailable" not in told:
        return [Fact("memory", "cannot be told here", State.ABSENT)]
    total, free = (int(told[key]) / 1024 for key in ("MemTotal", "MemAvailable"))
    limit = _limit_mb(machine)
    if limit is not None and limit[0] < total:
        total, free = limit[0], min(free, limit[0] - limit[1])
    found = f"{free / 1024:.1f} GiB of {total / 1024:.1f} free"
    fix = "ps -eo rss,pid,comm --sort -rss | head  # and end what is not needed"
    memory = Fact("memory", found) if free >= _LEAST_MB else Fact("memory", f"only {found}", State.ATTENTION, fix)
    swapped = (int(told.get("SwapTotal", 0)) - int(told.get("SwapFree", 0))) / 1024
    if swapped > _SWAPPED * total:
        text = f"{swapped / 1024:.1f} GiB are swapped out: what is needed again comes late"
        return [memory, Fact("swap", text, State.ATTENTION, "sudo swapoff -a && sudo swapon -a  # once memory is free")]
    return [memory, Fact("swap", f"{swapped / 1024:.1f} GiB in use")]


def _limit_mb(machine: Machine) -> tuple[float, float] | None:
    """The control group's limit and use; None where it does not limit."""
    for folder, limit, used in (
        ("sys/fs/cgroup", "memory.max", "memory.current"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        most = machine.number(f"{folder}/{limit}")
        if most is not None:
            cached = re.search(r"^(?:total_)?inactive_file (\d+)$", machine.text(f"{folder}/memory.stat"), re.MULTILINE)
            taken = (machine.number(f"{folder}/{used}") or 0) - (int(cached[1]) if cached else 0)
            return most / 2**20, taken / 2**20
    return None
