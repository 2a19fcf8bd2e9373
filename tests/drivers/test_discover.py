"""Candidates from USB descriptors, and the YAML that comes of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import serial
import yaml
from hypothesis import given
from hypothesis import strategies as st
from serial.tools import list_ports, list_ports_common

from drivers.clock import VirtualClock
from drivers.discover import Found, as_yaml, ble_candidates, serial_candidates
from drivers.errors import SettingError
from harness.rig import SensorEntry


@dataclass
class Port:
    """What pyserial tells of a port."""

    device: str
    description: str = "n/a"
    vid: int | None = None
    pid: int | None = None
    serial_number: str | None = None
    manufacturer: str | None = None
    product: str | None = None


DONGLE = Port("/dev/ttyUSB0", "FT231X USB UART", 0x0403, 0x6015, "DM00Q0QB", "FTDI", "FT231X USB UART")
UNO = Port("/dev/ttyACM0", "ttyACM0", 0x2341, 0x0043, "75735", "Arduino", "Uno")
BARE = Port("/dev/ttyS0")


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    return tmp_path / "absent"


@pytest.mark.parametrize(
    ("vid", "pid", "sensor"),
    [
        (0x0403, 0x6015, "openbci-cyton"),
        (0x0403, 0x6001, "openbci-cyton"),
        (0x2341, 0x0043, "text-lines"),
        (0x1A86, 0x7523, "text-lines"),
        (0x10C4, 0xEA60, "text-lines"),
        (0x0403, 0x6010, None),
        (0xDEAD, 0xBEEF, None),
        (None, None, None),
    ],
)
def test_the_sensor_is_guessed_from_the_usb_numbers(
    vid: int | None, pid: int | None, sensor: str | None, nowhere: Path
) -> None:
    (found,) = serial_candidates([Port("/dev/ttyUSB0", vid=vid, pid=pid)], nowhere)
    assert found.sensor == sensor
    assert bool(found.why) == (sensor is not None)


def test_ports_that_look_like_a_sensor_come_first(nowhere: Path) -> None:
    found = serial_candidates([BARE, UNO, DONGLE], nowhere)
    assert [one.sensor is None for one in found] == [False, False, True]


def test_a_port_is_named_by_its_link_that_survives_replugging(tmp_path: Path) -> None:
    device = tmp_path / "ttyUSB0"
    device.touch()
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    link = by_id / "usb-FTDI_FT231X_USB_UART_DM00Q0QB-if00-port0"
    link.symlink_to(device)
    (found,) = serial_candidates([Port(str(device), vid=0x0403, pid=0x6015, serial_number="DM00Q0QB")], by_id)
    assert found.port == str(link)
    assert f"now {device}" in found.seen
    assert "USB 0403:6015" in found.seen
    assert "serial number DM00Q0QB" in found.seen


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX: an hwgrep URL opens the native port class")
def test_without_such_a_link_the_serial_number_names_the_port_in_a_url_that_pyserial_understands(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = serial_candidates([DONGLE], nowhere)
    assert found.port is not None and found.port.startswith("hwgrep://")
    longer = _listed("/dev/ttyUSB0", "DM00Q0QBX")
    monkeypatch.setattr(
        list_ports, "comports", lambda include_links=False: [longer, _listed("/dev/ttyUSB7", "DM00Q0QB")]
    )
    assert serial.serial_for_url(found.port, do_not_open=True).port == "/dev/ttyUSB7"


def _listed(device: str, number: str) -> list_ports_common.ListPortInfo:
    port = list_ports_common.ListPortInfo(device)
    port.vid, port.pid, port.serial_number, port.location = 0x0403, 0x6015, number, "1-1"
    port.hwid = port.usb_info()
    return port


def test_a_port_without_any_lasting_name_is_named_as_it_is_today(nowhere: Path) -> None:
    assert serial_candidates([BARE], nowhere)[0].port == "/dev/ttyS0"
    windows = Port("COM3", vid=0x1A86, pid=0x7523, serial_number="5&2A9F01B&0&1")
    assert serial_candidates([windows], nowhere)[0].port == "COM3"


def test_this_machines_ports_can_be_listed() -> None:
    assert {one.address for one in serial_candidates()} <= {None}


def test_known_candidates_are_rig_entries_and_unknown_ones_are_comments(nowhere: Path) -> None:
    strap = Found("Polar H10 A1B2", address="C0:00:00:00:00:01", sensor="heart-rate", seen=("-60 dBm",))
    text = as_yaml([*serial_candidates([DONGLE, BARE], nowhere), strap])
    assert yaml.safe_load(text) == {
        "sensors": {
            "sensor1": {"sensor": "openbci-cyton", "port": serial_candidates([DONGLE], nowhere)[0].port},
            "sensor3": {"sensor": "heart-rate", "address": "C0:00:00:00:00:01"},
        }
    }
    assert "#   port: /dev/ttyS0" in text
    assert "-60 dBm" in text


def test_entries_have_only_keys_that_a_rig_knows(nowhere: Path) -> None:
    entries = yaml.safe_load(as_yaml(serial_candidates([DONGLE, UNO], nowhere)))["sensors"]
    known = {field.name for field in fields(SensorEntry)}
    assert all(set(entry) <= known for entry in entries.values())


@pytest.mark.parametrize("found", [[], [Found("Tile", address="C0:00:00:00:00:09")]])
def test_what_says_nothing_is_still_a_mapping(found: list[Found]) -> None:
    assert yaml.safe_load(as_yaml(found)) == {"sensors": {}}


@given(st.text(), st.text(min_size=1), st.lists(st.text(), max_size=3))
def test_no_name_that_a_device_gives_itself_breaks_the_yaml(name: str, port: str, seen: list[str]) -> None:
    text = as_yaml([Found(name, port=port, sensor="heart-rate", why=name, seen=tuple(seen))])
    entry = yaml.safe_load(text)["sensors"]["sensor1"]
    assert set(entry) == {"sensor", "port"}
    if port.isprintable():
        assert entry["port"] == port


def test_a_scan_in_virtual_time_is_refused() -> None:
    with pytest.raises(SettingError, match="real time"):
        ble_candidates(1.0, VirtualClock())
