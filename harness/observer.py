"""What a run tells those who watch it: logs, health. Nobody who watches changes what is recorded or judged."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from drivers.clock import Clock
from drivers.quality import Scores
from drivers.types import Batch, Event, IntArray

_LOGGER = logging.getLogger(__name__)


class Observer:
    """Does nothing; subclasses take what they need.

    Called by the session's one thread, in between what it does: each call must be over in some microseconds, with
    no file, no lock that others hold for long, and no exception.
    """

    def opened(self, clock: Clock) -> None:
        """The bench is open; all times are on this clock."""

    def begun(self, start_ns: int, waited_for: Sequence[str]) -> None:
        """The run proper begins; windows wait for these ``role/stream``."""

    def connected(self, role: str, begun_ns: int, streaming_ns: int) -> None:
        """A sensor streams for the first time."""

    def arrived(self, role: str, batch: Batch) -> None:
        """Bytes were taken from the inbox. Real time only."""

    def incident(self, role: str, event: Event) -> None:
        """Anything but samples."""

    def scored(self, stream: str, ends_ns: IntArray, found: Scores) -> None:
        """The quality of ``role/stream`` in the windows that end at these times (w,)."""

    def windows(self, stamps_ns: IntArray, late: IntArray) -> None:
        """Windows as the recorder takes them: (n, 6) stamps of recording.STAGES, (n, streams waited for) lateness."""

    def model_failed(self, why: str) -> None:
        """The model did something wrong, of a kind that it had not done yet; its windows follow, unanswered."""

    def beside(self, now_ns: int, waiting: int) -> None:
        """Real time: nothing is due right now; ``waiting`` items are in the inbox. Many times a second."""

    def host(self) -> dict[str, Any]:
        """Facts of this machine and moment, for the report; asked for at the end."""
        return {}


class Observers(Observer):
    """Several at once, in their order. One that raises is told of in the log and hears no more: the run goes on."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._all = list(observers)

    def _tell(self, call: str, *given: Any) -> list[Any]:
        answers = []
        for one in tuple(self._all):
            try:
                answers.append(getattr(one, call)(*given))
            except Exception:  # who watches must not cost what is watched
                self._all.remove(one)
                _LOGGER.exception("%s failed in %s and watches no longer", type(one).__name__, call)
        return answers

    def opened(self, clock: Clock) -> None:
        """To each."""
        self._tell("opened", clock)

    def begun(self, start_ns: int, waited_for: Sequence[str]) -> None:
        """To each."""
        self._tell("begun", start_ns, waited_for)

    def connected(self, role: str, begun_ns: int, streaming_ns: int) -> None:
        """To each."""
        self._tell("connected", role, begun_ns, streaming_ns)

    def arrived(self, role: str, batch: Batch) -> None:
        """To each."""
        for one in self._all:
            one.arrived(role, batch)

    def incident(self, role: str, event: Event) -> None:
        """To each."""
        self._tell("incident", role, event)

    def scored(self, stream: str, ends_ns: IntArray, found: Scores) -> None:
        """To each."""
        self._tell("scored", stream, ends_ns, found)

    def windows(self, stamps_ns: IntArray, late: IntArray) -> None:
        """To each."""
        self._tell("windows", stamps_ns, late)

    def model_failed(self, why: str) -> None:
        """To each."""
        self._tell("model_failed", why)

    def beside(self, now_ns: int, waiting: int) -> None:
        """To each."""
        self._tell("beside", now_ns, waiting)

    def host(self) -> dict[str, Any]:
        """The facts of all of them."""
        return {key: value for facts in self._tell("host") for key, value in facts.items()}


NOBODY = Observer()
