"""Sensors that a library reads run as rigs: on a bench, and simulated on a real file descriptor."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from drivers.brainflow_board import library
from drivers.errors import MissingExtra
from harness.bench import Mode
from harness.commands import UsageError, choose_mode
from harness.rig_file import RigError, parse_rig, read_rig
from harness.run import run_rig
from harness.verdict import Outcome

RIGS = Path(__file__).parents[2] / "rigs"
BENCH = Namespace(virtual=False, simulate=False, bench=True)


@pytest.fixture
def synthetic():
    try:
        library()
    except MissingExtra as missing:
        pytest.skip(f"needs brainflow: {missing}")
    return read_rig(RIGS / "brainflow-synthetic.rig.yaml")


def test_a_brainflow_board_needs_no_port_on_a_bench(synthetic) -> None:
    assert choose_mode(synthetic, BENCH) is Mode.BENCH


def test_an_lsl_stream_needs_its_address_on_a_bench() -> None:
    rig = read_rig(RIGS / "lsl.rig.yaml")
    assert choose_mode(rig, BENCH) is Mode.BENCH
    nowhere = replace(rig, sensors={role: replace(entry, address=None) for role, entry in rig.sensors.items()})
    with pytest.raises(UsageError, match="neither port nor address"):
        choose_mode(nowhere, BENCH)


def test_brainflows_synthetic_board_is_a_bench(synthetic) -> None:
    result = run_rig(replace(synthetic, duration_s=2.0), Mode.BENCH)
    outcomes = {(v.check, v.outcome) for v in result.verdicts}
    assert ("connect", Outcome.PASS) in outcomes
    assert ("rate", Outcome.FAIL) not in outcomes
    assert ("delivery", Outcome.FAIL) not in outcomes


def test_a_simulated_lsl_stream_comes_over_a_pty() -> None:
    result = run_rig(replace(read_rig(RIGS / "lsl.rig.yaml"), duration_s=2.0), Mode.SIMULATED)
    outcomes = [(v.check, v.outcome) for v in result.verdicts]
    assert ("connect", Outcome.PASS) in outcomes
    assert not [check for check, outcome in outcomes if outcome is Outcome.FAIL]


def test_keys_that_a_library_never_reads_are_refused() -> None:
    text = (RIGS / "lsl.rig.yaml").read_text().replace("    address:", "    baud: 9600\n    address:")
    with pytest.raises(RigError, match="lsl is a lsl sensor and has no 'baud'"):
        parse_rig(text)
