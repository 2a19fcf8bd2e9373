"""Serial ports: which there are, whether this user may open them, who else has them open, what adapters hold back."""

from __future__ import annotations

from harness.doctor.machine import Fact, Machine, State

_USB = ("ttyUSB", "ttyACM", "rfcomm")
"""Ports that somebody plugged in or paired; those on the board are on nearly every PC and mostly lead nowhere."""
_BOARD = ("ttyS", "ttyAMA", "ttyTHS", "ttymxc")
_NO_UART = 0
"""In sysfs, the type of a port whose chip is not there."""
LATENCY_MS = 1


def facts(machine: Machine) -> list[Fact]:
    """Ports that are there, one fact each, and the latency timers of FTDI adapters."""
    names = machine.names("sys/class/tty")
    plugged = [name for name in names if name.startswith(_USB)]
    board = [name for name in names if name.startswith(_BOARD) and _is_real(machine, name)]
    found = []
    if not plugged:
        rest = f"; on the board {', '.join(board)}" if board else ""
        found.append(Fact("serial ports", f"no USB or Bluetooth serial port{rest}", State.ABSENT, _bring(machine)))
    found += [port_fact(machine, f"/dev/{name}") for name in plugged]
    found += [_latency(machine, name) for name in machine.names("sys/bus/usb-serial/devices")]
    if plugged and machine.running("ModemManager"):
        found.append(
            Fact(
                "ModemManager", "it runs, and talks to every serial port that is plugged in, as to a modem",
                State.ATTENTION, "sudo systemctl disable --now ModemManager",
            )
        )  # fmt: skip
    return [fact for fact in found if fact.name]


def _is_real(machine: Machine, name: str) -> bool:
    kind = machine.number(f"sys/class/tty/{name}/type")
    return kind != _NO_UART if kind is not None else machine.exists(f"sys/class/tty/{name}/device")


def _bring(machine: Machine) -> str:
    if contained(machine):
        return "docker run --device /dev/ttyUSB0 ...  # a container sees the ports that it is given"
    return "hil discover  # after one was plugged in"


def contained(machine: Machine) -> str:
    """What kind of container this is, as far as it shows; empty for none."""
    if machine.exists(".dockerenv"):
        return "docker"
    if machine.exists("run/.containerenv"):
        return "podman"
    kinds = ("kubepods", "docker", "lxc", "containerd")
    return next((kind for kind in kinds if kind in machine.text("proc/1/cgroup")), "")


def port_fact(machine: Machine, device: str) -> Fact:
    """Whether ``/dev/...`` is there, may be opened by this user, and is free."""
    name = f"port {device}"
    if not machine.exists(device):
        if machine.exists(f"sys/class/tty/{device.removeprefix('/dev/')}"):
            fix = f"docker run --device {device} ...  # or udevadm trigger, outside a container"
            return Fact(name, "the kernel has it, and there is no such file here", State.ATTENTION, fix)
        return Fact(name, "there is no such port", State.ATTENTION, "hil discover  # which ports are there")
    if not machine.access(machine.path(device)):
        return _forbidden(machine, device)
    holders = machine.holders(_real(machine, device))
    if holders:
        who = " and ".join(f"process {number} ({comm})" for number, comm in holders)
        numbers = " ".join(str(number) for number, _ in holders)
        return Fact(name, f"busy: {who} has it open", State.ATTENTION, f"kill {numbers}  # or close that program")
    return Fact(name, "may be opened, and nobody has it open")


def _real(machine: Machine, device: str) -> str:
    """What a link such as /dev/serial/by-id/... leads to, as /proc shows it."""
    path = machine.path(device)
    resolved = path.resolve()
    root = machine.root.resolve()
    return "/" + str(resolved.relative_to(root)) if resolved.is_relative_to(root) else str(resolved)


def _forbidden(machine: Machine, device: str) -> Fact:
    gid = machine.path(device).stat().st_gid
    group, members = machine.group(gid)
    found = f"no permission: it belongs to group {group}"
    if group in ("root", "0") or gid in machine.gids:  # joining it would help nobody, or not this user
        rule = 'SUBSYSTEM=="tty", KERNEL=="ttyUSB*|ttyACM*", GROUP="dialout", MODE="0660"'
        fix = f"echo '{rule}' | sudo tee /etc/udev/rules.d/50-serial.rules && sudo udevadm trigger"
        return Fact(f"port {device}", found, State.ATTENTION, fix)
    if machine.user in members:
        fix = f"newgrp {group}  # or log in again: {machine.user} is a member since after this login"
        return Fact(f"port {device}", found, State.ATTENTION, fix)
    fix = f"sudo usermod -aG {group} {machine.user}  # then log in again"
    return Fact(f"port {device}", found, State.ATTENTION, fix)


def _latency(machine: Machine, name: str) -> Fact:
    path = f"sys/bus/usb-serial/devices/{name}/latency_timer"
    timer = machine.number(path)
    if timer is None:  # only FTDI's chips have one
        return Fact("", "")
    if timer <= LATENCY_MS:
        return Fact(f"latency timer of {name}", f"{timer} ms")
    found = f"{timer} ms: bytes wait so long in the adapter (hil asks for 1 ms while it reads; other programs may not)"
    return Fact(f"latency timer of {name}", found, State.ATTENTION, f"echo {LATENCY_MS} | sudo tee /{path}")
