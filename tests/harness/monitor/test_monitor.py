"""Whatever keeps a session from its windows is found, laid to its step and place; a clean session raises nothing."""

import gc
import json

import numpy as np
import pytest

from harness.monitor.happenings import COLLECTION, STACK, read_happenings
from harness.monitor.queue import queue_growth
from harness.monitor.resources import COLUMNS, read_resources
from harness.monitor.spikes import spikes_of
from harness.monitor.summary import host_facts, resources_line


def flights(folder):
    return sorted(path.name for path in (folder / "flight").glob("*")) if (folder / "flight").exists() else []


def the_incidents(recording):
    return sorted(spikes_of(recording).worst, key=lambda one: one.cause)


def test_a_clean_session_has_no_spike_no_stack_and_no_flight(watched):
    recording, watch, folder = watched(lambda number, clock: clock.spend(20))
    assert spikes_of(recording).above == 0
    assert recording.happenings == ()
    assert flights(folder) == []
    assert watch.failure == ""
    assert "overdue" not in host_facts(recording)


def test_while_all_is_well_the_monitor_wakes_once_a_hop(watched):
    _, watch, _ = watched(lambda number, clock: clock.spend(20))
    hops = 6.0 / 0.08
    assert watch.rounds <= hops + 12, "and now and then for a row of resources"


def sleep_over(clock):
    clock.spend(150)


def every_tenth(number, clock):
    if number % 10 == 9:
        sleep_over(clock)


def test_a_model_that_sleeps_now_and_then_is_named_with_its_function(watched):
    """150 ms in the 10th, 20th, ... window: 61 windows, so six times; the windows behind are judged in 70 ms."""
    recording, _, folder = watched(every_tenth)
    incidents = the_incidents(recording)
    assert [one.cause for one in incidents] == [9, 19, 29, 39, 49, 59]
    for one in incidents:
        assert (one.step, one.step_ms) == ("model", pytest.approx(150))
        assert any("ran sleep_over (test_monitor.py:" in text for text in one.meanwhile)
    assert {one.kind for one in recording.happenings} == {STACK}
    ran = host_facts(recording)["overdue"]["ran"]
    assert ran[0]["where"].startswith("sleep_over (test_monitor.py:")
    assert ran[0]["share"] == 1.0
    assert flights(folder) == ["1.stacks.txt", "1.trace.json"], "the next would be within ten seconds"


def test_a_flight_shows_the_late_window_and_what_ran(watched):
    _, _, folder = watched(every_tenth)
    events = json.loads((folder / "flight" / "1.trace.json").read_text())["traceEvents"]
    (model,) = [e for e in events if e["name"] == "model" and e["ph"] == "X" and e["args"]["window"] == 9]
    assert model["dur"] == pytest.approx(150_000)
    (ran,) = [e for e in events if "sleep_over" in e["name"]]
    assert model["ts"] <= ran["ts"] <= model["ts"] + model["dur"]
    assert any("sleep_over" in frame for frame in ran["args"]["stack"])
    late = [e for e in events if e["name"] == "late window" and e["ph"] == "b"]
    assert [e["args"]["window"] for e in late] == [9]
    text = (folder / "flight" / "1.stacks.txt").read_text()
    assert "which is still not judged" in text
    assert "in sleep_over" in text


def wait_for_the_lock(clock):
    clock.spend(300)


def test_a_model_that_waits_for_a_lock_makes_one_incident_of_the_windows_behind_it(watched):
    recording, _, _ = watched(lambda number, clock: wait_for_the_lock(clock) if number == 20 else None)
    (one,) = the_incidents(recording)
    assert (one.first, one.last, one.cause, one.step) == (20, 22, 20, "model")
    assert any("wait_for_the_lock" in text for text in one.meanwhile)


def show_slowly(clock):
    clock.spend(250)


