"""One sensor: does it connect, deliver, in the right format, with what rate, age and quality?"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from drivers.driver import Driver
from drivers.types import FloatArray, Malformed, Notice, Reading


def probe_driver(driver: Driver, duration_ns: int, out: Console) -> int:
    """Prints what was found; 0 if samples came, 1 if the sensor failed, 3 if the link could not be opened."""
    out.print(f"connecting to {escape(driver.name)}: {escape(driver.link.description)} ...", highlight=False)
    if not driver.connect():
        error = driver.last_error
        out.print(f"[red]{type(error).__name__}:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 3 if isinstance(error, ConnectionError) else 1
    started_ns = driver.clock.now_ns()
    end_ns = started_ns + duration_ns
    readings: list[Reading] = []
    while driver.clock.now_ns() < end_ns:
        reading = driver.read_data(timeout=(end_ns - driver.clock.now_ns()) / 1e9)
        if reading is not None:
            readings.append(reading)
    elapsed_s = (driver.clock.now_ns() - started_ns) / 1e9
    driver.close()
    if not readings:
        out.print(f"[red]connected, but no sample came in {elapsed_s:.1f} s:[/red] {escape(str(driver.last_error))}")
        return 1
    out.print(_table(driver, readings, elapsed_s))
    _show_events(readings, out)
    return 0


def _table(driver: Driver, readings: list[Reading], elapsed_s: float) -> Table:
    times: dict[str, list[FloatArray]] = defaultdict(list)
    values: dict[str, list[FloatArray]] = defaultdict(list)
    for reading in readings:
        for name, stamps in reading.timestamps.items():
            times[name].append(stamps)
            values[name].append(reading.physiological[name])
    quality = readings[-1].quality_metrics
    table = Table()
    for heading in ("stream", "samples", "rate", "nominal", "min", "median", "max", "unit", "quality", "flags"):
        table.add_column(heading)
    for spec in driver.streams:
        joined = np.concatenate(values[spec.name]) if spec.name in values else np.empty(0)
        row = [spec.name, str(len(joined)), f"{len(joined) / elapsed_s:.1f} Hz"]
        row.append(f"{spec.rate_hz:g} Hz" if spec.rate_hz else "events")
        row += [f"{f(joined):.4g}" if joined.size else "" for f in (np.min, np.median, np.max)]
        flags = ", ".join(sorted(quality.flags.get(spec.name, ())))
        score = quality.streams.get(spec.name)
        row += [escape(spec.unit), "unknown" if score is None or np.isnan(score) else f"{score:.2f}", flags]
        table.add_row(*row)
    return table


def _show_events(readings: list[Reading], out: Console) -> None:
    events = [event for reading in readings for event in reading.events]
    for event in events:
        if isinstance(event, Notice):
            out.print(f"{escape(event.name)}: {escape(str(event.value))}", highlight=False)
    counts: dict[str, int] = defaultdict(int)
    for event in events:
        if not isinstance(event, Notice):
            counts[type(event).__name__] += 1
    if counts:
        out.print("incidents: " + ", ".join(f"{count} {name}" for name, count in counts.items()), style="yellow")
    first = next((event for event in events if isinstance(event, Malformed)), None)
    if first is not None:
        out.print(f"first malformed bytes: {escape(first.reason)}: {escape(repr(first.excerpt[:32]))}")
