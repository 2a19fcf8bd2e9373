"""A run's directory: which file holds what, and how to get a Recording back from it.

    recording.xdf     per sensor stream its values (``role/stream``) and its bookkeeping (int64: sample number, segment,
                      stamps); incidents, the run's beginning and end (JSON); window stamps; model outputs
    raw/<role>.bin    every byte from the wire with its arrival stamp (drivers.rawlog)
    rig.yaml          the rig file as it stood, if there was one
    rig.json          the rig with its defaults filled in
    truth.jsonl       simulated runs: what was really done to the sensors
    resources.jsonl   real time: what this process used, about once a second (harness.monitor)
    happenings.jsonl  real time: what kept the consumer from its windows
    api.jsonl         what came of each call of the rig's API (harness.api.record)

Stamps in ns do not fit the float64 of XDF's own time column exactly (seconds are no multiples of 2**-k, and ns pass
2**53 after 104 days of uptime), and extra channels would spoil a stream for EEGLAB and MNE. So each data stream has an
irregular companion of int64 columns, row for row; both have the same time column, which is for people and foreign
readers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from drivers.rawlog import RawItem, read_raw_log
from drivers.types import (
    CounterReset,
    Event,
    FloatArray,
    IntArray,
    LinkDown,
    LinkUp,
    Lost,
    Malformed,
    Notice,
    Reordered,
    Repeated,
    StreamSpec,
)
from harness.api.record import read_calls
from harness.monitor.happenings import read_happenings
from harness.monitor.resources import read_resources
from harness.recording import STAGES, Recording, StreamData, Windows
from harness.rig import Rig, rig_from_dict
from harness.xdf_read import XdfError, XdfFile, XdfStream, read_xdf

if TYPE_CHECKING:
    from simulators.truth import Truth

XDF, RIG, RIG_TEXT, TRUTH, RAW = "recording.xdf", "rig.json", "rig.yaml", "truth.jsonl", "raw"
RUN, INCIDENTS, WINDOWS, OUTPUTS = "run", "incidents", "windows", "outputs"
BOOKKEEPING = ".bookkeeping"
COLUMNS = ("index", "segment", "arrival_ns", "time_ns", "device_ns")
NO_DEVICE_NS = int(np.iinfo(np.int64).min)
"""In the device_ns column: the wire carries no device time."""
_LATE = "late "
_EVENTS: dict[str, type[Any]] = {
    made.__name__: made
    for made in (Malformed, Lost, Repeated, Reordered, CounterReset, Notice, LinkDown, LinkUp)
}  # fmt: skip


class RecordingError(Exception):
    """A directory that should hold a run does not, or its files do not fit together."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Samples of one stream as they are written."""

    values: FloatArray
    """(n, channels)"""
    book: IntArray
    """(n, 5): COLUMNS."""


def raw_path(directory: Path, role: str) -> Path:
    """Where a role's raw log is; a role may hold any character."""
    return directory / RAW / f"{quote(role, safe=' ')}.bin"


def to_json(value: Any) -> str:
    """JSON in ASCII, with numpy's numbers and arrays and with paths as plain ones."""
    return json.dumps(value, default=_plain, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} {value!r} cannot be recorded: expected text, numbers, lists or mappings")


# --- one stream -------------------------------------------------------------------------------


def stream_data(role: str, spec: StreamSpec, parts: Sequence[Rows], sensor: str) -> StreamData:
    """What Recording holds of a stream of a sensor, from its pieces."""
    values = np.concatenate([np.zeros((0, len(spec.channels))), *(rows.values for rows in parts)])
    book = np.concatenate([np.zeros((0, len(COLUMNS)), dtype=np.int64), *(rows.book for rows in parts)])
    index, segment, arrival_ns, time_ns, device_ns = (np.ascontiguousarray(column) for column in book.T)
    timed = bool(np.any(device_ns != NO_DEVICE_NS)) if len(device_ns) else spec.timed
    return StreamData(role, spec, values, index, segment, arrival_ns, time_ns, device_ns if timed else None, sensor)


