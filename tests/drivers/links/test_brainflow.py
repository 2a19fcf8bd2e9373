"""What BrainFlow reads comes through open_driver as BrainFlow has it, and is what our own driver decodes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers import brainflow_board
from drivers.clock import VirtualClock, to_ns
from drivers.driver import Driver
from drivers.errors import LinkError, MissingExtra, SettingError
from drivers.registry import load_sensor, make_settings, open_driver
from drivers.types import Batch, CounterReset, Event, Lost, Malformed, Samples
from simulators.build import SimulatedSpec, build
from simulators.serve.pacer import replay
from simulators.serve.process import SimulatorProcess
from simulators.subject import Subject

try:
    BRAINFLOW: Any = brainflow_board.library()
except MissingExtra as missing:
    pytest.skip(f"needs brainflow: {missing}", allow_module_level=True)

SPEC = SimulatedSpec("openbci-cyton", seed=5, name="chest")


def collected(driver: Driver, stream: str, count: int, seconds: float = 20) -> list[Event]:
    deadline_ns = driver.clock.now_ns() + to_ns(seconds)
    events: list[Event] = []
    for event in driver.events(deadline_ns):
        events.append(event)
        if sum(len(e.index) for e in events if isinstance(e, Samples) and e.stream == stream) >= count:
            return events
    raise AssertionError(f"no {count} samples of {stream} in {seconds} s")


def column(events: list[Event], stream: str, name: str) -> np.ndarray:
    return np.concatenate([getattr(e, name) for e in events if isinstance(e, Samples) and e.stream == stream])


# --- the synthetic board ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def synthetic() -> Iterator[tuple[Driver, list[Event]]]:
    driver = open_driver("brainflow", board_id=-1)
    driver.open()
    events = collected(driver, "gyro", 500)  # the last stream of each row
    driver.close()
    yield driver, events


def test_the_synthetic_boards_streams_are_those_of_its_descriptor(synthetic) -> None:
    described = BRAINFLOW.BoardShim.get_board_descr(-1)
    streams = {spec.name: spec for spec in synthetic[0].streams}
    assert set(streams) == {"exg", "ppg", "eda", "temperature", "accel", "gyro"}
    assert streams["exg"].channels == tuple(described["eeg_names"].split(","))
    assert {spec.rate_hz for spec in streams.values()} == {float(described["sampling_rate"])}
    assert (streams["accel"].kind, streams["accel"].unit) == ("acceleration", "g")


def test_no_row_of_the_synthetic_board_is_lost_and_all_streams_count_alike(synthetic) -> None:
    _, events = synthetic
    assert not [e for e in events if isinstance(e, Lost | CounterReset | Malformed)]
    index = column(events, "exg", "index")
    np.testing.assert_array_equal(index, np.arange(index[0], index[0] + len(index)))
    np.testing.assert_array_equal(index, column(events, "ppg", "index"))
    assert column(events, "exg", "values").shape[1] == 16
    assert np.ptp(column(events, "exg", "values"), axis=0).min() > 1, "every channel carries a signal"


def test_device_time_is_brainflows_unix_time(synthetic) -> None:
    driver, events = synthetic
    stamps = column(events, "exg", "device_ns")
    assert abs(stamps[-1] / 1e9 - driver.clock.utc().timestamp()) < 60
    rate_hz = (len(stamps) - 1) / (stamps[-1] - stamps[0]) * 1e9
    assert rate_hz == pytest.approx(250, rel=0.1)


def test_it_can_be_opened_again_and_begins_a_new_segment(synthetic) -> None:
    driver, before = synthetic
    driver.open()
    events = collected(driver, "exg", 20)
    driver.close()
    assert column(events, "exg", "index").size >= 20
    assert max(e.segment for e in before if isinstance(e, Samples)) < min(
        e.segment for e in events if isinstance(e, Samples)
    )


# --- known values, through BrainFlow's playback ---------------------------------------------------


def test_what_brainflow_plays_from_a_file_arrives_to_the_last_digit(tmp_path: Path) -> None:
    """The file is BrainFlow's own format: tab-separated rows of the synthetic board, whose time stamps pace it."""
    count = 150
    rows = np.arange(count)[:, None] * 1.0 + np.arange(32)[None, :] / 64
    rows[:, 0], rows[:, 30], rows[:, 31] = np.arange(count) % 256, 1_700_000_000 + np.arange(count) / 250, 0
    file = tmp_path / "recording.csv"
    np.savetxt(file, rows, fmt="%.6f", delimiter="\t")
    driver = open_driver("brainflow", board_id=-3, params={"file": str(file), "master_board": -1})
    driver.open()
    events = collected(driver, "gyro", count - 5)
    driver.close()
    values, index = column(events, "exg", "values"), column(events, "exg", "index")
    np.testing.assert_array_equal(values, rows[index][:, 1:17])
    np.testing.assert_array_equal(column(events, "temperature", "values"), rows[index][:, 26:27])


