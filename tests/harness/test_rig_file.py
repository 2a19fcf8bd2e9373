"""Rig files: what is wrong is told at once, where it stands; what is right becomes plain data."""

import numpy as np
import pytest

from harness.rig import rig_from_dict, rig_to_dict
from harness.rig_file import RigError, parse_rig, read_rig
from harness.yaml_tree import MOST_VALUES

HEAD = "schema: 1\nname: bench\n"
LIMITS = "limits:\n  latency: {max_ms: 100}\n"
CYTON = "sensors:\n  chest:\n    sensor: openbci-cyton\n"
STRAP = "sensors:\n  strap:\n    sensor: heart-rate\n"
GOOD = HEAD + CYTON + LIMITS


def problems_of(text, path="rig.yaml"):
    with pytest.raises(RigError) as raised:
        parse_rig(text, path)
    return raised.value.problems


def cyton(*lines):
    """A rig file with lines below the sensor, which begin in line 6."""
    return HEAD + CYTON + "".join(f"    {line}\n" for line in lines) + LIMITS


def strap(*lines):
    return HEAD + STRAP + "".join(f"    {line}\n" for line in lines) + LIMITS


BROKEN = {
    # --- no rig at all
    "empty": ("", 1, 1, "the file is empty"),
    "only a comment": ("# nothing\n", 1, 1, "the file is empty"),
    "a list": ("- a\n- b\n", 1, 1, "expected a mapping with `name:`, `sensors:`, `limits:`, found a list"),
    "a text": ("hello\n", 1, 1, "found the text 'hello'"),
    "binary": ("name: a\nnotes: \x00\x01\n", 2, 8, "no text file"),
    "broken yaml": ("name: [1, 2\nseed: 3\n", 2, 5, "not valid YAML"),
    "a tab for indentation": ("name: a\nsensors:\n\tchest: 1\n", 3, 1, "not valid YAML"),
    "two documents": (GOOD + "---\n" + GOOD, 8, 1, "not valid YAML"),
    "a tag that would call a function": (
        GOOD + "notes: !!python/object/apply:os.system ['true']\n", 8, 8, "the tag !!python/object/apply:os.system"),
    "a tag of its own": (GOOD + "notes: !secret x\n", 8, 8, "the tag !secret is not supported"),
    "binary data": (GOOD + "notes: !!binary aGVsbG8=\n", 8, 8, "the tag !!binary is not supported"),
    "an impossible date": (GOOD + "notes: 2024-13-45\n", 8, 8, "this value cannot be read"),
    "an alias of itself": (HEAD + "subject: &a {script: *a}\n" + CYTON + LIMITS, 3, 10, "does an alias"),
    "merge keys": (
        HEAD + "sensors:\n  a: &a {sensor: heart-rate}\n  b: {<<: *a, sensor: heart-rate}\n" + LIMITS,
        5, 7, "merge keys"),
    "a duplicate key": (GOOD + "name: again\n", 8, 1, "duplicate key 'name': it stands in line 2 already"),
    "a duplicate role": (
        GOOD.replace(LIMITS, "  chest: {sensor: heart-rate}\n" + LIMITS), 6, 3, "duplicate key 'chest'"),
    # --- top level
    "an unknown key": (GOOD + "windw: {}\n", 8, 1, "unknown key 'windw'; did you mean 'window'?"),
    "a key without its unit": (GOOD + "duration: 30\n", 8, 1, "did you mean 'duration_s'?"),
    "no name": (CYTON + LIMITS, 1, 1, "the key 'name' is missing here"),
    "no sensors": (HEAD + LIMITS, 1, 1, "the key 'sensors' is missing here"),
    "no limits": (HEAD + CYTON, 1, 1, "the key 'limits' is missing here"),
    "empty limits": (HEAD + CYTON + "limits: {}\n", 6, 9, "expected at least one check"),
    "empty sensors": (HEAD + "sensors: {}\n" + LIMITS, 3, 10, "expected at least one sensor, found none"),
    "sensors as a list": (HEAD + "sensors:\n  - sensor: heart-rate\n" + LIMITS, 4, 3, "sensors: expected a mapping"),
    "a future version": (GOOD.replace("schema: 1", "schema: 2"), 1, 9, "schema: expected 1, found 2"),
    "a name with a slash": (GOOD.replace("bench", "a/b"), 2, 7, "name: expected letters, digits"),
    "a name that YAML takes for true": (
        GOOD.replace("bench", "on"), 2, 7, "YAML reads on as True, so put it in quotes"),
    "a name that YAML takes for a date": (GOOD.replace("bench", "2024-01-02"), 2, 7, "put it in quotes"),
    "seconds that look like a number": (
        GOOD + 'duration_s: "30"\n', 8, 13, "found the text '30': leave the quotes out"),
    "an exponent that YAML takes for text": (GOOD + "duration_s: 1e3\n", 8, 13, "so write 1000.0"),
    "seconds with a unit": (GOOD + "duration_s: 30s\n", 8, 13, "expected a number, found the text '30s'"),
    "no time at all": (GOOD + "duration_s: 0\n", 8, 13, "duration_s: expected more than 0, found 0"),
    "endless": (GOOD + "duration_s: .inf\n", 8, 13, "duration_s: expected a finite number, found .inf"),
    "a seed with a fraction": (GOOD + "seed: 1.5\n", 8, 7, "seed: expected a whole number, found 1.5"),
    "simulate as text": (GOOD + "simulate: maybe\n", 8, 11, "simulate: expected true or false, found the text 'maybe'"),
    "an unknown key of the subject": (
        GOOD + "subject:\n  heart_rate_bmp: 60\n", 9, 3, "did you mean 'heart_rate_bpm'?"),
    "a value out of the subject's range": (GOOD + "subject: {spo2_percent: 9}\n", 8, 25, "it may be 50..100"),
    "a scenario that does not exist": (GOOD + "subject: {script: strss}\n", 8, 19, "did you mean 'stress'?"),
    # --- sensors
    "no sensor type": (HEAD + "sensors:\n  chest:\n    port: /dev/x\n" + LIMITS, 5, 5, "the key 'sensor' is missing"),
    "an unknown sensor": (GOOD.replace("cyton", "cytn"), 5, 13, "unknown sensor 'openbci-cytn'; did you mean"),
    "a sensor that is a boolean": (GOOD.replace("openbci-cyton", "yes"), 5, 13, "YAML reads yes as True"),
    "an unknown key of a sensor": (cyton("ports: /dev/x"), 6, 5, "unknown key 'ports'; did you mean 'port'?"),
    "a port that YAML takes for octal": (cyton("port: 0123"), 6, 11, "found 0123: YAML reads 0123 as 83, so put it"),
    "an address that YAML takes for a number": (strap("address: 11:22:33:44:55:06"), 6, 14, "put it in quotes"),
    "a port on a BLE sensor": (strap("port: /dev/ttyUSB0"), 6, 5, "heart-rate is a ble sensor and has no 'port'"),
    "a reader on a BLE sensor": (strap("reader: process"), 6, 5, "has no 'reader'"),
    "an address on a serial sensor": (cyton("address: 180d"), 6, 5, "is a serial sensor and has no 'address'"),
    "a USB latency on a BLE sensor": (
        strap("simulate:", "  usb_latency_ms: 16"), 7, 7, "is a ble sensor and has no 'usb_latency_ms'"),
    "a connection interval on a serial sensor": (
        cyton("simulate: {connection_interval_ms: 30}"), 6, 16, "has no 'connection_interval_ms'"),
    "an unknown reader": (cyton("reader: fork"), 6, 13, "expected 'thread' or 'process', found the text 'fork'"),
    "a baud rate of zero": (cyton("baud: 0"), 6, 11, "baud: expected at least 300, found 0"),
    "one port for two sensors": (
        HEAD + "sensors:\n  a: {sensor: openbci-cyton, port: /dev/x}\n  b: {sensor: openbci-cyton, port: /dev/x}\n"
        + LIMITS, 5, 36, "port '/dev/x' is that of 'a' already"),
    "a role with a slash": (GOOD.replace("chest", "a/b"), 4, 3, "role 'a/b': expected a name without '/'"),
    # --- settings
    "a setting that the sensor does not read": (cyton("settings:", "  gian: 24"), 7, 7, "did you mean 'gain'?"),
    "a gain that no Cyton has": (cyton("settings: {gain: 5}"), 6, 22, "gain 5: a Cyton has 1, 2, 4"),
    "a gain as text": (cyton("settings: {gain: '24'}"), 6, 22, "gain '24'"),
    "a boolean as text": (strap('settings: {energy: "yes"}'), 6, 24, "'energy' is 'yes'; expected true or false"),
    "a number as text": (strap('settings: {battery_percent: "87"}'), 6, 33, "expected a whole number"),
    "a channel that does not exist": (
        cyton("settings:", "  streams: {ecg: [1], eeg: [7, 9]}"), 7, 36, "channel 9 is not one of 1..8"),
    "a channel that is used twice": (
        cyton("settings:", "  streams: {ecg: [1], eeg: [1]}"),
        7, 33, "channel 1 is in stream 'ecg' and again in 'eeg'"),
    "settings as a list": (cyton("settings: [1]"), 6, 15, "settings: expected a mapping (key: value), found a list"),
    # --- simulation
    "an unknown clock key": (cyton("simulate:", "  clock: {pmm: 3}"), 7, 15, "unknown key 'pmm'; did you mean 'ppm'?"),
    "a clock without a number": (cyton("simulate: {clock: {ppm: .nan}}"), 6, 29, "ppm: expected a finite number"),
    "an unknown fault": (
        cyton("simulate:", "  faults:", "    - {fault: dropot}"),
        8, 19, "unknown fault 'dropot'; did you mean 'dropout'?"),
    "a fault without a name": (cyton("simulate: {faults: [{at_s: 3}]}"), 6, 25, "expected a fault as {fault: name"),
    "a fault that is a text": (cyton("simulate: {faults: [dropout]}"), 6, 25, "faults[0]: expected a mapping"),
    "faults as a mapping": (cyton("simulate: {faults: {fault: dropout}}"), 6, 24, "faults: expected a list (- item)"),
    "an unknown key of a fault": (
        cyton("simulate: {faults: [{fault: dropout, mean_burst: 3}]}"), 6, 42, "did you mean 'mean_burst_frames'?"),
    "a fault's key out of range": (
        cyton("simulate: {faults: [{fault: dropout, mean_lost_percent: 500}]}"), 6, 61, "at most 99"),
    "a fault that ends before it begins": (
        cyton("simulate: {faults: [{fault: stall, start_s: 20, stop_s: 10}]}"), 6, 61, "is not before stop_s"),
    "a fault on a stream that does not exist": (
        cyton("settings: {streams: {ecg: [1]}}", "simulate: {faults: [{fault: mains_hum, stream: egc}]}"),
        7, 52, "has no stream 'egc' with these settings; did you mean 'ecg'?"),
    "a fault that does not fit the sensor": (
        strap("simulate: {faults: [{fault: counter_reset}]}"), 6, 33, "counter_reset needs a sensor that numbers"),
    "a fault on events": (
        strap("simulate: {faults: [{fault: flatline, stream: rr}]}"), 6, 51, "with a sampling rate"),
    "a signal for a stream that does not exist": (
        strap("simulate:", "  signals:", "    hart_rate: {signal: heart_rate}"), 8, 9, "did you mean 'heart_rate'?"),
    "an unknown signal": (
        strap("simulate: {signals: {heart_rate: {signal: hearth}}}"), 6, 47, "unknown signal 'hearth'; did you mean"),
    "an unknown option of a signal": (
        strap("simulate: {signals: {heart_rate: {signal: heart_rate, beets: 3}}}"), 6, 59, "did you mean 'beats'?"),
    "a recording that is not there": (
        cyton("simulate: {signals: {exg: {signal: recording, file: absent.npy}}}"), 6, 57, "absent.npy: no such file"),
    "a recording without a file": (
        cyton("simulate: {signals: {exg: {signal: recording}}}"), 6, 31, "the signal recording needs the key 'file'"),
    # --- model and window
    "factory and file": (GOOD + "model: {factory: 'a:b', file: rig.py}\n", 8, 25, "either factory or file, not both"),
    "a model file that is not there": (GOOD + "model:\n  file: m.pt2\n", 9, 9, "no such file: m.pt2"),
    "a factory without a function": (GOOD + "model: {factory: a.b}\n", 8, 18, "expected package.module:function"),
    "an unknown engine": (GOOD + "model: {engine: onyx}\n", 8, 17, "expected 'eager', 'compile' or 'onnx'"),
    "an input from no stream": (
        GOOD + "model:\n  inputs:\n    ecg: {stream: chest/ecg}\n", 10, 19, "no stream 'chest/ecg'"),
    "an input from a channel that is not there": (
        GOOD + "model:\n  inputs:\n    ecg: {stream: chest/exg, channels: [0, 8]}\n",
        10, 44, "channels 0 to 7, found 8"),
    "a hop without its unit": (GOOD + "window: {hop: 80}\n", 8, 10, "unknown key 'hop'; did you mean 'hop_ms'?"),
    # --- limits
    "an unknown check": (
        HEAD + CYTON + "limits:\n  latncy: {}\n", 7, 3, "unknown check 'latncy'; did you mean 'latency'?"),
    "an unknown limit": (GOOD.replace("max_ms", "max"), 7, 13, "unknown key 'max' for the check latency; did you mean"),
    "a limit as text": (GOOD.replace("100", "'100'"), 7, 21, "latency: max_ms is '100'; expected a number"),
    "a limit out of range": (GOOD.replace("100", "-1"), 7, 21, "expected max_ms > 0"),
    "a check with nothing": (
        HEAD + CYTON + "limits:\n  rate:\n", 7, 8, "rate: expected a mapping (key: value), found nothing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_is_told_at_its_line_and_column(name, tmp_path):
    text, line, column, words = BROKEN[name]
    found = problems_of(text)
    assert [(p.line, p.column) for p in found if words in p.message] == [(line, column)], found
    assert len(found) == 1, found  # and no mistake is told that is none


def test_every_mistake_is_told_at_once_and_in_order():
    text = (
        "schema: 1\nname: on\nduration: 3\n"
        "sensors:\n  chest:\n    sensor: openbci-cyton\n    settings: {gain: 5, gian: 2, timestamps: 1}\n"
        "    simulate:\n      faults: [{fault: dropot}, {fault: stall, fr_ms: 3}, 7]\n"
        "  strap: {sensor: heart-rat}\nlimits: {latency: {max: 3, quantile: 2}, sync: {max_drift_ppm: x}}\n"
    )
    found = problems_of(text)
    words = ["name", "'duration'", "gain 5", "'gian'", "'timestamps'", "'dropot'", "'fr_ms'", "faults[2]",
             "'heart-rat'", "'max'", "quantile", "max_drift_ppm"]  # fmt: skip
    assert len(found) == len(words)
    assert all(word in problem.message for word, problem in zip(words, found, strict=True))
    assert [(p.line, p.column) for p in found] == sorted((p.line, p.column) for p in found)


def test_the_error_is_one_line_per_mistake_that_an_editor_can_follow():
    with pytest.raises(RigError) as raised:
        parse_rig(HEAD + "duration: 3\n" + LIMITS, "rigs/my.rig.yaml")
    first, second = str(raised.value).splitlines()
    assert first == "rigs/my.rig.yaml:1:1: the key 'sensors' is missing here"
    assert second.startswith("rigs/my.rig.yaml:3:1: unknown key 'duration'")


def test_aliases_that_multiply_are_refused_before_they_cost_memory():
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    (problem,) = problems_of(laughs)
    assert f"more than {MOST_VALUES} values" in problem.message


def test_lists_in_lists_in_lists_are_refused():
    (problem,) = problems_of("notes: " + "[" * 100_000)
    assert "nested too deeply" in problem.message
    (problem,) = problems_of("notes: " + "[" * 60 + "]" * 60)
    assert "levels deep" in problem.message


def test_a_megabyte_in_one_line_is_told_in_a_line_that_can_be_read():
    (problem,) = problems_of(GOOD + "duration_s: " + "9" * 10 + "x" * 1_000_000 + "\n")
    assert (problem.line, problem.column) == (8, 13)
    assert len(problem.message) < 200


def test_a_file_that_is_absent_a_folder_or_no_text_is_told_so(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"name: a\nx: \xff\xd8\xff\xe0")
    (tmp_path / "zeros").write_bytes(b" " * 5_000_000)
    expected = {"absent.yaml": "No such file", ".": "directory", "photo.jpg": "the byte 0xff", "zeros": "longer than"}
    for name, words in expected.items():
        with pytest.raises(RigError) as raised:
            read_rig(tmp_path / name)
        (problem,) = raised.value.problems
        assert words in problem.message
        assert (problem.line, problem.column) == ((2, 4) if name == "photo.jpg" else (1, 1))


def test_nothing_in_a_file_is_executed(tmp_path):
    witness = tmp_path / "executed"
    for tag in ("!!python/object/apply:os.system", "!!python/object/new:os.system"):
        problems_of(f"name: {tag} ['touch {witness}']\n")
    assert not witness.exists()


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    path = tmp_path / "rig.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert read_rig(path).name == "bench"


# --- good files -------------------------------------------------------------------------------

FULL = """
schema: 1
name: full
simulate: true
duration_s: 12
seed: 9
subject: {heart_rate_bpm: 70, script: [[0, 0, 0.2], [5, 0.5, -0.5]]}
sensors:
  on:
    sensor: openbci-cyton
    port: /dev/ttyUSB0
    baud: 230400
    reader: process
    reconnect: false
    floor_ms: 2.9
    settings: {streams: {ecg: [1], eeg: [7, 8]}, gain: 12}
    simulate:
      clock: {ppm: 12}
      usb_latency_ms: 16
      faults:
        - {fault: dropout, mean_lost_percent: 5}
        - {fault: mains_hum, stream: ecg, stop_s: .inf}
      signals:
        ecg: {signal: recording, file: data/ecg.npy, rate_hz: 250}
        eeg: {background_uv: 5}
  strap: {sensor: heart-rate, address: "180d", simulate: {connection_interval_ms: 45}}
model: {file: nets/m.pt2, engine: onnx, threads: 2, inputs: {ecg: {stream: on/ecg, seconds: 2}}}
window: {hop_ms: 100}
limits: {latency: {max_ms: 50, quantile: 0.9}, rate: {}}
"""


@pytest.fixture
def full(tmp_path):
    for folder in ("data", "nets"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "data/ecg.npy", np.sin(np.arange(1000) / 10))
    (tmp_path / "nets/m.pt2").write_bytes(b"")
    path = tmp_path / "full.rig.yaml"
    path.write_text(FULL)
    return path


def test_a_good_file_becomes_plain_data(full):
    rig = read_rig(full)
    assert (rig.name, rig.simulate, rig.duration_s, rig.seed) == ("full", True, 12, 9)
    assert rig.subject["heart_rate_bpm"] == 70
    chest = rig.sensors["on"]
    assert (chest.role, chest.sensor, chest.port, chest.baud) == ("on", "openbci-cyton", "/dev/ttyUSB0", 230400)
    assert (chest.reader, chest.reconnect, chest.floor_ms) == ("process", False, 2.9)
    assert chest.settings == {"streams": {"ecg": [1], "eeg": [7, 8]}, "gain": 12}
    assert chest.simulate["clock"] == {"offset_s": 0.0, "ppm": 12.0, "ppm_per_min": 0.0}
    assert [fault["fault"] for fault in chest.simulate["faults"]] == ["dropout", "mains_hum"]
    assert (rig.sensors["strap"].address, rig.sensors["strap"].simulate["connection_interval_ms"]) == ("180d", 45)
    assert (rig.model.engine, rig.model.threads, rig.window.hop_ms, rig.window.wait_ms) == ("onnx", 2, 100, 50)
    assert rig.limits == {"latency": {"max_ms": 50, "quantile": 0.9}, "rate": {}}
    assert rig.text == FULL


def test_files_are_named_from_the_rigs_folder_wherever_one_stands(full, monkeypatch):
    monkeypatch.chdir("/")
    rig = read_rig(full)
    assert rig.sensors["on"].simulate["signals"]["ecg"]["file"] == str(full.parent / "data/ecg.npy")
    assert rig.model.file == str(full.parent / "nets/m.pt2")


def test_a_rig_survives_the_way_into_a_recording_and_back(full):
    rig = read_rig(full)
    assert rig_from_dict(rig_to_dict(rig)) == rig


def test_a_role_may_be_called_on_and_a_key_yes_without_becoming_a_boolean():
    rig = parse_rig(HEAD + "sensors:\n  on: {sensor: heart-rate}\n  yes: {sensor: heart-rate}\n" + LIMITS)
    assert list(rig.sensors) == ["on", "yes"]
