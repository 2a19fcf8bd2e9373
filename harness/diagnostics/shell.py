"""``hil shell``: connected sensors and a recording at a Python prompt."""

from __future__ import annotations

import argparse
import code
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console

from drivers.clock import RealClock
from drivers.driver import Driver
from drivers.quality import score
from harness.bench import open_bench
from harness.commands import UsageError, choose_mode
from harness.judge import judge
from harness.recording import Recording
from harness.recording_files import load_recording
from harness.rig import Rig
from harness.rig_file import read_rig

_HELP = {
    "rig": "the rig, as its file says",
    "sensors": "role -> connected sensor; sensors['chest'].read_data(timeout=5.0) is what came since the last call",
    "clock": "the sensors' clock: clock.now_ns(), clock.sleep_until(ns)",
    "recording": "a recorded run: recording.streams['chest/ecg'].values, .time_ns",
    "judge": "judge(recording) -> verdicts",
    "score": "score(values, times_ns, spec) -> quality in 0..1",
    "np": "numpy",
}


def shell(given: argparse.Namespace, err: Console) -> int:
    """hil shell"""
    rig = read_rig(given.rig) if given.rig is not None else None
    if rig is None and (given.virtual or given.simulate or given.bench):
        raise UsageError("--virtual, --simulate and --bench: they say where a rig's sensors are, so name a rig too")
    if given.code is None and not sys.stdin.isatty():
        raise UsageError("hil shell: expected a terminal on standard input, found none; -c CODE runs code without one")
    recording = load_recording(given.recording) if given.recording is not None else None
    with _sensors(rig, given) as (sensors, clock):
        names = _names(rig or (recording.rig if recording else None), sensors, clock, recording)
        if given.code is not None:
            return _run(given.code, names)
        _prompt(names, _banner(names), given.plain)
    return 0


@contextmanager
def _sensors(rig: Rig | None, given: argparse.Namespace) -> Iterator[tuple[dict[str, Driver], Any]]:
    """Connected, by role, with their clock; closed at the end, in order, however it ends."""
    if rig is None:
        yield {}, RealClock()
        return
    with open_bench(rig, choose_mode(rig, given)) as bench:
        made = {
            role: Driver(one.host, one.link, name=one.name, key=role, mains_hz=rig.mains_hz)
            for role, one in bench.drivers.items()
        }
        try:
            for driver in made.values():
                driver.open()
            yield made, bench.clock
        finally:
            for driver in made.values():
                driver.close()


def _names(rig: Rig | None, sensors: Mapping[str, Driver], clock: Any, recording: Recording | None) -> dict[str, Any]:
    return {
        "rig": rig, "sensors": sensors, "clock": clock, "recording": recording, "judge": judge, "score": score,
        "np": np,
    }  # fmt: skip


def _banner(names: Mapping[str, Any]) -> str:
    """Every name that holds something, with one line of help; the others in one line."""
    held = {name: text for name, text in _HELP.items() if names[name] is not None and names[name] != {}}
    width = max(map(len, held))
    lines = ["hil shell", *(f"  {name:<{width}}  {text}" for name, text in held.items())]
    if names["sensors"]:
        lines.append(f"connected: {', '.join(names['sensors'])}")
    missing = [name for name in _HELP if name not in held]
    lines += [f"not given: {', '.join(missing)} (hil shell RIG --recording RUN)"] if missing else []
    return "\n".join(lines)


def _run(text: str, names: dict[str, Any]) -> int:
    """0, or what the code exits with; an exception ends with its traceback and 1, as in python -c."""
    try:
        exec(compile(text, "<-c>", "exec"), {"__name__": "__main__", **names})  # noqa: S102  what the user typed
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # noqa: BLE001  whatever the user's code raises is the user's to see
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def _prompt(names: dict[str, Any], banner: str, plain: bool) -> None:
    """IPython where it is installed, else Python's own."""
    if not plain:
        try:
            from IPython.terminal.embed import InteractiveShellEmbed
        except ImportError:
            banner += "\n(pip install 'spiral-hil[shell]' for IPython, with completion and history)"
        else:
            sys.stdout.write(f"{banner}\n")
            InteractiveShellEmbed(user_ns=names, banner1="")()  # type: ignore[no-untyped-call]
            return
    code.interact(banner, local=names, exitmsg="")
