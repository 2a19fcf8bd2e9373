"""Modules that are missing or lack a name, and factories that are called in vain: what the errors are put down to."""

from __future__ import annotations

import importlib
import subprocess
import sys
import traceback

import pytest

from harness.diagnostics.texts import diagnose_text


def traceback_of(call):
    """The whole traceback of what a call raises."""
    try:
        call()
    except Exception:  # noqa: BLE001  whatever a library raises
        return traceback.format_exc()
    raise AssertionError("nothing was raised")


def told_of(text):
    return diagnose_text(text)[0]


# --- imports --------------------------------------------------------------------------------------


def test_for_a_missing_module_of_unknown_origin_no_package_is_named_since_it_may_be_a_strangers():
    found = told_of(traceback_of(lambda: importlib.import_module("no_such_module_here")))
    assert found.rule == "import-error"
    assert "no_such_module_here is not installed" in found.cause
    assert "pip install" not in found.next_step
    assert "PYTHONPATH" in found.next_step
    assert "which package provides it" in found.next_step


def test_a_module_of_ones_own_that_lacks_a_name_is_not_upgraded_from_the_package_index(tmp_path, monkeypatch):
    (tmp_path / "my_own_layers.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)

    def wanted():
        from my_own_layers import b  # noqa: F401

    found = told_of(traceback_of(wanted))
    assert "pip install" not in found.next_step
    assert "print(my_own_layers.__file__)" in found.next_step


@pytest.mark.parametrize(
    ("module", "install"),
    [
        ("serial", "pyserial"), ("wfdb", "'spiral-hil[recordings]'"), ("yaml", "PyYAML"), ("numpy", "numpy"),
        ("torch", "torch"), ("scipy", "scipy"), ("fastapi", "'spiral-hil[api]'"),
    ],
)  # fmt: skip
def test_a_module_with_a_package_of_another_name_is_installed_by_that_name(module, install):
    said = subprocess.run([sys.executable, "-S", "-c", f"import {module}"], capture_output=True, text=True)
    assert "No module named" in said.stderr
    assert f"pip install {install};" in told_of(said.stderr).next_step


def test_a_name_that_a_module_lacks_is_told_from_a_module_that_is_missing():
    def wanted():
        from numpy import no_such_name  # noqa: F401

    found = told_of(traceback_of(wanted))
    assert found.rule == "import-error"
    assert "numpy has no no_such_name" in found.cause


def test_modules_that_import_each_other_are_told_as_a_circle(tmp_path):
    (tmp_path / "one.py").write_text("from two import b\na = 1\n")
    (tmp_path / "two.py").write_text("from one import a\nb = 2\n")
    said = subprocess.run(
        [sys.executable, "-c", "import one"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "circle" in told_of(said.stderr).cause


# --- factories ------------------------------------------------------------------------------------

FACTORIES = """
import torch

class Net(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()

def build(channels, *, width):
    return Net(channels)

def inner():
    return Net()
"""


@pytest.fixture
def of_factory(tmp_path, monkeypatch):
    (tmp_path / "factories_to_diagnose.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    load = importlib.import_module("harness.model.load")
    return lambda name: traceback_of(lambda: load.build_module(f"factories_to_diagnose:{name}"))


@pytest.mark.parametrize(("name", "parameter"), [("build", "'channels'"), ("Net", "'channels'")])
def test_a_factory_that_wants_arguments_is_told_that_it_is_called_without_any(of_factory, name, parameter):
    found = told_of(of_factory(name))
    assert found.rule == "factory-arguments"
    assert f"factories_to_diagnose:{name}" in found.cause
    assert f"({parameter})" in found.cause
    assert "called without arguments" in found.cause
    assert "forward" not in found.cause
    assert "default" in found.next_step


def test_a_call_within_a_factory_that_lacks_an_argument_is_no_matter_of_the_factorys_own(of_factory):
    assert told_of(of_factory("inner")).rule == "wrong-call"
