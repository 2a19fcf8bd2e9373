"""JUnit XML that GitHub and GitLab read: a case per verdict; INVALID is an error, never a skip."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

from harness.verdict import Outcome, Verdict

_TAG = {
    Outcome.FAIL: ("failure", "fail"),
    Outcome.INCONCLUSIVE: ("failure", "inconclusive"),
    Outcome.INVALID: ("error", "invalid"),
    Outcome.NOT_RUN: ("error", "not_run"),
}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(value: object) -> str:
    """Characters that XML 1.0 cannot hold, as escapes."""
    return _NOT_XML.sub(lambda found: f"\\x{ord(found.group()):02x}", str(value))


def to_junit(report: dict[str, Any], verdicts: Sequence[Verdict]) -> str:
    """One suite; the rig's and the host's facts as properties."""
    count = {tag: sum(_TAG.get(v.outcome, ("", ""))[0] == tag for v in verdicts) for tag in ("failure", "error")}
    suite = ET.Element(
        "testsuite", name=_text(f"hil.{report['rig']['name']}"), tests=str(len(verdicts)),
        failures=str(count["failure"]), errors=str(count["error"]), skipped="0",
        time=f"{report['rig']['duration_s']:.3f}",
    )  # fmt: skip
    properties = ET.SubElement(suite, "properties")
    facts = {"seed": report["rig"]["seed"], **report["facts"], **report["host"]}
    for name, value in facts.items():
        if isinstance(value, str | int | float | bool):
            ET.SubElement(properties, "property", name=_text(name), value=_text(value))
    for verdict in verdicts:
        _case(suite, verdict)
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, verdict: Verdict) -> None:
    name = f"{verdict.subject} {verdict.measure}".strip()
    case = ET.SubElement(suite, "testcase", classname=_text(f"hil.{verdict.check}"), name=_text(name))
    if verdict.outcome in _TAG:
        tag, kind = _TAG[verdict.outcome]
        node = ET.SubElement(case, tag, type=kind, message=_text(verdict.reason))
        node.text = _text(numbers(verdict))
    else:
        ET.SubElement(case, "system-out").text = _text(f"{verdict.reason}\n{numbers(verdict)}")


def numbers(verdict: Verdict) -> str:
    """Value, unit, interval, n and limit in one line."""
    if verdict.value is None:
        return f"{verdict.measure}: no value, n = {verdict.n}"
    text = f"{verdict.measure}: {verdict.value:.6g} {verdict.unit}"
    if verdict.low is not None or verdict.high is not None:
        low = "-inf" if verdict.low is None else f"{verdict.low:.6g}"
        high = "inf" if verdict.high is None else f"{verdict.high:.6g}"
        text += f" [{low}, {high}]"
    text += f", n = {verdict.n}"
    return text if verdict.limit is None else f"{text}, limit {verdict.limit:g} {verdict.unit}"
