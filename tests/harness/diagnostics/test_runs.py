"""Runs in virtual time with one thing broken for real: the first diagnosis names it; clean runs raise none."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.bench import Mode, stream_specs
from harness.diagnostics.case import Case
from harness.diagnostics.diagnosis import Diagnosis, plain, ranked, unplain
from harness.diagnostics.runs import PRODUCT, diagnose
from harness.report.document import to_json
from harness.rig_file import read_rig
from harness.run import run_rig
from harness.stage import ModelStage
from harness.verdict import Outcome

RIGS = Path(__file__).parents[3] / "rigs"


@pytest.fixture(scope="module")
def demo():
    """The demo rig for 14 s, without the checks of accuracy, whose reference takes most of the time."""
    rig = read_rig(RIGS / "demo.rig.yaml")
    limits = {name: given for name, given in rig.limits.items() if not name.endswith("accuracy")}
    return replace(rig, duration_s=14.0, limits=limits)


@pytest.fixture(scope="module")
def stage(demo):
    made = ModelStage(demo.model)
    made.prepare(stream_specs(demo))
    return made


def with_faults(rig, faults, **simulate):
    """The rig with these faults {role: [fault, ...]}, and other keys of ``simulate`` {role: {key: value}}."""
    sensors = dict(rig.sensors)
    for role, given in faults.items():
        sensors[role] = replace(sensors[role], simulate={**sensors[role].simulate, "faults": given})
    for role, keys in simulate.items():
        sensors[role] = replace(sensors[role], simulate={**sensors[role].simulate, **keys})
    return replace(rig, sensors=sensors)


def found_in(rig, stage):
    return unplain(run_rig(rig, Mode.VIRTUAL, prepared=stage).report["diagnosis"])


UNPLUG = [{"fault": "unplug", "at_s": 8, "for_s": 6}]
BROKEN = [
    # what is broken, the rule that must come first, a word of its cause
    ({"strap": UNPLUG}, "link-down", "strap was unplugged"),
    ({"chest": UNPLUG, "strap": UNPLUG}, "shared-hub", "chest, strap share: a USB hub"),
    ({"chest": [{"fault": "dropout", "mean_lost_percent": 8}]}, "lost-samples", "the line"),
    ({"wrist": [{"fault": "garbage"}]}, "damaged-bytes", "noise on the cable"),
    ({"mood": [{"fault": "counter_reset", "at_s": [10]}]}, "restart", "mood restarted"),
    ({"wrist": [{"fault": "clock_drift", "ppm": 1000}]}, "clock-drift", "crystal of wrist"),
    ({"wrist": [{"fault": "clock_wander", "ppm_per_min": 3000}]}, "clock-wander", "wrist warms up"),
    ({"mood": [{"fault": "clock_step", "at_s": 10}]}, "clock-step", "clock of mood was set"),
    ({"wrist": [{"fault": "delay"}]}, "old-data-growing", "a queue fills faster"),
    ({"wrist": [{"fault": "stall"}]}, "late-stream", "link of wrist/ppg"),
    ({"chest": [{"fault": "lag"}]}, "out-of-step", "chest filters or buffers"),
    ({"chest": [{"fault": "mains_hum", "stream": "ecg"}]}, "hum", "reference on chest"),
    ({"chest": [{"fault": "lead_off", "stream": "ecg"}]}, "lead-off", "electrode or the probe of chest"),
    ({"chest": [{"fault": "clipping"}]}, "saturation", "gain of chest"),
    ({"wrist": [{"fault": "motion", "stream": "ppg"}]}, "motion", "the wearer moves"),
    ({"wrist": [{"fault": "low_perfusion"}]}, "low-perfusion", "little blood"),
    ({"chest": [{"fault": "emg"}]}, "noisy", "muscles"),
    ({"chest": [{"fault": "electrode_pop"}]}, "electrode-pops", "an electrode that loosens"),
    ({"chest": [{"fault": "baseline_wander"}]}, "baseline", "a dried electrode"),
    ({"chest": [{"fault": "flatline", "stream": "ecg"}]}, "lead-off", "a converter that is stuck looks the same"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("faults", "rule", "cause"), BROKEN, ids=[f"{rule}-{i}" for i, (_, rule, _) in enumerate(BROKEN)]
)
def test_what_was_broken_is_the_first_diagnosis_for_its_reason(demo, stage, faults, rule, cause):
    found = found_in(with_faults(demo, faults), stage)
    assert found[0].rule == rule, found
    assert cause in found[0].cause
    assert found[0].evidence
    assert found[0].next_step
    assert any(role in found[0].symptom + found[0].evidence[0] for role in faults)


DRIFTS = [{"fault": "clock_drift", "ppm": 5e4, "start_s": 6, "stop_s": 11}]
JUMPS = [{"fault": "delay", "ms": 400, "growth_ms_per_s": 0, "start_s": 6}]
CUT = {"fault": "truncate", "probability_percent": 100}
ALONE = [
    # what is broken, for how long the run lasts, the one limit that is set, the rule that must come first, its cause
    ({"strap": [{"fault": "slow_start", "seconds": 60}]}, 5.0, {"delivery": {}}, "silent", "strap is off"),
    ({"strap": [{"fault": "slow_start", "seconds": 4}, {**CUT, "side": "end"}]},
     14.0, {"delivery": {}}, "unreadable", "what strap sends is no heart-rate stream"),
    ({"strap": [{"fault": "slow_start", "seconds": 8}]}, 14.0, {"age": {}}, "slow-start", "warms up"),
    ({"chest": DRIFTS}, 22.0, {"rate": {"tolerance_percent": 3}}, "uneven-rate", "sampling of chest"),
    ({"wrist": JUMPS}, 12.0, {"sync": {"max_offset_ms": 100}}, "misaligned", "the delay of one link jumps"),
    ({"mood": [{"fault": "stall", "at_s": [6], "for_ms": 3000}]}, 14.0, {"age": {}}, "link-stalls", "busy"),
    ({"chest": [{"fault": "jitter", "distribution": "exponential"}]}, 10.0, {"age": {"max_age_ms": 100}},
     "old-data", "samples wait in a queue"),
    ({"strap": [{"fault": "bias"}]}, 14.0, {"hr_accuracy": {}}, "inaccurate", "calibration"),
    ({"wrist": [{"fault": "lead_off", "stream": "eda", "fraction": 0.9}]}, 8.0, {"quality": {}},
     "no-contact", "not worn"),
    ({"chest": [{"fault": "flatline", "stream": "ecg"}]}, 14.0, {"quality": {}}, "flat", "a stuck converter"),
]  # fmt: skip


@pytest.mark.parametrize(("faults", "seconds", "limits", "rule", "cause"), ALONE, ids=[row[3] for row in ALONE])
def test_what_one_check_alone_saw_is_put_down_to_what_was_broken(demo, stage, faults, seconds, limits, rule, cause):
    found = found_in(replace(with_faults(demo, faults), duration_s=seconds, limits=limits), stage)
    assert found[0].rule == rule, found
    assert cause in found[0].cause
    (role,) = faults
    assert role in found[0].symptom + found[0].evidence[0]
    assert found[0].next_step
    whole = unplain(
        run_rig(replace(demo, duration_s=seconds, limits=limits), Mode.VIRTUAL, prepared=stage).report["diagnosis"]
    )
    assert rule not in {one.rule for one in whole}


def test_clocks_that_all_run_off_alike_are_the_hosts(demo, stage):
    fast = {role: {"clock": {"ppm": 800}} for role in ("chest", "wrist", "mood")}
    found = found_in(with_faults(demo, {}, **fast), stage)
    assert found[0].rule == "host-clock"
    assert "this machine's clock" in found[0].cause
    assert {"clock-drift", "wrong-rate"}.isdisjoint(one.rule for one in found)


def test_a_sensor_that_stops_while_its_link_is_up_is_missing_data_in_its_modalities(demo, stage):
    gone = {"fault": "dropout", "mean_lost_percent": 99, "mean_burst_frames": 100_000, "start_s": 8}
    found = found_in(replace(with_faults(demo, {"wrist": [gone]}), duration_s=20.0), stage)[0]
    assert found.rule == "fell-silent"
    assert found.symptom == "wrist is missing from some time on"
    assert [line.split(":")[0] for line in found.evidence] == ["wrist/ppg", "wrist/eda", "wrist/temperature"]


def test_sensors_that_lose_samples_each_for_itself_share_nothing(demo, stage):
    lossy = [{"fault": "dropout", "mean_lost_percent": 15, "mean_burst_frames": 3}]
    found = found_in(with_faults(demo, {"chest": lossy, "mood": lossy, "strap": UNPLUG}), stage)
    assert "shared-hub" not in {one.rule for one in found}
    told = {(one.rule, one.symptom.split()[0]) for one in found}
    assert {("lost-samples", "chest"), ("lost-samples", "mood"), ("link-down", "strap")} <= told


def test_a_stream_at_another_rate_than_declared_is_told_with_the_ratio(demo, stage):
    found = found_in(with_faults(demo, {}, chest={"clock": {"ppm": 30_000}}), stage)[0]
    assert found.rule == "wrong-rate"
    assert "1.03 times what the rig declares" in found.cause


def test_bytes_that_come_in_batches_of_16_ms_are_an_ftdi_adapter_where_latency_is_at_stake(demo, stage):
    slow = with_faults(demo, {}, chest={"usb_latency_ms": 16})
    found = found_in(replace(slow, limits={**demo.limits, "latency": {"max_ms": 8}}), stage)
    assert found[0].rule == "ftdi-latency-timer"
    assert "chest: bytes arrive every 16.0 ms" in found[0].evidence[0]
    generous = replace(slow, limits={"latency": {"max_ms": 100, "quantile": 0.95}})
    assert found_in(generous, stage) == []


def test_hum_on_two_sensors_is_something_that_they_share(stage, demo):
    hum = {"fault": "mains_hum", "level": 3.0}
    entry = replace(demo.sensors["chest"], simulate={"faults": [{**hum, "stream": "ecg"}]})
    two = replace(demo, sensors={**demo.sensors, "chest": entry, "back": replace(entry, role="back")})
    found = found_in(two, stage)
    assert found[0].rule == "hum-shared"
    assert "chest, back share" in found[0].cause


def test_a_model_that_takes_longer_than_the_hop_is_too_slow(demo, stage):
    found = found_in(replace(demo, model=replace(demo.model, virtual_ms=120.0)), stage)[0]
    assert found.rule == "model-too-slow"
    assert "the model takes 120 ms a window" in found.evidence[0]
    assert "latency rig" in found.explains


def test_a_run_too_short_to_tell_says_how_long_would_do(demo, stage):
    found = found_in(replace(demo, duration_s=5.0), stage)
    assert [one.rule for one in found] == ["too-short"]
    assert "--duration 30" in found[0].next_step


def test_a_sensor_that_does_not_answer_is_why_nothing_ran(demo, stage):
    found = found_in(with_faults(demo, {"wrist": [{"fault": "slow_start", "seconds": 60}]}), stage)
    assert found[0].rule == "not-connected"
    assert "wrist" in found[0].symptom
    assert "connect chest" in found[0].explains


# --- models, and the harness itself ---------------------------------------------------------------

MODELS = """
import torch

