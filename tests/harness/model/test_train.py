"""The training script, and what the committed weights do on simulated people that they were not trained on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.model import INPUTS, STATES, create_model, state_hash
from harness.model.train import (
    NOISED,
    TRAIN_PEOPLE,
    Windows,
    concordance,
    measure,
    noise_like,
    noised,
    simulate,
    state_of,
    train,
    without,
)

PAGE = Path(__file__).parents[3] / "docs" / "reference-model.md"


@pytest.fixture(scope="module")
def unseen() -> Windows:
    return simulate(60, TRAIN_PEOPLE)


def test_states_are_the_quadrants_of_arousal_and_valence() -> None:
    corners = np.array([-0.5, 0.5, 0.5, -0.5]), np.array([0.5, 0.5, -0.5, -0.5])
    assert [STATES[k] for k in state_of(*corners)] == ["relaxed", "excited", "stressed", "subdued"]


def test_concordance_is_lins_coefficient() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])  # variance 1.25
    assert concordance(x, x) == pytest.approx(1.0)
    assert concordance(x, -x + 5) == pytest.approx(-1.0)
    assert concordance(x + 1, x) == pytest.approx(2.5 / (2.5 + 1))
    assert concordance(torch.zeros(4), x) == 0.0


def test_simulated_windows_have_the_inputs_shapes_and_follow_from_the_seed() -> None:
    first, again, other = simulate(2, 5), simulate(2, 5), simulate(2, 7)
    assert {m: tuple(x.shape[1:]) for m, x in first.inputs.items()} == {
        m: (s.channels, s.length) for m, s in INPUTS.items()
    }
    for modality, x in first.inputs.items():
        assert torch.equal(x, again.inputs[modality])
        assert torch.isfinite(x).all()
        assert modality == "acceleration" or not torch.equal(x, other.inputs[modality])


def test_the_same_windows_train_the_same_network_and_leave_their_mark(unseen: Windows) -> None:
    first, again = train(unseen), train(unseen)
    assert state_hash(first.state_dict()) == state_hash(again.state_dict())
    found = measure(first, unseen, without(), ("affect",))
    assert found.arousal > 0.5  # on what it was trained on


def test_noise_with_an_honest_quality_costs_no_more_than_absence(unseen: Windows) -> None:
    network = create_model()
    believed = measure(network, unseen, noised(1.0), NOISED)
    doubted = measure(network, unseen, noised(0.1), NOISED)
    absent = measure(network, unseen, without(*NOISED), NOISED)
    assert doubted.arousal == pytest.approx(absent.arousal, abs=0.01)
    assert believed.arousal < absent.arousal - 0.1
    assert doubted.attention < 0.05 < believed.attention


def test_one_missing_modality_is_borne(unseen: Windows) -> None:
    network = create_model()
    for modality in INPUTS:
        if modality != "affect":
            assert measure(network, unseen, without(modality), (modality,)).arousal > 0.95, modality


def test_noise_keeps_the_level_and_not_the_content() -> None:
    x = 100 + torch.sin(torch.arange(200) / 5).repeat(8, 1, 1)
    noise = noise_like(x, torch.Generator().manual_seed(0))
    assert noise.shape == x.shape
    assert float(noise.mean()) == pytest.approx(100, abs=1)
    assert abs(float(torch.corrcoef(torch.stack([noise[0, 0], x[0, 0]]))[0, 1])) < 0.3


def test_the_page_names_the_weights_that_are_here() -> None:
    network = create_model()
    text = PAGE.read_text()
    assert state_hash(network.state_dict()) in text
    parameters = re.search(r"([\d ]+) parameters", text)
    assert parameters is not None
    assert int(parameters[1].replace(" ", "")) == sum(p.numel() for p in network.parameters())
