"""Keeps a run in memory and appends it to disk as it goes, so that kill -9 costs at most the last second.

See harness.recording_files for the files. What finish() returns is what load_recording() reads back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drivers.clock import Clock, to_ns
from drivers.link import Link
from drivers.rawlog import AppendFile, Closed, DiskError, NotingLink, Opened, RawItem, RawLogWriter
from drivers.types import Batch, Event, FloatArray, IntArray, LinkDown, LinkUp, Samples, StreamSpec
from harness.recording import STAGES, Recording, StreamData
from harness.recording_files import (
    BOOKKEEPING,
    COLUMNS,
    INCIDENTS,
    NO_DEVICE_NS,
    OUTPUTS,
    RAW,
    RIG,
    RIG_TEXT,
    RUN,
    TRUTH,
    WINDOWS,
    XDF,
    Rows,
    incident_text,
    raw_path,
    spec_texts,
    stream_data,
    to_json,
    window_labels,
    windows_of,
)
from harness.rig import Rig, rig_from_dict, rig_to_dict
from harness.xdf import Channel, XdfWriter

if TYPE_CHECKING:
    from simulators.truth import Truth

_TYPES = {"ecg": "ECG", "eeg": "EEG", "ppg": "PPG", "eda": "EDA", "exg": "EXG", "acceleration": "Accelerometer"}
"""Content types by which EEGLAB and others choose streams; other kinds go by their own name."""


class Recorder:
    """Takes what a session sees, in any order and from one thread.

    ``streams``: role -> what its sensor sends. ``directory`` None records in memory only. What was handed over more
    than ``flush_s`` ago is on disk after the next tick(). DiskError (an OSError) from any method means that the disk
    took no more: what it has stays readable, this recorder goes on in memory, and finish() repeats the reason in
    ``interrupted``.
    """

    def __init__(
        self,
        directory: str | Path | None,
        rig: Rig,
        clock: Clock,
        streams: Mapping[str, Sequence[StreamSpec]],
        *,
        flush_s: float = 0.5,
    ) -> None:
        self.clock, self.failure = clock, ""
        self.rig = rig_from_dict(json.loads(to_json(rig_to_dict(rig))))
        self._streams = {
            (role, spec.name): _StreamBuffer(role, spec) for role, specs in streams.items() for spec in specs
        }
        self._flush_ns, self._flushed_ns = to_ns(flush_s), clock.now_ns()
        self._started, self._start_ns, self._waited_for = False, clock.now_ns(), tuple[str, ...]()
        self._events: list[tuple[str, Event]] = []
        self._written_events = 0
        self._windows: list[IntArray] = []
        self._outputs: list[FloatArray] = []
        self._written_windows = 0
        self._disk: _Disk | None = None
        if directory is not None:
            self._disk = _Disk(Path(directory), self.rig, list(streams), list(self._streams.values()), self._start_ns)

    # --- what a session hands over ------------------------------------------------------------

    def tap(self, role: str, link: Link) -> Link:
        """The link to give to the role's driver, so that opening it and GATT reads are on record for a replay."""
        return NotingLink(link, lambda item: self._raw(role, item))

    def start(self, start_ns: int, waited_for: Sequence[str] = ()) -> None:
        """The run proper begins: all sensors are connected. ``waited_for``: ``role/stream`` that windows wait for."""
        if self._started:
            raise ValueError("this recorder has started already: one recorder records one run")
        self._started, self._start_ns, self._waited_for = True, start_ns, tuple(waited_for)
        if self._disk is not None:
            with self._guard():
                self._disk.start(start_ns, self._waited_for)

    def batch(self, role: str, batch: Batch) -> None:
        """Bytes from the wire."""
        self._raw(role, batch)
        now_ns = self.clock.now_ns()
        if now_ns - self._flushed_ns > 2 * self._flush_ns:  # nobody ticks, as while connecting
            self.tick(now_ns)

    def samples(self, role: str, samples: Samples, times_ns: IntArray) -> None:
        """Decoded samples with the host time at which each was taken, int64 (n,)."""
        self._streams[role, samples.stream].put(samples, times_ns)

    def event(self, role: str, event: Event) -> None:
        """Anything but Samples."""
        self._events.append((role, event))
        if isinstance(event, LinkDown | LinkUp):
            self._raw(role, event)

    def windows(self, stamps_ns: IntArray, late: IntArray, outputs: FloatArray) -> None:
        """Windows: (n, 6) stamps of recording.STAGES, (n, streams waited for) lateness, (n, outputs)."""
        if not self._started:
            raise ValueError("windows before start(): the streams that they wait for are not known")
        n, k = len(stamps_ns), len(self._waited_for)
        if stamps_ns.shape != (n, len(STAGES)) or late.shape != (n, k) or outputs.ndim != 2 or len(outputs) != n:
            raise ValueError(
                f"windows: expected stamps (n, {len(STAGES)}), late (n, {k}) and outputs (n, m), "
                f"found {stamps_ns.shape}, {late.shape} and {outputs.shape}"
            )
        if self._outputs and outputs.shape[1] != self._outputs[0].shape[1]:
            raise ValueError(f"windows: outputs had {self._outputs[0].shape[1]} columns, now {outputs.shape[1]}")
        self._windows.append(np.hstack([stamps_ns, late]).astype(np.int64, copy=False))
        self._outputs.append(np.array(outputs, dtype=np.float64))

    def truth(self, truths: Sequence[Truth]) -> None:
        """Simulated runs: what faults did since the last call."""
        if self._disk is not None and truths:
            with self._guard():
                self._disk.truth(truths)

    # --- to disk ------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """flush() if the last one is ``flush_s`` ago."""
        if now_ns - self._flushed_ns >= self._flush_ns:
            self._flushed_ns = now_ns
            self.flush()

    def flush(self) -> None:
        """Write everything that was handed over so far."""
        fresh = [(buffer, rows) for buffer in self._streams.values() if (rows := buffer.take()) is not None]
        if self._disk is None:
            return
        events, self._written_events = self._events[self._written_events :], len(self._events)
        first, self._written_windows = self._written_windows, len(self._windows)
        with self._guard():
            self._disk.write(fresh, events, self._windows[first:], self._outputs[first:])

    def finish(
        self,
        stop_ns: int,
        host: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
        interrupted: str = "",
        errors: Sequence[str] = (),
        start_ns: int | None = None,
    ) -> Recording:
        """Close the files and return the run. ``errors``: what the model raised, once per kind.

        ``start_ns``, if given, replaces what start() said or, if the run never came so far, when recording began.
        A disk that fails here or failed before does not raise: ``interrupted`` says so.
        """
        self._start_ns = self._start_ns if start_ns is None else int(start_ns)
        end = {
            "start_ns": self._start_ns,
            "stop_ns": stop_ns,
            "host": host or {},
            "meta": meta or {},
            "interrupted": interrupted,
        }
        end = json.loads(to_json({**end, "errors": list(errors)}))
        try:
            self.flush()
            if self._disk is not None:
                with self._guard():
                    self._disk.finish(stop_ns, end)
        except DiskError as error:
            self.failure = str(error)
        return Recording(
            self.rig,
            self._start_ns,
            int(stop_ns),
            {f"{role}/{name}": self._data_of(role, b) for (role, name), b in self._streams.items()},
            tuple(self._events),
            windows_of(self._waited_for, self._windows, self._outputs, errors),
            end["meta"],
            end["host"],
            "; ".join(text for text in (interrupted, self.failure) if text),
        )

    def _data_of(self, role: str, buffer: _StreamBuffer) -> StreamData:
        entry = self.rig.sensors.get(role)
        return stream_data(role, buffer.spec, buffer.kept, entry.sensor if entry else "")

    def _raw(self, role: str, item: RawItem) -> None:
        if self._disk is not None:
            with self._guard():
                self._disk.raw[role].put(item)

    def _guard(self) -> _Guard:
        return _Guard(self)

    def give_up(self, error: BaseException) -> None:
        """The files end here, on whole chunks: go on in memory."""
        broken_off = f"recording to disk was broken off: {type(error).__name__} {error}"
        self.failure = str(error) if isinstance(error, DiskError) else broken_off.strip()
        disk, self._disk = self._disk, None
        if disk is not None:
            disk.abandon()


