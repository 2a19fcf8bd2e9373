"""Finding sensors by name and making their settings, with errors that say what there is."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, EntryPoints
from types import SimpleNamespace
from typing import Any

import pytest

import drivers.registry as registry
from drivers.clock import VirtualClock
from drivers.driver import Driver
from drivers.errors import SettingError, UnknownSensor
from drivers.links.ble import BleLink
from drivers.links.serial import SerialLink
from drivers.registry import load_sensor, make_settings, open_driver, sensor_names

OWN = {"openbci-cyton", "heart-rate", "text-lines"}


@dataclass(frozen=True, kw_only=True)
class Dials:
    """Settings of a sensor that stands in another package."""

    serial_number: str = field(metadata={"help": "as printed on its back"})
    gain: int = 4
    rate_hz: float = 100.0
    note: Any = None


def foreign(name: str) -> Any:
    return SimpleNamespace(NAME=name, LINK="serial", BAUD=9600, SETTINGS=Dials, host=lambda settings: settings)


@pytest.fixture
def with_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed beside this one and brings a sensor."""
    monkeypatch.setitem(sys.modules, "acme_patch", foreign("acme-patch"))
    points = EntryPoints([EntryPoint("acme-patch", "acme_patch", "hil.sensors")])
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))


def test_the_sensors_of_this_package_are_found_by_their_files() -> None:
    assert set(sensor_names()) >= OWN
    assert sensor_names() == sorted(sensor_names())


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_sensors_module_says_the_name_by_which_it_was_found(name: str) -> None:
    found = load_sensor(name).NAME
    assert found == name


@pytest.mark.parametrize("typed", ["openbci-cyto", "OpenBCI-Cyton", "openbci_cytn"])
def test_a_mistyped_name_is_answered_with_the_nearest(typed: str) -> None:
    with pytest.raises(UnknownSensor, match="openbci-cyton"):
        load_sensor(typed)


def test_a_name_that_is_like_none_is_answered_with_all_of_them() -> None:
    with pytest.raises(UnknownSensor) as told:
        load_sensor("zzz")
    assert all(name in str(told.value) for name in OWN)
    assert isinstance(told.value, LookupError)


@pytest.mark.usefixtures("with_entry_point")
def test_an_installed_package_brings_a_sensor_by_its_entry_point() -> None:
    assert "acme-patch" in sensor_names()
    assert load_sensor("acme-patch").NAME == "acme-patch"
    assert set(sensor_names()) >= OWN


# --- settings -----------------------------------------------------------------------------------


def test_settings_come_from_plain_values_and_keep_their_defaults() -> None:
    made = make_settings(foreign("x"), {"serial_number": "A7", "rate_hz": 50})
    assert made == Dials(serial_number="A7", gain=4, rate_hz=50)


def test_an_unknown_setting_is_answered_with_the_nearest_or_with_all() -> None:
    with pytest.raises(SettingError, match="did you mean 'gain'"):
        make_settings(foreign("x"), {"serial_number": "A7", "gian": 4})
    with pytest.raises(SettingError, match="serial_number, gain, rate_hz"):
        make_settings(foreign("x"), {"serial_number": "A7", "zzz": 4})


def test_a_missing_setting_is_named_with_its_help() -> None:
    with pytest.raises(SettingError, match=r"serial_number.*as printed on its back"):
        make_settings(foreign("x"))


@pytest.mark.parametrize(("key", "value"), [("gain", "four"), ("gain", 4.5), ("gain", True), ("rate_hz", None)])
def test_a_value_of_the_wrong_type_is_named_with_what_was_expected(key: str, value: object) -> None:
    with pytest.raises(SettingError, match=rf"{key}.*{value!r}.*expected a"):
        make_settings(foreign("x"), {"serial_number": "A7", key: value})


def test_a_setting_that_may_be_anything_takes_anything() -> None:
    assert make_settings(foreign("x"), {"serial_number": "A7", "note": ["a", 1]}).note == ["a", 1]


def test_a_cyton_refuses_a_gain_that_it_does_not_have() -> None:
    with pytest.raises(SettingError, match="24"):
        make_settings(load_sensor("openbci-cyton"), {"gain": 5})


# --- drivers on real links ----------------------------------------------------------------------


def test_a_serial_sensor_gets_a_serial_link_at_its_own_rate_and_is_not_opened_yet() -> None:
    driver = open_driver("openbci-cyton", port="/dev/ttyUSB0", gain=12)
    assert isinstance(driver, Driver)
    assert isinstance(driver.link, SerialLink)
    assert "/dev/ttyUSB0 at 115200 baud" in driver.link.description
    assert not driver.streaming


def test_a_rate_that_is_set_is_the_ports_rate() -> None:
    assert "at 9600 baud" in open_driver("text-lines", port="/dev/ttyACM0", baud=9600).link.description


def test_a_ble_sensor_gets_a_ble_link_and_may_have_a_setting_called_name() -> None:
    driver = open_driver("heart-rate", address="Polar H10", name="other")
    assert isinstance(driver.link, BleLink)
    assert "Polar H10" in driver.link.description


@pytest.mark.parametrize(
    ("sensor", "given", "wanted"),
    [("openbci-cyton", {"address": "180d"}, "port="), ("heart-rate", {"port": "/dev/ttyUSB0"}, "address=")],
)
def test_where_the_sensor_is_must_be_said_in_the_way_of_its_link(sensor: str, given: Any, wanted: str) -> None:
    with pytest.raises(SettingError, match=wanted):
        open_driver(sensor, **given)


def test_a_real_sensor_does_not_live_on_a_virtual_clock() -> None:
    with pytest.raises(SettingError, match="virtual"):
        open_driver("openbci-cyton", port="/dev/ttyUSB0", clock=VirtualClock())


def test_an_absent_port_is_told_by_connect_and_not_raised() -> None:
    driver = open_driver("openbci-cyton", port="/dev/does-not-exist")
    assert driver.connect() is False
    assert isinstance(driver.last_error, ConnectionError)
    assert "/dev/does-not-exist" in str(driver.last_error)
