"""The fuzz target sees what it is for, and says nothing of a Host that is right."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from drivers.types import Batch, Samples

FILE = Path(__file__).with_name("fuzz_codecs.py")
_SPEC = importlib.util.spec_from_file_location("fuzz_codecs", FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
fuzz = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(fuzz)

GIVEN = [(k * 1_000_000, bytes([k, k]), "") for k in range(40)]


class Bytewise:
    """A Host that is right: every byte is a sample."""

    streams = (SimpleNamespace(name="bytes", channels=("a",)),)

    def __init__(self) -> None:
        self.taken = 0

    def feed(self, batch: Batch) -> list[Any]:
        values = np.frombuffer(batch.data, np.uint8).astype(float)[:, None]
        index = self.taken + np.arange(len(values))
        self.taken += len(values)
        return [Samples("bytes", values, index, batch.time_of(np.arange(len(values))))]


def test_a_host_that_is_right_passes() -> None:
    fuzz.judge(Bytewise, GIVEN)


def test_a_host_that_raises_is_seen() -> None:
    class Raises(Bytewise):
        def feed(self, batch: Batch) -> list[Any]:
            if b"\x07" in batch.data:
                raise IndexError("seven")
            return super().feed(batch)

    with pytest.raises(IndexError, match="seven"):
        fuzz.judge(Raises, GIVEN)


def test_a_host_whose_samples_depend_on_the_cut_is_seen() -> None:
    class Forgetful(Bytewise):
        def feed(self, batch: Batch) -> list[Any]:
            return super().feed(Batch.single(batch.data[: len(batch.data) // 2 * 2 - 1], int(batch.at_ns[0])))

    with pytest.raises(AssertionError, match="cut into batches"):
        fuzz.judge(Forgetful, GIVEN)


def test_a_host_that_keeps_everything_is_seen() -> None:
    class Hoards(Bytewise):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[bytes] = []

        def feed(self, batch: Batch) -> list[Any]:
            self.kept.append(batch.data)
            return super().feed(batch)

    with pytest.raises(AssertionError, match="are held"):
        fuzz.judge(Hoards, [(k, bytes(20_000), "") for k in range(40)])


def test_a_host_whose_arrays_do_not_fit_its_streams_is_seen() -> None:
    class Wide(Bytewise):
        streams = (SimpleNamespace(name="bytes", channels=("a", "b")),)

    with pytest.raises(AssertionError, match="values are"):
        fuzz.judge(Wide, GIVEN)


def test_what_is_held_counts_what_a_view_keeps_alive() -> None:
    assert fuzz.held([np.zeros(100_000)[:1]]) > 800_000
    assert fuzz.held([np.zeros(1)]) < 1_000


def test_the_target_is_run_by_name() -> None:
    pytest.importorskip("atheris", reason="needs atheris: pip install atheris")
    done = subprocess.run(
        [sys.executable, str(FILE), "heart-rate", "-runs=300", "-len_control=0", "-max_len=200"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 300 runs" in done.stderr


def test_without_a_sensor_it_says_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["fuzz_codecs.py"]) == 2
    assert "SENSOR" in capsys.readouterr().out
