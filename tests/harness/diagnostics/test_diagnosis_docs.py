"""docs/diagnosis.md names the rules that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from harness.diagnostics.texts import RULES

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "harness" / "diagnostics"
NAME = re.compile(r"^[a-z0-9]+(?:-[a-z0-9]+)*$")


def names_in_code():
    """Every string of the package that could be a rule's name."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.py")]
    found = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return {text for text in found if isinstance(text, str) and NAME.match(text)}


def names_in_the_document():
    text = (ROOT / "docs" / "diagnosis.md").read_text(encoding="utf-8")
    section = text[text.index("## What is known") : text.index("## How it is ranked")]
    return {name for name in re.findall(r"`([^`]+)`", section) if NAME.match(name)}


def test_every_rule_that_the_document_names_is_there():
    assert names_in_the_document() - names_in_code() == set()


def test_every_rule_over_texts_is_in_the_document():
    assert {rule.name for rule in RULES} - names_in_the_document() == set()


def test_every_diagnosis_that_code_makes_by_name_is_in_the_document():
    named = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            made = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Diagnosis", "_of_latency")
            named |= {arg.value for arg in node.args[:2] if made and isinstance(arg, ast.Constant)} if made else set()
    names = {name for name in named if NAME.match(name)} - {"rule-failed"}
    assert names - names_in_the_document() == set()
    assert len(names) > 15
