"""One sensor: does it connect, deliver, in the right format, with what rate, age and quality?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drivers.driver import Driver
from drivers.errors import SensorError
from drivers.types import (
    CounterReset,
    Event,
    FloatArray,
    LinkDown,
    LinkUp,
    Lost,
    Malformed,
    Notice,
    Reading,
    Reordered,
    Repeated,
    Samples,
    StreamSpec,
)

_AGE = "age: of the newest sample when it was read, median / largest; a delay that never varies does not show in it"
_INCIDENTS: dict[type, str] = {
    Malformed: "malformed pieces",
    CounterReset: "resets of the counter or clock",
    LinkDown: "losses of the link",
    LinkUp: "returns of the link",
}


@dataclass
class Heard:
    """What one stream delivered while it was probed."""

    values: list[FloatArray] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)
    """Age of the newest sample of each reading, at the moment when it was read."""
    score: float = float("nan")
    flags: frozenset[str] = frozenset()

    @property
    def count(self) -> int:
        """Samples."""
        return sum(len(part) for part in self.values)


def probe_driver(driver: Driver, duration_ns: int, out: Console) -> int:
    """Prints what was found; 0 if every stream with a rate brought samples, 1 if not, 3 if the link could not be
    opened or went away.
    """
    out.print(f"connecting to {driver.name}: {driver.link.description} ...", markup=False, highlight=False)
    if not driver.connect():
        return _failed(driver, out)
    heard, events, elapsed_s = _listen(driver, duration_ns)
    down = next((event for event in events if isinstance(event, LinkDown)), None)
    driver.close()
    if any(stream.count for stream in heard.values()):
        out.print(_table(driver.streams, heard, elapsed_s))
        out.print(_AGE, style="dim", highlight=False)
    _show_events(events, out)
    if down is not None:
        _red(out, f"the link went down while it was probed: {down.reason}")
        return 3
    silent = [spec.name for spec in driver.streams if spec.rate_hz and not heard[spec.name].count]
    if not any(stream.count for stream in heard.values()):
        _red(out, f"connected, but no sample came in {elapsed_s:.1f} s: is it switched on, and are the sensor's type, "
                  "its settings and the baud rate right?")  # fmt: skip
    elif silent:
        _red(out, f"no sample of {', '.join(silent)} came in {elapsed_s:.1f} s; --seconds waits longer")
    else:
        return 0
    return 1


def _failed(driver: Driver, out: Console) -> int:
    error = driver.last_error
    _red(out, f"{type(error).__name__}: {error}")
    return 3 if isinstance(error, ConnectionError) else 1


def _red(out: Console, text: str) -> None:
    out.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def _listen(driver: Driver, duration_ns: int) -> tuple[dict[str, Heard], list[Event], float]:
    heard = {spec.name: Heard() for spec in driver.streams}
    events: list[Event] = []
    started_ns = driver.clock.now_ns()
    end_ns = started_ns + duration_ns
    while driver.clock.now_ns() < end_ns:
        reading = driver.read_data(timeout=(end_ns - driver.clock.now_ns()) / 1e9)
        if reading is not None:
            _note(reading, heard, driver.clock.now_ns() / 1e9)
            events += reading.events
    with suppress(SensorError):  # what it refused with has been told
        events += [event for event in driver.events(driver.clock.now_ns()) if not isinstance(event, Samples)]
    return heard, events, (driver.clock.now_ns() - started_ns) / 1e9


def _note(reading: Reading, heard: dict[str, Heard], now_s: float) -> None:
    quality = reading.quality_metrics
    for name, values in reading.physiological.items():
        stream = heard[name]
        stream.values.append(values)
        if len(values):
            stream.ages_ms.append(1e3 * (now_s - float(reading.timestamps[name].max())))
        stream.score = quality.streams.get(name, float("nan"))
        stream.flags = quality.flags.get(name, frozenset())


def _table(streams: Sequence[StreamSpec], heard: dict[str, Heard], elapsed_s: float) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for heading in ("stream", "samples", "Hz", "age ms", "min .. max", "quality"):
        table.add_column(heading, justify="right" if heading == "samples" else "left", overflow="fold")
    for spec in streams:
        stream = heard[spec.name]
        rate = f"{stream.count / elapsed_s:.1f}" + (f" of {spec.rate_hz:g}" if spec.rate_hz else "")
        table.add_row(
            escape(spec.name), str(stream.count), rate, _ages(stream.ages_ms), escape(_range(stream, spec.unit)),
            escape(_quality(stream)),
        )  # fmt: skip
    return table


def _ages(ages_ms: list[float]) -> str:
    return f"{np.median(ages_ms):.1f} / {max(ages_ms):.1f}" if ages_ms else ""


def _range(stream: Heard, unit: str) -> str:
    if not stream.count:
        return ""
    joined = np.concatenate([part.reshape(len(part), -1) for part in stream.values])
    return f"{joined.min():.4g} .. {joined.max():.4g} {unit}"


def _quality(stream: Heard) -> str:
    score = "unknown" if np.isnan(stream.score) else f"{stream.score:.2f}"
    flags = ", ".join(sorted(stream.flags - {"unknown"}))
    return f"{score} ({flags})" if flags else score


def _show_events(events: Sequence[Event], out: Console) -> None:
    said = {event.name: event.value for event in events if isinstance(event, Notice)}
    for name, value in said.items():
        out.print(f"the sensor says {name}: {value}", markup=False, highlight=False)
    counts: Counter[str] = Counter()
    for event in events:
        if isinstance(event, Lost | Repeated | Reordered):
            counts[f"samples of {event.stream} {type(event).__name__.lower()}"] += event.count
        elif not isinstance(event, Notice):
            counts[_INCIDENTS[type(event)]] += 1
    if counts:
        text = "incidents: " + ", ".join(f"{count} {name}" for name, count in counts.items())
        out.print(text, style="yellow", markup=False, highlight=False)
    first = next((event for event in events if isinstance(event, Malformed)), None)
    if first is not None:
        text = f"first malformed bytes: {first.reason}: {first.excerpt[:32]!r}"
        out.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
