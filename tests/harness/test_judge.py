"""Which checks run, and that none of them can vanish."""

import pytest

import harness.judge
from harness.judge import judge
from harness.verdict import Outcome, exit_code


def test_connect_and_model_are_judged_without_being_asked_for(a_recording):
    assert [v.check for v in judge(a_recording())] == ["connect", "model", "latency"]


def test_a_run_that_ended_early_is_invalid(a_recording):
    verdicts = judge(a_recording(interrupted="interrupted by the user"))
    assert exit_code(verdicts) == 3


def test_an_absent_sensor_is_invalid_and_nothing_else_counts_as_run(a_recording):
    verdicts = judge(a_recording(meta={"connect_errors": {"chest": "LinkError: no such port"}}))
    assert exit_code(verdicts) == 3
    assert {v.check: v.outcome for v in verdicts}["latency"] is Outcome.NOT_RUN


def test_a_sensor_that_does_not_answer_has_failed(a_recording):
    verdicts = judge(a_recording(meta={"connect_errors": {"chest": "HandshakeError: silence"}}))
    assert exit_code(verdicts) == 1


def test_a_sensor_whose_bytes_mean_nothing_has_failed(a_recording, a_stream):
    recording = a_recording([a_stream(keep=lambda i: i < 0)], meta={"bytes": {"chest": 4000}})
    connect = judge(recording)[0]
    assert connect.outcome is Outcome.FAIL
    assert "4000 bytes" in connect.reason


class _Raises:
    NAME, LIMITS = "broken", dict

    @staticmethod
    def check(recording, limits):
        raise ZeroDivisionError("oops")


class _Silent(_Raises):
    @staticmethod
    def check(recording, limits):
        return []


@pytest.mark.parametrize(("check", "words"), [(_Raises, "oops"), (_Silent, "no verdict")])
def test_a_check_that_breaks_or_says_nothing_is_invalid(a_recording, monkeypatch, check, words):
    monkeypatch.setattr(harness.judge, "load_check", lambda name: check)
    monkeypatch.setattr(harness.judge, "make_limits", lambda check, given: None)
    verdicts = judge(a_recording())
    assert {v.outcome for v in verdicts} == {Outcome.INVALID}
    assert words in verdicts[0].reason
