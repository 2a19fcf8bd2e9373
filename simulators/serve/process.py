"""Simulated sensors in a process of their own, so that rendering and pacing take nothing from what is measured."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import drivers.errors
from drivers.errors import SensorError
from simulators.build import SimulatedSpec
from simulators.serve.pacer import HostAction
from simulators.serve.serving import ServedSpec
from simulators.truth import Truth

_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
_BUS = "DBUS_SYSTEM_BUS_ADDRESS"


class SimulatorError(SensorError):
    """The simulator process ended by itself; the message has what it wrote to stderr."""


@dataclass(frozen=True)
class Ended:
    """What a simulator process leaves."""

    truths: list[Truth]
    """What the faults did, over all sensors, by start."""
    reports: Mapping[str, Mapping[str, Any]]
    """Role -> lateness (with histogram), sent_bytes, dropped_bytes, unheard_bytes."""
    journals: Mapping[str, Sequence[HostAction]]
    """Role -> what clients did: with spec, subject and start it renders the same bytes again (pacer.replay)."""

    @property
    def lateness_us(self) -> dict[str, dict[str, float]]:
        """Role -> n, p50, p99, max of the sender's lateness in microseconds."""
        summaries = {role: report["lateness"] for role, report in self.reports.items()}
        return {
            role: {"n": late["n"], "p50": late["p50_us"], "p99": late["p99_us"], "max": late["max_us"]}
            for role, late in summaries.items()
        }


class SimulatorProcess:
    """Serves ``specs`` from a child process: from construction until stop(), or until this process ends.

    ``places`` maps a role to {"port"} or {"address", "bus"}; world second 0 is ``start_ns`` on the host's
    monotonic clock, ``lead_s`` after the sensors booted; ``bus_address`` is for DBUS_SYSTEM_BUS_ADDRESS, which
    a ``with`` block sets in this process's environment for its duration. A bad spec raises its SettingError
    here, a missing dbus-daemon LinkError, and a child that died SimulatorError with its stderr.
    """

    def __init__(
        self,
        specs: Sequence[SimulatedSpec | ServedSpec],
        *,
        seed: int = 0,
        subject: Mapping[str, Any] | None = None,
        lead_s: float = 0.0,
    ) -> None:
        served = [spec if isinstance(spec, ServedSpec) else ServedSpec(spec) for spec in specs]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._child = subprocess.Popen(
            [sys.executable, "-m", "simulators.serve"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr,
        )  # fmt: skip
        self._ended: Ended | None = None
        self._crash: SimulatorError | None = None
        self._environment: str | None = None
        sensors = [{"via": s.via, "at": s.at, "radio": dict(s.radio), "spec": asdict(s.spec)} for s in served]
        try:
            self._tell({"seed": seed, "subject": dict(subject or {}), "lead_s": lead_s, "sensors": sensors})
            ready = self._hear(_READY_TIMEOUT_S)
            if "error" in ready:
                kind = getattr(drivers.errors, ready["error"]["kind"], SensorError)
                raise kind(ready["error"]["message"])
        except BaseException:
            self._reap()
            raise
        self.places: dict[str, dict[str, str]] = ready["ready"]
        self.start_ns: int = ready["start_ns"]
        self.bus_address: str = ready["bus"]

    @property
    def pid(self) -> int:
        """The child's process number."""
        return self._child.pid

    @property
    def ports(self) -> dict[str, str]:
        """Role -> what a serial client opens."""
        return {role: place["port"] for role, place in self.places.items() if "port" in place}

    def check(self) -> None:
        """SimulatorError if the child has ended by itself."""
        if self._ended is None and self._child.poll() is not None:
            raise self._crashed()

    def stop(self) -> Ended:
        """End the child and return what it leaves; the same again on a second call."""
        if self._ended is None:
            self.check()
            self._tell("stop")
            try:
                said = self._hear(_STOP_TIMEOUT_S)["ended"]
            finally:
                self._reap()
            journals = {
                role: [HostAction(at_ns, kind, bytes.fromhex(data), channel) for at_ns, kind, data, channel in actions]
                for role, actions in said["journals"].items()
            }
            self._ended = Ended([Truth(**truth) for truth in said["truths"]], said["reports"], journals)
        return self._ended

    def __enter__(self) -> Self:
        if self.bus_address:
            self._environment = os.environ.get(_BUS, "")
            os.environ[_BUS] = self.bus_address
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._environment:
            os.environ[_BUS] = self._environment
        elif self._environment is not None:
            os.environ.pop(_BUS, None)
        if kind is None:
            self.stop()
        else:
            self._reap()

    def _tell(self, message: Any) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise self._crashed() from None

    def _hear(self, timeout_s: float) -> dict[str, Any]:
        """The child's next line."""
        assert self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], timeout_s)
        if not ready:
            raise SimulatorError(f"the simulator process said nothing for {timeout_s:g} s{self._last_words()}")
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._crashed()
        said: dict[str, Any] = json.loads(line)
        return said

    def _crashed(self) -> SimulatorError:
        if self._crash is None:
            code = self._child.wait(_STOP_TIMEOUT_S)
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            self._crash = SimulatorError(f"the simulator process {how}{self._last_words()}")
            self._reap()
        return self._crash

    def _last_words(self) -> str:
        self._stderr.seek(0)
        text = self._stderr.read().decode(errors="replace").strip()
        return f"; it wrote:\n{text[-4000:]}" if text else "; it wrote nothing to stderr"

    def _reap(self) -> None:
        """The child ends by the end of its stdin, or else by force."""
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if not self._stderr.closed:
            self._stderr.close()
