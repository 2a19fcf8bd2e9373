"""The recording of a run as it would be if the run had ended earlier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drivers.types import IntArray
from harness.recording import Recording, StreamData, Windows
from harness.windowing import Schedule


def until(recording: Recording, stop_ns: int) -> Recording:
    """What had arrived by ``stop_ns`` (host time), as a run that lasted until then would have recorded it.

    A sample belongs to the prefix when the chunk that completed it does. A codec that held one back until the next
    frame (an impossible counter may be damage or a reset) had not told of it yet in the shorter run: there the two may
    differ by that frame. ValueError for a moment outside the run.
    """
    if not recording.start_ns < stop_ns <= recording.stop_ns:
        seconds = (recording.stop_ns - recording.start_ns) / 1e9
        found = (stop_ns - recording.start_ns) / 1e9
        raise ValueError(f"a prefix of a run of {seconds:g} s ends within it, found {found:g} s")
    rig = replace(recording.rig, duration_s=(stop_ns - recording.start_ns) / 1e9)
    return replace(
        recording,
        rig=rig,
        stop_ns=stop_ns,
        streams={key: _stream(data, stop_ns) for key, data in recording.streams.items()},
        events=tuple((role, event) for role, event in recording.events if event.arrival_ns <= stop_ns),
        windows=_windows(recording, stop_ns),
    )


def _stream(data: StreamData, stop_ns: int) -> StreamData:
    """Samples stand in order of arrival."""
    n = int(np.searchsorted(data.arrival_ns, stop_ns, side="right"))
    device_ns: IntArray | None = None if data.device_ns is None else data.device_ns[:n]
    return replace(
        data, values=data.values[:n], index=data.index[:n], segment=data.segment[:n],
        arrival_ns=data.arrival_ns[:n], time_ns=data.time_ns[:n], device_ns=device_ns,
    )  # fmt: skip


def _windows(recording: Recording, stop_ns: int) -> Windows:
    """The windows that are due in a run so short: none so late that it could not be judged before the end."""
    windows = recording.windows
    n = Schedule.of(recording.rig.window, recording.start_ns, stop_ns).count
    return replace(windows, stamps_ns=windows.stamps_ns[:n], late=windows.late[:n], outputs=windows.outputs[:n])
