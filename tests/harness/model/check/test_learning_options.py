"""The options of ``hil model check`` that concern learning, from the command line to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli import main

MODULE = """
import torch
from torch import nn

def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
"""


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    (tmp_path / "modules_that_learn.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return ["model", "check", "--factory", "modules_that_learn:plain", "--input-shape", "10"]


def report_of(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    return {f"{v['check']} {v['subject']}": v for v in json.loads(capsys.readouterr().out)["verdicts"]}


def test_steps_and_rate_reach_the_training_run(plain: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*plain, "--only", "training", "--json", "-", "--quiet"]
    assert main([*argv, "--steps", "30", "--lr", "0.02"]) == 0
    assert report_of(capsys)["training cost"]["n"] == 30
    assert main([*argv, "--lr", "50"]) == 1
    assert report_of(capsys)["training divergence"]["outcome"] == "FAIL"


def test_the_limits_of_gradients_reach_the_section(plain: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*plain, "--only", "gradients", "--json", "-", "--quiet"]
    assert main(argv) == 0
    assert report_of(capsys)["gradients exploding"]["limit"] == 1e3
    assert main([*argv, "--gradient-limits", "1e-9,1e-3"]) == 1
    found = report_of(capsys)
    assert found["gradients exploding"]["outcome"] == "FAIL"
    assert found["gradients vanishing"]["limit"] == 1e-9


def test_a_clean_module_passes_all_four_sections(plain: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*plain, "--only", "gradients,activations,training,hints"]) == 0
    out = capsys.readouterr().out
    assert "every verdict is PASS" in out
    assert "0.weight" in out  # four parameters are no long table


def test_a_row_for_each_layer_is_shown_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["model", "check", "--only", "gradients"]
    main(argv)
    assert "92 rows, shown by --tables" in capsys.readouterr().out
    main([*argv, "--tables"])
    assert "encoders.ecg.stem.enter.linear.weight"[:20] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--steps", "5"], "--steps: expected 20 or more, found 5"),
        (["--lr", "0"], "--lr: expected a learning rate above 0, found 0"),
        (["--lr", "nan"], "--lr: expected a learning rate above 0, found nan"),
        (["--gradient-limits", "1,0"], "--gradient-limits: expected two norms"),
        (["--gradient-limits", "1e-7"], "--gradient-limits: expected two norms"),
    ],
)
def test_an_option_that_cannot_be_is_a_usage_error(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "check", *argv]) == 2
    assert said in capsys.readouterr().err
