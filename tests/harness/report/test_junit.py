"""JUnit as continuous-integration servers read it: red is red, and nothing is skipped."""

import xml.etree.ElementTree as ET

import pytest

from harness.judge import judge
from harness.report.document import document
from harness.report.junit import to_junit
from harness.verdict import Outcome, Verdict


def suite_of(recording, verdicts):
    return ET.fromstring(to_junit(document(recording, verdicts), verdicts).encode())[0]


def test_a_case_for_every_verdict(a_recording):
    recording = a_recording()
    suite = suite_of(recording, judge(recording))
    assert suite.attrib["tests"] == "3"
    assert suite.attrib["failures"] == suite.attrib["errors"] == suite.attrib["skipped"] == "0"


@pytest.mark.parametrize(
    ("outcome", "tag", "kind"),
    [("FAIL", "failure", "fail"), ("INCONCLUSIVE", "failure", "inconclusive"), ("INVALID", "error", "invalid"),
     ("NOT_RUN", "error", "not_run")],
)  # fmt: skip
def test_everything_but_pass_is_a_failure_or_an_error(a_recording, outcome, tag, kind):
    suite = suite_of(a_recording(), [Verdict("latency", "rig", Outcome(outcome), "because", "p99", 1.0, "ms")])
    node = suite.find("testcase")[0]
    assert (node.tag, node.attrib["type"], node.attrib["message"]) == (tag, kind, "because")
    assert suite.attrib[tag + "s"] == "1"


def test_text_from_the_wire_cannot_break_the_file(a_recording):
    reason = "found \x00\x1b[31m <script>&]]>\ud800 there"
    suite = suite_of(a_recording(), [Verdict("connect", "chest", Outcome.FAIL, reason)])
    message = suite.find("testcase")[0].attrib["message"]
    assert "<script>&]]>" in message
    assert "\\x00" in message
