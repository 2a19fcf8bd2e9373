"""A stream that pylsl sends from a process of its own, read through open_driver: value by value, stamp by stamp."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drivers.clock import RealClock, VirtualClock, to_ns
from drivers.driver import Driver
from drivers.errors import LinkError, SettingError
from drivers.lsl_stream import predicate
from drivers.registry import open_driver
from drivers.types import LinkDown, Notice, Samples

try:
    import pylsl
except (ImportError, RuntimeError, OSError) as error:
    pytest.skip(f"needs pylsl with its liblsl: pip install pylsl ({error})", allow_module_level=True)

OUTLET = """
import sys, time, pylsl
name, count, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
info = pylsl.StreamInfo(name, "EEG", 2, rate, pylsl.cf_double64, "source-of-" + name)
channels = info.desc().append_child("channels")
for label in ("C3", "C4"):
    channel = channels.append_child("channel")
    channel.append_child_value("label", label)
    channel.append_child_value("unit", "microvolts")
outlet = pylsl.StreamOutlet(info)
print("up", flush=True)
outlet.wait_for_consumers(20)
sys.stdin.readline()
for k in range(count):
    outlet.push_sample([k + 0.1, -k / 3], 5000 + k / 100)
sys.stdin.readline()
"""


@pytest.fixture
def outlet() -> Iterator[Any]:
    """start(name, count) -> the process; a line to its stdin makes it send, the next makes it end."""
    children: list[subprocess.Popen[str]] = []

    def start(name: str, count: int = 250, rate_hz: float = 100.0) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", OUTLET, name, str(count), str(rate_hz)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def collected(driver: Driver, done: Any, seconds: float = 15) -> list[Any]:
    deadline_ns = driver.clock.now_ns() + to_ns(seconds)
    events: list[Any] = []
    for event in driver.events(deadline_ns):
        events.append(event)
        if done(events):
            return events
    raise AssertionError(f"not in time: {events[-3:]}")


def count_of(events: list[Any]) -> int:
    return sum(len(e.index) for e in events if isinstance(e, Samples))


def test_every_value_and_every_stamp_is_the_senders(outlet) -> None:
    child = outlet("hil-exact")
    driver = open_driver("lsl", address="hil-exact")
    (spec,) = driver.streams
    assert (spec.name, spec.kind, spec.unit, spec.rate_hz, spec.channels) == ("eeg", "eeg", "uV", 100.0, ("C3", "C4"))
    driver.begin()  # without waiting for rows: who sends them waits for us
    tell(child)
    events = collected(driver, lambda e: count_of(e) >= 250)
    driver.close()
    samples = [e for e in events if isinstance(e, Samples)]
    k = np.arange(250)
    np.testing.assert_array_equal(np.concatenate([e.values for e in samples]), np.column_stack([k + 0.1, -k / 3]))
    np.testing.assert_array_equal(np.concatenate([e.index for e in samples]), k)
    stamps = np.concatenate([e.device_ns for e in samples])
    np.testing.assert_array_equal(stamps, 5_000_000_000_000 + k * 10_000_000)
    assert {e.segment for e in samples} == {0}


def test_the_clock_correction_is_told_and_is_next_to_nothing_on_one_machine(outlet) -> None:
    child = outlet("hil-clock")
    driver = open_driver("lsl", address="source-of-hil-clock")  # by its source_id
    driver.begin()  # without waiting for rows: who sends them waits for us
    tell(child)
    events = collected(driver, lambda e: count_of(e) >= 250)
    driver.close()
    told = [e.value for e in events if isinstance(e, Notice) and e.name == "clock_correction_s"]
    assert told
    assert all(abs(float(value)) < 0.05 for value in told)


def test_an_outlet_that_goes_away_is_a_link_that_is_down_and_comes_back(outlet) -> None:
    child = outlet("hil-gone", 50)
    driver = open_driver("lsl", address="hil-gone")
    driver.begin()  # without waiting for rows: who sends them waits for us
    tell(child)
    collected(driver, lambda e: count_of(e) >= 50)
    tell(child)
    child.wait()
    (down,) = [e for e in collected(driver, lambda e: isinstance(e[-1], LinkDown)) if isinstance(e, LinkDown)]
    assert "gone" in down.reason
    again = outlet("hil-gone", 50)
    tell(again)
    collected(driver, lambda e: count_of(e) >= 50)
    driver.close()


def test_a_stream_that_is_not_there_is_told_with_those_that_are(outlet) -> None:
    outlet("hil-other")
    with pytest.raises(LinkError, match=r"hil-absent.*hil-other"):
        open_driver("lsl", address="hil-absent", timeout_s=0.3)


def test_a_rig_that_promises_something_else_is_told_what_to_write(outlet) -> None:
    outlet("hil-shape")
    driver = open_driver("lsl", address="hil-shape", channels=["a"], rate_hz=50, kind="raw", unit="1")
    assert driver.connect() is False
    assert "rate_hz: 100" in str(driver.last_error)
    assert "channels: [ch1, ch2]" in str(driver.last_error)


def test_two_streams_of_one_type_are_not_guessed_between(outlet) -> None:
    outlet("hil-twin-a")
    outlet("hil-twin-b")
    clock = RealClock()
    deadline_ns = clock.now_ns() + to_ns(10)
    while len(pylsl.resolve_bypred("starts-with(name, 'hil-twin')", 2, 1.0)) < 2:
        assert clock.now_ns() < deadline_ns, "the two outlets are not heard"
    with pytest.raises(LinkError, match=r"fits 2 streams.*hil-twin"):
        open_driver("lsl", address="starts-with(name, 'hil-twin')")


def test_a_plain_word_is_a_name_a_type_or_a_source_id_and_a_predicate_stays_one() -> None:
    assert predicate("BioSemi") == "name='BioSemi' or type='BioSemi' or source_id='BioSemi'"
    assert predicate("Eve's cap") == 'name="Eve\'s cap" or type="Eve\'s cap" or source_id="Eve\'s cap"'
    assert predicate("name='x' and type='EEG'") == "name='x' and type='EEG'"


def test_a_network_does_not_live_on_a_virtual_clock() -> None:
    with pytest.raises(SettingError, match="virtual"):
        open_driver("lsl", address="x", clock=VirtualClock())


def test_without_an_address_it_says_what_to_give() -> None:
    with pytest.raises(SettingError, match="source_id as address="):
        open_driver("lsl")


def test_without_pylsl_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pylsl", None)
    with pytest.raises(LinkError, match=r"spiral-hil\[lsl\]"):
        open_driver("lsl", address="x")


def test_a_stream_of_texts_is_refused() -> None:
    from drivers.lsl_stream import check
    from drivers.sensors.lsl import Settings

    info = SimpleNamespace(channel_format=lambda: pylsl.cf_string)
    with pytest.raises(LinkError, match="texts"):
        check(Settings(), info, "LSL x")
