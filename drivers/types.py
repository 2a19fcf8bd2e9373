"""The words every layer shares: streams, batches of stamped bytes, decoded events and readings.

Time columns are int64 nanoseconds. Three clocks are never mixed: ``device_ns`` (what the sensor's
own clock says), ``arrival_ns`` (host monotonic clock, stamped at the earliest point) and UTC (people).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]

KINDS = (
    "ecg", "ppg", "eda", "respiration", "temperature", "eeg", "acceleration",
    "heart_rate", "rr", "affect", "exg", "raw", "spo2",
)  # fmt: skip
"""Modalities. The kind of a stream decides its simulated signal, quality score and model input."""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What one stream of a sensor carries."""

    name: str
    kind: str
    channels: tuple[str, ...]
    unit: str
    rate_hz: float | None
    """Nominal sampling rate; None for events without a rate (RR intervals)."""
    lsb: float | None = None
    """Smallest step on the wire, in ``unit``."""
    low: float | None = None
    high: float | None = None
    """Rails, in ``unit``."""
    counted: bool = False
    """Losses are exact: the wire carries a counter, or a clock that can stand in for one."""
    timed: bool = False
    """The wire carries device time."""
    numbered: bool = False
    """The wire carries a counter."""
    play_ms: float = 0.0
    """A message is complete by up to so much later than the shortest one would be: numbers in text gain digits."""
    mains_hz: float | None = None
    """Mains frequency where the sensor is used, 50 or 60; None where nobody has said."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Consecutive bytes of one channel, cut into chunks that each have one time.

    The same columns serve every layer: a chunk is a frame and its due time where a simulated
    device speaks, a piece of the wire and its delivery time on the link, and one read and its
    arrival stamp at the host. ``data[ends[i-1]:ends[i]]`` is chunk i, at ``at_ns[i]``.
    ``channel`` is a GATT characteristic's UUID, or "" on a byte stream.
    """

    data: bytes
    ends: IntArray
    at_ns: IntArray
    channel: str = ""

    @classmethod
    def single(cls, data: bytes, at_ns: int, channel: str = "") -> Batch:
        """One chunk, as a real link delivers it."""
        return cls(data, np.array([len(data)]), np.array([at_ns]), channel)

    @classmethod
    def of(cls, chunks: list[bytes], at_ns: IntArray, channel: str = "") -> Batch:
        """Join chunks (list of n) with their times, int64 (n,)."""
        ends = np.cumsum([len(chunk) for chunk in chunks], dtype=np.int64)
        return cls(b"".join(chunks), ends, np.asarray(at_ns, dtype=np.int64), channel)

    def __len__(self) -> int:
        return len(self.ends)

    def starts(self) -> IntArray:
        """First byte offset of every chunk, int64 (n,)."""
        return np.concatenate([np.zeros(1, dtype=np.int64), self.ends[:-1]])[: len(self.ends)]

    def chunks(self) -> Iterator[tuple[bytes, int]]:
        """Each chunk's bytes with its time in ns."""
        start = 0
        for end, at_ns in zip(self.ends.tolist(), self.at_ns.tolist(), strict=True):
            yield self.data[start:end], at_ns
            start = end

    def take(self, order: NDArray[Any]) -> Batch:
        """The chunks that ``order`` (indices or a mask) selects, in its order."""
        picked = np.arange(len(self))[order]
        starts, ends = self.starts()[picked].tolist(), self.ends[picked].tolist()
        parts = [self.data[a:b] for a, b in zip(starts, ends, strict=True)]
        return Batch.of(parts, self.at_ns[picked], self.channel)

    def time_of(self, offsets: NDArray[Any]) -> IntArray:
        """Time of the chunk that holds each byte offset, int64, same shape as ``offsets``."""
        return self.at_ns[np.searchsorted(self.ends, offsets, side="right")]


# --- what a codec's feed() yields -------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Decoded samples of one stream, in the order in which they arrived."""

    stream: str
    values: FloatArray
    """(n, channels), in the stream's unit."""
    index: IntArray
    """(n,) sample number since the start of the segment's numbering, unwrapped: a loss leaves a hole."""
    arrival_ns: IntArray
    """(n,) when the chunk that completed each sample arrived."""
    device_ns: IntArray | None = None
    """(n,) unwrapped device time, or None where the wire carries none."""
    segment: int = 0
    """Grows by one at every discontinuity of the device's counter or clock; never across one line fit."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that were no valid frame; the codec has resynchronised after them."""

    reason: str
    size: int
    """Bytes given up."""
    excerpt: bytes
    """At most the first 64 of them."""
    arrival_ns: int


