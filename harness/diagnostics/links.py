"""Links and clocks: what was lost, when it was old, and whose time is wrong."""

from __future__ import annotations

from drivers.types import LinkDown
from harness.diagnostics.case import Case, Rule
from harness.diagnostics.diagnosis import Diagnosis

_FOLLOWS = ("delivery", "rate", "age", "quality", "content_sync", "lead_off", "hr_accuracy", "rr_accuracy",
            "spo2_accuracy", "respiration_accuracy", "noise_floor", "saturation")  # fmt: skip
"""What a missing stretch of a stream can turn red."""


def unplugged(case: Case) -> list[Diagnosis]:
    """A link went down."""
    made = []
    for role in case.recording.rig.sensors:
        downs = [event for event in case.events(role, LinkDown) if isinstance(event, LinkDown)]
        explains = case.accounted(_FOLLOWS, role)
        if not downs or not explains:
            continue
        evidence = tuple(f"{case.at_s(event.arrival_ns):.1f} s: {event.reason}" for event in downs[:3])
        cause = f"{role} was unplugged, out of range, or reset itself"
        step = "check cable, power and distance at that time; dmesg says whether the adapter left the bus"
        made.append(Diagnosis("link-down", f"{role} was gone for a while", cause, evidence, step, 85, explains))
    return made


LINKS: tuple[Rule, ...] = (unplugged,)
