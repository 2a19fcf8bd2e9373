"""Every sensor of the rig was there, answered as its protocol says, and delivered something."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.types import Malformed
from harness.recording import Recording
from harness.verdict import Outcome, Verdict

NAME = "connect"
_FAILED = ("HandshakeError", "AttError", "LinkLost")


@dataclass(frozen=True)
class LIMITS:
    """There is nothing to set: this check always runs."""


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """One verdict per role.

    A link that cannot be opened says that the rig is broken (INVALID); a device that is there and does
    not answer, refuses, answers with something else or goes away while connecting has failed (FAIL).
    """
    errors = dict(recording.meta.get("connect_errors", {}))
    return [_role(recording, role, errors) for role in recording.rig.sensors]


def _role(recording: Recording, role: str, errors: dict[str, str]) -> Verdict:
    counts = {key: len(data.values) for key, data in recording.streams.items() if data.role == role}
    total = sum(counts.values())
    sensor = recording.rig.sensors[role].sensor
    error = errors.get(role)
    if error is not None:
        outcome = Outcome.FAIL if error.startswith(_FAILED) else Outcome.INVALID
        return Verdict(NAME, role, outcome, error.split(": ", 1)[-1], "samples", 0.0, "samples", None, 0)
    if errors:
        others = ", ".join(sorted(errors))
        reason = f"the run did not start, because {others} could not be connected"
        return Verdict(NAME, role, Outcome.NOT_RUN, reason, "samples", float(total), "samples", None, total)
    if total:
        reason = f"{sensor} delivered {total} samples"
        return Verdict(NAME, role, Outcome.PASS, reason, "samples", float(total), "samples", 1.0, total)
    if recording.interrupted:
        reason = f"the run ended before {sensor} had delivered anything"
        return Verdict(NAME, role, Outcome.NOT_RUN, reason, "samples", 0.0, "samples", None, 0)
    return Verdict(NAME, role, Outcome.FAIL, _silence(recording, role, sensor), "samples", 0.0, "samples", 1.0, 0)


def _silence(recording: Recording, role: str, sensor: str) -> str:
    received = int(recording.meta.get("bytes", {}).get(role, 0))
    if not received:
        return f"{sensor} was connected and sent nothing: is it switched on, and is this the right port and baud rate?"
    excerpt = next((e.excerpt for r, e in recording.events if r == role and isinstance(e, Malformed)), b"")
    return (
        f"{received} bytes arrived and none of them were {sensor} samples (they begin {excerpt[:24]!r}): "
        "is this the right sensor, baud rate and format?"
    )
