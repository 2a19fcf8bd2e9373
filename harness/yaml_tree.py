"""Safe YAML with the line and column of every key and value, and duplicate keys as errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

Where: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the top of the document."""

MOST_VALUES = 50_000
"""Aliases may repeat a value, but not until the document no longer fits into memory."""
MOST_LEVELS = 40
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "timestamp", "value", "merge", "seq", "map")
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file; line and column count from 1."""

    line: int
    column: int
    message: str


class UnreadableError(Exception):
    """The document as a whole cannot be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass
class Tree:
    """Plain values with their places."""

    value: Any = None
    keys: dict[Where, tuple[int, int]] = field(default_factory=dict)
    values: dict[Where, tuple[int, int]] = field(default_factory=dict)
    texts: dict[Where, str] = field(default_factory=dict)
    """Scalars that stand in the file without quotes, as they stand there."""
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
        if node is None:
            raise UnreadableError(Problem(1, 1, "the file is empty: expected at least `name:`, `sensors:`, `limits:`"))
        tree.value = _plain(node, (), tree)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        tree.problems.append(Problem(line, column, f"not valid YAML: {error.problem or error}"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1) + 1
        tree.problems.append(Problem(line, column, f"no text file: it holds the character {error.character!r}"))
    except UnreadableError as error:
        tree.problems.append(error.problem)
    except RecursionError:
        tree.problems.append(Problem(1, 1, f"nested too deeply: a rig needs no more than {MOST_LEVELS} levels"))
    return tree


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _plain(node: yaml.Node, where: Where, tree: Tree) -> Any:
    if len(tree.values) > MOST_VALUES:
        text = f"more than {MOST_VALUES} values, once every alias (*name) is written out: this is no rig"
        raise UnreadableError(Problem(*_place(node), text))
    if len(where) > MOST_LEVELS:
        text = f"more than {MOST_LEVELS} levels deep; does an alias (*name) contain itself?"
        raise UnreadableError(Problem(*_place(node), text))
    tree.values[where] = _place(node)
    if node.tag not in _PLAIN_TAGS:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        text = f"the tag {tag} is not supported: a rig file holds plain values only, and nothing in it is executed"
        tree.problems.append(Problem(*tree.values[where], text))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, where, tree)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*where, number), tree) for number, child in enumerate(node.value)]
    return _scalar(node, where, tree)


def _scalar(node: yaml.Node, where: Where, tree: Tree) -> Any:
    if isinstance(node, yaml.ScalarNode) and node.style is None:
        tree.texts[where] = node.value
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
        place = _place(key_node)
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
