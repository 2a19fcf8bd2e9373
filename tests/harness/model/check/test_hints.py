"""Advice follows from what was measured, and is never red."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from drivers.clock import RealClock
from harness.model.check.course import Broken, Course
from harness.model.check.findings import Settings
from harness.model.check.hints import (
    clipping,
    first_layers,
    hints,
    learning_rate,
    loss_scale,
    normalisation,
    range_test,
    read_range,
)
from harness.model.check.subject import Subject, open_subject, subject_of
from harness.rig import ModelEntry
from harness.verdict import Outcome, Verdict

RATES = np.logspace(-6, 1, 71)


@pytest.fixture(autouse=True)
def _one_thread_one_seed() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


def advised(subject: Subject, settings: Settings | None = None) -> dict[str, Verdict]:
    found = hints(subject, settings or Settings())
    return {item.subject: item for item in found if isinstance(item, Verdict)}


def perceptron_of_ten() -> Subject:
    return subject_of(nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2)), shape=(10,))


def curve() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Falls from 1 to 0.1, fastest at 1e-2; a hundred times as high from 1 on."""
    fall = 0.1 + 0.9 / (1 + np.exp(6 * (np.log10(RATES) + 2)))
    return np.where(RATES < 0.99, fall, 100.0)


def test_the_rate_of_the_steepest_fall_and_of_the_explosion_are_read_from_a_range_test() -> None:
    found = read_range(RATES, curve(), constant=1.0)
    assert found.steepest == pytest.approx(1e-2, rel=0.6)
    assert found.explodes == pytest.approx(0.8, rel=0.3)  # the step before the loss was seen to be high
    assert not found.learnt


def test_a_range_test_that_falls_nowhere_recommends_nothing() -> None:
    assert read_range(RATES, np.ones(71), constant=1.0).steepest is None
    learnt = read_range(RATES, np.where(RATES < 0.99, 0.01, 2.0), constant=1.0)
    assert learnt.learnt
    assert learnt.steepest is None
    assert learnt.explodes == pytest.approx(0.8, rel=0.3)


def test_a_loss_that_is_nan_at_some_rate_has_exploded_there() -> None:
    losses = np.where(RATES < 0.09, 1.0, np.nan)
    found = read_range(RATES, losses, constant=1.0)
    assert found.explodes == pytest.approx(0.08, rel=0.3)
    assert np.isfinite(found.losses).all()


def test_a_given_rate_is_called_high_low_or_in_order() -> None:
    found = read_range(RATES, curve(), constant=1.0)
    assert "0.5 is too high" in learning_rate(found, 0.5).reason
    assert "1e-05 is low" in learning_rate(found, 1e-5).reason
    assert "0.005 is in order" in learning_rate(found, 5e-3).reason


def test_a_network_is_told_a_rate_that_its_own_training_bears() -> None:
    found = range_test(perceptron_of_ten())
    assert found.steepest is not None
    assert found.explodes is not None
    assert 1e-3 < found.steepest < found.explodes < 10


class SlowClock(RealClock):
    """Seven seconds go by between two looks at it."""

    at_ns = 0

    def now_ns(self) -> int:
        self.at_ns += 7_000_000_000
        return self.at_ns


def test_a_slow_module_is_tried_at_fewer_rates_over_the_same_decades() -> None:
    """A step takes seven seconds, and all 71 would take eight minutes."""
    found = range_test(perceptron_of_ten(), clock=SlowClock())
    whole = range_test(perceptron_of_ten())
    assert len(found.losses) <= 15 < len(whole.losses)
    assert found.explodes is not None
    assert whole.explodes is not None
    assert 0.1 < found.explodes / whole.explodes < 10


def course(norms: np.ndarray[tuple[int], np.dtype[np.float64]], first: float = 1.0) -> Course:
    losses = np.full(len(norms), first)
    return Course(len(norms), 1e-3, losses, norms, 0.0, 1.0, np.ones(64), (1.0, 1.0), None, 1.0, 0)


def test_clipping_is_advised_where_some_gradients_are_ten_medians_and_only_there() -> None:
    calm, spiky = np.ones(40), np.where(np.arange(40) % 8 == 0, 11.0, 1.0)
    assert "not needed" in clipping(course(calm)).reason
    verdict = clipping(course(spiky))
    assert verdict.value == 5 / 40
    assert "clip_grad_norm_(parameters, 2" in verdict.reason
    broken = replace(course(calm), broken=Broken(40, "the loss"))
    assert "clip_grad_norm_" in clipping(broken).reason


