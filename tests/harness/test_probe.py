"""What `hil probe` says of a sensor that works, and of ones that do not."""

import io
import json
import re
from xml.etree import ElementTree

import pytest
from rich.console import Console

from drivers.clock import VirtualClock, to_ns
from drivers.driver import Driver
from drivers.errors import LinkError
from drivers.links.memory import MemoryLink
from drivers.registry import load_sensor, make_settings, sensor_names
from drivers.types import Batch, StreamSpec
from harness.cli import main
from harness.probe import probe, probe_driver
from harness.report.document import to_json
from harness.report.junit import to_junit
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


class CutShort(MemoryLink):
    """A link on which one byte comes of each notification, which is no heart rate."""

    def open(self, sink):
        super().open(lambda item: sink(Batch.single(item.data[:1], int(item.at_ns[-1]), item.channel)))


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


# --- verdicts and sentences -------------------------------------------------------------------


def outcomes(report, check):
    return {v.subject.partition("/")[2] or v.subject: v.outcome.value for v in report.verdicts if v.check == check}


def verdict(report, check, measure):
    return next(v for v in report.verdicts if (v.check, v.measure) == (check, measure))


def test_a_clean_sensor_passes_all_four_checks_and_says_so_in_one_sentence():
    report = probe(cyton_with(streams={"ecg": [1]}))
    assert [v.check for v in report.verdicts if v.outcome.value != "PASS"] == []
    assert {v.check for v in report.verdicts} == {"connect", "acquire", "format", "quality"}
    assert report.messages == ("Hardware interface test passed",)
    assert (report.interface_passed, report.exit_code) == (True, 0)


@pytest.mark.parametrize("name", sensor_names())
def test_every_simulated_sensor_passes_in_the_default_time(name):
    report = probe(simulated(name, seed=1))
    assert [f"{v.check} {v.subject}: {v.reason}" for v in report.verdicts if v.outcome.value != "PASS"] == []
    assert report.exit_code == 0


def test_the_rate_is_that_of_the_simulated_crystal_within_its_interval():
    for ppm in (-20_000, 0, 20_000):
        faults = [{"fault": "clock_drift", "ppm": ppm}] if ppm else []
        rate = verdict(probe(cyton_with(faults, streams={"ecg": [1]})), "acquire", "rate")
        assert rate.low <= 250 * (1 + ppm / 1e6) <= rate.high
        assert rate.high - rate.low < 0.02 * 250


def test_a_rate_that_is_not_the_nominal_one_fails_and_says_why():
    clock = VirtualClock()
    sensor = load_sensor("text-lines")
    column = {"name": "a", "stream": "ecg", "kind": "ecg", "unit": "mV"}
    peer = build(SimulatedSpec("text-lines", {"columns": [{**column, "rate_hz": 250}]}), start_ns=clock.now_ns())
    host = sensor.host(make_settings(sensor, {"columns": [{**column, "rate_hz": 200}]}))
    report = probe(Driver(host, MemoryLink(peer, clock)))
    rate = verdict(report, "acquire", "rate")
    assert rate.outcome.value == "FAIL"
    assert rate.low <= 250 <= rate.high
    assert "too fast" in rate.reason
    assert report.exit_code == 1
    assert not any("passed" in message for message in report.messages)


def test_losses_are_counted_as_the_injected_truth_says():
    driver = cyton_with([{"fault": "dropout", "mean_lost_percent": 20}], streams={"ecg": [1]})
    report = probe(driver, 20)
    lost = verdict(report, "acquire", "lost")
    assert lost.outcome.value == "FAIL"
    assert "radio" in lost.reason
    taken = 250 * 20
    assert abs(lost.n - taken) <= 60  # bursts at the ends are not between two counted frames
    rate = verdict(report, "acquire", "rate")
    assert rate.low <= 250 <= rate.high  # what is lost was sampled


@pytest.mark.parametrize(
    ("fault", "measure"),
    [
        ({"fault": "duplicate"}, "repeated"),
        ({"fault": "reorder"}, "out of order"),
        ({"fault": "counter_reset", "at_s": 3.0}, "resets"),
    ],
)
def test_what_comes_twice_out_of_order_or_after_a_restart_is_found_and_is_no_loss(fault, measure):
    report = probe(cyton_with([fault], streams={"ecg": [1]}), 10)
    assert {v.measure for v in report.verdicts if v.outcome.value == "FAIL"} == {measure}
    assert verdict(report, "acquire", "lost").value == 0
    rate = verdict(report, "acquire", "rate")
    assert rate.low <= 250 <= rate.high
    assert report.exit_code == 1
    clean = probe(cyton_with(streams={"ecg": [1]}), 10)
    assert measure not in {v.measure for v in clean.verdicts}


