"""Where in the file each value stands."""

from harness.yaml_tree import parse


def test_every_key_and_value_has_its_line_and_column():
    tree = parse("a: 1\nb:\n  - x\n  - c: 2\n")
    assert tree.value == {"a": 1, "b": ["x", {"c": 2}]}
    assert tree.keys[("b",)] == (2, 1)
    assert tree.values[("b", 1, "c")] == (4, 8)


def test_a_duplicate_key_is_told_with_both_lines():
    tree = parse("a: 1\nb: 2\na: 3\n")
    assert [(p.line, p.column) for p in tree.problems] == [(3, 1)]
    assert "line 1" in tree.problems[0].message


def test_a_tag_that_would_build_an_object_is_refused_and_not_built():
    tree = parse("a: !!python/object/apply:os.system ['echo hacked']\n")
    assert tree.problems or tree.value == {"a": ["echo hacked"]}


def test_a_scalar_with_an_unknown_tag_is_a_problem():
    tree = parse("a: !secret x\n")
    assert tree.problems[0].line == 1


def test_broken_yaml_is_a_problem_with_its_place():
    tree = parse("a: [1, 2\nb: 3\n")
    assert tree.value is None
    assert tree.problems[0].line == 2


def test_an_empty_file_is_told_to_be_empty():
    assert "empty" in parse("").problems[0].message


def test_merge_keys_are_refused():
    tree = parse("x: &x {a: 1}\ny:\n  <<: *x\n")
    assert "merge" in tree.problems[0].message
