"""Train the reference network on simulated people, print its figures, write its weights.

    python -m harness.model.train            about two minutes on two cores; writes harness/model/reference.pt
    python -m harness.model.train --check    the figures of the committed weights, nothing is written

Everything follows from the seeds below; the same machine gives the same bits. Test people are never trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drivers.types import FloatArray, StreamSpec
from harness.model.inputs import INPUTS, Float32Array, InputSpec, cut_windows, unit_scale
from harness.model.network import STATES, Encoder, FusionNetwork
from harness.model.weights import REFERENCE, create_model, state_hash
from simulators.draws import Draws
from simulators.profile import Profile
from simulators.signals.registry import make_signal
from simulators.subject import Subject

SEED = 20240
TRAIN_PEOPLE, TEST_PEOPLE, WINDOWS_PER_PERSON = 1200, 300, 4
EPOCHS, BATCH, RATE = 24, 64, 4e-3
DROPPED, DROPPED_AFFECT, CORRUPTED = 0.2, 0.5, 0.15
"""Share of windows without a modality; affect, which nearly tells the answer, is missing more often; and share of
windows whose content is noise under a quality of 0 to 0.4."""

_PLATEAU_S, _RAMP_S = 20.0, 8.0
_STREAMS: Mapping[str, tuple[tuple[str, ...], str, float | None]] = {
    "ecg": (("II",), "mV", 250.0),
    "ppg": (("red", "infrared"), "counts", 100.0),
    "eda": (("eda",), "uS", 16.0),
    "respiration": (("belt",), "a.u.", 25.0),
    "temperature": (("skin",), "degC", 4.0),
    "eeg": (("Fp1", "O1"), "uV", 250.0),
    "acceleration": (("x", "y", "z"), "g", 50.0),
    "heart_rate": (("heart_rate",), "bpm", 1.0),
    "rr": (("rr",), "ms", None),
    "affect": (("valence", "arousal"), "1", 4.0),
}
"""Channels, unit and rate of the simulated stream that each modality is cut from."""


@dataclass
class Windows:
    """n windows of every modality, with what was true when they ended."""

    inputs: dict[str, Tensor]
    """modality -> (n, C, T)"""
    arousal: Tensor
    valence: Tensor
    state: Tensor
    """(n,) index into STATES."""
    quality: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.state)


def simulate(people: int, first_seed: int, specs: Mapping[str, InputSpec] = INPUTS) -> Windows:
    """Four windows of each person, every one in another state; nobody's baseline is anybody else's.

    ``specs`` may have other names and windows than the reference network, of the modalities in INPUTS.
    """
    windows: dict[str, list[Float32Array]] = {modality: [] for modality in specs}
    felt: list[FloatArray] = []
    for seed in range(first_seed, first_seed + people):
        subject, due_s, options = _person(seed)
        for modality, spec in specs.items():
            windows[modality].append(_cut(subject, spec, due_s, options.get(spec.modality, {})))
        felt.append(np.stack([subject.arousal(due_s), subject.valence(due_s)], axis=1))
    arousal, valence = np.concatenate(felt).T
    return Windows(
        {modality: torch.from_numpy(np.concatenate(parts)) for modality, parts in windows.items()},
        torch.tensor(arousal, dtype=torch.float32),
        torch.tensor(valence, dtype=torch.float32),
        torch.from_numpy(state_of(arousal, valence)),
    )


def state_of(arousal: FloatArray, valence: FloatArray) -> NDArray[np.int64]:
    """Index into STATES by the signs of arousal and valence."""
    return np.where(arousal > 0, np.where(valence > 0, 1, 2), np.where(valence > 0, 0, 3)).astype(np.int64)


def _person(seed: int) -> tuple[Subject, FloatArray, dict[str, dict[str, float]]]:
    draw = np.random.default_rng([SEED, seed])
    ends_s = np.arange(1, WINDOWS_PER_PERSON + 1) * (_PLATEAU_S + _RAMP_S)
    levels = draw.uniform(-0.95, 0.95, (WINDOWS_PER_PERSON, 2))
    script = [
        (float(end_s - edge_s), float(arousal), float(valence))
        for end_s, (arousal, valence) in zip(ends_s, levels, strict=True)
        for edge_s in (_PLATEAU_S, 0.0)
    ]
    profile = Profile(
        heart_rate_bpm=draw.uniform(50, 85), hrv_breath_percent=draw.uniform(2, 8),
        breath_rate_per_min=draw.uniform(11, 19), scr_per_min=draw.uniform(1, 4),
        skin_conductance_us=draw.uniform(2, 15), skin_temperature_c=draw.uniform(29, 35),
        pat_ms=draw.uniform(200, 300), ppg_perfusion_percent=draw.uniform(0.5, 5), blink_per_min=draw.uniform(8, 22),
        alpha_uv=draw.uniform(10, 40), script=tuple(script),
    )  # fmt: skip
    options = {
        "ecg": {"r_mv": draw.uniform(0.5, 2.0)},
        "ppg": {"dc": 10 ** draw.uniform(3.5, 5.3)},
        "affect": {"noise": 0.2},
    }
    return Subject(seed, profile), np.asarray(ends_s - 0.5, dtype=np.float64), options


def _cut(subject: Subject, spec: InputSpec, due_s: FloatArray, options: Mapping[str, float]) -> Float32Array:
    channels, unit, rate_hz = _STREAMS[spec.modality]
    if rate_hz is not None and spec.rate_hz is not None:
        rate_hz = max(rate_hz, spec.rate_hz)
    scale = unit_scale(unit, spec.unit)
    stream = StreamSpec(spec.modality, spec.modality, channels, unit, rate_hz)
    signal = make_signal({"signal": spec.modality, **options}, subject, stream, Draws(subject.seed, spec.modality))
    cut = []
    for end_s in due_s.tolist():
        if rate_hz is None:
            times_s, values = signal.events(end_s - spec.seconds, end_s)
        else:
            number = np.arange(int((end_s - spec.seconds) * rate_hz) - 1, int(end_s * rate_hz) + 1)
            times_s = number / rate_hz
            values = signal.render(int(number[0]), times_s)
        due_ns = np.array([round(end_s * 1e9)])
        time_ns = np.rint(times_s * 1e9).astype(np.int64)
        cut.append(cut_windows(spec, time_ns, values, due_ns, rate_hz=rate_hz, scale=scale)[0])
    return np.concatenate(cut)


# --- damage -----------------------------------------------------------------------------------


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """White noise in place of windows (b, C, T), at the level and spread of another window."""
    order = torch.randperm(len(x), generator=generator)
    level, spread = x.mean(dim=2, keepdim=True)[order], x.std(dim=2, keepdim=True, correction=0)[order]
    return level + 3 * spread * torch.randn(x.shape, generator=generator)


def _damage(batch: Windows, generator: torch.Generator) -> Windows:
    """Leave modalities out, and fill others with noise of which the quality says so."""
    inputs, quality = {}, {}
    for modality, x in batch.inputs.items():
        good, fate = torch.rand(2, len(x), generator=generator)
        bad = fate < CORRUPTED
        level = torch.where(bad, 0.4 * good, 0.6 + 0.4 * good)
        dropped = torch.rand(len(x), generator=generator) < (DROPPED_AFFECT if modality == "affect" else DROPPED)
        inputs[modality] = torch.where(bad[:, None, None], noise_like(x, generator), x)
        quality[modality] = torch.where(dropped, 0.0, level)
    return Windows(inputs, batch.arousal, batch.valence, batch.state, quality)


# --- training ---------------------------------------------------------------------------------


def train(windows: Windows) -> FusionNetwork:
    """A network trained on these windows, in eval mode."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    network = FusionNetwork()
    _standardise(network, windows)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    steps = EPOCHS * (len(windows) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(windows), generator=generator)
        for part in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH):
            batch = _damage(_pick(windows, part), generator)
            optimiser.zero_grad()
            loss = _loss(network(batch.inputs, batch.quality), batch)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return network.eval()


