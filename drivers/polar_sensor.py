"""A Polar sensor: the Heart Rate Service, and the measurement data service beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from drivers.codec import Block, Gatt, Reply, Steps
from drivers.errors import SettingError
from drivers.polar_pmd import CONTROL, DATA
from drivers.polar_stream import MTU, SERVICE, Collector, Sender
from drivers.sensors import heart_rate
from drivers.types import Batch, Event, Samples, StreamSpec

SMALLEST_MTU = 60
_NONE = np.empty(0, dtype=np.int64)
_NO_BEATS = Block(_NONE, _NONE, _NONE, np.empty((0, 1)))


def check_streams(given: Sequence[str], known: Sequence[str]) -> None:
    """SettingError unless ``given`` names at least one stream, each of ``known`` and none twice."""
    wrong = [name for name in given if name not in known]
    if wrong or not given or len(set(given)) < len(given):
        raise SettingError(f"streams {list(given)}: expected some of {', '.join(known)}, each once")


def check_simulated(battery_percent: int, mtu: int, stop_after_s: float) -> None:
    """SettingError for what no sensor has."""
    if not 0 <= battery_percent <= 100:
        raise SettingError(f"battery_percent {battery_percent}: expected 0 to 100")
    if not SMALLEST_MTU <= mtu <= MTU:
        raise SettingError(f"mtu {mtu}: expected {SMALLEST_MTU} to {MTU}")
    if stop_after_s < 0:
        raise SettingError(f"stop_after_s {stop_after_s}: expected seconds, or 0 for never")


class PolarHost:
    """The collector's end; what it does not list in ``streams`` is neither started nor decoded."""

    def __init__(self, streams: tuple[StreamSpec, ...], measurements: Collector) -> None:
        self.streams = streams
        self._names = {stream.name for stream in streams}
        self._strap = heart_rate.Host(heart_rate.Settings())
        self._measurements = measurements

    def start(self) -> Steps:
        """Battery, device information and heart rate, then the measurements."""
        if "heart_rate" in self._names:
            yield from self._strap.start()
        yield from self._measurements.start()

    def stop(self) -> Steps:
        """Stop the measurements, which otherwise go on until the connection is closed."""
        yield from self._measurements.stop()

    def feed(self, batch: Batch) -> list[Event]:
        """Decode notifications; see drivers.codec.Host."""
        if batch.channel in (DATA, CONTROL):
            return self._measurements.feed(batch)
        events = self._strap.feed(batch)
        return [e for e in events if not isinstance(e, Samples) or e.stream in self._names]


class PolarDevice:
    """The sensor's end; it can always do everything, whatever its host asks for."""

    def __init__(
        self, streams: tuple[StreamSpec, ...], strap: heart_rate.Device, measurements: Sender, name: str
    ) -> None:
        self.streams = streams
        self._strap, self._measurements = strap, measurements
        services = strap.gatt.services if strap.gatt else ()
        advertised = (services[0].uuid, SERVICE.uuid)
        self.gatt: Gatt | None = Gatt((*services, SERVICE), advertised, name)

    @property
    def streaming(self) -> bool:
        """Somebody gets heart rates or a measurement."""
        return self._strap.streaming or self._measurements.streaming

    def reset(self) -> None:
        """Power cycle."""
        self._strap.reset()
        self._measurements.reset()

    def reset_counter(self) -> None:
        """The protocol has no counter."""

    def receive(self, data: bytes, channel: str = "") -> list[Reply]:
        """A write: of the measurements' control point, or as a heart rate strap takes it."""
        if channel == CONTROL:
            return self._measurements.receive(data)
        return self._strap.receive(data, channel)

    def read(self, channel: str) -> bytes | None:
        """Features, or what the strap says about itself."""
        return self._measurements.control.features() if channel == CONTROL else self._strap.read(channel)

    def subscribe(self, channel: str, on: bool = True) -> None:
        """Notifications of a characteristic switched on or off."""
        if channel in (CONTROL, DATA):
            self._measurements.subscribe(channel, on)
        else:
            self._strap.subscribe(channel, on)

    def encode(self, blocks: Mapping[str, Block]) -> list[Batch]:
        """Heart rates and frames of the measurements; see drivers.codec.Device."""
        rates: list[Batch] = []
        if self._strap.streaming:
            rates = self._strap.encode({"heart_rate": blocks["heart_rate"], "rr": blocks.get("rr", _NO_BEATS)})
        return list(chain(rates, self._measurements.encode(blocks)))
