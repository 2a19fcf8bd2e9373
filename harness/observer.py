"""What a run tells those who watch it: logs, health. Nobody who watches changes what is recorded or judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drivers.clock import Clock
from drivers.quality import Scores
from drivers.types import Event, IntArray


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

    def incident(self, role: str, event: Event) -> None:
        """Anything but samples."""

    def scored(self, stream: str, ends_ns: IntArray, found: Scores) -> None:
        """The quality of ``role/stream`` in the windows that end at these times (w,)."""

    def windows(self, stamps_ns: IntArray, late: IntArray) -> None:
        """Windows as the recorder takes them: (n, 6) stamps of recording.STAGES, (n, streams waited for) lateness."""

    def beside(self, now_ns: int, waiting: int) -> None:
        """Real time: nothing is due right now; ``waiting`` items are in the inbox. Many times a second."""

    def host(self) -> dict[str, Any]:
        """Facts of this machine and moment, for the report; asked for at the end."""
        return {}


class Observers(Observer):
    """Several at once, in their order."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._all = tuple(observers)

    def opened(self, clock: Clock) -> None:
        """To each."""
        for one in self._all:
            one.opened(clock)

    def begun(self, start_ns: int, waited_for: Sequence[str]) -> None:
        """To each."""
        for one in self._all:
            one.begun(start_ns, waited_for)

    def connected(self, role: str, begun_ns: int, streaming_ns: int) -> None:
        """To each."""
        for one in self._all:
            one.connected(role, begun_ns, streaming_ns)

    def incident(self, role: str, event: Event) -> None:
        """To each."""
        for one in self._all:
            one.incident(role, event)

    def scored(self, stream: str, ends_ns: IntArray, found: Scores) -> None:
        """To each."""
        for one in self._all:
            one.scored(stream, ends_ns, found)

    def windows(self, stamps_ns: IntArray, late: IntArray) -> None:
        """To each."""
        for one in self._all:
            one.windows(stamps_ns, late)

    def beside(self, now_ns: int, waiting: int) -> None:
        """To each."""
        for one in self._all:
            one.beside(now_ns, waiting)

    def host(self) -> dict[str, Any]:
        """The facts of all of them."""
        return {key: value for one in self._all for key, value in one.host().items()}


NOBODY = Observer()
