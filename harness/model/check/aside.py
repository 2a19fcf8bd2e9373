"""What a module under check says of its own accord: kept out of the report, shown once, and counted."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

_SHOWN = 400
"""Characters of what is printed that are passed on: enough to see what it is, and the prompt of a debugger."""


class Printed(io.TextIOBase):
    """A standard output that passes its beginning on to another stream, and counts the lines."""

    def __init__(self, to: TextIO) -> None:
        self._to, self._room = to, _SHOWN
        self.lines = 0

    def write(self, text: str) -> int:
        """Count, and pass on what there is still room for."""
        self.lines += text.count("\n")
        if self._room > 0:
            self._to.write(text[: self._room])
            self._room -= len(text)
            if self._room <= 0:
                self._to.write("... (the model prints more, which is not shown)\n")
        return len(text)

    def flush(self) -> None:
        """As a stream does."""
        self._to.flush()


@contextmanager
def set_aside() -> Iterator[Printed]:
    """Inside, what is printed goes to standard error, shortened, and a line of code warns once, not at each call.

    The report alone is on standard output, where ``--json -`` puts it, whatever a module prints thousands of times.
    """
    printed, seen = Printed(sys.stderr), set[tuple[type[Warning], str, int]]()
    with warnings.catch_warnings(), redirect_stdout(printed):
        show = warnings.showwarning

        def once(
            message: Warning | str, category: type[Warning], filename: str, lineno: int,
            file: TextIO | None = None, line: str | None = None,
        ) -> None:  # fmt: skip
            if (category, filename, lineno) not in seen:
                seen.add((category, filename, lineno))
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = once
        yield printed
