"""What the rules look at: a recording with its verdicts, and short ways to ask about both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from drivers.types import Event
from harness.diagnostics.diagnosis import Diagnosis
from harness.monitor.spikes import Spikes, spikes_of
from harness.recording import Recording
from harness.verdict import Outcome, Verdict

_ADVICE = re.compile(
    r"[;:] (?:look at|is the|is it|did the|do samples|does |what keeps|was the|run longer|streams drift apart)"
)
_RED = (Outcome.FAIL, Outcome.INVALID)


@dataclass(frozen=True, eq=False)
class Case:
    """One run, judged."""

    recording: Recording
    verdicts: Sequence[Verdict]

    @cached_property
    def spikes(self) -> Spikes:
        """Windows above the latency budget."""
        return spikes_of(self.recording)

    @property
    def virtual(self) -> bool:
        """In virtual time nothing of this machine may be told."""
        return self.recording.meta.get("mode") == "virtual"

    def red(self, check: str, measure: str = "") -> list[Verdict]:
        """FAIL and INVALID of a check; ``measure``: a part of what the value is called."""
        return [v for v in self.verdicts if v.check == check and v.outcome in _RED and measure in v.measure]

    def not_green(self) -> list[Verdict]:
        """All that are not PASS."""
        return [verdict for verdict in self.verdicts if verdict.outcome is not Outcome.PASS]

    def accounted(self, checks: Iterable[str], where: str | Iterable[str] = "", measure: str = "") -> tuple[str, ...]:
        """Names of verdicts of these checks that are not PASS; ``where``: about these roles or streams.

        A stream's name takes in pairs that it is in; a role's, all its streams.
        """
        places = [where] if isinstance(where, str) else list(where)
        wanted = set(checks)
        return unique(
            named(v)
            for v in self.not_green()
            if v.check in wanted and measure in v.measure and any(_is_about(v, place) for place in places)
        )

    def events(self, role: str, kind: type[Event]) -> list[Event]:
        """Events of a role and a kind within the run."""
        begin, end = self.recording.start_ns, self.recording.stop_ns
        found = [e for r, e in self.recording.events if r == role and isinstance(e, kind)]
        return [event for event in found if not hasattr(event, "arrival_ns") or begin <= event.arrival_ns <= end]

    def at_s(self, at_ns: int) -> float:
        """Seconds of the run."""
        return (at_ns - self.recording.start_ns) / 1e9


Rule: TypeAlias = Callable[[Case], list[Diagnosis]]
"""A pure function; its docstring says what it recognises. Empty: it does not apply."""


def named(verdict: Verdict) -> str:
    """``check subject``."""
    return f"{verdict.check} {verdict.subject}"


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """In order, each once."""
    return tuple(dict.fromkeys(names))


def roles_of(verdict: Verdict) -> list[str]:
    """Roles that a verdict's subject names."""
    return list(dict.fromkeys(part.split("/")[0] for part in verdict.subject.split("~")))


def facts(verdict: Verdict) -> str:
    """Its reason as evidence: what was found, without what it advises."""
    return f"{named(verdict)}: {_ADVICE.split(verdict.reason)[0]}"


def _is_about(verdict: Verdict, place: str) -> bool:
    parts = verdict.subject.split("~")
    return not place or any(part == place or part.split("/")[0] == place for part in parts)
