"""Faults are found by name and made from plain data, and a wrong key is answered with what is right."""

import math
from dataclasses import fields, is_dataclass

import pytest

from drivers.errors import SettingError
from drivers.types import KINDS, StreamSpec
from simulators.faults import ByteFault, DeviceFault, FrameFault, LinkFault, SampleFault
from simulators.faults.registry import fault_names, load_fault, make_fault

CHECKS = {
    "latency", "sync", "quality", "delivery", "rate", "connect", "content_sync", "age", "noise_floor", "saturation",
    "lead_off", "hr_accuracy", "rr_accuracy", "spo2_accuracy", "respiration_accuracy",
}  # fmt: skip
LAYERS = {"samples": SampleFault, "frames": FrameFault, "bytes": ByteFault, "device": DeviceFault, "link": LinkFault}


def test_all_the_faults_of_the_field_are_there():
    assert set(fault_names()) >= {
        "baseline_wander", "mains_hum", "emg", "motion", "electrode_pop", "lead_off", "flatline", "clipping",
        "low_perfusion", "quantisation", "dropout", "duplicate", "reorder", "truncate", "jitter", "stall", "bit_flip",
        "garbage", "clock_drift", "clock_step", "clock_wander", "counter_reset", "delay", "slow_start", "unplug",
        "white_noise", "spikes", "hold", "bias",
    }  # fmt: skip
    assert not {name for name in fault_names() if name.startswith("_") or name == "registry"}


@pytest.mark.parametrize("name", fault_names())
def test_a_fault_says_what_it_is_and_what_must_notice_it(name):
    fault = load_fault(name)
    assert is_dataclass(fault)
    assert name == fault.NAME
    assert issubclass(fault, LAYERS[fault.LAYER])
    assert fault.__doc__
    assert fault.TOUCHES
    assert fault.TOUCHES | fault.MAY_TOUCH <= CHECKS
    assert not fault.TOUCHES & fault.MAY_TOUCH
    assert {"serial", "ble"} >= fault.LINKS
    if issubclass(fault, SampleFault):
        assert set(KINDS) >= fault.KINDS
    for each in fields(fault):
        assert each.metadata["help"], each.name


@pytest.mark.parametrize("name", fault_names())
def test_every_fault_has_levels_from_harmless_to_bold_that_can_be_had(name):
    key, values = load_fault(name).LEVELS
    assert key in {each.name for each in fields(load_fault(name))}
    assert len(values) >= 3
    assert list(values) in (sorted(set(values)), sorted(set(values), reverse=True))
    for value in values:
        assert getattr(make_fault({"fault": name, key: value}), key) == value


@pytest.mark.parametrize("name", fault_names())
def test_every_fault_can_be_made_with_its_defaults(name):
    made = make_fault({"fault": name})
    assert (made.start_s, made.stop_s) == (0.0, math.inf)