class Wrong(torch.nn.Module):
    def forward(self, inputs):
        return torch.nn.functional.linear(inputs["ecg"].mean(-1), torch.ones(5, 20))

class Nan(torch.nn.Module):
    def forward(self, inputs):
        return torch.log(-inputs["ecg"].abs().mean(-1) - 1)

class Import(torch.nn.Module):
    def forward(self, inputs):
        import no_such_module_here
        return inputs["ecg"].mean(-1)

class Memory(torch.nn.Module):
    def forward(self, inputs):
        return torch.empty(10**15, dtype=torch.uint8)

class Call(torch.nn.Module):
    def forward(self, inputs):
        return self.pooled(inputs["ecg"], -1)

    def pooled(self, x):
        return x.mean(-1)
"""


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Wrong", "shape-mismatch"),
        ("Nan", "not-finite"),
        ("Import", "import-error"),
        ("Memory", "out-of-memory"),
        ("Call", "wrong-call"),
    ],
)
def test_what_the_model_raised_is_explained(demo, tmp_path, monkeypatch, name, rule):
    module = f"models_for_diagnosis_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    rig = replace(demo, duration_s=5.0, model=replace(demo.model, factory=f"{module}:{name}"), limits={"latency": {}})
    found = unplain(run_rig(rig, Mode.VIRTUAL).report["diagnosis"])
    assert found[0].rule == rule
    assert found[0].symptom == "the model fails"
    assert "model rig" in found[0].explains


def test_a_harness_that_breaks_off_explains_all_that_is_not_green(demo, stage):
    def breaks(step):
        if step.elapsed_s > 2:
            return 1 / 0
        return None

    result = run_rig(demo, Mode.VIRTUAL, prepared=stage, on_progress=breaks)
    found = unplain(result.report["diagnosis"])
    assert [one.rule for one in found] == ["crash"]
    assert "ZeroDivisionError" in found[0].evidence[0]
    assert "run rig" in found[0].explains


def test_an_interrupted_run_is_explained_by_the_error_that_ended_it(demo, stage):
    clean = run_rig(replace(demo, duration_s=5.0), Mode.VIRTUAL, prepared=stage)
    try:
        with Path("/dev/full").open("w") as file:
            file.write("x" * 100_000)
    except OSError as error:
        ended = replace(clean.recording, interrupted=f"the recording could not be written: {error}")
    found = diagnose(ended, clean.verdicts)
    assert found[0].rule == "disk-full"


# --- clean runs, and the report -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["demo", "polar-h10", "shimmer3-gsr", "contec-cms50"])
def test_no_rule_says_anything_of_a_clean_run(name):
    result = run_rig(read_rig(RIGS / f"{name}.rig.yaml"), Mode.VIRTUAL)
    assert {verdict.outcome for verdict in result.verdicts} == {Outcome.PASS}
    case = Case(result.recording, result.verdicts)
    assert [one for rule in PRODUCT for one in rule(case)] == []
    assert result.report["diagnosis"] == []


def test_the_rig_with_a_fault_on_each_sensor_gets_each_of_them(stage):
    found = found_in(read_rig(RIGS / "demo-faults.rig.yaml"), stage)
    roles = ("chest", "strap", "wrist", "mood")
    assert {(one.rule, role) for one in found for role in roles if role in one.symptom} == {
        ("hum", "chest"), ("lost-samples", "chest"), ("link-down", "strap"), ("clock-drift", "wrist"),
        ("clock-step", "mood"),
    }  # fmt: skip


def test_diagnoses_of_equal_runs_are_equal_byte_for_byte(demo, stage):
    broken = replace(with_faults(demo, {"wrist": [{"fault": "garbage"}]}), duration_s=6.0)
    reports = [run_rig(broken, Mode.VIRTUAL, prepared=stage).report["diagnosis"] for _ in range(2)]
    assert to_json({"diagnosis": reports[0]}) == to_json({"diagnosis": reports[1]})


def test_a_rule_that_raises_is_told_of_and_costs_no_other(demo, stage, monkeypatch):
    def broken_rule(case):
        """Fails."""
        raise LookupError("no such thing")

    result = run_rig(replace(with_faults(demo, {"strap": UNPLUG}), duration_s=10.0), Mode.VIRTUAL, prepared=stage)
    monkeypatch.setattr("harness.diagnostics.runs.PRODUCT", (broken_rule, *PRODUCT))
    found = diagnose(result.recording, result.verdicts)
    assert found[0].rule == "link-down"
    assert found[-1].rule == "rule-failed"
    assert "broken_rule" in found[-1].cause


def diagnosis(rule, weight, *explains):
    return Diagnosis(rule, "symptom", "cause", ("evidence",), "next step", weight, explains)


def test_the_most_specific_comes_first_and_what_it_accounts_for_is_not_explained_again():
    small = diagnosis("small", 10, "delivery a")
    rest = diagnosis("rest", 20, "delivery a", "sync a")
    large = diagnosis("large", 90, "delivery a", "quality a")
    text = diagnosis("text", 5)
    assert ranked([text, small, rest, large]) == [large, rest, text]


def test_diagnoses_survive_a_way_through_json():
    found = [diagnosis("one", 1, "a b"), diagnosis("two", 2)]
    assert unplain(json.loads(json.dumps(plain(found)))) == found
