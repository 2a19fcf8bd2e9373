"""A board that BrainFlow reads: a thread takes what it has collected and hands it on as rows."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from drivers.brainflow_board import library
from drivers.clock import Clock
from drivers.errors import LinkError, LinkLost, NotConnected, SettingError
from drivers.link import Sink
from drivers.rows import write_rows
from drivers.types import Batch, LinkDown, LinkUp

if TYPE_CHECKING:
    from drivers.sensors.brainflow import Settings

_PULL_S = 0.01
"""BrainFlow has no way of waiting for data. What a row's stamp lacks of the truth is this and BrainFlow's own delay."""
_RETRY_S = 1.0
_LEAST_SILENCE_S = 3.0


class BrainFlowLink:
    """Rows of the board in ``settings``, on ``port`` where it is a serial one.

    BrainFlow does not say that a board is gone: silence of three seconds, or of twenty rows, is taken for that.
    With ``reconnect`` the board is then opened anew until it is back.
    """

    def __init__(self, settings: Settings, clock: Clock, *, port: str | None = None, reconnect: bool = True) -> None:
        if clock.virtual:
            raise SettingError(f"board {settings.board_id}: BrainFlow lives in real time, not on a virtual clock")
        self.clock = clock
        self.description = f"BrainFlow board {settings.board_id}" + (f" on {port}" if port else "")
        self._settings, self._port, self._reconnect = settings, port, reconnect
        rate_hz = float(settings.descriptor()["sampling_rate"])
        self._silence_ns = round(max(_LEAST_SILENCE_S, 20 / rate_hz) * 1e9)
        self._closing = threading.Event()
        self._board: Any = None
        self._thread: threading.Thread | None = None

    def open(self, sink: Sink) -> None:
        """Prepare the session, send the commands, stream; LinkError with BrainFlow's own reason."""
        if self._thread is not None:
            raise LinkError(f"{self.description}: this link is open already")
        self._closing.clear()
        self._board = self._start()
        self._thread = threading.Thread(target=self._run, args=(sink,), name=self.description, daemon=True)
        self._thread.start()

    def write(self, data: bytes, channel: str = "") -> None:
        """A command for the board's config_board(); LinkLost if BrainFlow cannot send it."""
        if self._thread is None:
            raise NotConnected(f"{self.description}: open the link before writing to it")
        board, brainflow = self._board, library()
        if board is None:
            raise LinkLost(f"{self.description}: the board is gone")
        try:
            board.config_board(data.decode())
        except brainflow.BrainFlowError as error:
            raise LinkLost(f"{self.description}: BrainFlow does not send {data!r}: {error}") from error

    def subscribe(self, channel: str) -> None:
        """Rows have nothing to subscribe to."""

    def read(self, channel: str) -> bytes | None:
        """None: rows have no values to read."""
        return None

    def close(self) -> None:
        """Stop the stream and release the board; safe to call twice."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # --- in BrainFlow's words -------------------------------------------------------------------

    def _start(self) -> Any:
        """A board that streams."""
        brainflow = library()
        params = brainflow.BrainFlowInputParams()
        for key, value in self._settings.params.items():
            setattr(params, key, value)
        params.serial_port = self._port or ""
        brainflow.BoardShim.disable_board_logger()  # what it would print is in the error
        board = brainflow.BoardShim(self._settings.board_id, params)
        try:
            board.prepare_session()
            for command in self._settings.commands:
                board.config_board(command)
            board.start_stream()
        except brainflow.BrainFlowError as error:
            _release(board)
            raise LinkError(
                f"{self.description}: BrainFlow cannot open it: {error}. Check that the board is on and near, that no "
                "other program has it, and its port and params"
            ) from error
        return board

    def _run(self, sink: Sink) -> None:
        try:
            while not self._closing.is_set():
                reason = self._pull(sink)
                _release(self._board)
                self._board = None
                if reason:
                    sink(LinkDown(self.clock.now_ns(), reason))
                    self._reopen(sink)
                if self._board is None:
                    return
        finally:
            if self._board is not None:
                _release(self._board)
                self._board = None

    def _pull(self, sink: Sink) -> str:
        """Hand rows on until close(), or until the board is gone; why it is."""
        brainflow, last_ns = library(), self.clock.now_ns()
        while not self._closing.wait(_PULL_S):
            try:
                data = self._board.get_board_data(preset=self._settings.preset)
            except brainflow.BrainFlowError as error:
                return f"BrainFlow lost it: {error}"
            now_ns = self.clock.now_ns()
            if data.shape[1]:
                last_ns = now_ns
                sink(Batch.single(write_rows(np.ascontiguousarray(data.T)), now_ns))
            elif now_ns - last_ns > self._silence_ns:
                return f"BrainFlow has had no row for {(now_ns - last_ns) / 1e9:.0f} s"
        return ""

    def _reopen(self, sink: Sink) -> None:
        while self._reconnect and not self._closing.wait(_RETRY_S):
            with suppress(LinkError):
                self._board = self._start()
                sink(LinkUp(self.clock.now_ns()))
                return


def _release(board: Any) -> None:
    """Stop and let go; a board that is gone answers neither."""
    for step in (board.stop_stream, board.release_session):
        with suppress(library().BrainFlowError):
            step()