def _pick(windows: Windows, part: Tensor) -> Windows:
    inputs = {modality: x[part] for modality, x in windows.inputs.items()}
    return Windows(inputs, windows.arousal[part], windows.valence[part], windows.state[part])


def _standardise(network: FusionNetwork, windows: Windows) -> None:
    for modality, x in windows.inputs.items():
        encoder = cast(Encoder, network.encoders[modality])
        _, mean, log_sd = encoder.statistics(x)
        raw = torch.cat([mean, log_sd], dim=1)
        encoder.centre.copy_(raw.mean(dim=0))
        encoder.spread.copy_(raw.std(dim=0).clamp_min(1e-3))


def _loss(found: Tensor, batch: Windows) -> Tensor:
    error = (found[:, 0] - batch.arousal).square() + (found[:, 1] - batch.valence).square()
    return error.mean() + 0.3 * nn.functional.cross_entropy(found[:, 2:], batch.state)


# --- figures ----------------------------------------------------------------------------------


def concordance(found: Tensor, true: Tensor) -> float:
    """Lin's concordance correlation coefficient of two (n,): 1 only where they are equal."""
    covariance = ((found - found.mean()) * (true - true.mean())).mean()
    spread = found.var(correction=0) + true.var(correction=0) + (found.mean() - true.mean()).square()
    return float(2 * covariance / spread)


