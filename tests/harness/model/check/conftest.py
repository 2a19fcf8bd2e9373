"""Small fusion networks to break, on three modalities with short windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from harness.model.check.findings import Settings
from harness.model.check.run import Findings, check
from harness.model.check.subject import subject_of
from harness.model.inputs import INPUTS
from harness.model.network import FusionNetwork
from harness.verdict import Outcome, Verdict

Checked = Callable[..., Findings]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def small() -> Callable[..., FusionNetwork]:
    """Builds a network of a given class on EDA, temperature and affect."""

    def build(kind: type[FusionNetwork] = FusionNetwork) -> FusionNetwork:
        return kind({name: INPUTS[name] for name in ("eda", "temperature", "affect")})

    return build


@pytest.fixture
def checked() -> Checked:
    """Runs sections on a module and gives what they found."""

    def run(module: nn.Module, *names: str, shape: tuple[int, ...] | None = None, **settings: Any) -> Findings:
        return check(subject_of(module, shape=shape), Settings(**settings), names)

    return run


@pytest.fixture
def failed() -> Callable[[Findings], dict[str, Verdict]]:
    """The verdicts that are not PASS, by subject."""

    def pick(findings: Findings) -> dict[str, Verdict]:
        return {verdict.subject: verdict for verdict in findings.verdicts if verdict.outcome is not Outcome.PASS}

    return pick
