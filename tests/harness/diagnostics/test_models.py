"""Modules that are broken one way each: what `hil model check` finds is put down to that."""

from __future__ import annotations

import json

import pytest

from harness.cli import main
from harness.diagnostics.models import diagnose_model
from harness.diagnostics.runs import diagnose_report
from harness.verdict import Outcome, Verdict

MODULES = """
import torch
from torch import nn

def plain():
    return nn.Sequential(nn.Linear(10, 16), nn.GELU(), nn.Linear(16, 2))

class Log(nn.Module):
    def forward(self, x):
        return torch.log(x - 100)

def nan():
    return nn.Sequential(nn.Linear(10, 16), Log(), nn.Linear(16, 2))

class Times(nn.Module):
    def forward(self, x):
        return x * 1e4

def exploding():
    return nn.Sequential(nn.Linear(10, 16), Times(), nn.Linear(16, 16), Times(), nn.Linear(16, 2))

def vanishing():
    layers = [part for _ in range(40) for part in (nn.Linear(10, 10), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(10, 2))

def dead():
    made = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))
    nn.init.constant_(made[0].bias, -1e4)
    return made
"""


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """A function: name of a module, options -> the report of its check."""
    (tmp_path / "modules_to_diagnose.py").write_text(MODULES)
    monkeypatch.syspath_prepend(tmp_path)

    def check(name, *options):
        report = tmp_path / f"{name}.json"
        only = () if "--only" in options else ("--only", "gradients,activations")
        given = ["--factory", f"modules_to_diagnose:{name}", "--input-shape", "10", *only, *options]
        main(["model", "check", *given, "--no-compile", "--quiet", "--json", str(report)])
        return report

    return check


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("nan", "nan-layer"), ("exploding", "exploding-gradient"), ("vanishing", "vanishing-gradient"),
        ("dead", "dead-units"),
    ],
)  # fmt: skip
def test_what_breaks_a_module_is_the_first_diagnosis(checked, capsys, name, rule):
    found, well = diagnose_report(checked(name))
    assert not well
    assert found[0].rule == rule
    assert main(["why", str(checked(name))]) == 0
    assert found[0].cause in capsys.readouterr().out


def test_a_learning_rate_that_is_far_too_high_is_what_training_broke_by(checked):
    found, _ = diagnose_report(checked("plain", "--only", "training", "--lr", "30", "--steps", "60"))
    assert found[0].rule in {"diverging-loss", "oscillating-loss"}
    assert "learning rate" in found[0].cause


def test_a_sound_module_needs_no_explanation(checked, capsys):
    report = checked("plain")
    assert diagnose_report(report) == ([], True)
    assert main(["why", str(report)]) == 0
    assert "nothing needs explaining" in capsys.readouterr().out
    assert json.loads(report.read_text())["outcome"]["exit_code"] == 0


def test_only_failures_are_explained_and_what_follows_is_not_explained_again():
    verdicts = [
        Verdict("activations", "dead", Outcome.FAIL, "dead units"),
        Verdict("gradients", "vanishing", Outcome.FAIL, "vanishes"),
        Verdict("training", "oscillation", Outcome.PASS, "moves"),
    ]
    assert [one.rule for one in diagnose_model(verdicts)] == ["dead-units"]
