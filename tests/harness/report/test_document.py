"""The JSON report: everything a machine needs, and nothing that JSON cannot say."""

import json
import math

import numpy as np

from harness.judge import judge
from harness.report.document import document, to_json


def test_the_report_carries_outcome_verdicts_streams_and_steps(a_recording):
    recording = a_recording()
    report = json.loads(to_json(document(recording, judge(recording))))
    assert report["outcome"] == {"exit_code": 0, "meaning": "every verdict is PASS"}
    assert [v["check"] for v in report["verdicts"]] == ["connect", "model", "latency"]
    assert report["streams"][0] | {"kind": "", "unit": ""} == {
        "stream": "chest/ecg", "kind": "", "unit": "", "rate_hz": 250.0, "received": 7500, "lost": 0, "exact": True,
    }  # fmt: skip
    steps = ["link and wait", "queue", "decode", "window", "model", "verdict"]
    assert [row["step"] for row in report["latency_steps"]] == steps


def test_infinite_and_missing_numbers_become_null(a_recording, some_windows):
    windows = some_windows(400)
    windows.stamps_ns[:, 1:] = -1
    windows.outputs[:] = np.nan
    recording = a_recording(windows=windows)
    text = to_json(document(recording, judge(recording)))
    verdict = next(v for v in json.loads(text)["verdicts"] if v["check"] == "latency")
    assert verdict["value"] is None
    assert verdict["outcome"] == "FAIL"


def test_equal_reports_are_equal_bytes(a_recording):
    texts = {to_json(document(recording, judge(recording))) for recording in (a_recording(), a_recording())}
    assert len(texts) == 1


def test_the_steps_add_up_to_the_latency(a_recording, some_windows):
    recording = a_recording(windows=some_windows(325, 20.0))
    steps = document(recording, judge(recording))["latency_steps"]
    assert math.isclose(sum(row["p50_ms"] for row in steps), 20.0)
