"""Breath rates: silent on clean belts, loud on belts that drop breaths or add some."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from harness.accuracy.material import material_of
from harness.bench import Mode, stream_specs
from harness.checks.registry import load_check, make_limits
from harness.checks.respiration_accuracy import LIMITS, check
from harness.rig_file import parse_rig
from harness.run import run_rig
from harness.stage import ModelStage
from harness.verdict import Outcome

_COLUMN = "{name: belt, stream: respiration, kind: respiration, unit: a.u., rate_hz: 25, lsb: 0.001, low: -8, high: 8}"
_BELT = f"""    sensor: text-lines
    settings:
      time_column: t_ms
      time_unit: ms
      columns:
        - {_COLUMN}
"""
RIG = parse_rig(f"""
schema: 1
name: breaths
simulate: true
duration_s: 90
seed: 3
sensors:
  thorax:
{_BELT}
  belly:
{_BELT}
limits: {{respiration_accuracy: {{}}}}
""")
MAE = "breath rate MAE"


@cache
def breath_model():
    stage = ModelStage(RIG.model)
    stage.prepare(stream_specs(RIG))
    return stage


@cache
def breathed(seed=3, seconds=90.0, fault=()):
    rig = replace(RIG, seed=seed, duration_s=seconds)
    if fault:
        damaged = replace(rig.sensors["thorax"], simulate={"faults": [dict(fault)]})
        rig = replace(rig, sensors={**rig.sensors, "thorax": damaged})
    return run_rig(rig, Mode.VIRTUAL, prepared=breath_model()).recording


def rebreathed(recording, changes):
    """The thorax belt shows breaths that begin at ``changes(onsets)`` instead, each a raised cosine."""
    material = material_of(recording)
    onsets = material.subject.breaths(material.since_s - 20, material.since_s + material.seconds + 20).onset_s
    onsets = changes(onsets - material.since_s)
    stream = recording.streams["thorax/respiration"]
    at = (stream.time_ns - recording.start_ns) / 1e9
    turns = np.interp(at, onsets, np.arange(len(onsets)))
    noise = np.random.default_rng(1).normal(0, 0.005, len(at))
    made = replace(stream, values=(-0.5 * np.cos(2 * np.pi * turns) + noise)[:, None])
    return replace(recording, streams={**recording.streams, stream.key: made})


def of(verdicts, subject, measure=MAE):
    return next(v for v in verdicts if (v.subject, v.measure) == (subject, measure))


@pytest.mark.parametrize("seed", range(40, 44))
def test_clean_belts_are_right(seed):
    verdicts = check(breathed(seed), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}
    assert of(verdicts, "thorax/respiration").value < 0.2


def test_half_a_minute_is_enough_for_a_clean_belt():
    assert {v.outcome for v in check(breathed(5, 30.0), LIMITS())} == {Outcome.PASS}


def test_breaths_drawn_as_they_were_are_right():
    verdicts = check(rebreathed(breathed(), lambda onsets: onsets), LIMITS())
    assert {v.outcome for v in verdicts} == {Outcome.PASS}


@pytest.mark.parametrize(("change", "sign"), [
    (lambda onsets: onsets[np.arange(len(onsets)) % 3 != 1], -1),
    (lambda onsets: np.sort(np.append(onsets, (0.5 * (onsets[1:] + onsets[:-1]))[::3])), 1),
    (lambda onsets: 1.25 * onsets, -1),
], ids=["dropped", "added", "slowed"])  # fmt: skip
def test_breaths_that_are_dropped_or_added_fail_and_only_their_belt_does(change, sign):
    verdicts = check(rebreathed(breathed(), change), LIMITS())
    verdict = of(verdicts, "thorax/respiration")
    assert verdict.outcome is Outcome.FAIL
    assert verdict.low > 2.0
    assert ("-" if sign < 0 else "+") in verdict.reason.split("are right, ")[1]
    assert of(verdicts, "belly/respiration").outcome is Outcome.PASS


@pytest.mark.parametrize("name", ["motion", "white_noise", "spikes", "flatline", "clipping", "dropout", "lag"])
def test_a_poor_signal_or_link_is_no_wrong_breathing(name):
    verdicts = check(breathed(3, 90.0, (("fault", name),)), LIMITS())
    assert all(v.outcome is not Outcome.FAIL for v in verdicts)


def test_on_a_bench_the_other_belt_is_the_reference():
    recording = replace(rebreathed(breathed(), lambda onsets: 1.3 * onsets), meta={"mode": "bench"})
    verdict = of(check(recording, LIMITS()), "thorax/respiration")
    assert verdict.outcome is Outcome.FAIL
    assert "against belly/respiration:" in verdict.reason
    assert "one of the two is wrong" in verdict.reason


def test_one_belt_alone_on_a_bench_proves_nothing():
    recording = replace(breathed(), meta={"mode": "bench"})
    alone = replace(recording, streams={"thorax/respiration": recording.streams["thorax/respiration"]})
    verdict = of(check(alone, LIMITS()), "thorax/respiration")
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "reference: role.stream" in verdict.reason


@pytest.mark.parametrize("given", [{"max_mae_per_min": 0}, {"window_s": 3}, {"missing": "maybe"}])
def test_limits_that_cannot_be_are_refused_by_name(given):
    with pytest.raises(ValueError, match="respiration_accuracy"):
        make_limits(load_check("respiration_accuracy"), given)