# --- BrainFlow's Cyton on our own ------------------------------------------------------------------


@pytest.fixture(scope="module")
def cyton() -> tuple[list[Event], list[Event]]:
    """What the brainflow driver hands out, and what openbci-cyton decodes from the very bytes that were sent."""
    with SimulatorProcess([SPEC], seed=SPEC.seed, lead_s=5.0) as process:
        driver = open_driver("brainflow", board_id=0, port=process.ports["chest"])
        driver.open()
        events = collected(driver, "exg", 300)
        driver.close()
        start_ns, ended = process.start_ns, process.stop()
    sensor = build(SPEC, Subject(SPEC.seed), start_ns, start_ns - to_ns(5.0))
    items = replay(sensor, ended.journals["chest"], start_ns)
    sent = b"".join(item.data for item in items if isinstance(item, Batch))
    own = load_sensor("openbci-cyton")
    host = own.host(make_settings(own, {}))
    return events, host.feed(Batch.single(sent[sent.rindex(b"$$$") + 3 :], 0))


def test_brainflows_cyton_gives_the_microvolts_that_our_own_driver_decodes(cyton) -> None:
    theirs, ours = cyton
    index = column(theirs, "exg", "index")
    np.testing.assert_array_equal(index, np.arange(len(index)))
    expected = column(ours, "exg", "values")[: len(index)]
    np.testing.assert_allclose(column(theirs, "exg", "values"), expected, rtol=1e-12)
    assert np.ptp(expected, axis=0).min() > 1


def test_brainflows_cyton_gives_the_acceleration_that_our_own_driver_decodes(cyton) -> None:
    theirs, ours = cyton
    there = column(theirs, "accel", "values")
    ours_g = column(ours, "accel", "values")
    first = int(np.flatnonzero(np.any(there != 0, axis=1))[0])
    picked = there[first::10]  # ours has the fresh ones only, every tenth; BrainFlow repeats them in between
    assert len(picked) >= len(there) // 10 - 1
    np.testing.assert_allclose(picked, ours_g[: len(picked)], rtol=1e-9)


# --- what can be wrong -----------------------------------------------------------------------------


def test_an_absent_port_is_told_in_brainflows_words() -> None:
    driver = open_driver("brainflow", board_id=0, port="/dev/does-not-exist")
    assert driver.connect() is False
    assert isinstance(driver.last_error, LinkError)
    assert "UNABLE_TO_OPEN_PORT" in str(driver.last_error)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"board_id": 4711}, "4711.*-1 SYNTHETIC_BOARD"),
        ({"params": {"mac": "x"}}, "no parameter 'mac'.*mac_address"),
        ({"params": {"serial_port": "/dev/x"}}, "serial_port"),
        ({"board_id": -3}, "master_board"),
        ({"streams": {"ecg": [32]}}, r"row 32 is not one of 0\.\.31"),
        ({"streams": {"ecg": [1], "eeg": [1]}}, "row 1 is in stream 'ecg' and again in 'eeg'"),
        ({"counter_modulus": 1}, "at least 2"),
    ],
)
def test_a_setting_that_means_nothing_is_named(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told):
        open_driver("brainflow", **settings)


def test_every_board_that_brainflow_knows_has_streams_or_says_why_not() -> None:
    sensor = load_sensor("brainflow")
    opened = 0
    for board in BRAINFLOW.BoardIds:
        try:
            host = sensor.host(make_settings(sensor, {"board_id": board.value}))
        except SettingError as error:
            assert str(board.value) in str(error)
            continue
        opened += bool(host.streams)
    assert opened > 30


def test_rows_that_are_only_of_one_kind_are_of_that_kind_and_shared_ones_are_exg() -> None:
    found = brainflow_board.streams({"eeg_channels": [1, 2], "ecg_channels": [2, 3], "emg_channels": [4]})
    assert found == {"eeg": (1,), "exg": (2,), "ecg": (3,), "emg": (4,)}


def test_a_library_does_not_live_on_a_virtual_clock() -> None:
    with pytest.raises(SettingError, match="virtual"):
        open_driver("brainflow", clock=VirtualClock())


def test_without_brainflow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brainflow", None)
    brainflow_board.library.cache_clear()
    try:
        with pytest.raises(LinkError, match=r"spiral-hil\[brainflow\]"):
            open_driver("brainflow")
    finally:
        brainflow_board.library.cache_clear()