def test_a_line_that_damages_many_bytes_fails_the_format():
    report = probe(cyton_with([{"fault": "garbage", "per_min": 240, "mean_bytes": 200}], streams={"ecg": [1]}))
    found = verdict(report, "format", "malformed bytes")
    assert found.outcome.value == "FAIL"
    assert found.value > 1
    assert "baud rate" in found.reason


def test_a_low_quality_is_warned_of_with_its_flags_and_is_code_1_while_the_interface_passes():
    report = probe(cyton_with([{"fault": "lead_off"}], streams={"ecg": [1]}))
    assert outcomes(report, "quality") == {"ecg": "FAIL", "accel": "PASS"}
    warning, passed = report.messages
    assert warning.startswith("WARNING: Low data quality: 0.")
    assert "saturated" in warning
    assert "lead off" in warning
    assert passed.startswith("Hardware interface test passed")
    assert (report.interface_passed, report.exit_code) == (True, 1)


def test_a_quality_that_takes_longer_is_inconclusive_and_says_how_long_it_takes():
    report = probe(simulated("openview", seed=1), 6)
    assert outcomes(report, "quality") == {"ecg": "PASS", "respiration": "INCONCLUSIVE", "heart_rate": "PASS"}
    unknown = next(v for v in report.verdicts if v.subject.endswith("respiration") and v.check == "quality")
    assert "needs 10 s of signal" in unknown.reason  # two or three breaths
    (again,) = re.findall(r"--seconds (\d+)", unknown.reason)
    assert outcomes(probe(simulated("openview", seed=1), float(again)), "quality")["respiration"] == "PASS"
    assert "respiration is not known yet" in report.messages[-1]
    assert report.exit_code == 0


def test_a_quality_that_stays_unknown_for_want_of_samples_is_not_sent_back_to_the_time_it_was_given():
    def after(seconds, every_s):
        return probe(simulated("nonin", format="DF13", spot_every_s=every_s), seconds).verdicts[-1]

    rare = after(6.0, 4.0)
    assert rare.outcome == "INCONCLUSIVE"
    assert int(re.search(r"try --seconds (\d+)", rare.reason).group(1)) > 6
    never = after(6.0, 60.0)
    assert never.outcome == "INCONCLUSIVE"
    assert "window of 10 s holds too few samples" in never.reason and "--seconds" not in never.reason


def test_a_port_that_cannot_be_opened_is_invalid_and_nothing_else_runs():
    sensor = load_sensor("openbci-cyton")
    report = probe(Driver(sensor.host(make_settings(sensor)), Absent(), name="cyton"))
    assert {v.check: v.outcome.value for v in report.verdicts} == {
        "connect": "INVALID", "acquire": "NOT_RUN", "format": "NOT_RUN", "quality": "NOT_RUN",
    }  # fmt: skip
    assert report.messages[0].startswith("ERROR: Failed to connect to hardware: LinkError: /dev/[red]nope")


def test_a_sensor_that_sends_nothing_at_all_is_told_from_one_that_sends_something_else():
    clock = VirtualClock()
    sensor = load_sensor("heart-rate")
    link = Mute(build(SimulatedSpec("heart-rate"), start_ns=clock.now_ns()), clock)
    (message,) = probe(Driver(sensor.host(make_settings(sensor)), link)).messages
    assert message.startswith("ERROR: No data received from hardware: ")
    assert "not one byte arrived" in message

    clock = VirtualClock()
    cut = CutShort(build(SimulatedSpec("heart-rate"), start_ns=clock.now_ns()), clock)
    (message,) = probe(Driver(sensor.host(make_settings(sensor)), cut)).messages
    assert re.search(r"[1-9]\d* bytes arrived and none of them were samples", message)