def test_a_slow_progress_callback_is_found_though_it_is_no_step_of_a_window(watched):
    shown = []

    def progress(step, clock):
        if step.windows == 30 and not shown:
            shown.append(step)
            show_slowly(clock)

    recording, _, folder = watched(on_progress=progress)
    (one,) = the_incidents(recording)
    assert (one.cause, one.step) == (30, "decode"), "between the last byte's arrival and the window"
    assert any("show_slowly" in text for text in one.meanwhile)
    assert "1.trace.json" in flights(folder)


def test_a_storm_of_collections_is_told_by_how_long_they_took(watched):
    def storm(number, clock):
        for _ in range(4 if number == 25 else 0):
            for callback in gc.callbacks:
                callback("start", {"generation": 2})
            clock.spend(35)
            for callback in gc.callbacks:
                callback("stop", {"generation": 2, "collected": 0})

    was = gc.isenabled()
    gc.disable()  # whose own collections would come in between
    try:
        recording, _, _ = watched(storm)
    finally:
        if was:
            gc.enable()
    (one,) = the_incidents(recording)
    assert (one.cause, one.step) == (25, "model")
    assert "garbage collection took 140 ms" in one.meanwhile
    assert sum(one.kind == COLLECTION for one in recording.happenings) == 4
    assert host_facts(recording)["overdue"]["collections"]["max_ms"] == pytest.approx(35)


def test_a_link_that_stalls_is_the_links_and_the_consumer_is_not_blamed(watched):
    recording, _, _ = watched(faults=[{"fault": "stall", "at_s": [3.0], "for_ms": 300.0}])
    incidents = the_incidents(recording)
    assert incidents
    assert {(one.step, one.stream) for one in incidents} == {("link and wait", "chest/ecg")}
    assert not [one for one in recording.happenings if one.kind == STACK]


def test_a_queue_that_grows_is_named(watched):
    """Something arrives every 10 ms, and takes 10.5 ms to handle."""
    recording, _, _ = watched(duration_s=15.0, arrival_ms=10.5)
    growth = queue_growth(recording.resources)
    assert growth.growing
    assert any("the inbox grows by" in text for one in the_incidents(recording) for text in one.meanwhile)
    assert "the inbox grows by" in resources_line(host_facts(recording)["resources"])


def test_resources_are_read_once_a_second_never_while_a_window_is_due_and_are_on_disk(watched):
    recording, _, folder = watched(lambda number, clock: clock.spend(20))
    at_ns = recording.resources.at_ns
    assert len(at_ns) == pytest.approx(6, abs=1)
    assert np.diff(at_ns).min() >= 1_000_000_000
    assert set(recording.resources.columns) == set(COLUMNS)
    assert (recording.resources.column("rss_bytes") > 1e7).all()
    assert (recording.resources.column("threads") >= 1).all()
    dues = recording.windows.stamps_ns
    for at in at_ns:
        assert not ((dues[:, 0] - 15_000_000 <= at) & (at < dues[:, 5])).any()
    again = read_resources(folder)
    np.testing.assert_array_equal(again.at_ns, at_ns)
    np.testing.assert_array_equal(again.column("rss_bytes"), recording.resources.column("rss_bytes"))


def test_happenings_are_on_disk_as_they_are_in_the_recording(watched):
    recording, _, folder = watched(every_tenth)
    assert read_happenings(folder) == recording.happenings
    assert recording.happenings


@pytest.mark.parametrize("off", ["resources", "stacks", "flight_recorder"])
def test_each_part_can_be_switched_off(watched, off):
    recording, _, folder = watched(every_tenth, **{off: False})
    here = {
        "resources": len(recording.resources) > 0,
        "stacks": len(recording.happenings) > 0,
        "flight_recorder": bool(flights(folder)),
    }
    assert here == {name: name != off for name in here}


def test_a_full_disk_ends_the_files_and_not_the_run(watched, monkeypatch):
    from drivers.rawlog import AppendFile, DiskError

    def full(self, data):
        raise DiskError("No space left on device")

    monkeypatch.setattr(AppendFile, "write", full)
    recording, watch, _ = watched(every_tenth)
    assert watch.failure == ""
    assert len(recording.resources) >= 5
    assert spikes_of(recording).incidents == 6
