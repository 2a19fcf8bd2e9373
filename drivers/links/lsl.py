"""A stream of the Lab Streaming Layer: a thread waits for its samples and hands them on as rows."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from drivers.clock import Clock, to_ns
from drivers.errors import LinkError, SettingError
from drivers.link import Sink
from drivers.lsl_stream import check, find, library
from drivers.rows import write_rows
from drivers.types import Batch, FloatArray, LinkDown, LinkUp

if TYPE_CHECKING:
    from drivers.sensors.lsl import Settings

_WAIT_S = 0.2
"""Longest wait for a sample, after which close() is noticed."""
_MOST = 4096
_BUFFER_S = 10
_CORRECTION_S, _ASK_S, _NO_WAIT_S = 1.0, 1.0, 0.001
"""liblsl measures the clocks against each other every few seconds: how long the first measurement is waited for, and
how often and how patiently it is asked afterwards for what it knows."""
_LOST = RuntimeError
"""What all of pylsl's errors are: lost, too late, and liblsl's own failures."""
_LOOK_S = 0.5
"""How long a lost stream is looked for at a time, after which close() is noticed."""


class LslLink:
    """Samples of the stream at ``address``: a name, type or source_id, or a predicate of liblsl for one.

    Rows are the sample's own time stamp as the sender gave it, the clock correction known then (add it to get this
    machine's LSL clock; NaN before it is known) and the channels. The arrival stamp is taken when liblsl hands it over.
    """

    def __init__(self, settings: Settings, address: str, clock: Clock, *, reconnect: bool = True) -> None:
        if clock.virtual:
            raise SettingError(f"LSL {address!r}: a network lives in real time, not on a virtual clock")
        self.clock = clock
        self.description = f"LSL {address}"
        self._settings, self._address, self._reconnect = settings, address, reconnect
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self, sink: Sink) -> None:
        """Find the stream and deliver; LinkError says which streams there are instead, or how this one differs."""
        if self._thread is not None:
            raise LinkError(f"{self.description}: this link is open already")
        self._closing.clear()
        inlet = self._connect(self._settings.timeout_s)
        self._thread = threading.Thread(target=self._run, args=(sink, inlet), name=self.description, daemon=True)
        self._thread.start()

    def write(self, data: bytes, channel: str = "") -> None:
        """A stream takes no commands."""
        raise LinkError(f"{self.description}: nothing can be sent to an LSL stream")

    def subscribe(self, channel: str) -> None:
        """Rows have nothing to subscribe to."""

    def read(self, channel: str) -> bytes | None:
        """None: rows have no values to read."""
        return None

    def close(self) -> None:
        """Stop delivering and disconnect; safe to call twice."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # --- in liblsl's words ----------------------------------------------------------------------

    def _connect(self, timeout_s: float, patient: bool = True) -> Any:
        pylsl = library()
        info = find(self._address, timeout_s, explain=patient)
        check(self._settings, info, self.description)
        inlet = pylsl.StreamInlet(info, max_buflen=_BUFFER_S, recover=False, processing_flags=pylsl.proc_none)
        try:
            with suppress(_LOST):  # before anything is sent, since nobody reads it meanwhile
                inlet.time_correction(timeout=_CORRECTION_S)
            inlet.open_stream(self._settings.timeout_s)
        except _LOST as error:
            raise LinkError(f"{self.description}: it was found, but cannot be connected to: {error}") from error
        return inlet

    def _run(self, sink: Sink, inlet: Any) -> None:
        while inlet is not None:
            try:
                self._pull(sink, inlet)
                reason = ""
            except _LOST as error:
                reason = f"the stream is gone: {error}"
            with suppress(_LOST):
                inlet.close_stream()
            inlet = None
            if reason:
                sink(LinkDown(self.clock.now_ns(), reason))
                inlet = self._reconnected(sink)

    def _reconnected(self, sink: Sink) -> Any:
        while self._reconnect and not self._closing.is_set():
            with suppress(LinkError):
                inlet = self._connect(_LOOK_S, patient=False)
                sink(LinkUp(self.clock.now_ns()))
                return inlet
        return None

    def _pull(self, sink: Sink, inlet: Any) -> None:
        """Hand samples on until close()."""
        correction_s, ask_ns = float("nan"), self.clock.now_ns()
        while not self._closing.is_set():
            if self.clock.now_ns() >= ask_ns:
                with suppress(_LOST):  # nothing has been measured yet
                    correction_s = inlet.time_correction(timeout=_NO_WAIT_S)
                ask_ns = self.clock.now_ns() + to_ns(_ASK_S)
            sample, stamp_s = inlet.pull_sample(timeout=_WAIT_S)
            now_ns = self.clock.now_ns()
            if sample is None:
                continue
            more, stamps = inlet.pull_chunk(timeout=0.0, max_samples=_MOST)
            values = np.array([sample, *more], dtype=np.float64)
            sink(Batch.single(_rows(np.array([stamp_s, *stamps]), correction_s, values), now_ns))


def _rows(stamps_s: FloatArray, correction_s: float, values: FloatArray) -> bytes:
    correction = np.full(len(values), correction_s)
    return write_rows(np.column_stack([stamps_s, correction, values]))
