"""A training run that breaks, diverges, oscillates or learns nothing says so and why; a sound one says nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from drivers.types import FloatArray
from harness.model.check.course import Course, train
from harness.model.check.findings import Note, Settings
from harness.model.check.subject import open_subject, subject_of
from harness.model.check.training import judge, training
from harness.rig import ModelEntry
from harness.verdict import Outcome, Verdict


@pytest.fixture(autouse=True)
def _one_thread_and_one_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def run(module: nn.Module, **settings: float) -> dict[str, Verdict]:
    subject = subject_of(module, shape=(10,))
    found = training(subject, Settings(**settings))  # type: ignore[arg-type]
    return {item.subject: item for item in found if isinstance(item, Verdict)}


def not_green(found: dict[str, Verdict]) -> dict[str, Outcome]:
    return {place: v.outcome for place, v in found.items() if v.outcome is not Outcome.PASS}


def two_layers(*between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), *between, nn.Linear(32, 2))


def course_of(losses: FloatArray, noise: float = 0.0, gained: float = 0.5) -> Course:
    """A run with these losses, where the best constant answer costs 1."""
    spread = np.random.default_rng(1).normal(gained, 0.1, 64)
    return Course(
        len(losses), 1e-3, losses, np.ones(len(losses)), noise, 1.0, spread, (1.0, 1.0), None, seconds=1.0, bytes_more=0
    )


def judged_course(course: Course) -> dict[str, Outcome]:
    return not_green({verdict.subject: verdict for verdict in judge(course)})


def test_the_reference_network_trains_cleanly() -> None:
    found = {v.subject: v for v in training(open_subject(ModelEntry()), Settings(steps=40)) if isinstance(v, Verdict)}
    assert not_green(found) == {}
    assert set(found) == {"finite", "divergence", "oscillation", "convergence", "cost"}


def test_ordinary_networks_train_cleanly() -> None:
    assert not_green(run(two_layers())) == {}
    assert not_green(run(two_layers(nn.BatchNorm1d(32)))) == {}
    assert not_green(run(nn.Linear(10, 2), rate=1e-2)) == {}


def test_dropout_noise_is_no_oscillation() -> None:
    found = run(two_layers(nn.Dropout(0.5)), rate=1e-2)
    assert not_green(found) == {}
    assert "dropout alone" in found["oscillation"].reason


@pytest.mark.parametrize("rate", [10.0, 100.0])
def test_a_learning_rate_far_too_high_diverges(rate: float) -> None:
    verdict = run(two_layers(), rate=rate)["divergence"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.low is not None
    assert verdict.limit is not None
    assert verdict.low > verdict.limit
    assert f"learning rate {rate:g} is too high" in verdict.reason


def test_a_learning_rate_that_kills_every_unit_is_blamed_for_it() -> None:
    module = two_layers()
    module.append(nn.Tanh())
    found = run(module, rate=300.0)
    assert found["convergence"].outcome is Outcome.FAIL
    assert "have become the same" in found["convergence"].reason


class Stretched(nn.Module):
    """A valley as steep as its inputs are large: what one rate does in a wide one, it overshoots in a narrow one."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain, self.first, self.last = gain, nn.Linear(10, 32), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(self.gain * x)))


def test_steps_that_jump_across_the_valley_oscillate() -> None:
    verdict = run(Stretched(gain=30.0), rate=0.1)["oscillation"]
    assert verdict.outcome is Outcome.FAIL
    assert "lower the learning rate" in verdict.reason
    assert not_green(run(Stretched(gain=1.0), rate=0.1)) == {}
    assert not_green(run(Stretched(gain=30.0), rate=3e-3)) == {}