class _Guard:
    """Around everything that writes: after any failure, Ctrl-C included, the files are left as they are.

    What was not written could not be told from what was, and a gap inside a file would be silent.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._recorder.give_up(error)


class _StreamBuffer:
    """One stream's samples: what is not written yet, and everything that was."""

    def __init__(self, role: str, spec: StreamSpec) -> None:
        self.role, self.spec = role, spec
        self.kept: list[Rows] = []
        self._fresh: list[tuple[Samples, IntArray]] = []

    def put(self, samples: Samples, times_ns: IntArray) -> None:
        n = len(samples.index)
        if samples.values.shape != (n, len(self.spec.channels)) or len(times_ns) != n:
            raise ValueError(
                f"{self.role}/{self.spec.name}: expected {n} samples of {len(self.spec.channels)} channels with a "
                f"time each, found values {samples.values.shape} and {len(times_ns)} times"
            )
        if n:
            self._fresh.append((samples, times_ns))

    def take(self) -> Rows | None:
        """What was put since the last call, also appended to ``kept``."""
        if not self._fresh:
            return None
        fresh, self._fresh = self._fresh, []
        n = sum(len(times) for _, times in fresh)
        values, book = np.empty((n, len(self.spec.channels))), np.empty((n, len(COLUMNS)), dtype=np.int64)
        at = 0
        for samples, times_ns in fresh:
            rows = slice(at, at := at + len(times_ns))
            values[rows] = samples.values
            part = book[rows]
            part[:, 0], part[:, 1] = samples.index, samples.segment
            part[:, 2], part[:, 3] = samples.arrival_ns, times_ns
            part[:, 4] = NO_DEVICE_NS if samples.device_ns is None else samples.device_ns
        self.kept.append(Rows(values, book))
        return self.kept[-1]


