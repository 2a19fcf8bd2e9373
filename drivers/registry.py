"""Finds sensors: one file each in drivers/sensors, or an entry point of the group ``hil.sensors``."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import MISSING, fields
from importlib.metadata import entry_points
from typing import Any, cast, get_type_hints

import drivers.sensors
from drivers.clock import Clock, RealClock
from drivers.codec import Sensor
from drivers.driver import Driver
from drivers.errors import SettingError, UnknownSensor
from drivers.field_types import described, fits

_GROUP = "hil.sensors"


def sensor_names() -> list[str]:
    """Every sensor that can be opened, sorted."""
    own = {m.name.replace("_", "-") for m in pkgutil.iter_modules(drivers.sensors.__path__)}
    return sorted(own | {point.name for point in entry_points(group=_GROUP)})


def load_sensor(name: str) -> Sensor:
    """The sensor's module; UnknownSensor lists near names."""
    module = name.replace("-", "_")
    if any(m.name == module for m in pkgutil.iter_modules(drivers.sensors.__path__)):
        return cast(Sensor, importlib.import_module(f"drivers.sensors.{module}"))
    for point in entry_points(group=_GROUP):
        if point.name == name:
            return cast(Sensor, point.load())
    near = difflib.get_close_matches(name, sensor_names(), n=3) or sensor_names()
    raise UnknownSensor(f"no sensor is called {name!r}; there is {', '.join(near)} (see `hil list sensors`)")


def make_settings(sensor: Sensor, given: Mapping[str, Any] | None = None) -> Any:
    """The sensor's settings dataclass from plain values; SettingError names an unknown, missing or wrong one."""
    known = {f.name: f for f in fields(sensor.SETTINGS)}
    for key in given or {}:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known) or 'none'}"
            raise SettingError(f"{sensor.NAME} has no setting {key!r}{hint}")
    for key, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING and key not in (given or {}):
            raise SettingError(f"{sensor.NAME} needs the setting {key!r}: {field.metadata.get('help', '')}")
    try:
        made = sensor.SETTINGS(**(given or {}))
    except (TypeError, AttributeError):  # a comparison or a method that the value does not have
        _check_types(sensor, given or {})
        raise
    _check_types(sensor, given or {})
    return made


def _check_types(sensor: Sensor, given: Mapping[str, Any]) -> None:
    hints = get_type_hints(sensor.SETTINGS)
    for key, value in given.items():
        if not fits(value, hints[key]):
            raise SettingError(f"{sensor.NAME}: {key!r} is {value!r}; expected {described(hints[key])}")


def line_options(settings: Any) -> dict[str, Any]:
    """What a sensor's settings say about its serial line: ``baud`` and ``parity``, where it has such settings."""
    return {key: getattr(settings, key) for key in ("baud", "parity") if hasattr(settings, key)}


def open_driver(
    name: str, /, *, port: str | None = None, address: str | None = None, clock: Clock | None = None,
    mains_hz: float | None = None, **settings: Any,
) -> Driver:  # fmt: skip
    """A Driver for a real sensor, not yet connected.

    ``port``: a serial device or pyserial URL; ``address``: a BLE address, name or service UUID. ``mains_hz``: that of
    the mains there, 50 or 60, so that it need not be guessed. ``settings`` are the sensor's own; those that are called
    ``baud`` and ``parity`` are the port's too. An LSL stream, of which ``address`` is the name, is looked for now, to
    learn its channels; LinkError if it is not there.
    """
    from drivers.links import make_link, settle

    sensor = load_sensor(name)
    clock = clock or RealClock()
    made = make_settings(sensor, settings)
    if not clock.virtual:
        made = settle(sensor, made, address)
    options = line_options(made) if sensor.LINK == "serial" else {}
    link = make_link(sensor, port=port, address=address, clock=clock, settings=made, **options)
    return Driver(sensor.host(made), link, name=name, mains_hz=mains_hz)