def test_a_sensor_that_answered_and_takes_long_to_begin_is_not_called_another_sensor():
    (message,) = probe(cyton_with(({"fault": "slow_start", "seconds": 8},)), 5).messages
    assert "it answered when it was connected" in message
    assert "right sensor" not in message
    assert probe(cyton_with(({"fault": "slow_start", "seconds": 8},)), 15).interface_passed


def test_the_link_of_the_driver_is_its_own_again_afterwards():
    driver = cyton_with()
    link = driver.link
    probe(driver)
    assert driver.link is link
    assert driver.connect()  # and can be opened anew
    driver.close()


def test_the_reports_are_the_json_and_junit_of_every_command():
    report = probe(cyton_with([{"fault": "lead_off"}], streams={"ecg": [1]}))
    found = json.loads(to_json(report.document()))
    assert found["outcome"]["exit_code"] == 1
    ecg = next(stream for stream in found["streams"] if stream["stream"] == "ecg")
    assert ecg["nominal_hz"] == 250
    assert "saturated" in ecg["flags"]
    assert found["messages"] == list(report.messages)
    suite = ElementTree.fromstring(to_junit(report.document(), report.verdicts))[0]
    assert suite.get("failures") == "1"
    assert len(suite.findall("testcase")) == len(report.verdicts)


# --- somebody else's driver -------------------------------------------------------------------


class Homemade:
    """A driver of the least that a probe needs: 100 Hz, ten samples a reading, on its own virtual clock."""

    def __init__(self, readings=None, connects=True):
        self.clock = VirtualClock()
        self.connects, self.readings, self.closed, self.count = connects, readings, 0, 0

    def connect(self):
        if isinstance(self.connects, Exception):
            raise self.connects
        return self.connects

    def read_data(self, timeout=5.0):
        self.clock.sleep_until(self.clock.now_ns() + to_ns(0.1))
        if callable(self.readings):
            return self.readings()
        if self.readings is not None:
            return self.readings
        self.count += 10
        times = [0.01 * k for k in range(self.count - 9, self.count + 1)]
        return {"physiological": {"ecg": [0.0] * 10}, "timestamps": {"ecg": times}, "quality_metrics": 0.9}

    def disconnect(self):
        self.closed += 1


def refusal():
    raise RuntimeError("the vendor's library crashed")


def test_a_homemade_driver_is_probed_and_closed():
    driver = Homemade()
    report = probe(driver, 3)
    assert report.messages == ("Hardware interface test passed",)
    heard = report.streams["ecg"]
    assert 290 <= heard.count <= 310
    assert max(heard.ages_ms) < 60  # each reading's newest sample was taken when it was read
    assert driver.closed == 1
    assert report.exit_code == 0


@pytest.mark.parametrize("key", ["physiological", "timestamps", "quality_metrics"])
def test_a_reading_without_one_of_the_keys_is_told_by_its_name(key):
    whole = {"physiological": [1.0], "timestamps": [0.0], "quality_metrics": 1.0}
    report = probe(Homemade({name: part for name, part in whole.items() if name != key}), 3)
    (message,) = report.messages
    assert message.startswith(f"ERROR: Missing expected data key: {key}")
    assert outcomes(report, "format")["Homemade"] == "FAIL"
    assert (report.interface_passed, report.exit_code) == (False, 1)
    assert probe(Homemade(whole), 3).messages == ("Hardware interface test passed",)


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ({"timestamps": [0.0, 1.0]}, "a timestamp for each sample, found 1 and 2"),
        ({"physiological": ["high"]}, "expected numbers, found list"),
        ({"physiological": {"ecg": [1.0]}, "timestamps": {"eeg": [1.0]}}, "expected timestamps of ecg"),
        ({"quality_metrics": {"ecg": 1.0}}, "expected a number, as `quality < 0.5` needs one, found dict"),
        ({"timestamps": [float("nan")]}, "timestamps that are numbers"),
    ],
)
def test_arrays_that_do_not_fit_fail_the_format_and_say_what_was_expected(spoilt, words):
    report = probe(Homemade({"physiological": [1.0], "timestamps": [0.0], "quality_metrics": 1.0, **spoilt}), 3)
    assert any(words in v.reason for v in report.verdicts if v.check == "format")
    assert report.exit_code == 1
    assert not any("passed" in message for message in report.messages)