class _Disk:
    """The files of one run."""

    def __init__(self, directory: Path, rig: Rig, roles: list[str], buffers: list[_StreamBuffer], now_ns: int) -> None:
        self.directory = directory
        try:
            (directory / RAW).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"{directory} cannot be created: {error.strerror}; choose another directory") from error
        self._xdf = XdfWriter(directory / XDF)
        self._truth: AppendFile | None = None
        _write_whole(directory / RIG, json.dumps(rig_to_dict(rig), indent=1))
        if rig.text:
            _write_whole(directory / RIG_TEXT, rig.text)
        self.raw = {role: RawLogWriter(raw_path(directory, role)) for role in roles}
        for log in self.raw.values():
            log.put(Opened(now_ns))  # a link that is not tapped was opened soon after
        self._at = now_ns / 1e9
        self._run = self._stream(RUN, "Markers", [Channel("JSON")], "string")
        self._incidents = self._stream(INCIDENTS, "Markers", [Channel("JSON")], "string")
        self._ids = {id(buffer): self._data_streams(rig, buffer) for buffer in buffers}
        self._windows = self._outputs = 0
        self._note(now_ns, {"start_ns": now_ns})

    def _stream(self, name: str, kind: str, channels: list[Channel], dtype: str) -> int:
        """An irregular stream of the harness's own."""
        made = self._xdf.stream(name, kind, channels, None, dtype, created_at=self._at)
        self._xdf.clock_offset(made, self._at, 0.0)  # stamps are on the recorder's clock already
        return made

    def _data_streams(self, rig: Rig, buffer: _StreamBuffer) -> tuple[int, int]:
        spec, name = buffer.spec, f"{buffer.role}/{buffer.spec.name}"
        entry = rig.sensors.get(buffer.role)
        kind = _TYPES.get(spec.kind, spec.kind)
        texts = {"part": "values", "role": buffer.role, "sensor": entry.sensor if entry else "", **spec_texts(spec)}
        channels = [Channel(label, spec.unit, kind) for label in spec.channels]
        values = self._xdf.stream(
            name, kind, channels, spec.rate_hz, "float64", texts, can_drop_samples=True, created_at=self._at
        )
        self._xdf.clock_offset(values, self._at, 0.0)
        columns = [Channel(label, "ns" if label.endswith("_ns") else "") for label in COLUMNS]
        return values, self._stream(name + BOOKKEEPING, "Bookkeeping", columns, "int64")

    def _note(self, at_ns: int, facts: Mapping[str, Any]) -> None:
        self._xdf.samples(self._run, np.array([at_ns / 1e9]), [(to_json(facts),)])

    def start(self, start_ns: int, waited_for: tuple[str, ...]) -> None:
        channels = [Channel(label, "ns" if label in STAGES else "") for label in window_labels(waited_for)]
        self._windows = self._stream(WINDOWS, "Windows", channels, "int64")
        self._note(start_ns, {"start_ns": start_ns})

    def write(
        self,
        fresh: list[tuple[_StreamBuffer, Rows]],
        events: list[tuple[str, Event]],
        windows: list[IntArray],
        outputs: list[FloatArray],
    ) -> None:
        for log in self.raw.values():
            log.flush()
        for buffer, rows in fresh:
            values, book = self._ids[id(buffer)]
            stamps = rows.book[:, 3] / 1e9
            self._xdf.samples(values, stamps, rows.values)
            self._xdf.samples(book, stamps, rows.book)
        if events:
            stamps = np.array([event.arrival_ns for _, event in events]) / 1e9
            self._xdf.samples(self._incidents, stamps, [(incident_text(role, event),) for role, event in events])
        if windows:
            table, out = np.concatenate(windows), np.concatenate(outputs)
            if not self._outputs:
                channels = [Channel(f"output {i}") for i in range(out.shape[1])]
                self._outputs = self._stream(OUTPUTS, "Outputs", channels, "float64")
            self._xdf.samples(self._windows, table[:, 0] / 1e9, table)
            self._xdf.samples(self._outputs, table[:, 0] / 1e9, out)
        if fresh or events or windows:
            self._xdf.boundary()

    def truth(self, truths: Sequence[Truth]) -> None:
        if self._truth is None:
            self._truth = AppendFile(self.directory / TRUTH)
        self._truth.write("".join(to_json(asdict(truth)) + "\n" for truth in truths).encode())

    def finish(self, stop_ns: int, end: Mapping[str, Any]) -> None:
        self._note(stop_ns, end)
        for log in self.raw.values():
            log.put(Closed(stop_ns))
            log.close()
        self._xdf.close()
        if self._truth is not None:
            self._truth.close()

    def abandon(self) -> None:
        """Release the files as they are."""
        self._xdf.abandon()
        for log in self.raw.values():
            log.abandon()
        if self._truth is not None:
            self._truth.close()


def _write_whole(path: Path, text: str) -> None:
    file = AppendFile(path)
    file.write(text.encode())
    file.close()
