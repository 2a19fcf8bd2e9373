"""A real recording played through the simulated sensor: WFDB, EDF, BDF, CSV with a header, npy, npz.

Values between recorded samples come from a cubic through the four nearest (Catmull-Rom): it goes
through every recorded sample, so a device of the file's own rate gets them unchanged, its slope has
no corners as a straight line has, and it needs four samples, so that any moment can be asked for at
once. A device slower than the file gets it low-passed below its own half rate first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfiltfilt

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.recorded_file import Recorded, Wanted, read_recorded
from simulators.rendering import Sampled, spread
from simulators.subject import Subject
from simulators.units import factor

_PASS = 0.42
"""Corner of the low-pass, of the device's rate."""


@dataclass(frozen=True)
class OPTIONS:
    """Keys of the recording signal."""

    file: str = field(metadata={"help": "path of a .hea, .dat, .edf, .bdf, .csv, .npy or .npz file"})
    channel: str | int | tuple[str | int, ...] | None = field(
        default=None, metadata={"help": "name or number, or a list of them; absent: those named as the stream's own"}
    )
    rate_hz: float | None = field(default=None, metadata={"help": "sampling rate; needed where the file has none"})
    unit: str | None = field(default=None, metadata={"help": "unit of the file, where it states none or a wrong one"})
    scale: float = field(default=1.0, metadata={"help": "values are multiplied with this, after any change of unit"})
    offset: float = field(default=0.0, metadata={"help": "and this is added, in the stream's unit"})
    loop: bool = field(default=True, metadata={"help": "start again at the end; else the last value stands"})
    start_s: float = field(default=0.0, metadata={"help": "second of the file at which playing begins"})

    def __post_init__(self) -> None:
        if self.rate_hz is not None and self.rate_hz <= 0:
            raise SettingError(f"recording: rate_hz is {self.rate_hz}; it must be above 0")
        if self.start_s < 0:
            raise SettingError(f"recording: start_s is {self.start_s}; it must not be negative")


def signal(subject: Subject, spec: StreamSpec, draws: Draws, options: OPTIONS) -> Recording:
    """The signal of one stream; SettingError says what is wrong with the file."""
    if spec.rate_hz is None:
        raise SettingError(f"stream {spec.name!r} has no rate; a recording plays on sampled streams only")
    path = Path(options.file).expanduser()
    recorded = read_recorded(path, _wanted(options), spec.channels)
    rate_hz = options.rate_hz or recorded.rate_hz
    if rate_hz is None:
        raise SettingError(f"recording {path}: the file does not say its rate; give 'rate_hz'")
    if recorded.values.shape[1] not in (1, len(spec.channels)):
        raise SettingError(
            f"recording {path}: {recorded.values.shape[1]} channels for stream {spec.name!r}, which has "
            f"{len(spec.channels)}: {', '.join(spec.channels)}; choose as many with 'channel', or one for all"
        )
    if options.start_s * rate_hz > len(recorded.values) - 1:
        raise SettingError(f"recording {path}: start_s {options.start_s:g} is behind its end, "
                           f"{len(recorded.values) / rate_hz:g} s")  # fmt: skip
    values = recorded.values * _gains(path, recorded, spec, options) + options.offset
    return Recording(_band_limited(values, rate_hz, spec.rate_hz), rate_hz, len(spec.channels), options)


def _wanted(options: OPTIONS) -> Wanted:
    channel = options.channel
    return (channel,) if isinstance(channel, str | int) else channel


def _gains(path: Path, recorded: Recorded, spec: StreamSpec, options: OPTIONS) -> FloatArray:
    gains = []
    for unit in recorded.units:
        given = options.unit or unit
        gain = 1.0 if given is None else factor(given, spec.unit)
        if gain is None and options.scale == 1.0:
            raise SettingError(
                f"recording {path}: {given!r} does not convert into {spec.unit!r} of stream {spec.name!r}; "
                f"give 'unit' if the file is wrong, or 'scale' ({spec.unit} per {given})"
            )
        gains.append((1.0 if gain is None else gain) * options.scale)
    return np.array(gains)


def _band_limited(values: FloatArray, rate_hz: float, device_hz: float) -> FloatArray:
    """Without what a slower device would fold down, no phase shift; as it is for a device as fast."""
    if device_hz > 0.99 * rate_hz:
        return values
    sections = butter(8, _PASS * device_hz, fs=rate_hz, output="sos")
    return np.asarray(sosfiltfilt(sections, values, axis=0, padlen=min(60, len(values) - 1)))


class Recording(Sampled):
    """Any moment of the file, repeated or held at its end."""

    def __init__(self, values: FloatArray, rate_hz: float, channels: int, options: OPTIONS) -> None:
        self._values, self._rate_hz, self._channels, self._options = values, rate_hz, channels, options
        self.span = spread(values, 0.0) or 1.0

    def render(self, first: int, times_s: FloatArray) -> FloatArray:
        """Values (n, channels) in the stream's unit."""
        count = len(self._values)
        position = (times_s + self._options.start_s) * self._rate_hz
        if not self._options.loop:
            position = np.clip(position, 0.0, count - 1.0)
        whole = np.floor(position)
        part = (position - whole)[:, None]
        before, here, after, later = (self._at(whole.astype(np.int64) + step) for step in (-1, 0, 1, 2))
        slope, next_slope = 0.5 * (after - before), 0.5 * (later - here)
        bend = 3 * (after - here) - 2 * slope - next_slope
        twist = slope + next_slope - 2 * (after - here)
        values = here + part * (slope + part * (bend + part * twist))
        return values if values.shape[1] == self._channels else np.repeat(values, self._channels, axis=1)

    def _at(self, number: np.typing.NDArray[np.int64]) -> FloatArray:
        count = len(self._values)
        return self._values[number % count if self._options.loop else np.clip(number, 0, count - 1)]
