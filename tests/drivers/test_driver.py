"""The one Driver, on memory links: what people hold (connect, read_data, Reading) and what programs hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from drivers.clock import VirtualClock, to_ns
from drivers.driver import Driver
from drivers.errors import HandshakeError, LinkError, NotConnected, ReadTimeout
from drivers.links.memory import MemoryLink
from drivers.registry import load_sensor, make_settings
from drivers.types import Batch, LinkDown, LinkUp, Lost, Notice, Quality, Reading, Samples
from simulators.build import SimulatedSpec, build, simulated

FAR = 9e8
"""A second that no test gets to."""
KEYS = {"physiological", "timestamps", "quality_metrics"}


class Stranger:
    """A peer that says one thing a second, if anything, whatever it hears."""

    def __init__(self, text: bytes = b"") -> None:
        self.description = "a stranger"
        self.text, self.heard = text, b""
        self._said_ns = 0

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        due = until_ns - self._said_ns >= to_ns(1) and self.text
        self._said_ns = until_ns if due else self._said_ns
        return [Batch.single(self.text, until_ns)] if due else []

    def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
        self.heard += data

    def read(self, channel: str) -> bytes | None:
        return None

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        self.heard += channel.encode()

    def plugged(self, at_ns: int) -> bool:
        return True

    def next_change_ns(self) -> int | None:
        return None


def driver_on(peer: Any, sensor: str = "openbci-cyton", clock: VirtualClock | None = None, **more: Any) -> Driver:
    module = load_sensor(sensor)
    return Driver(module.host(make_settings(module)), MemoryLink(peer, clock or VirtualClock()), name=sensor, **more)


def chest(**options: Any) -> Driver:
    return simulated("openbci-cyton", **{"seed": 7, "streams": {"ecg": [1], "eeg": [7, 8]}, **options})


def read_for(driver: Driver, seconds: float) -> list[Reading]:
    end_ns = driver.clock.now_ns() + to_ns(seconds)
    readings = []
    while driver.clock.now_ns() < end_ns:
        reading = driver.read_data(timeout=(end_ns - driver.clock.now_ns()) / 1e9)
        readings += [reading] if reading is not None else []
    return readings


def count(readings: list[Reading], stream: str) -> int:
    return sum(len(reading["timestamps"].get(stream, ())) for reading in readings)


# --- connecting ---------------------------------------------------------------------------------


def test_a_simulated_sensor_connects_and_leaves_no_error() -> None:
    with chest() as driver:
        assert driver.connect() is True
        assert driver.last_error is None
        assert driver.streaming


def test_an_absent_device_is_told_and_never_raised() -> None:
    driver = chest(faults=[{"fault": "unplug", "at_s": 0.0, "for_s": FAR}])
    assert driver.connect() is False
    assert isinstance(driver.last_error, LinkError)
    assert "openbci-cyton" in str(driver.last_error)
    with pytest.raises(LinkError):
        driver.open()


def test_a_silent_device_is_told_after_its_protocols_patience_and_never_raised() -> None:
    driver = driver_on(Stranger())
    assert driver.connect() is False
    assert isinstance(driver.last_error, HandshakeError)
    assert "silence" in str(driver.last_error)
    assert "$$$" in str(driver.last_error), "it says what was expected"
    assert to_ns(3) <= driver.clock.now_ns() <= to_ns(4)


@pytest.mark.parametrize("text", [b"Marlin 2.1.2\r\necho: ready\r\n", b"Marlin 2.1.2 $$$"])
def test_a_device_that_says_something_else_is_told_with_what_it_said(text: bytes) -> None:
    driver = driver_on(Stranger(text))
    assert driver.connect() is False
    assert isinstance(driver.last_error, HandshakeError)
    assert "Marlin" in str(driver.last_error)


def test_after_a_failed_attempt_nothing_is_open_and_a_later_attempt_may_succeed() -> None:
    driver = chest(faults=[{"fault": "unplug", "at_s": 0.0, "for_s": 2.0}])
    assert driver.connect() is False
    assert driver.read_data(timeout=0.1) is None
    assert isinstance(driver.last_error, NotConnected)
    driver.clock.sleep_until(to_ns(2.5))
    assert driver.connect() is True
    assert driver.last_error is None
    assert driver.read_data() is not None


def test_connecting_again_while_connected_changes_nothing() -> None:
    peer = build(SimulatedSpec("openbci-cyton", seed=7))
    driver = driver_on(peer)
    assert driver.connect()
    read_for(driver, 1.0)
    now_ns = driver.clock.now_ns()
    assert driver.connect()
    assert driver.clock.now_ns() == now_ns
    assert count(read_for(driver, 1.0), "exg") == pytest.approx(250, abs=6)


def test_a_link_that_breaks_while_connecting_is_told_with_its_reason() -> None:
    driver = chest(faults=[{"fault": "unplug", "at_s": 0.1, "for_s": FAR}])
    assert driver.connect() is False
    assert isinstance(driver.last_error, HandshakeError)
    assert "unplugged" in str(driver.last_error)


# --- reading ------------------------------------------------------------------------------------


def test_a_reading_comes_as_soon_as_there_is_a_sample() -> None:
    with chest() as driver:
        began_ns = driver.clock.now_ns()
        assert driver.read_data(timeout=5.0) is not None
        assert driver.clock.now_ns() - began_ns < to_ns(0.1), "a sample comes every 4 ms"


def test_a_sensor_that_falls_silent_is_waited_for_as_long_as_the_timeout_and_no_longer() -> None:
    with chest(faults=[{"fault": "unplug", "at_s": 2.0, "for_s": FAR}]) as driver:
        read_for(driver, 3.0)
        began_ns = driver.clock.now_ns()
        assert driver.read_data(timeout=1.5) is None
        assert driver.clock.now_ns() - began_ns == to_ns(1.5)
        assert isinstance(driver.last_error, ReadTimeout)
        assert "unplugged" in str(driver.last_error), "it says why nothing came"
        with pytest.raises(TimeoutError):
            driver.read(driver.clock.now_ns() + to_ns(1))


def test_readings_that_follow_each_other_leave_out_no_sample_and_repeat_none() -> None:
    with chest() as driver:
        readings = read_for(driver, 4.0)
        times = np.concatenate([reading["timestamps"]["ecg"] for reading in readings])
        assert len(times) == pytest.approx(1000, abs=6)
        np.testing.assert_allclose(np.diff(times), 0.004, atol=0.002)


def test_a_reading_is_a_mapping_of_exactly_three_keys() -> None:
    with chest() as driver:
        reading = driver.read_data()
        assert isinstance(reading, Mapping)
        assert set(reading) == KEYS
        assert len(reading) == 3
        assert all(key in reading for key in KEYS)
        assert "events" not in reading
        assert dict(reading).keys() == KEYS
        with pytest.raises(KeyError, match="physiological, timestamps, quality_metrics"):
            reading["physio"]


def test_streams_have_arrays_in_physical_units_with_one_host_time_for_each_sample() -> None:
    with chest() as driver:
        readings = read_for(driver, 3.0)
        opened_s = readings[0]["timestamps"]["ecg"][0]
        ecg = np.concatenate([reading["physiological"]["ecg"] for reading in readings])
        eeg = np.concatenate([reading["physiological"]["eeg"] for reading in readings])
        assert ecg.shape == (count(readings, "ecg"),), "one channel is an array (n,)"
        assert eeg.shape == (count(readings, "eeg"), 2), "several are (n, channels)"
        assert readings[0]["timestamps"]["ecg"].dtype == np.float64
        assert 100 < np.ptp(ecg) < 10_000, "a lead's QRS complex is some hundreds to thousands of microvolts"
        assert opened_s < readings[-1]["timestamps"]["ecg"][-1] <= driver.clock.now_ns() / 1e9


def test_one_modality_is_taken_out_with_plain_arrays_under_the_same_keys() -> None:
    with chest() as driver:
        reading = read_for(driver, 6.0)[-1]
        ecg = reading.select("ecg")
        assert set(ecg) == KEYS
        np.testing.assert_array_equal(ecg["physiological"], reading["physiological"]["ecg"])
        np.testing.assert_array_equal(ecg["timestamps"], reading["timestamps"]["ecg"])
        assert float(ecg["quality_metrics"]) == reading["quality_metrics"].streams["ecg"]
        assert set(ecg["quality_metrics"].streams) == {"ecg"}
        with pytest.raises(KeyError, match=r"'ppg'.*ecg"):
            reading.select("ppg")


# --- quality ------------------------------------------------------------------------------------


def test_the_quality_of_a_good_signal_is_a_float_above_a_half_with_a_score_for_each_stream() -> None:
    with chest() as driver:
        quality = read_for(driver, 12.0)[-1]["quality_metrics"]
        assert isinstance(quality, float)
        assert not quality < 0.5
        assert quality >= 0.5
        assert quality == min(quality.streams.values())
        assert {"ecg", "eeg"} <= set(quality.streams)
        assert all(0 <= part <= 1 for parts in quality.parts.values() for part in parts.values())
        assert all(flags <= {"blink"} for flags in quality.flags.values())  # people blink, and an EEG says so


def test_a_lead_that_is_off_makes_the_quality_low_and_says_which_stream_and_why() -> None:
    with chest(faults=[{"fault": "lead_off", "stream": "ecg"}]) as driver:
        quality = read_for(driver, 12.0)[-1]["quality_metrics"]
        assert quality < 0.5
        assert quality.streams["ecg"] < 0.5
        assert quality.streams["eeg"] >= 0.5
        assert quality.flags["ecg"] & {"off_body", "flat", "saturated"}
        assert min(quality.parts["ecg"].values()) < 0.5


def test_what_nobody_can_know_yet_is_neither_low_nor_good() -> None:
    with chest() as driver:
        quality = driver.read_data()["quality_metrics"]
        assert math.isnan(quality)
        assert not quality < 0.5
        assert not quality >= 0.5
        assert quality.flags["ecg"] == {"unknown"}


def test_an_unknown_stream_does_not_hide_a_known_one() -> None:
    with simulated("heart-rate", seed=7) as driver:
        scores = [reading["quality_metrics"] for reading in read_for(driver, 20.0)]
    known = [q for q in scores if not math.isnan(q)]
    assert known
    assert all(q == min(s for s in q.streams.values() if not math.isnan(s)) for q in known)


def test_a_bare_quality_has_empty_details() -> None:
    assert Quality(0.7) == pytest.approx(0.7)
    assert (Quality(0.7).streams, Quality(0.7).parts, Quality(0.7).flags) == ({}, {}, {})


# --- closing ------------------------------------------------------------------------------------


def test_reading_before_opening_and_after_closing_is_refused_by_name() -> None:
    driver = chest()
    with pytest.raises(NotConnected, match="openbci-cyton"):
        driver.read(to_ns(1))
    with pytest.raises(NotConnected):
        next(driver.events(to_ns(1)))
    assert driver.read_data(timeout=1) is None
    assert isinstance(driver.last_error, NotConnected)
    assert driver.connect()
    driver.close()
    with pytest.raises(NotConnected):
        driver.read(driver.clock.now_ns() + to_ns(1))


def test_closing_twice_or_without_opening_is_harmless() -> None:
    driver = chest()
    driver.close()
    driver.connect()
    driver.close()
    driver.close()
    assert not driver.streaming


def test_leaving_the_block_stops_the_sensor_even_after_an_error() -> None:
    peer = build(SimulatedSpec("openbci-cyton", seed=7))
    driver = driver_on(peer)
    with pytest.raises(ZeroDivisionError), driver:
        assert peer.device.streaming
        raise ZeroDivisionError
    assert not peer.device.streaming


def test_what_was_left_unread_at_closing_is_not_in_the_next_sessions_readings() -> None:
    driver = chest()
    driver.connect()
    driver.clock.sleep_until(to_ns(5))
    driver.close()
    driver.connect()
    reading = driver.read_data()
    assert reading["timestamps"]["ecg"][0] > 5.0


# --- events and unplugging ----------------------------------------------------------------------


def test_events_come_until_the_deadline_and_the_clock_ends_there() -> None:
    with chest() as driver:
        deadline_ns = driver.clock.now_ns() + to_ns(2)
        events = list(driver.events(deadline_ns))
        assert driver.clock.now_ns() == deadline_ns
        ecg = sum(len(e.index) for e in events if isinstance(e, Samples) and e.stream == "ecg")
        assert ecg == pytest.approx(500, abs=6)
        assert list(driver.events(deadline_ns)) == []


def test_who_stops_listening_to_events_leaves_the_rest_to_the_next_reading() -> None:
    with chest() as driver:
        first = next(event for event in driver.events(to_ns(60)) if isinstance(event, Samples))
        assert first.stream == "ecg"
        reading = driver.read_data()
        assert len(reading["timestamps"]["eeg"]) >= len(first.index), "eeg stands behind ecg in the same frame"


def test_losses_are_among_a_readings_events_exactly() -> None:
    with chest(faults=[{"fault": "dropout", "mean_lost_percent": 5, "start_s": 2.0, "stop_s": 8.0}]) as driver:
        readings = read_for(driver, 10.0)
        truths = [truth for truth in driver.link.peer.truths if truth.fault == "dropout"]
    lost = sum(e.count for reading in readings for e in reading.events if isinstance(e, Lost) and e.stream == "ecg")
    assert lost == sum(truth.detail["frames"] for truth in truths) > 0


def test_a_sensor_that_is_plugged_in_again_is_started_again_while_somebody_reads() -> None:
    with chest(faults=[{"fault": "unplug", "at_s": 3.0, "for_s": 2.0}]) as driver:
        readings = read_for(driver, 10.0)
    events = [event for reading in readings for event in reading.events]
    assert [type(e) for e in events if isinstance(e, LinkDown | LinkUp)] == [LinkDown, LinkUp]
    times = np.concatenate([reading["timestamps"]["ecg"] for reading in readings])
    gap = int(np.argmax(np.diff(times)))
    assert times[gap] == pytest.approx(3.0, abs=0.05)
    assert 5.0 < times[gap + 1] < 6.5, "plugged in at 5 s, and the start-up exchange takes most of a second"
    assert len(times) - gap > 800


def test_a_sensor_that_is_plugged_in_again_is_started_again_while_somebody_takes_events() -> None:
    with chest(faults=[{"fault": "unplug", "at_s": 3.0, "for_s": 2.0}]) as driver:
        events = list(driver.events(to_ns(10)))
    kinds = [type(event) for event in events]
    assert Samples in kinds[kinds.index(LinkUp) :]


def test_what_happens_while_no_sample_comes_is_told_with_the_next_reading() -> None:
    with chest(faults=[{"fault": "unplug", "at_s": 3.0, "for_s": 2.0}]) as driver:
        driver.clock.sleep_until(to_ns(2.9))
        tries = []
        while driver.clock.now_ns() < to_ns(7):
            tries.append(driver.read_data(timeout=0.05))
    silent = tries.index(None)
    back = next(reading for reading in tries[silent:] if reading is not None)
    assert LinkDown in {type(event) for event in tries[silent - 1].events}
    assert LinkUp in {type(event) for event in back.events}, "it came several timeouts before the first sample"
    assert len([reading for reading in tries if reading is None]) > 40


def test_another_device_on_the_port_after_an_unplug_is_told_once_and_then_waited_for() -> None:
    clock = VirtualClock()
    peer = build(SimulatedSpec("openbci-cyton", seed=7, faults=[{"fault": "unplug", "at_s": 3.0, "for_s": 2.0}]))
    with driver_on(peer, clock=clock) as driver:
        read_for(driver, 3.5)
        driver.link.peer = Swapped(b"Marlin 2.1.2 $$$", back_ns=to_ns(5))
        with pytest.raises(HandshakeError, match="Marlin"):
            driver.read(to_ns(20))
        assert clock.now_ns() < to_ns(9)
        with pytest.raises(ReadTimeout):
            driver.read(to_ns(20))
        assert clock.now_ns() == to_ns(20)


class Swapped(Stranger):
    """A stranger that is plugged in where the sensor was."""

    def __init__(self, text: bytes, back_ns: int) -> None:
        super().__init__(text)
        self._back_ns: int | None = back_ns

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        if self._back_ns is not None and until_ns >= self._back_ns:
            up, self._back_ns = LinkUp(self._back_ns), None
            return [up]
        return super().advance(until_ns)


# --- sharing an inbox ---------------------------------------------------------------------------


def test_two_sensors_share_one_inbox_and_each_gets_its_own_bytes() -> None:
    clock = VirtualClock()
    inbox = clock.inbox()
    peers = {role: build(SimulatedSpec("openbci-cyton", seed=n, name=role)) for n, role in enumerate(("a", "b"))}
    drivers = {role: driver_on(peer, clock=clock, key=role, inbox=inbox) for role, peer in peers.items()}
    received = dict.fromkeys(drivers, 0)
    for driver in drivers.values():
        driver.begin()
    while clock.now_ns() < to_ns(6):
        got = inbox.get(clock.now_ns() + to_ns(0.05))
        events = [] if got is None else [(got[0], event) for event in drivers[got[0]].handle(got[1])]
        events += [(role, event) for role, driver in drivers.items() for event in driver.tick()]
        for role, event in events:
            assert isinstance(event, Samples | Notice)
            received[role] += len(event.index) if isinstance(event, Samples) and event.stream == "exg" else 0
    assert all(driver.streaming for driver in drivers.values())
    assert received["a"] > 1000
    assert received["a"] == pytest.approx(received["b"], abs=5), "one delivery may still wait in the inbox"


def test_a_driver_with_a_shared_inbox_takes_nothing_from_it_by_itself() -> None:
    clock = VirtualClock()
    driver = driver_on(build(SimulatedSpec("openbci-cyton")), clock=clock, inbox=clock.inbox())
    for take in (driver.open, lambda: driver.read(0), lambda: next(driver.events(0))):
        with pytest.raises(RuntimeError, match="shares its inbox"):
            take()