def test_a_homemade_driver_that_does_not_connect_has_failed_and_is_not_closed():
    driver = Homemade(connects=False)
    report = probe(driver, 3)
    assert report.messages[0].startswith("ERROR: Failed to connect to hardware: ")
    assert (report.exit_code, driver.closed) == (1, 0)


def test_a_homemade_driver_without_data_is_told_apart_from_one_that_raises():
    silent = probe(Homemade(readings=lambda: None), 3)
    assert silent.messages[0].startswith("ERROR: No data received from hardware: ")
    raising = probe(Homemade(readings=refusal), 3)
    assert raising.messages[0].startswith("Hardware interface error: the vendor's library crashed")
    unable = probe(Homemade(connects=ValueError("no such board")), 3)
    assert unable.messages[0].startswith("Hardware interface error: no such board")
    assert {silent.exit_code, raising.exit_code} == {1}


def test_readings_that_hold_no_sample_are_no_data():
    empty = probe(Homemade({"physiological": [], "timestamps": [], "quality_metrics": 0.9}), 3)
    assert (empty.interface_passed, empty.exit_code) == (False, 1)
    assert empty.messages[0].startswith("ERROR: No data received from hardware: connected, but no sample came in 3.0 s")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_of_no_quality_whatever_the_driver_says(value):
    of = {"timestamps": [0.0, 0.01, 0.02, 0.03], "quality_metrics": 0.9}
    spoilt = probe(Homemade({"physiological": [value, value, value, 1.0], **of}), 3)
    assert spoilt.exit_code == 1
    assert spoilt.messages[0].startswith("WARNING: Low data quality: 0.00: Homemade/data: 75 % of the values are NaN")
    assert probe(Homemade({"physiological": [value, 1.0, 2.0, 3.0], **of}), 3).exit_code == 0


def test_streams_that_a_homemade_driver_declares_in_its_own_way_are_no_hindrance():
    driver = Homemade()
    driver.streams = {"ecg": 100}
    assert probe(driver, 3).exit_code == 0
    driver = Homemade()
    driver.streams = [StreamSpec("ecg", "ecg", ("lead I",), "mV", 100.0)]
    assert verdict(probe(driver), "acquire", "rate").limit == 100


def test_a_low_number_for_the_quality_is_warned_of():
    report = probe(Homemade({"physiological": [1.0], "timestamps": [0.0], "quality_metrics": 0.2}), 3)
    assert report.messages[0].startswith("WARNING: Low data quality: 0.20")


def test_a_driver_of_an_absent_serial_port_is_code_3_even_if_homemade():
    assert probe(Homemade(connects=PermissionError("/dev/ttyUSB0")), 3).exit_code == 3
    assert any("dialout" in v.reason for v in probe(Homemade(connects=PermissionError("x")), 3).verdicts)


# --- the command ------------------------------------------------------------------------------

SIMULATED = ["probe", "openbci-cyton", "--simulate", "--set", "streams={ecg: [1]}"]


def test_the_command_writes_json_to_standard_output_and_lines_beside_it(capsys):
    assert main([*SIMULATED, "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["messages"] == ["Hardware interface test passed"]
    assert "listening for 6 s" in captured.err  # an ECG is scored from 4 s on


def test_the_command_injects_faults_and_its_reports_tell_them(capsys, tmp_path):
    files = ["--json", str(tmp_path / "p.json"), "--junit", str(tmp_path / "p.xml"), "--quiet"]
    assert main([*SIMULATED, "--fault", "{fault: lead_off}", "--seed", "3", *files]) == 1
    assert capsys.readouterr() == ("", "")
    assert json.loads((tmp_path / "p.json").read_text())["outcome"]["exit_code"] == 1
    assert ElementTree.parse(tmp_path / "p.xml").getroot()[0].get("failures") == "1"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([*SIMULATED, "--fault", "lead_off"], "--fault: expected {fault: name, ...}, found 'lead_off'"),
        ([*SIMULATED, "--fault", "{fault: led_off}"], "lead_off"),
        (
            ["probe", "openbci-cyton", "--port", "/dev/nope", "--fault", "{fault: lead_off}"],
            "they belong to --simulate",
        ),
        (["probe", "openbci-cyton", "--port", "/dev/nope", "--seed", "3"], "they belong to --simulate"),
    ],
)
def test_a_fault_that_cannot_be_is_code_2_and_says_why(argv, words, capsys):
    assert main(argv) == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