class RunsOut(nn.Module):
    """The root of what training pushes below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.line = nn.Parameter(torch.tensor(0.2)), nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(x) + 5 * torch.sqrt(self.left)


def test_a_loss_that_becomes_nan_is_named_with_its_step_and_its_function() -> None:
    found = run(RunsOut(), rate=3e-2)
    assert set(not_green(found)) == {"finite"}
    assert found["finite"].outcome is Outcome.FAIL
    assert found["finite"].value is not None
    assert 1 < found["finite"].value < 150
    assert "NaN out of sqrt in model" in found["finite"].reason
    assert "lower the learning rate" in found["finite"].reason


class Flat(nn.Module):
    """Finite outputs, and a gradient that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(10, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(torch.sqrt(0 * self.before(x)))


def test_a_gradient_that_is_nan_is_named_at_the_step_where_the_loss_was_still_finite() -> None:
    verdict = run(Flat())["finite"]
    assert (verdict.outcome, verdict.value) == (Outcome.FAIL, 1)
    assert "the gradient of before.weight, before.bias, while the loss was still" in verdict.reason
    assert "learning rate" not in verdict.reason


class Deaf(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(0 * x)


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(x).detach()


def test_a_constant_output_cannot_learn() -> None:
    found = run(Deaf())
    assert not_green(found) == {"convergence": Outcome.FAIL}
    assert "the same for every window" in found["convergence"].reason


def test_a_detached_output_learns_nothing() -> None:
    found = run(Detached())
    assert not_green(found) == {"convergence": Outcome.FAIL}
    assert "does not learn" in found["convergence"].reason


def test_too_low_a_rate_is_too_little_to_tell() -> None:
    found = run(two_layers(), rate=1e-5)
    assert not_green(found) == {"convergence": Outcome.INCONCLUSIVE}
    assert "--lr" in found["convergence"].reason


def test_a_module_without_parameters_has_nothing_to_train() -> None:
    found = list(training(subject_of(nn.Sequential(nn.Tanh()), shape=(10,)), Settings()))
    assert [type(item) for item in found] == [Note]


def test_losses_are_judged_by_what_they_do() -> None:
    step = np.arange(150)
    falling = np.exp(-step / 30)
    noise = np.random.default_rng(0).normal(0, 0.1, 150)
    assert judged_course(course_of(falling)) == {}
    assert judged_course(course_of(0.3 + falling + noise, noise=0.1)) == {}  # all of it is dropout's
    assert judged_course(course_of(0.5 + 0.4 * (-1.0) ** step)) == {"oscillation": Outcome.FAIL}
    assert judged_course(course_of(1.5 * np.exp(step / 30))) == {"divergence": Outcome.FAIL}
    turned = np.where(step < 50, np.exp(-step / 10), 0.01 + 0.003 * (step - 50))
    assert judged_course(course_of(turned)) == {"divergence": Outcome.FAIL}
    ripple = 1e-3 * (1.5 + (-1.0) ** step)  # of a loss that is next to nothing
    assert judged_course(course_of(ripple)) == {}


def test_convergence_is_a_gain_that_the_windows_agree_on() -> None:
    flat = np.full(150, 1.0)
    assert judged_course(course_of(flat, gained=0.2)) == {}
    assert judged_course(course_of(flat, gained=-0.2)) == {"convergence": Outcome.FAIL}
    assert judged_course(course_of(np.linspace(3, 2, 150), gained=-0.2)) == {"convergence": Outcome.INCONCLUSIVE}


def test_a_loss_that_comes_back_from_where_the_steps_threw_it_is_no_reason_for_more_of_them() -> None:
    thrown = np.concatenate([[1.0], np.geomspace(2000, 500, 149)])
    assert judged_course(course_of(thrown, gained=-600.0))["convergence"] is Outcome.FAIL


def test_windows_that_disagree_about_a_gain_do_not_decide() -> None:
    """A mean of 0.2 with an interval of about 0.5 to either side: nobody can say that nothing was learnt."""
    course = replace(course_of(np.full(150, 1.0)), gained=np.where(np.arange(64) % 2, 2.2, -1.8))
    assert judged_course(course) == {"convergence": Outcome.INCONCLUSIVE}


def test_a_few_steps_say_nothing_about_a_loss() -> None:
    assert judged_course(course_of(np.full(5, 1.0))) == {"loss": Outcome.INCONCLUSIVE}


class Mean(nn.Module):
    """Says the same for every window, and begins with 0."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.offset.expand(len(x), 2)


def test_the_best_that_a_constant_reaches_is_the_loss_called_a_constants() -> None:
    course = train(subject_of(nn.Sequential(Mean()), shape=(10,)), steps=400, rate=1e-2, n=16)
    assert course.losses[0] > course.losses[-1]
    assert course.losses[-1] == pytest.approx(course.constant, rel=1e-4)
    assert course.gained.mean() == pytest.approx(0, abs=1e-4)
    assert course.spread[1] == 0


def test_training_leaves_the_module_as_it_was() -> None:
    module = two_layers(nn.BatchNorm1d(32), nn.Dropout(0.5))
    subject = subject_of(module, shape=(10,))
    before, generator = copy.deepcopy(module.state_dict()), torch.get_rng_state()
    list(training(subject, Settings(steps=20)))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())
    assert not any(part.training for part in module.modules())
    assert torch.equal(generator, torch.get_rng_state())
