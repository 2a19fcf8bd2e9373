"""Safe YAML with the line and column of every key and value, and duplicate keys as errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

Where: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top of the document."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file; line and column count from 1."""

    line: int
    column: int
    message: str


@dataclass
class Tree:
    """Plain values with their places."""

    value: Any = None
    keys: dict[Where, tuple[int, int]] = field(default_factory=dict)
    values: dict[Where, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, where: Where, prefer_key: bool = False) -> tuple[int, int]:
        """Line and column of a path, or of its nearest parent that stands in the file."""
        first, second = (self.keys, self.values) if prefer_key else (self.values, self.keys)
        while where and where not in first and where not in second:
            where = where[:-1]
        return first.get(where) or second.get(where) or (1, 1)

    def problem(self, where: Where, message: str, prefer_key: bool = False) -> Problem:
        """A problem at a path."""
        return Problem(*self.place(where, prefer_key), message)


def parse(text: str) -> Tree:
    """The document as plain values; syntax errors, tags and duplicate keys become problems."""
    tree = Tree()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        tree.problems.append(Problem(line, column, f"not valid YAML: {error.problem or error}"))
        return tree
    except yaml.YAMLError as error:
        tree.problems.append(Problem(1, 1, f"not valid YAML: {error}"))
        return tree
    if node is None:
        tree.problems.append(Problem(1, 1, "the file is empty: expected at least `name:` and `sensors:`"))
        return tree
    tree.value = _plain(node, (), tree)
    return tree


def _plain(node: yaml.Node, where: Where, tree: Tree) -> Any:
    tree.values[where] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, where, tree)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*where, number), tree) for number, child in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        detail = getattr(error, "problem", None) or str(error)
        tree.problems.append(Problem(*tree.values[where], f"this value cannot be read: {detail}"))
        return None
    finally:
        loader.dispose()


def _mapping(node: yaml.MappingNode, where: Where, tree: Tree) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(getattr(key_node, "value", ""))
        place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, yaml.ScalarNode):
            tree.problems.append(Problem(*place, "a key must be plain text"))
            continue
        if key == "<<":
            tree.problems.append(Problem(*place, "merge keys (<<) are not supported: write the keys out"))
            continue
        if key in found:
            line = tree.keys[(*where, key)][0]
            tree.problems.append(Problem(*place, f"duplicate key {key!r}: it stands in line {line} already"))
            continue
        tree.keys[(*where, key)] = place
        found[key] = _plain(value_node, (*where, key), tree)
    return found
