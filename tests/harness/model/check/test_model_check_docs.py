"""The example of docs/model-check.md does what the page says."""

import re
from pathlib import Path

import pytest
import torch

from harness.verdict import Outcome

PAGE = Path(__file__).parents[4] / "docs" / "model-check.md"


@pytest.fixture
def example():
    text = PAGE.read_text(encoding="utf-8")
    names: dict[str, type[torch.nn.Module]] = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)
    return names


def test_the_careless_example_fails_as_shown(example, checked, failed):
    wrong = failed(checked(example["Careless"](), "shapes", "determinism", "missing", "quality_aware"))
    assert list(wrong) == ["eda NaN at quality 0", "temperature NaN at quality 0", "no input"]
    shown = PAGE.read_text(encoding="utf-8")
    assert all(f"FAIL missing {subject}" in shown for subject in wrong)


def test_the_careful_example_passes(example, checked):
    found = checked(example["Careful"](), "shapes", "determinism", "missing", "quality_aware")
    assert {verdict.outcome for verdict in found.verdicts} == {Outcome.PASS}
