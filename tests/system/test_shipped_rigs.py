"""The rigs in rigs/ do what their comments promise."""

import json
import re
from pathlib import Path

import pytest
import yaml

from harness.bench import Mode
from harness.rig_file import read_rig
from harness.rig_schema import json_schema
from harness.run import run_rig
from harness.verdict import Outcome

RIGS = Path(__file__).parents[2] / "rigs"
FILES = sorted(RIGS.glob("*.rig.yaml"))


@pytest.fixture(scope="module")
def results():
    """The result of each rig, run once in virtual time."""
    return {path.name: run_rig(read_rig(path), Mode.VIRTUAL) for path in FILES}


def failed(result):
    return {(v.subject.split("/")[0], v.check) for v in result.verdicts if v.outcome is Outcome.FAIL}


def promised(path):
    """(role, check) that the comments behind a file's faults name: ``# check`` or ``# check: what shows``."""
    role, found = "", set()
    for line in path.read_text().splitlines():
        head = re.match(r"  (\w+):", line)
        role = head.group(1) if head else role
        fault = re.search(r"- \{fault: .*#\s*(\w+)", line)
        if fault:
            found.add((role, fault.group(1)))
    return found


def test_there_are_rigs_to_test():
    assert {"bench.rig.yaml", "demo.rig.yaml", "demo-faults.rig.yaml"} <= {path.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_rig_loads_and_is_named_as_its_file(path):
    assert read_rig(path).name == path.name.removesuffix(".rig.yaml")


@pytest.mark.parametrize("name", ["bench.rig.yaml", "demo.rig.yaml", "brainflow-synthetic.rig.yaml", "lsl.rig.yaml"])
def test_a_rig_without_faults_passes_everything(name, results):
    bad = [v for v in results[name].verdicts if v.outcome is not Outcome.PASS]
    assert bad == []
    assert results[name].exit_code == 0


def test_a_rig_with_faults_fails_and_every_fault_is_noticed_by_the_check_that_its_comment_names(results):
    result = results["demo-faults.rig.yaml"]
    expected = promised(RIGS / "demo-faults.rig.yaml")
    assert len(expected) == 5
    assert failed(result) == expected
    assert result.exit_code == 1


def test_the_faults_are_named_in_the_reasons(results):
    reasons = {}
    for v in results["demo-faults.rig.yaml"].verdicts:
        if v.outcome is Outcome.FAIL:
            key = (v.subject.split("/")[0], v.check)
            reasons[key] = f"{reasons.get(key, '')} {v.reason}"
    assert "hum" in reasons["chest", "quality"]
    assert "lost by the device's counter" in reasons["chest", "delivery"]
    assert "link losses" in reasons["strap", "delivery"]
    assert "ppm fast" in reasons["wrist", "sync"]
    assert "+500 ms" in reasons["mood", "sync"]


def test_the_two_demo_rigs_differ_in_their_faults_only():
    demo, faults = (yaml.safe_load((RIGS / f"{name}.rig.yaml").read_text()) for name in ("demo", "demo-faults"))
    for sensor in faults["sensors"].values():
        sensor["simulate"].pop("faults", None)
    for rig in (demo, faults):
        del rig["name"]
        for sensor in rig["sensors"].values():
            clock = sensor.setdefault("simulate", {}).setdefault("clock", {})
            clock.setdefault("offset_s", 0)
    assert faults == demo


# --- the schema beside them -------------------------------------------------------------------


def test_the_schema_file_is_what_hil_schema_prints():
    text = json.dumps(json_schema(), indent=1, sort_keys=True) + "\n"
    same = (RIGS / "rig.schema.json").read_text() == text
    assert same, "something was added: hil schema > rigs/rig.schema.json"


@pytest.fixture(scope="module")
def validator():
    jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema: pip install 'spiral-hil[test]'")
    schema = json.loads((RIGS / "rig.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_editor_accepts_a_shipped_rig(path, validator):
    assert [error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("duration_s", "duration"),
        ("sensor: openbci-cyton", "sensor: openbci-cytn"),
        ("streams: {ecg: [1]}", "stremas: {ecg: [1]}"),
        ("fault: dropout", "fault: dropot"),
        ("mean_burst_frames", "mean_burst"),
        ("ppm: 12", "pmm: 12"),
        ("latency: {max_ms", "latency: {max"),
        ("quality: {", "qualty: {"),
        ("hop_ms", "hop"),
        ("heart_rate_bpm", "heart_rate"),
        ("name: demo-faults", "name: yes"),
        ("connection_interval_ms: 30", "connection_interval_ms: thirty"),
        ("duration_s: 30", 'duration_s: "30"'),
    ],
)
def test_an_editor_underlines_a_mistake(right, wrong, validator):
    text = (RIGS / "demo-faults.rig.yaml").read_text()
    assert right in text
    assert list(validator.iter_errors(yaml.safe_load(text.replace(right, wrong, 1))))
