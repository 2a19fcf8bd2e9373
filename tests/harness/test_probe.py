"""What `hil probe` says of a sensor that works, and of ones that do not."""

import io
import re

from rich.console import Console

from drivers.clock import VirtualClock, to_ns
from drivers.driver import Driver
from drivers.errors import LinkError
from drivers.links.memory import MemoryLink
from drivers.registry import load_sensor, make_settings
from harness.probe import probe_driver
from simulators.build import SimulatedSpec, build, simulated


def probed(driver, seconds=5.0, width=80):
    out = Console(file=io.StringIO(), width=width)
    code = probe_driver(driver, to_ns(seconds), out)
    return code, out.file.getvalue()


def cyton_with(faults=(), **settings):
    return simulated("openbci-cyton", seed=3, faults=faults, **settings)


class Absent:
    """A link to a port that is not there."""

    description = "/dev/[red]nope at 9600 baud"

    def __init__(self):
        self.clock = VirtualClock()

    def open(self, sink):
        raise LinkError("/dev/[red]nope: there is no such port")

    def close(self):
        """Nothing is open."""


class Mute(MemoryLink):
    """A link on which a sensor can be asked and never speaks by itself."""

    def open(self, sink):
        super().open(lambda item: None)


def test_a_working_sensor_shows_rate_age_range_and_quality():
    code, text = probed(cyton_with(streams={"ecg": [1]}), seconds=10)
    assert code == 0
    row = next(line for line in text.splitlines() if line.startswith("ecg"))
    rate, nominal = map(float, re.search(r"([\d.]+) of ([\d.]+)", row).groups())
    assert nominal == 250  # the Cyton's default rate, by its firmware
    assert abs(rate - 250) < 3
    median_ms, largest_ms = map(float, re.search(r"([\d.]+) / ([\d.]+)", row).groups())
    assert 0 <= median_ms <= largest_ms < 20  # 33 bytes at 115200 baud take 2.9 ms
    assert re.search(r"-?[\d.]+ \.\. [\d.]+ uV\s+(0\.[5-9]|1\.0)", row)


def test_the_table_fits_80_columns():
    _, text = probed(cyton_with())
    assert max(len(line) for line in text.splitlines() if not line.startswith(("age", "connecting"))) <= 80


def test_lost_samples_are_counted_per_stream():
    _, text = probed(cyton_with([{"fault": "dropout", "mean_lost_percent": 20}], streams={"ecg": [1]}))
    lost = int(re.search(r"(\d+) samples of ecg lost", text).group(1))
    assert 0.05 < lost / 1250 < 0.4
    _, clean = probed(cyton_with())
    assert "incidents" not in clean


def test_damaged_bytes_are_shown():
    _, text = probed(cyton_with([{"fault": "garbage"}]))
    assert "malformed pieces" in text
    assert "first malformed bytes" in text


def test_an_absent_port_is_code_3_and_its_name_is_no_markup():
    sensor = load_sensor("openbci-cyton")
    code, text = probed(Driver(sensor.host(make_settings(sensor)), Absent()), width=200)
    assert code == 3
    assert "LinkError: /dev/[red]nope: there is no such port" in text


def test_a_port_with_another_device_on_it_is_code_1_with_what_was_expected_and_found():
    clock = VirtualClock()
    peer = build(SimulatedSpec("text-lines"), start_ns=clock.now_ns())
    sensor = load_sensor("openbci-cyton")
    code, text = probed(Driver(sensor.host(make_settings(sensor)), MemoryLink(peer, clock)), width=400)
    assert code == 1
    assert "HandshakeError: " in text
    assert "Cyton" in text


def test_a_sensor_that_connects_and_sends_nothing_is_code_1():
    clock = VirtualClock()
    sensor = load_sensor("heart-rate")
    link = Mute(build(SimulatedSpec("heart-rate"), start_ns=clock.now_ns()), clock)
    code, text = probed(Driver(sensor.host(make_settings(sensor)), link), seconds=3, width=200)
    assert code == 1
    assert "connected, but no sample came in 3.0 s" in text


def test_an_unplug_while_listening_is_code_3():
    code, text = probed(cyton_with([{"fault": "unplug", "at_s": 3.0}]), seconds=8)
    assert code == 3
    assert "the link went down while it was probed" in text


def test_what_the_sensor_says_of_itself_is_shown_once_and_literally():
    code, text = probed(simulated("heart-rate", battery_percent=42))
    assert code == 0
    assert text.count("the sensor says battery_percent: 42") == 1


def test_an_unknown_loss_is_not_told_as_none():
    _, text = probed(simulated("heart-rate"))
    assert "lost" not in text  # the protocol has no counter
