"""``hil model check`` from end to end, and its report."""

import io
import json
import re
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli import main
from harness.model.check.findings import Note, Settings, Table
from harness.model.check.report import document, show
from harness.model.check.sections import SECTIONS, load_section
from harness.verdict import Outcome, Verdict

BROKEN = """
import warnings
import torch
from torch import nn

class Leaky(nn.Module):
    inputs = {"eda": {"channels": 1, "seconds": 2.0, "rate_hz": 8.0}}

    def forward(self, inputs, quality):
        if not inputs:
            raise ValueError("no input")
        return inputs["eda"].mean(dim=2) * quality["eda"][:, None]

def leaky():
    return Leaky()

class Talks(nn.Linear):
    def forward(self, x):
        print("forward called")
        warnings.warn("called with " + str(id(x)))
        return super().forward(x)

def talks():
    return Talks(10, 2)

def ends():
    raise SystemExit("usage: train.py DATA")

def plain():
    return nn.Sequential(nn.Linear(10, 4), nn.Tanh())
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    (tmp_path / "modules_for_the_command.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    return "modules_for_the_command"


def test_the_reference_network_is_checked_and_the_report_is_json_on_standard_output(capsys):
    code = main(["model", "check", "--only", "shapes,missing", "--json", "-"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert code == report["outcome"]["exit_code"] == 0
    assert report["model"]["model"] == "reference" and report["model"]["parameters"] == 139674
    assert {verdict["check"] for verdict in report["verdicts"]} == {"shapes", "missing"}
    assert "1 of 2: shapes" in err and "every verdict is PASS" in err


def test_the_same_seed_gives_the_same_bytes(capsys):
    texts = []
    for _ in range(2):
        main(["model", "check", "--only", "shapes,quality_aware", "--json", "-", "--quiet", "--seed", "3"])
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_a_broken_module_fails_with_exit_code_1_in_table_json_and_junit(modules, tmp_path, capsys):
    out, xml = tmp_path / "r.json", tmp_path / "r.xml"
    argv = ["model", "check", "--factory", f"{modules}:leaky", "--only", "missing,shapes", "--json", str(out)]
    code = main([*argv, "--junit", str(xml)])
    shown = capsys.readouterr().out
    assert code == 1
    assert "eda NaN at quality 0" in shown and "FAIL" in shown and "at least one verdict is FAIL" in shown
    failed = [v for v in json.loads(out.read_text())["verdicts"] if v["outcome"] == "FAIL"]
    assert [verdict["subject"] for verdict in failed] == ["eda NaN at quality 0"]
    suite = ET.parse(xml).getroot()[0]
    assert suite.get("failures") == "1" and suite.find(".//failure") is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full: a device of Linux that is always full")
@pytest.mark.parametrize("option", ["--json", "--junit"])
def test_what_was_found_is_shown_though_the_report_cannot_be_written(option, modules, capsys):
    argv = ["model", "check", "--factory", f"{modules}:leaky", "--only", "missing"]
    assert main([*argv, option, "/dev/full"]) == 3
    out, err = capsys.readouterr()
    assert "No space left on device" in err
    assert "eda NaN at quality 0" in out and "at least one verdict is FAIL" in out


def test_a_plain_module_is_checked_with_its_shape_and_what_does_not_apply_is_named(modules, capsys):
    argv = ["model", "check", "--factory", f"{modules}:plain", "--only", "shapes,missing,quality_aware"]
    assert main([*argv, "--input-shape", "10"]) == 0
    shown = capsys.readouterr().out
    assert "missing: not applicable" in shown and "quality_aware: not applicable" in shown
    assert main(argv) == 2
    assert "--input-shape 10" in capsys.readouterr().err


def test_where_nothing_applies_nothing_is_green(modules, capsys):
    argv = ["model", "check", "--factory", f"{modules}:plain", "--input-shape", "10", "--only", "missing"]
    assert main(argv) == 5
    assert "no verdict: exit 5" in capsys.readouterr().out


def test_what_a_module_prints_is_no_part_of_the_report_and_is_shown_shortened(modules, capsys):
    argv = ["model", "check", "--factory", f"{modules}:talks", "--input-shape", "10", "--only", "shapes,determinism"]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        code = main([*argv, "--json", "-"])
    out, err = capsys.readouterr()
    notes = [note["text"] for note in json.loads(out)["notes"] if note["section"] == "all"]
    assert code == 0
    assert len(notes) == 1 and int(re.search(r"printed (\d+) lines", notes[0])[1]) > 40
    assert 0 < err.count("forward called") < 40
    assert sum("called with" in str(warning.message) for warning in told) == 1


def test_a_pipe_has_room_for_tables_whose_numbers_are_not_broken():
    text = io.StringIO()
    headings = ("layer", *"abcdefghij")
    rows = (("encoders.temperature.stem.enter.linear", *(0.0123456 + k for k in range(10))),)
    facts = {"model": "m", "kind": "module"}
    report = document(facts, {}, Settings(), [], [], [Table("activations", "t", headings, rows)])
    show(Console(file=text, width=80), report, [])
    line = next(line for line in text.getvalue().splitlines() if "encoders." in line)
    assert "encoders.temperature.stem.enter.linear" in line and "0.01235" in line and "9.012" in line


def test_a_name_between_colons_is_no_picture(tmp_path, monkeypatch, capsys):
    """`module:two:` would be shown as a picture of a 2 by a library that means well."""
    monkeypatch.chdir(tmp_path)
    text = "from torch import nn\n\nclass two(nn.Module):\n    def forward(self, a, b):\n        return a\n"
    Path("module_between_colons.py").write_text(text)
    assert main(["model", "check", "--factory", "module_between_colons:two"]) == 2
    assert "module_between_colons:two: forward(a, b)" in capsys.readouterr().err


def test_quiet_says_nothing(capsys):
    assert main(["model", "check", "--only", "shapes", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_rig_brings_its_model_inputs_and_budget(tmp_path, capsys):
    rig = tmp_path / "strap.rig.yaml"
    rig.write_text(
        "schema: 1\nname: strap\nsimulate: true\nsensors: {strap: {sensor: heart-rate}}\n"
        "limits: {latency: {max_ms: 80}}\n"
    )
    assert main(["model", "check", "--rig", str(rig), "--only", "shapes", "--json", "-", "--quiet"]) == 0
    assert set(json.loads(capsys.readouterr().out)["model"]["inputs"]) == {"heart_rate", "rr"}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--only", "shape"], "there is no section shape; sections are shapes, fusion"),
        (["--only", "shapes", "--skip", "shapes"], "leave no section"),
        (["--batches", "0"], "--batches: expected whole numbers above 0"),
        (["--batches", "a"], "found 'a'"),
        (["--input-shape", "10"], "the reference network knows its inputs"),
        (["--budget-ms", "0"], "--budget-ms"),
        (["--seed", "-1"], "--seed"),
        (["--factory", "no_such_module_here:fn"], "no module 'no_such_module_here'"),
        (["--rig", "x.yaml", "--file", "m.pt2"], "--rig brings a model of its own"),
        (["--file", "missing.pt2"], "no file 'missing.pt2'"),
        (["--profile", "t.json", "--only", "shapes"], "--profile: the section speed"),
        (["--profile", "no/such/folder/t.json", "--only", "speed"], "--profile: there is no folder"),
        (["--json", ".", "--only", "shapes"], "--json: '.' is a folder"),
    ],
)
def test_what_cannot_be_is_said_with_exit_code_2(argv, said, capsys):
    assert main(["model", "check", *argv]) == 2
    assert said in capsys.readouterr().err


def test_a_factory_that_ends_the_process_is_told_and_ends_nothing(modules, capsys):
    assert main(["model", "check", "--factory", f"{modules}:ends"]) == 2
    assert "SystemExit: usage: train.py DATA" in capsys.readouterr().err


def test_every_section_can_be_loaded():
    assert next(iter(SECTIONS)) == "shapes"
    assert all(callable(load_section(name)) for name in SECTIONS)


def test_a_report_shows_tables_notes_and_verdicts_and_escapes_what_looks_like_markup():
    table = Table("fusion", "shares [of] attention", ("modality", "share"), (("[red]ecg", 0.123456), ("eda", 3.0)))
    verdict = Verdict("fusion", "ecg", Outcome.FAIL, "why [bold]so[/bold]", "share", 0.99, "", 0.95, 32)
    report = document({"model": "mine"}, {}, Settings(), [verdict], [Note("speed", "not [here]")], [table])
    console = Console(record=True, width=200, file=io.StringIO())
    show(console, report, [verdict])
    text = console.export_text()
    for said in ("shares [of] attention", "[red]ecg", "0.1235", "speed: not [here]", "why [bold]so[/bold]", "exit 1"):
        assert said in text


def test_a_column_that_is_empty_in_every_row_takes_no_room():
    text = io.StringIO()
    rows = (("stem", "", 1.5), ("head", "", 2.5))
    facts = {"model": "m", "kind": "module"}
    report = document(facts, {}, Settings(), [], [], [Table("activations", "t", ("layer", "lost units", "mean"), rows)])
    show(Console(file=text, width=80), report, [])
    assert "stem" in text.getvalue() and "mean" in text.getvalue()
    assert "lost units" not in text.getvalue()
