"""When each sensor was connected: asked for, told to sample, and streaming."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drivers.clock import Clock
from drivers.codec import Device
from drivers.link import Link, Sink
from drivers.registry import load_sensor, make_settings
from harness.rig import SensorEntry

_MOST_WORDS = 500
"""A start-up exchange has a few dozen."""


@dataclass(frozen=True, slots=True)
class Said:
    """Something that the host told a sensor; without data a subscription."""

    at_ns: int
    data: bytes | None
    channel: str


class HeardLink:
    """A link that remembers what was said over it first: the start-up exchange."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.description = link.description
        self.clock: Clock = link.clock
        self.said: list[Said] = []

    def __getattr__(self, name: str) -> Any:
        """Whatever else the link can do."""
        return getattr(self._link, name)

    def _note(self, data: bytes | None, channel: str) -> None:
        if len(self.said) < _MOST_WORDS:
            self.said.append(Said(self.clock.now_ns(), data, channel))

    def open(self, sink: Sink) -> None:
        """As the link does."""
        self._link.open(sink)

    def write(self, data: bytes, channel: str = "") -> None:
        """As the link does, and remember it with the time before it was sent."""
        self._note(data, channel)
        self._link.write(data, channel)

    def subscribe(self, channel: str) -> None:
        """As the link does, and remember it."""
        self._note(None, channel)
        self._link.subscribe(channel)

    def read(self, channel: str) -> bytes | None:
        """As the link does."""
        return self._link.read(channel)

    def close(self) -> None:
        """As the link does."""
        self._link.close()


def told_to_sample_ns(entry: SensorEntry, said: list[Said]) -> int | None:
    """When the sensor was told to begin: before that it cannot have taken a sample that it sends now.

    Which command that is follows from the sensor's own protocol: the first one from which its model of the device
    streams. None where the device streams unasked, or once it is subscribed to: then it may have sampled before.
    """
    sensor = load_sensor(entry.sensor)
    device = sensor.device(make_settings(sensor, entry.settings))
    device.reset()
    for word in said:
        if word.data is None:
            device.subscribe(word.channel)
        elif not _streams(device):
            device.receive(word.data, word.channel)
            if _streams(device):
                return word.at_ns
    return None


def _streams(device: Device) -> bool:
    return device.streaming
