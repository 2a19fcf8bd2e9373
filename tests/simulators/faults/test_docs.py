"""docs/faults.md says of every fault what its class says."""

from dataclasses import Field, fields
from pathlib import Path

import pytest

from simulators.faults import Fault, SampleFault
from simulators.faults.registry import fault_names, load_fault

PAGE = Path(__file__).parents[3] / "docs" / "faults.md"
COMMON = {"start_s", "stop_s", "stream"}


def number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def default_of(fault: type[Fault], key: Field) -> str:
    if isinstance(key.default, tuple):
        return ", ".join(map(number, key.default)) or "none"
    levels = getattr(fault, "DEFAULT_LEVELS", None)
    if key.default is None and levels and key.name in ("level", "fraction"):
        return ", ".join(f"{kind} {number(value)}".strip() for kind, value in levels.items())
    return "none" if key.default is None else number(key.default)


def keys_of(fault: type[Fault]) -> str:
    told = []
    for key in fields(fault):
        if key.name not in COMMON:
            choices = f" (or {', '.join(c for c in key.metadata['choices'] if c != key.default)})"
            unit = f" {key.metadata['unit']}" if key.metadata["unit"] else ""
            default = default_of(fault, key)
            more = choices if key.metadata["choices"] else "" if default == "none" else unit
            told.append(f"`{key.name}`: {default}{more}; {key.metadata['help']}")
    return "<br>".join(told)


def levels_of(fault: type[Fault]) -> str:
    key, values = fault.LEVELS
    return f"`{key}`: {', '.join(map(number, map(float, values)))}"


def row_of(fault: type[Fault]) -> str:
    does = " ".join((fault.__doc__ or "").split("\n\n")[0].split())
    kinds = ", ".join(sorted(fault.KINDS)) if issubclass(fault, SampleFault) else ""
    layer = f"{fault.LAYER}: {kinds}" if kinds else fault.LAYER
    must, may = (", ".join(sorted(checks)) or "-" for checks in (fault.TOUCHES, fault.MAY_TOUCH))
    return f"| `{fault.NAME}` | {layer} | {does} | {keys_of(fault)} | {must} | {may} | {levels_of(fault)} |"


def rows() -> list[str]:
    return [row_of(load_fault(name)) for name in fault_names() if load_fault(name).__module__.startswith("simulators.")]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("`")[1])
def test_the_page_has_the_row_of_every_fault(row):
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert row in lines


def test_the_page_has_no_row_of_a_fault_that_is_not_there():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("| `")] == sorted(rows(), key=lambda row: lines.index(row))
