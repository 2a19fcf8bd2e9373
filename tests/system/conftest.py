"""The debugging guide as it stands: its functions, its blocks and its lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Guide:
    """What a debugging guide prints."""

    path: Path
    text: str

    def blocks(self, language: str) -> list[str]:
        """The code blocks of one language, in their order."""
        return re.findall(rf"^```{language}\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)

    def block_with(self, name: str) -> tuple[ast.Module, ast.FunctionDef | ast.ClassDef]:
        """The block that defines a function or class, and the definition."""
        for block in self.blocks("python"):
            tree = ast.parse(block)
            for node in tree.body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                    return tree, node
        raise AssertionError(f"{self.path} prints no {name}")

    def defined(self) -> set[str]:
        """Every function and class of its blocks."""
        nodes = [node for block in self.blocks("python") for node in ast.parse(block).body]
        return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}

    def run(self, nodes: list[ast.stmt], names: dict[str, Any]) -> dict[str, Any]:
        """Execute statements of the guide, as they are printed, where ``names`` are known."""
        exec(compile(ast.Module(nodes, []), self.path.name, "exec"), names)  # what the guide is for
        return names

    def items(self) -> list[str]:
        """A name for every heading and list item: ``memory-issues``, ``memory-issues/symptoms/1``, ..."""
        return _items(self.text)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _items(text: str) -> list[str]:
    """Of a Markdown text without its table of contents and code."""
    names: list[str] = []
    heading = kind = ""
    number = 0
    for line in re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE).splitlines():
        title, bold = re.match(r"##+ (.+)", line), re.match(r"\*\*(.+):\*\*$", line)
        item = re.match(r"(-|\d+\.) ", line)
        row = re.match(r"\| `", line)
        if title:
            heading, kind, number = _slug(title[1]), "", 0
            names += [heading] * (heading != "table-of-contents")
        elif bold:
            kind, number = _slug(bold[1]), 0
        elif (item or row) and heading != "table-of-contents":
            number += 1
            names.append("/".join(part for part in (heading, kind, str(number)) if part))
    return names


@pytest.fixture(scope="session")
def guide(request: pytest.FixtureRequest) -> Guide:
    """The document that ``--guide`` names; without it these tests are not run."""
    path: Path = request.config.getoption("guide")
    if not path.is_file():
        pytest.skip(f"not run: no debugging guide at {path}")
    return Guide(path, path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def printed(guide: Guide) -> Callable[..., Any]:
    """``printed(name, **globals)``: a function or class of the guide, as it is printed, with its block's imports."""

    def take(name: str, **names: Any) -> Any:
        tree, node = guide.block_with(name)
        imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        return guide.run([*imports, node], names)[name]

    return take