@dataclass(frozen=True)
class Figures:
    """How well a network does under one condition."""

    arousal: float
    valence: float
    state: float
    """Share of right states."""
    attention: float
    """Mean share of attention on the modalities that the condition touches."""


NOISED = ("ecg", "ppg", "eda", "eeg", "affect")
Condition = Callable[[Windows], tuple[dict[str, Tensor], dict[str, Tensor]]]


def measure(network: FusionNetwork, windows: Windows, condition: Condition, touched: tuple[str, ...]) -> Figures:
    """The network's figures on windows under a condition."""
    with torch.inference_mode():
        inputs, quality = condition(windows)
        found = network(inputs, quality)
        places = [network.modalities.index(modality) for modality in touched]
        attention = network.attention_weights[:, places].sum(dim=1).mean()
    right = (found[:, 2:].argmax(dim=1) == windows.state).float().mean()
    return Figures(
        concordance(found[:, 0], windows.arousal),
        concordance(found[:, 1], windows.valence),
        float(right),
        float(attention),
    )


def without(*modalities: str) -> Condition:
    """These modalities are absent."""
    return lambda windows: ({m: x for m, x in windows.inputs.items() if m not in modalities}, {})


def noised(quality: float) -> Condition:
    """Five modalities hold noise, and their quality says ``quality``."""

    def apply(windows: Windows) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(SEED)
        inputs = {m: noise_like(x, generator) if m in NOISED else x for m, x in windows.inputs.items()}
        return inputs, {m: torch.full((len(windows),), quality) for m in NOISED}

    return apply


def conditions() -> dict[str, tuple[Condition, tuple[str, ...]]]:
    """Name -> (condition, modalities that it touches)."""
    physiology = tuple(m for m in INPUTS if m != "affect")
    few = ("ecg", "ppg", "eda", "respiration")
    return {
        "all ten": (without(), tuple(INPUTS)),
        **{f"without {m}": (without(m), (m,)) for m in INPUTS},
        "affect alone": (without(*physiology), ("affect",)),
        "ecg ppg eda respiration": (without(*(m for m in INPUTS if m not in few)), few),
        "five noised, quality 1.0": (noised(1.0), NOISED),
        "five noised, quality 0.1": (noised(0.1), NOISED),
        "the same five absent": (without(*NOISED), NOISED),
        "nothing": (lambda windows: (windows.inputs, {m: torch.zeros(len(windows)) for m in INPUTS}), tuple(INPUTS)),
    }


def main() -> None:
    """Train or load, print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="figures of the committed weights; write nothing")
    check = parser.parse_args().check
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    network = create_model() if check else train(simulate(TRAIN_PEOPLE, 0))
    if not check:
        torch.save(network.state_dict(), REFERENCE)
    print(f"{sum(p.numel() for p in network.parameters())} parameters, sha256 {state_hash(network.state_dict())}")  # noqa: T201
    test = simulate(TEST_PEOPLE, TRAIN_PEOPLE)
    print(f"{len(test)} windows of {TEST_PEOPLE} unseen people; states {', '.join(STATES)}")  # noqa: T201
    print(f"{'condition':26} {'CCC arousal':>12} {'CCC valence':>12} {'state':>7} {'attention':>10}")  # noqa: T201
    for name, (condition, touched) in conditions().items():
        f = measure(network, test, condition, touched)
        print(f"{name:26} {f.arousal:12.3f} {f.valence:12.3f} {f.state:7.3f} {f.attention:10.3f}")  # noqa: T201


if __name__ == "__main__":
    main()