def test_a_first_loss_a_hundred_times_that_of_a_constant_is_remarked_on() -> None:
    assert "scale to begin from" in loss_scale(course(np.ones(40), first=2.0)).reason
    assert "far larger" in loss_scale(course(np.ones(40), first=1e6)).reason
    assert "not finite" in loss_scale(course(np.ones(40), first=np.nan)).reason


class Raw(nn.Module):
    """A pulse in counts and a skin temperature in degrees, as they come or standardised."""

    def __init__(self, standardise: bool) -> None:
        super().__init__()
        self.inputs = {"ppg": {"channels": 1}, "temperature": {}}
        self.standardise = standardise
        self.pulse, self.skin, self.head = nn.Linear(250, 8), nn.Conv1d(1, 8, 5), nn.Linear(16, 2)

    def forward(self, ppg: Tensor, temperature: Tensor) -> Tensor:
        if self.standardise:
            ppg = (ppg - ppg.mean(dim=2, keepdim=True)) / (ppg.std(dim=2, keepdim=True) + 1e-6)
            temperature = (temperature - 33) / 2
        both = [self.pulse(ppg[:, 0]), self.skin(temperature).mean(dim=2)]
        return self.head(torch.relu(torch.cat(both, dim=1)))


def test_inputs_far_from_zero_and_of_unlike_size_are_named() -> None:
    seen = first_layers(subject_of(Raw(standardise=False)))
    assert [(s.layer, s.inputs) for s in seen] == [("pulse", ("ppg",)), ("skin", ("temperature",))]
    reason = normalisation(seen).reason
    assert "temperature (skin sees |mean| / sd" in reason
    assert "ppg comes in" in reason
    assert "times as large as temperature" in reason


def test_inputs_standardised_before_the_first_layer_are_in_order() -> None:
    assert "in order" in normalisation(first_layers(subject_of(Raw(standardise=True)))).reason


class Mixed(nn.Module):
    """One layer that sees heart rate and skin conductance as features, the first a thousand times as large."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.inputs, self.factor = {"heart_rate": {}, "eda": {}}, factor
        self.line = nn.Linear(2, 2)

    def forward(self, heart_rate: Tensor, eda: Tensor) -> Tensor:
        both = torch.cat([heart_rate.mean(dim=2) - 70, self.factor * (eda.mean(dim=2) - 8)], dim=1)
        return self.line(both)


def test_columns_of_unlike_size_in_one_layer_are_named() -> None:
    (seen,) = first_layers(subject_of(Mixed(factor=1e-4)))
    assert seen.inputs == ("eda", "heart_rate")
    assert "line (columns" in normalisation([seen]).reason
    assert "in order" in normalisation(first_layers(subject_of(Mixed(factor=1.0)))).reason


def test_what_the_first_layer_sees_is_measured_per_column() -> None:
    subject = perceptron_of_ten()
    (seen,) = first_layers(subject)
    x = subject.examples(32)[0]["input"].double()
    columns = x.square().mean(dim=0).sqrt()
    assert seen.size == pytest.approx(float(x.square().mean().sqrt()))
    assert seen.apart == pytest.approx(float(columns.max() / columns.min()))
    assert seen.offset == pytest.approx(float((x.mean(dim=0).abs() / x.std(dim=0, correction=0)).median()))


def test_the_reference_network_has_nothing_to_be_told() -> None:
    found = advised(open_subject(ModelEntry()))
    assert {v.outcome for v in found.values()} == {Outcome.PASS}
    assert "in order at the first layers of 10 inputs" in found["normalisation"].reason
    assert "not needed" in found["clipping"].reason
    assert "next to nothing left to learn" in found["learning rate"].reason


def test_advice_is_never_red_even_for_a_broken_module() -> None:
    module = nn.Sequential(nn.Linear(10, 4), nn.Linear(4, 2))
    with torch.no_grad():
        module[0].weight[0, 0] = torch.nan
    found = advised(subject_of(module, shape=(10,)))
    assert {v.outcome for v in found.values()} == {Outcome.PASS}
    assert "see training" in found["learning rate"].reason
