"""Who is to blame for a sensor that is not there: the rig, the device, or whoever ended the run."""

import pytest

from drivers.types import Malformed
from harness.checks.connect import LIMITS, check
from harness.verdict import Outcome


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("LinkError: /dev/ttyUSB0: there is no such port", Outcome.INVALID),
        ("HandshakeError: expected a banner, found silence", Outcome.FAIL),
        ("AttError: ATT error 0x05: insufficient authentication", Outcome.FAIL),
        ("LinkLost: the link went down while connecting", Outcome.FAIL),
        ("SettingError: a serial port lives in real time", Outcome.INVALID),
    ],
)
def test_a_link_that_cannot_be_opened_is_the_rigs_fault_and_a_wrong_answer_the_devices(a_recording, error, outcome):
    (verdict,) = check(a_recording(meta={"connect_errors": {"chest": error}}), LIMITS())
    assert verdict.outcome is outcome
    assert verdict.reason == error.partition(": ")[2]


def test_the_others_of_a_rig_that_did_not_start_were_not_run(a_recording, a_stream):
    streams = [a_stream("chest"), a_stream("wrist")]
    recording = a_recording(streams, meta={"connect_errors": {"wrist": "LinkError: absent"}})
    assert {v.subject: v.outcome for v in check(recording, LIMITS())} == {
        "chest": Outcome.NOT_RUN, "wrist": Outcome.INVALID,
    }  # fmt: skip


def test_a_sensor_that_delivers_passes(a_recording):
    (verdict,) = check(a_recording(), LIMITS())
    assert (verdict.outcome, verdict.value) == (Outcome.PASS, 7500)


def test_a_sensor_that_is_connected_and_says_nothing_has_failed(a_recording, a_stream):
    (verdict,) = check(a_recording([a_stream(keep=lambda i: i < 0)]), LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert "sent nothing: is it switched on" in verdict.reason


def test_bytes_that_are_no_samples_are_shown(a_recording, a_stream):
    events = [("chest", Malformed("no start byte", 40, b"\x00\x01\x02 hello", 101_000_000_000))]
    recording = a_recording([a_stream(keep=lambda i: i < 0)], events=events, meta={"bytes": {"chest": 40}})
    (verdict,) = check(recording, LIMITS())
    assert verdict.outcome is Outcome.FAIL
    assert r"b'\x00\x01\x02 hello'" in verdict.reason


def test_a_run_that_was_ended_before_anything_came_says_nothing_about_the_sensor(a_recording, a_stream):
    recording = a_recording([a_stream(keep=lambda i: i < 0)], interrupted="interrupted by the user")
    (verdict,) = check(recording, LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN
