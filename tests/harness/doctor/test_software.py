"""Versions against declared ranges, torch against the driver, threads against cores, and what a compiler needs."""

from dataclasses import replace

import pytest

from harness.doctor.machine import Machine, State, Torch
from harness.doctor.software import extra_fact, facts, requirement

DECLARED = (
    "numpy>=1.26", "torch>=2.6", "dbus-fast>=2.20; sys_platform == 'linux'", 'pywin32; sys_platform == "win32"',
    'wfdb>=4.1; extra == "recordings"', "setuptools<81; python_version < '3.12' and extra == 'brainflow'",
    'pytest>=8; extra == "test"',
)  # fmt: skip
THERE = {"numpy": "2.1.0", "torch": "2.13.0+cpu", "dbus-fast": "4.0.0", "wfdb": "4.1.0", "setuptools": "80.1"}
SMI = "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4 |"


@pytest.fixture
def healthy(tmp_path):
    """A Python on which nothing is wrong."""
    for name in ("usr/bin/g++", "usr/include/python3/Python.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return Machine(
        tmp_path, installed=THERE.get, torch=lambda: Torch(4, None, False), cores=8, python=(3, 11, 7),
        python_range=">=3.11", declared=DECLARED,
    )  # fmt: skip


def attention(machine, quick=False):
    return {fact.name: fact for fact in facts(machine, quick) if fact.state is State.ATTENTION}


def without(healthy, **versions):
    return replace(healthy, installed={**THERE, **versions}.get)


def test_nothing_of_a_healthy_python_needs_attention(healthy):
    assert attention(healthy) == {}
    found = {fact.name: fact.found for fact in facts(healthy)}
    assert found["packages"].startswith("all 3 ")
    assert set(found) >= {"extra recordings", "extra brainflow"}
    assert "extra test" not in found


@pytest.mark.parametrize(
    ("line", "version", "fits"),
    [
        ("a>=1.26", "1.26", True), ("a>=1.26", "1.9.9", False), ("a<81", "81", False), ("a<81", "80.9.9", True),
        ("a>=1,<2.7", "2.6.9", True), ("a>=1,<2.7", "2.7.0", False), ("a==2.50.4", "2.50.4", True),
        ("a!=1.5", "1.5.0", False), ("a~=1.4", "1.9", True), ("a~=1.4", "2.0", False), ("a", "0.0.1", True),
        ("a>=2.6", "2.13.0+cpu", True), ("a >=2.6", "3.0rc1", True), ("a[x,y]>=2", "1.9", False),
    ],
)  # fmt: skip
def test_ranges_are_those_of_the_packaging_standard(line, version, fits):
    # PEP 440: releases compare number by number, with zeros at the end; a local part such as +cpu does not count
    asked = requirement(line, (3, 11, 7))
    assert asked.package == "a"
    assert asked.admits(version) is fits


def test_markers_decide_whom_a_requirement_is_for():
    assert requirement("a; sys_platform == 'win32'", (3, 11), "linux") is None
    assert requirement("a; python_version < '3.12'", (3, 12, 1)) is None
    assert requirement('a<81; python_version < "3.12" and extra == "b"', (3, 11, 7)).extra == "b"


def test_a_missing_package_and_an_old_one_are_installed_by_name(healthy):
    assert attention(without(healthy, numpy=None))["package numpy"].fix == "pip install 'numpy>=1.26'"
    old = attention(without(healthy, torch="2.1.0"))
    assert list(old) == ["package torch"]
    assert "2.1.0, and >=2.6 is needed" in old["package torch"].found


def test_an_absent_extra_is_no_trouble_unless_it_is_needed(healthy):
    bare = without(healthy, wfdb=None)
    assert attention(bare) == {}
    assert extra_fact(bare, "recordings").state is State.ABSENT
    needed = extra_fact(bare, "recordings", needed=True)
    assert (needed.state, needed.fix) == (State.ATTENTION, "pip install 'spiral-hil[recordings]'")


def test_an_extra_whose_package_is_too_new_is_not_usable(healthy):
    assert "setuptools 81.0" in extra_fact(without(healthy, setuptools="81.0"), "brainflow").found


def test_a_python_that_is_too_old_is_told(healthy):
    fact = attention(replace(healthy, python=(3, 10, 4)))["Python"]
    assert fact.found == "3.10.4, and >=3.11 is needed"
    assert "3.11" in fact.fix


def test_a_checkout_that_is_not_installed_is_told(healthy):
    assert attention(replace(healthy, declared=()))["packages"].fix == "pip install -e ."


def test_without_compiler_or_headers_compile_cannot_be_used(healthy):
    healthy.path("usr/include/python3/Python.h").unlink()
    found = {fact.name: fact for fact in facts(healthy)}
    assert found["C++ compiler"].fix == "sudo apt-get install python3-dev"
    healthy.path("usr/bin/g++").unlink()
    found = {fact.name: fact for fact in facts(healthy)}
    assert (found["C++ compiler"].state, found["C++ compiler"].fix) == (State.ABSENT, "sudo apt-get install g++")


def test_torch_that_cannot_be_imported_is_told(healthy):
    assert "cannot be imported" in attention(replace(healthy, torch=lambda: None))["torch"].found


def with_gpu(healthy, torch, told=SMI):
    return replace(healthy, torch=lambda: torch, run=lambda command: told if command == ["nvidia-smi"] else None)


def test_a_cpu_build_beside_a_gpu_is_replaced_by_one_for_the_driver(healthy):
    fact = attention(with_gpu(healthy, Torch(4, None, False)))["CUDA"]
    assert fact.fix.endswith("https://download.pytorch.org/whl/cu124")


@pytest.mark.parametrize(
    ("offered", "words"),
    [("12.2", "whl/cu118"), ("12.7", "whl/cu126"), ("13.2", "whl/cu130"), ("10.2", "older than any")],
)
def test_the_build_that_is_advised_is_the_newest_that_the_driver_runs(healthy, offered, words):
    told = SMI.replace("12.4", offered)
    assert words in attention(with_gpu(healthy, Torch(4, None, False), told))["CUDA"].fix


def test_a_torch_for_a_newer_cuda_than_the_drivers_is_told(healthy):
    fact = attention(with_gpu(healthy, Torch(4, "13.0", False)))["CUDA"]
    assert fact.found == "torch was built for 13.0, and the driver goes up to 12.4"


def test_a_gpu_that_torch_does_not_find_is_told(healthy):
    assert "finds no GPU" in attention(with_gpu(healthy, Torch(4, "12.4", False)))["CUDA"].found


def test_a_gpu_without_its_driver_is_told(healthy):
    healthy.path("proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    assert "its driver is not loaded" in attention(healthy)["CUDA"].found


def test_a_gpu_that_works_needs_nothing(healthy):
    assert attention(with_gpu(healthy, Torch(4, "12.4", True, "NVIDIA H200"))) == {}


def test_more_threads_than_cores_are_too_many(healthy):
    many = replace(healthy, environment={"OMP_NUM_THREADS": "16"})
    assert attention(many)["threads"].fix == "export OMP_NUM_THREADS=8"
    assert attention(replace(healthy, environment={"OMP_NUM_THREADS": "8"})) == {}
    assert "threads" in attention(replace(healthy, torch=lambda: Torch(12, None, False)))


def test_quick_does_not_import_torch(healthy):
    def never():
        raise AssertionError("torch was imported")

    assert attention(replace(healthy, torch=never), quick=True) == {}
