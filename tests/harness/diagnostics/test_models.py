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

class Root(nn.Module):
    # finite outputs, and a root where it has no slope
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(10, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.after(torch.sqrt(0 * self.before(x)) + 1)

class RunsOut(nn.Module):
    # the root of what training pushes below zero
    def __init__(self):
        super().__init__()
        self.left, self.line = nn.Parameter(torch.tensor(0.2)), nn.Linear(10, 2)

    def forward(self, x):
        return self.line(x) + 5 * torch.sqrt(self.left)

class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(10, 2)

    def forward(self, x):
        return self.line(x).detach()

def fusion(kind=None):
    from harness.model.inputs import INPUTS
    from harness.model.network import FusionNetwork
    return (kind or FusionNetwork)({name: INPUTS[name] for name in ("eda", "temperature", "affect")})

def collapsed():
    from harness.model.network import FusionNetwork

    class OneOnly(FusionNetwork):
        def fuse_modalities(self, features, quality=None):
            found = super().fuse_modalities(features, quality)
            others = 0.01 * self.attention_weights[:, 1:]
            self.attention_weights = torch.cat([1 - others.sum(1, keepdim=True), others], dim=1)
            return found

    return fusion(OneOnly)

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
        shape = () if "fusion" in options else ("--input-shape", "10")
        given = ["--factory", f"modules_to_diagnose:{name}", *shape, *only, *options]
        main(["model", "check", *given, "--no-compile", "--quiet", "--json", str(report)])
        return report

    return check


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("nan", "nan-layer"), ("exploding", "exploding-gradient"), ("vanishing", "vanishing-gradient"),
        ("dead", "dead-units"), ("Root", "nan-gradient"),
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


def test_training_that_runs_into_nan_is_told_by_the_function_that_made_it(checked):
    found, _ = diagnose_report(checked("RunsOut", "--only", "training", "--lr", "0.03"))
    assert found[0].rule == "nan-in-loss"
    assert "sqrt" in found[0].evidence[0]
    assert "a root" in found[0].cause


def test_an_output_that_no_gradient_reaches_does_not_learn(checked):
    found, _ = diagnose_report(checked("Detached", "--only", "training"))
    assert found[0].rule == "poor-convergence"
    assert "no gradient" in found[0].cause


def test_attention_to_one_modality_alone_is_told_and_a_sound_fusion_is_not(checked):
    found, _ = diagnose_report(checked("collapsed", "--only", "fusion"))
    assert found[0].rule == "collapsed-attention"
    assert "eda" in found[0].evidence[0]
    assert diagnose_report(checked("fusion", "--only", "fusion")) == ([], True)


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