def test_whole_numbers_and_lists_are_taken_as_yaml_gives_them():
    made = make_fault({"fault": "stall", "at_s": [1, 2.5], "for_ms": 100})
    assert (made.at_s, made.for_ms) == ((1.0, 2.5), 100.0)
    assert make_fault({"fault": "counter_reset", "at_s": 4}).at_s == (4.0,)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fault": "drop_out"}, ["drop_out", "dropout"]),
        ({"fault": "zzz"}, ["zzz", "baseline_wander", "hil list faults"]),
        ({"level": 3}, ["fault", "level"]),
        ({"fault": "dropout", "mean_lost": 3}, ["dropout", "mean_lost", "mean_lost_percent"]),
        ({"fault": "dropout", "xxxxxx": 3}, ["xxxxxx", "mean_burst_frames"]),
        ({"fault": "dropout", "mean_lost_percent": 120}, ["mean_lost_percent", "120", "at most 99", "%"]),
        ({"fault": "dropout", "mean_lost_percent": "much"}, ["mean_lost_percent", "'much'", "number"]),
        ({"fault": "dropout", "mean_lost_percent": True}, ["mean_lost_percent", "True", "number"]),
        ({"fault": "dropout", "mean_lost_percent": None}, ["mean_lost_percent", "None", "number"]),
        ({"fault": "dropout", "mean_lost_percent": math.nan}, ["mean_lost_percent", "nan"]),
        ({"fault": "dropout", "mean_lost_percent": 90, "mean_burst_frames": 2}, ["90", "bursts of 2", "66.6667"]),
        ({"fault": "clipping", "fraction": 1.5}, ["fraction", "1.5", "more than 0", "at most 1"]),
        ({"fault": "clock_drift", "ppm": math.inf}, ["ppm", "inf", "50000"]),
        ({"fault": "clock_step", "seconds": [1]}, ["seconds", "[1]"]),
        ({"fault": "jitter", "distribution": "normal"}, ["distribution", "normal", "'uniform' or 'exponential'"]),
        ({"fault": "lead_off", "stream": 3}, ["stream", "3", "text"]),
        ({"fault": "motion", "start_s": 5, "stop_s": 5}, ["start_s", "stop_s", "5"]),
        ({"fault": "motion", "start_s": -1}, ["start_s", "-1", "at least 0"]),
        ({"fault": "motion", "start_s": math.inf}, ["start_s", "inf", "finite"]),
        ({"fault": "clock_step", "at_s": 10, "stop_s": 5}, ["at_s", "10", "stop_s 5"]),
        ({"fault": "unplug", "start_s": 20}, ["at_s", "10", "start_s 20"]),
        ({"fault": "stall", "at_s": [1, 30], "stop_s": 20}, ["at_s", "30"]),
        ({"fault": "counter_reset", "every_s": 10, "stop_s": 5}, ["counter_reset", "every_s"]),
        ({"fault": "bias", "gain": 1}, ["gain 1", "offset 0", "change nothing"]),
        ({"fault": "bias", "gain": 0}, ["gain", "0", "more than 0"]),
        ({"fault": "hold", "fraction": 1.2}, ["fraction", "1.2", "at most 1"]),
    ],
)
def test_what_is_wrong_with_a_fault_is_named(given, words):
    with pytest.raises(SettingError) as caught:
        make_fault(given)
    for word in words:
        assert word in str(caught.value)


PLAIN = StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0)
COUNTED = StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0, counted=True, numbered=True)
TIMED = StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0, counted=True, timed=True)
EVENTS = StreamSpec("rr", "rr", ("rr",), "ms", None)


@pytest.mark.parametrize(
    ("given", "good", "bad"),
    [
        ({"fault": "clock_step"}, TIMED, COUNTED),
        ({"fault": "counter_reset"}, COUNTED, TIMED),
        ({"fault": "mains_hum"}, PLAIN, EVENTS),
        ({"fault": "mains_hum", "stream": "ecg"}, PLAIN, EVENTS),
    ],
)
def test_a_fault_that_could_do_nothing_on_a_sensor_is_refused(given, good, bad):
    fault = make_fault(given)
    fault.check_fits("some-sensor", (good, EVENTS))
    with pytest.raises(SettingError, match=rf"{given['fault']} needs .*some-sensor"):
        fault.check_fits("some-sensor", (bad,))


def test_low_perfusion_is_refused_on_a_sensor_without_a_ppg():
    with pytest.raises(SettingError, match=r"low_perfusion needs a stream of kind ppg.*ecg \(ecg, 250 Hz\)"):
        make_fault({"fault": "low_perfusion"}).check_fits("chest", (PLAIN, EVENTS))


class _Point:
    def __init__(self, name: str, module: object) -> None:
        self.name, self._module = name, module

    def load(self) -> object:
        return self._module


def test_a_fault_of_another_package_is_found_by_its_entry_point(monkeypatch):
    from types import SimpleNamespace

    import simulators.faults.registry as registry

    point = _Point("my_dropout", SimpleNamespace(FAULT=load_fault("dropout")))
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == "hil.faults" else [])
    assert "my_dropout" in registry.fault_names()
    assert registry.make_fault({"fault": "my_dropout", "mean_lost_percent": 1}).mean_lost_percent == 1.0
