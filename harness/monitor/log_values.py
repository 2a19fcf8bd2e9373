"""Any value as JSON, and never an error because of a value: what JSON cannot hold is said in words.

    NaN, Infinity        null, with a note that says which and where
    numpy                numbers and lists
    exceptions           type, message and traceback as text
    bytes                hexadecimal
    paths, dates, enums  text
    dataclasses          mappings
    other objects        ``<Kind object>``: their repr() may say anything
    too long, too deep   cut, and what was cut is counted

Long rows of numbers are samples of somebody's body, and no line of a log: they are counted and left out, unless
personal data is kept. So are bytes, which are such samples on the wire.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from enum import Enum
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from harness.monitor.log_privacy import Privacy

MOST_NUMBERS = 16
"""More in a row are samples."""
MOST_ITEMS = 200
MOST_KEPT_NUMBERS = 10_000
MOST_CHARACTERS = 10_000
MOST_DEEP = 8
_MOST_BITS = 1024
"""Python refuses to write integers of some thousand digits."""


def plain(data: Mapping[str, Any], privacy: Privacy) -> tuple[dict[str, Any], list[str]]:
    """``data`` as JSON takes it, and notes on what could not stand as it was. Never raises."""
    walk = _Walk(privacy)
    return walk.mapping(data, "", "", 0), walk.notes


class _Walk:
    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy
        self._above: set[int] = set()
        self.notes: list[str] = []

    def value(self, value: Any, path: str, category: str, depth: int) -> Any:
        """``category``: what must not be told, from the keys above."""
        try:
            return self._value(value, path, category, depth)
        except Exception as error:  # noqa: BLE001  whatever an object does when it is looked at, the run goes on
            self.notes.append(f"{path}: {type(value).__name__} cannot be written: {type(error).__name__}")
            return None

    def _value(self, value: Any, path: str, category: str, depth: int) -> Any:
        kind = type(value)
        if value is None or (kind is bool and not category):
            return value
        if not category and kind is float:  # most values are numbers and texts, and the rest of this takes its time
            return self._number(value, path)
        if not category and kind is str:
            return self._text(value)
        if isinstance(value, Mapping | list | tuple | Set) or _is_array(value) or is_dataclass(value):
            return self._nested(value, path, category, depth)
        if category:
            return self._privacy.hide(category, _as_text(value))
        if isinstance(value, bool | str | bytes | bytearray | memoryview | Enum):
            return self._text_or_bytes(value)
        if isinstance(value, Integral):
            number = int(value)
            return number if number.bit_length() <= _MOST_BITS else f"<integer of {number.bit_length()} bits>"
        if isinstance(value, Real):
            return self._number(float(value), path)
        if isinstance(value, BaseException):
            return self._exception(value)
        if isinstance(value, PurePath | datetime | date | time | timedelta):
            return self._text(_as_text(value))
        if hasattr(value, "item"):  # numpy's scalars that are no numbers for Python
            return self.value(value.item(), path, category, depth + 1) if depth < MOST_DEEP else None
        return f"<{type(value).__name__} object>"

    def _number(self, number: float, path: str) -> float | None:
        if math.isfinite(number):
            return number
        self.notes.append(f"{path}: {'NaN' if math.isnan(number) else 'Infinity' if number > 0 else '-Infinity'}")
        return None

    def _text(self, text: str) -> str:
        cut = len(text) - MOST_CHARACTERS
        text = self._privacy.text(text[:MOST_CHARACTERS])
        return f"{text}... <{cut} more characters>" if cut > 0 else text

    def _text_or_bytes(self, value: Any) -> Any:
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(str(value.value) if isinstance(value, Enum) else value)
        if isinstance(value, Enum):
            return self._text(value.name)
        data = bytes(value[: MOST_CHARACTERS // 2])
        if len(value) > MOST_NUMBERS and not self._privacy.keeps:
            return f"<{len(value)} bytes left out>"
        return data.hex() if len(data) == len(value) else f"{data.hex()}... <{len(value) - len(data)} more bytes>"

    def _exception(self, error: BaseException) -> dict[str, Any]:
        text = "".join(traceback.format_exception(error))
        return {
            "type": type(error).__name__,
            "message": self._text(_as_text(error)),
            "traceback": self._text(text.rstrip()),
        }

    # --- what holds other values --------------------------------------------------------------

    def _nested(self, value: Any, path: str, category: str, depth: int) -> Any:
        if depth >= MOST_DEEP:
            return f"<{type(value).__name__}: deeper than {MOST_DEEP} levels>"
        if id(value) in self._above:
            return "<refers to itself>"
        self._above.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self.mapping(value, path, category, depth)
            if is_dataclass(value):
                if isinstance(value, type):
                    return f"<{value.__name__}>"
                facts = {field.name: getattr(value, field.name) for field in fields(value)}
                return self.mapping(facts, path, category, depth)
            return self._row(value, path, category, depth)
        finally:
            self._above.discard(id(value))

    def mapping(self, given: Mapping[Any, Any], path: str, category: str, depth: int) -> dict[str, Any]:
        """Keys as text, each with its value; keys may hold what must not be told too."""
        made: dict[str, Any] = {}
        for number, (key, value) in enumerate(given.items()):
            if number >= MOST_ITEMS:
                made["..."] = f"<{len(given) - number} more>"
                break
            plain_key = _as_text(key)
            name = self._text(plain_key)
            while name in made:
                name += "'"  # 1 and "1" are two keys there, and one in JSON
            here = f"{path}.{name}" if path else name
            made[name] = self.value(value, here, self._privacy.category(plain_key) or category, depth + 1)
        return made

    def _row(self, value: Any, path: str, category: str, depth: int) -> Any:
        most = MOST_KEPT_NUMBERS if self._privacy.keeps else MOST_NUMBERS
        numbers = _numbers_in(value)
        if numbers > most:
            return f"<{numbers} numbers left out>"
        items = value.tolist() if _is_array(value) else value
        if not isinstance(items, list | tuple | Set):
            return self.value(items, path, category, depth + 1)
        row = sorted(items, key=_as_text) if isinstance(items, Set) else list(items)
        limit = max(MOST_ITEMS, numbers)
        made = [self.value(item, f"{path}[{at}]", category, depth + 1) for at, item in enumerate(row[:limit])]
        return [*made, f"<{len(row) - limit} more>"] if len(row) > limit else made


def _is_array(value: Any) -> bool:
    """numpy's, torch's and others' arrays, without importing any of them."""
    return hasattr(value, "tolist") and hasattr(value, "shape") and bool(len(value.shape))


def _numbers_in(value: Any) -> int:
    """How many numbers an array or nested rows hold; 0 where most of it is something else."""
    if _is_array(value):
        return math.prod(int(side) for side in value.shape)
    numbers, others, waiting, rows = 0, 0, [value], 0
    while waiting and rows < MOST_KEPT_NUMBERS:
        rows += 1  # rows that hold themselves end here
        for item in waiting.pop():
            if isinstance(item, list | tuple | Set):
                waiting.append(item)
            elif _is_array(item):
                numbers += math.prod(int(side) for side in item.shape)
            elif item is None or isinstance(item, Real):  # a boolean is one too
                numbers += 1
            else:
                others += 1
    return numbers if numbers > others else 0


def _as_text(value: Any) -> str:
    try:
        return value.isoformat() if isinstance(value, datetime | date | time) else str(value)
    except Exception:  # noqa: BLE001  a __str__ may raise anything
        return f"<{type(value).__name__} object>"