def spec_texts(spec: StreamSpec) -> dict[str, str]:
    """A stream's description for the XDF header; what it does not have is left out."""
    facts = {field.name: getattr(spec, field.name) for field in fields(spec) if field.name != "channels"}
    return {name: str(fact) for name, fact in facts.items() if fact is not None}


_NUMBERS = ("rate_hz", "lsb", "low", "high", "mains_hz")


def _spec(stream: XdfStream) -> StreamSpec:
    texts = stream.metadata
    numbers = {name: float(texts[name]) if name in texts else None for name in _NUMBERS}
    return StreamSpec(
        name=texts["name"],
        kind=texts["kind"],
        channels=tuple(channel.label for channel in stream.channels),
        unit=texts["unit"],
        counted=texts["counted"] == "True",
        timed=texts["timed"] == "True",
        numbered=texts["numbered"] == "True",
        play_ms=float(texts.get("play_ms", 0.0)),
        **numbers,
    )


# --- incidents --------------------------------------------------------------------------------


def incident_text(role: str, event: Event) -> str:
    """An event as one line of JSON; bytes in hexadecimal."""
    facts = {field.name: getattr(event, field.name) for field in fields(event)}
    facts = {name: fact.hex() if isinstance(fact, bytes) else fact for name, fact in facts.items()}
    return to_json({"role": role, "event": type(event).__name__, **facts})


def _incident(text: str) -> tuple[str, Event]:
    facts = json.loads(text)
    role, made = facts.pop("role"), _EVENTS[facts.pop("event")]
    if made is Malformed:
        facts["excerpt"] = bytes.fromhex(facts["excerpt"])
    return role, made(**facts)


# --- windows ----------------------------------------------------------------------------------


def window_labels(waited_for: Sequence[str]) -> list[str]:
    """Columns of the windows' stream: the stages' stamps, then a lateness flag per stream waited for."""
    return [*STAGES, *(_LATE + key for key in waited_for)]


def windows_of(
    waited_for: tuple[str, ...], rows: Sequence[IntArray], outputs: Sequence[FloatArray], errors: Sequence[str]
) -> Windows:
    """What Recording holds of the windows, from the pieces of both streams."""
    width = len(STAGES) + len(waited_for)
    table = np.concatenate([np.zeros((0, width), dtype=np.int64), *rows])
    out = np.concatenate([np.zeros((0, outputs[0].shape[1] if outputs else 0)), *outputs])
    n = min(len(table), len(out))  # a crash may have come between the two
    stamps, late = np.ascontiguousarray(table[:n, : len(STAGES)]), np.ascontiguousarray(table[:n, len(STAGES) :])
    return Windows(stamps, waited_for, late, out[:n], tuple(errors))


# --- loading ----------------------------------------------------------------------------------


def load_recording(directory: str | Path) -> Recording:
    """The Recording of a run, also of one that was killed: then ``interrupted`` says so and what was torn off.

    RecordingError names the file that is missing or damaged.
    """
    directory = Path(directory)
    rig = _load_rig(directory)
    try:
        file = read_xdf(_existing(directory, XDF))
    except XdfError as error:
        raise RecordingError(str(error)) from error
    by_name = file.by_name()
    streams = {}
    for stream in file.streams:
        if stream.metadata.get("part") == "values":
            data = _load_stream(directory, stream, by_name.get(stream.name + BOOKKEEPING))
            streams[data.key] = data
    run: dict[str, Any] = {}
    for row in _rows(by_name, RUN):
        run.update(json.loads(row[0]))
    events = tuple(_incident(row[0]) for row in _rows(by_name, INCIDENTS))
    windows = _load_windows(by_name, run.get("errors", ()))
    start_ns = int(run.get("start_ns", 0))
    stop_ns = int(run["stop_ns"]) if "stop_ns" in run else _last_ns(start_ns, streams, events, windows)
    interrupted = _damage(directory, file, "stop_ns" in run, str(run.get("interrupted", "")))
    meta, host = run.get("meta", {}), run.get("host", {})
    try:
        resources, happenings = read_resources(directory), read_happenings(directory)
        calls = read_calls(directory)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordingError(f"{directory}: {error}") from error
    return Recording(
        rig, start_ns, stop_ns, streams, events, windows, meta, host, interrupted, resources, happenings, calls
    )  # fmt: skip


