"""A bench: real links, simulators beside us or in virtual time, and what happens when those die."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.errors import LinkError
from harness.bench import LEAD_S, Mode, open_bench, stream_specs
from harness.rig import Rig, SensorEntry
from simulators.build import simulated

FAULTS = [{"fault": "unplug", "at_s": 1.0, "for_s": 0.5}]
CHEST = SensorEntry(
    "chest", "openbci-cyton", {"streams": {"ecg": [1]}}, port="/dev/ttyNONE", baud=57600, simulate={"faults": FAULTS}
)
HUM = [{"fault": "mains_hum", "level": 0.3}]
RIG = Rig("bench", {"chest": CHEST}, limits={"delivery": {}})


@pytest.mark.parametrize("mode", [Mode.VIRTUAL, Mode.BENCH])
def test_what_the_sensors_will_send_is_known_without_opening_them(mode):
    with open_bench(RIG, mode) as bench:
        specs = {f"{role}/{spec.name}": spec for role, driver in bench.drivers.items() for spec in driver.streams}
    assert stream_specs(RIG) == specs
    assert list(specs) == ["chest/ecg", "chest/accel"]


@pytest.mark.parametrize("mode", [Mode.VIRTUAL, Mode.BENCH])
def test_the_mains_frequency_of_the_rig_is_known_to_every_stream(mode):
    rig = replace(RIG, mains_hz=60.0)
    with open_bench(rig, mode) as bench:
        told = [spec.mains_hz for driver in bench.drivers.values() for spec in driver.streams]
    assert told == [spec.mains_hz for spec in stream_specs(rig).values()] == [60.0, 60.0]


def test_hum_of_another_frequency_than_the_mains_have_is_not_called_hum():
    def flags(**place):
        with simulated("openbci-cyton", seed=3, faults=HUM, streams={"ecg": [1]}, **place) as sensor:
            for _ in range(4):
                reading = sensor.read_data(timeout=4.0)
                sensor.clock.sleep_until(sensor.clock.now_ns() + 3_000_000_000)
        return reading.quality_metrics.flags["ecg"]

    assert "hum" in flags()
    assert "hum" in flags(mains_hz=50.0)
    assert "hum" not in flags(mains_hz=60.0)


def test_a_real_bench_has_the_ports_of_the_rig_and_begins_when_it_is_connected():
    with open_bench(RIG, Mode.BENCH) as bench:
        assert bench.drivers["chest"].link.description == "/dev/ttyNONE at 57600 baud"
        assert (bench.start_ns, bench.clock.virtual, bench.trouble()) == (None, False, "")


def test_a_virtual_bench_begins_after_its_sensors_have_booted_and_ends_with_what_was_done_to_them():
    with open_bench(RIG, Mode.VIRTUAL) as bench:
        assert bench.start_ns == bench.clock.now_ns() + LEAD_S * 1e9
        bench.drivers["chest"].begin()
        bench.clock.sleep_until(bench.start_ns + 2_000_000_000)
        assert not bench.truths, "it is not over"
    (truth,) = bench.truths
    assert (truth.fault, truth.start_ns - bench.start_ns) == ("unplug", 1_000_000_000)


def test_simulators_that_die_are_trouble_and_no_error():
    with open_bench(RIG, Mode.SIMULATED) as bench:
        assert bench.trouble() == ""
        (pid,) = [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if child_of_ours(entry)]
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert "was killed by signal 9" in bench.trouble()
    assert "was killed by signal 9" in bench.trouble(), "also afterwards"


def child_of_ours(entry):
    try:
        parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        return parent == os.getpid() and b"simulators.serve" in (entry / "cmdline").read_bytes()
    except OSError:
        return False


def test_simulators_that_are_stopped_in_order_are_no_trouble_and_say_how_late_they_were():
    with open_bench(RIG, Mode.SIMULATED) as bench:
        pass
    assert bench.trouble() == ""
    assert set(bench.host["sender_lateness_us"]) == {"chest"}


def test_simulators_that_cannot_be_started_are_a_link_that_cannot_be_opened(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(LinkError, match="simulator process ended with status 1"), open_bench(RIG, Mode.SIMULATED):
        pass
