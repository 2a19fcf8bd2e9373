"""Baud and parity on their way from a sensor's settings to the port."""

import pytest

from drivers.clock import RealClock
from drivers.errors import SettingError
from drivers.links.port import open_port
from drivers.links.serial import SerialLink
from drivers.registry import line_options, load_sensor, make_settings, open_driver


@pytest.mark.parametrize("parity", ["N", "E", "O"])
def test_a_port_is_opened_with_the_parity_that_is_wanted(parity: str) -> None:
    with open_port("loop://", 19200, parity=parity) as port:
        assert (port.baudrate, port.parity, port.bytesize, port.stopbits) == (19200, parity, 8, 1)


def test_a_parity_that_no_port_has_is_refused() -> None:
    with pytest.raises(SettingError, match="'odd'; it can be"):
        SerialLink("loop://", RealClock(), parity="odd")


def test_a_sensors_line_follows_from_its_settings() -> None:
    sensor = load_sensor("contec-cms50")
    assert line_options(make_settings(sensor, {"protocol": "5-byte"})) == {"baud": 19200, "parity": "O"}
    assert line_options(make_settings(sensor, {"baud": 9600})) == {"baud": 9600, "parity": "N"}
    assert line_options(make_settings(load_sensor("heart-rate"))) == {}


def test_a_driver_opens_its_port_at_the_rate_that_follows_from_the_settings() -> None:
    driver = open_driver("contec-cms50", port="loop://", protocol="5-byte")
    assert driver.link.description == "loop:// at 19200 baud"