def load_truth(directory: str | Path) -> list[Truth]:
    """What was really done to the simulated sensors; empty for a run on a bench."""
    from simulators.truth import Truth  # here, so that reading a run does not load every simulator

    path = Path(directory) / TRUTH
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []  # what has no end of line is torn
    return [Truth(**json.loads(line)) for line in lines]


def replay_batches(directory: str | Path, role: str) -> Iterator[RawItem]:
    """Everything that came over a role's link, in order, with the recorded stamps; RawLogError without its log."""
    yield from read_raw_log(raw_path(Path(directory), role)).items


def _existing(directory: Path, name: str) -> Path:
    path = directory / name
    if not path.is_file():
        found = ", ".join(sorted(p.name for p in directory.iterdir())) if directory.is_dir() else "no such directory"
        raise RecordingError(f"{directory}: expected a run, but {name} is missing (found: {found or 'nothing'})")
    return path


def _load_rig(directory: Path) -> Rig:
    path = _existing(directory, RIG)
    try:
        return rig_from_dict(json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordingError(f"{path}: expected the rig of a run as JSON, found something else: {error}") from error


def _load_stream(directory: Path, values: XdfStream, book: XdfStream | None) -> StreamData:
    if book is None:
        raise RecordingError(f"{directory / XDF}: {values.name} is there without {values.name + BOOKKEEPING}")
    n = min(len(values.stamps), len(book.stamps))  # a crash may have come between the two
    if not np.array_equal(values.stamps[:n], book.stamps[:n]):
        raise RecordingError(
            f"{directory / XDF}: the rows of {values.name} and of its bookkeeping no longer belong together; the "
            f"file is damaged in the middle. Decode the raw bytes again: {RAW}/"
        )
    rows = Rows(values.values[:n], book.values[:n])
    return stream_data(values.metadata["role"], _spec(values), [rows], values.metadata.get("sensor", ""))


def _load_windows(by_name: Mapping[str, XdfStream], errors: Sequence[str]) -> Windows:
    table, outputs = by_name.get(WINDOWS), by_name.get(OUTPUTS)
    if table is None:
        return windows_of((), [], [], errors)
    waited_for = tuple(channel.label.removeprefix(_LATE) for channel in table.channels[len(STAGES) :])
    return windows_of(waited_for, [table.values], [outputs.values] if outputs is not None else [], errors)


def _rows(by_name: Mapping[str, XdfStream], name: str) -> list[tuple[str, ...]]:
    return by_name[name].values if name in by_name else []


def _last_ns(
    start_ns: int, streams: Mapping[str, StreamData], events: tuple[tuple[str, Event], ...], windows: Windows
) -> int:
    """The last moment of which anything is on record."""
    ends = [int(data.arrival_ns.max()) for data in streams.values() if len(data.arrival_ns)]
    ends += [event.arrival_ns for _, event in events if isinstance(event.arrival_ns, int)]
    ends += [int(windows.stamps_ns.max())] if windows.stamps_ns.size else []
    return max(ends, default=start_ns)


def _damage(directory: Path, file: XdfFile, ended: bool, interrupted: str) -> str:
    said = [interrupted] if interrupted else []
    if not ended:
        said.append(f"{directory / XDF} has no end: the run was killed or its disk was full")
    if file.torn_bytes:
        said.append(f"{file.torn_bytes} torn bytes at its end were left out")
    if file.skipped_bytes:
        said.append(f"{file.skipped_bytes} damaged bytes in its middle were left out")
    return "; ".join(said)
