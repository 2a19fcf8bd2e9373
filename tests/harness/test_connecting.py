"""When a sensor was told to sample, by its own protocol."""

from dataclasses import replace

import pytest

from harness.bench import Mode
from harness.connecting import Said, told_to_sample_ns
from harness.recording_files import load_recording
from harness.rig import Rig, SensorEntry, WindowEntry
from harness.run import run_rig

S = 1_000_000_000
TEXT = {
    "format": "csv", "time_column": "t", "time_unit": "ms",
    "columns": [{"name": "skin", "stream": "skin", "kind": "temperature", "unit": "degC", "rate_hz": 50, "lsb": 0.01}],
}  # fmt: skip
CHEST = SensorEntry("chest", "openbci-cyton", {"streams": {"ecg": [1]}})
WRIST = SensorEntry("wrist", "text-lines", TEXT)
STRAP = SensorEntry("strap", "heart-rate")
MEASUREMENT = "00002a37-0000-1000-8000-00805f9b34fb"


def said(*words):
    return [Said(at_ns, data, channel) for at_ns, data, channel in words]


def test_a_cyton_samples_from_its_start_command_on():
    assert told_to_sample_ns(CHEST, said((1, b"s", ""), (2, b"v", ""), (3, b"b", ""), (4, b"x1060110X", ""))) == 3


def test_a_board_that_prints_unasked_may_have_sampled_before():
    assert told_to_sample_ns(WRIST, said((1, b"hello\n", ""))) is None


def test_who_subscribes_only_listens():
    assert told_to_sample_ns(STRAP, said((1, None, MEASUREMENT))) is None


def test_nothing_said_is_nothing_told():
    assert told_to_sample_ns(CHEST, []) is None


@pytest.fixture(scope="module")
def rig():
    sensors = {entry.role: entry for entry in (CHEST, WRIST, STRAP)}
    return Rig("bench", sensors, window=WindowEntry(hop_ms=200, fill_s=1), limits={"age": {}}, duration_s=4.0, seed=3)


def test_a_run_tells_when_each_sensor_was_connected_and_its_files_keep_that(rig, tmp_path):
    made = run_rig(rig, Mode.VIRTUAL, tmp_path).recording
    times = made.meta["connect"]
    assert {role: sorted(each) for role, each in times.items()} == {
        "chest": ["begun_ns", "streaming_ns", "told_ns"],
        "wrist": ["begun_ns", "streaming_ns"],
        "strap": ["begun_ns", "streaming_ns"],
    }
    chest = times["chest"]
    assert chest["begun_ns"] < chest["told_ns"] <= chest["streaming_ns"] <= made.start_ns
    first_ns = int(made.streams["chest/ecg"].arrival_ns[0])
    assert 0 < first_ns - chest["told_ns"] < 10_000_000  # a sample's period and 33 bytes at 115200 baud
    assert load_recording(tmp_path).meta["connect"] == times


def test_two_virtual_runs_connect_at_the_same_times(rig):
    once, again = (run_rig(rig, Mode.VIRTUAL).recording.meta["connect"] for _ in range(2))
    assert once == again


def test_a_sensor_that_cannot_be_connected_has_no_time_at_which_it_streamed(rig):
    slow = replace(WRIST, simulate={"faults": [{"fault": "slow_start", "seconds": 20}]})
    result = run_rig(replace(rig, sensors={**rig.sensors, "wrist": slow}), Mode.VIRTUAL)
    assert set(result.recording.meta["connect"]["wrist"]) == {"begun_ns"}
    (verdict,) = [v for v in result.verdicts if (v.check, v.subject) == ("connect", "wrist")]
    assert verdict.outcome == "FAIL"
    assert "found silence" in verdict.reason