@dataclass(frozen=True, slots=True)
class Lost:
    """``count`` samples of a stream never arrived, by the device's own counter."""

    stream: str
    count: int
    arrival_ns: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """``count`` samples arrived a second time and were left out."""

    stream: str
    count: int
    arrival_ns: int


@dataclass(frozen=True, slots=True)
class Reordered:
    """``count`` samples arrived behind a later one, after they were told as lost; they were kept, in their place."""

    stream: str
    count: int
    arrival_ns: int


@dataclass(frozen=True, slots=True)
class CounterReset:
    """The device's counter or clock jumped in a way that no loss explains: a new segment starts."""

    stream: str
    arrival_ns: int
    detail: str
    clock: bool = False
    """It was the clock, not the counter."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the device said beside its samples: a text reply, battery, skin contact."""

    name: str
    value: str | float | bool
    arrival_ns: int


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link was lost: unplugged, out of range, closed by the peer."""

    arrival_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The link is back after a LinkDown."""

    arrival_ns: int


Event: TypeAlias = Samples | Malformed | Lost | Repeated | Reordered | CounterReset | Notice | LinkDown | LinkUp
LinkItem: TypeAlias = Batch | LinkDown | LinkUp
"""What a link delivers."""


# --- what a person reads ----------------------------------------------------------------------


class Quality(float):
    """A score in 0..1 that is a plain float, so ``quality < 0.5`` works, and that says why.

    As long as too little has come to say anything it is NaN and the flag ``unknown`` is up: then both
    ``quality < 0.5`` and ``quality >= 0.5`` are False, so nobody is warned of a signal that nobody has
    judged, and nobody takes it for good. Of several streams the score is that of the worst known one.

    ``streams`` maps a stream to its score, ``parts`` a stream to its named part scores, ``flags`` a
    stream to its named troubles (flat, saturated, gap, hum, motion, low_perfusion, off_body, unknown).
    """

    streams: Mapping[str, float]
    parts: Mapping[str, Mapping[str, float]]
    flags: Mapping[str, frozenset[str]]

    def __new__(
        cls,
        score: float,
        streams: Mapping[str, float] | None = None,
        parts: Mapping[str, Mapping[str, float]] | None = None,
        flags: Mapping[str, frozenset[str]] | None = None,
    ) -> Quality:
        """The worst stream's score with the per-stream detail."""
        self = super().__new__(cls, score)
        self.streams, self.parts, self.flags = streams or {}, parts or {}, flags or {}
        return self


@dataclass(frozen=True, eq=False)
class Reading(Mapping[str, Any]):
    """What arrived since the last reading: a mapping with exactly three keys.

    ``physiological``: stream -> float array (n,) or (n, channels), physical units;
    ``timestamps``: stream -> float64 seconds on the host clock (n,);
    ``quality_metrics``: Quality of the worst stream.
    """

    physiological: Mapping[str, FloatArray]
    timestamps: Mapping[str, FloatArray]
    quality_metrics: Quality
    events: tuple[Event, ...] = field(default=())

    _KEYS = ("physiological", "timestamps", "quality_metrics")

    def __getitem__(self, key: str) -> Any:
        if key not in self._KEYS:
            raise KeyError(f"{key!r}: a Reading has {', '.join(self._KEYS)}")
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._KEYS)

    def __len__(self) -> int:
        return len(self._KEYS)

    def select(self, stream: str) -> dict[str, Any]:
        """One stream's plain arrays under the same three keys; KeyError names the streams there are."""
        if stream not in self.physiological:
            raise KeyError(f"no stream {stream!r} in this reading, which has {', '.join(self.physiological)}")
        score = self.quality_metrics.streams.get(stream, float(self.quality_metrics))
        return {
            "physiological": self.physiological[stream],
            "timestamps": self.timestamps[stream],
            "quality_metrics": Quality(
                score,
                {stream: score},
                {stream: self.quality_metrics.parts.get(stream, {})},
                {stream: self.quality_metrics.flags.get(stream, frozenset())},
            ),
        }
