"""A module that keeps something of every call is found, with who holds it; caches that fill up are not accused."""

from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

from harness.model.check import memory as section
from harness.model.check.findings import Settings
from harness.model.check.memory import memory
from harness.model.check.subject import subject_of
from harness.verdict import Outcome, Verdict

KEPT: list[torch.Tensor] = []


class Small(nn.Module):
    """A module that keeps nothing, for others to build on."""

    output_dim = 2

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


class History(Small):
    def __init__(self):
        super().__init__()
        self.history = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = super().forward(x)
        self.history.append(made)
        return made


class Bounded(Small):
    def __init__(self):
        super().__init__()
        self.recent = deque(maxlen=5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = super().forward(x)
        self.recent.append(made.detach())
        return made


class Global(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        KEPT.append(x.detach().clone())
        return super().forward(x)


class GrowingBuffer(Small):
    """One tensor that is replaced by a longer one in every call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(0, 1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = torch.cat([self.seen, torch.zeros(1, 1000)])
        return super().forward(x)


class Hooks(Small):
    """A hook more in every call: objects, and no tensor."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.linear.register_forward_hook(lambda *_: None)
        return super().forward(x)


class Arrays(Small):
    """Memory that is neither a tensor nor an object that the collector tracks."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept.append(np.ones(50_000))
        return super().forward(x)


class Trains(Small):
    """Keeps losses, with their graphs, in training only."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = super().forward(x)
        if torch.is_grad_enabled():
            self.losses.append(made.sum())
        return made


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """As many calls as a slow module gets."""
    monkeypatch.setattr(section, "_MOST", 240)
    yield
    KEPT.clear()


def judged(module):
    found = [each for each in memory(subject_of(module, shape=(10,)), Settings()) if isinstance(each, Verdict)]
    return {(v.subject, v.measure.removesuffix(" in 1,000 calls")): v for v in found}


def failed(found):
    return {place for place, v in found.items() if v.outcome is not Outcome.PASS}


@pytest.mark.parametrize("module", [Small, Bounded])
def test_a_module_that_keeps_a_fixed_number_passes(module):
    found = judged(module())
    assert not failed(found)
    assert {how for how, _ in found} == {"inference", "training"}


def test_a_list_of_outputs_is_found_and_named():
    found = judged(History())
    verdict = found["inference", "tensors"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(1000)
    assert "the module.history (" in verdict.reason
    assert "float32 (1, 2)" in verdict.reason
    assert "with its graph" in found["training", "tensors"].reason


def test_a_list_beside_the_class_is_found_and_named():
    verdict = judged(Global())["inference", "tensors"]
    assert verdict.outcome is Outcome.FAIL
    assert "KEPT" in verdict.reason


def test_a_buffer_that_grows_is_found_by_its_bytes():
    """4 kB a call: 4 MB in a thousand."""
    found = judged(GrowingBuffer())
    verdict = found["inference", "MB of tensors"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(4.0, rel=0.01)
    assert found["inference", "tensors"].outcome is Outcome.PASS


def test_hooks_that_pile_up_are_found_without_a_tensor():
    found = judged(Hooks())
    assert found["inference", "objects"].outcome is Outcome.FAIL
    assert "what is kept is no tensor" in found["inference", "objects"].reason
    assert found["inference", "tensors"].outcome is Outcome.PASS


class Log(Small):
    """Keeps two numbers and a text of every call, which the garbage collector does not track."""

    def __init__(self):
        super().__init__()
        self.log = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.log.append({"largest": float(x.detach().max()), "smallest": float(x.detach().min())})
        return super().forward(x)


def test_numbers_that_pile_up_are_found_although_no_collector_tracks_them():
    found = judged(Log())
    verdict = found["inference", "Python blocks"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value >= 2000  # two floats in every call, and the mapping that holds them
    assert found["inference", "objects"].outcome is Outcome.PASS


def test_arrays_that_pile_up_show_in_resident_memory():
    """400 kB a call: 400 MB in a thousand."""
    verdict = judged(Arrays())["inference", "resident MB"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.low <= 400 <= verdict.high


def test_losses_that_are_kept_in_training_only_are_found_there():
    found = judged(Trains())
    assert ("training", "tensors") in failed(found)
    assert not {measure for how, measure in failed(found) if how == "inference"}
    assert "the module.losses (" in found["training", "tensors"].reason
