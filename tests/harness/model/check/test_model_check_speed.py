"""Latency by a clock that a test winds; compiling and quantising for real, where this machine can."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from harness.model.check.findings import Note, Settings, Table
from harness.model.check.speed import Timed, compiled, judge_latency, quantised, race, speed
from harness.model.check.subject import Subject, subject_of
from harness.model.errors import ModelFault
from harness.verdict import Outcome, Verdict


class WoundClock:
    """Time passes only when somebody says so."""

    def __init__(self):
        self.ns = 0

    def now_ns(self):
        return self.ns

    def pass_ms(self, ms):
        self.ns += round(ms * 1e6)


class Layers(nn.Module):
    output_dim = 3

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(10, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.two(torch.relu(self.one(x)))


@pytest.fixture
def layers():
    return subject_of(Layers(), shape=(10,))


def calls_of(clock, order, **costs_ms):
    def make(name, ms):
        def call():
            order.append(name)
            clock.pass_ms(ms)
            return torch.zeros(1, 1)

        return call

    return {name: make(name, ms) for name, ms in costs_ms.items()}


def test_variants_take_turns_and_each_gets_its_own_time():
    clock, order = WoundClock(), []
    timed, answers, faults = race(calls_of(clock, order, eager=2.0, compile=1.0, quantised=3.0), clock, rounds=30)
    assert faults == {} and set(answers) == {"eager", "compile", "quantised"}
    assert (timed["eager"].spent_ms == 2.0).all() and (timed["quantised"].spent_ms == 3.0).all()
    raced = order[-90:]
    rounds = [tuple(raced[3 * k : 3 * k + 3]) for k in range(30)]
    assert all(set(one) == {"eager", "compile", "quantised"} for one in rounds)
    assert {one[0] for one in rounds} == {"eager", "compile", "quantised"}  # nobody always follows the same one
    assert {one[:2] for one in rounds} >= {("eager", "compile"), ("compile", "eager")}


def test_a_stall_of_the_machine_hits_all_variants_and_no_single_one():
    clock, order = WoundClock(), []
    calls = calls_of(clock, order, eager=1.0, compile=1.0)
    slow = {
        name: (lambda call=call: (clock.pass_ms(50 if len(order) > 200 else 0), call())[1])
        for name, call in calls.items()
    }
    timed, _, _ = race(slow, clock, rounds=200)
    late = [int((found.spent_ms > 40).sum()) for found in timed.values()]
    assert abs(late[0] - late[1]) <= 1 and min(late) > 50


def test_slow_models_are_measured_as_long_as_is_bearable():
    clock, order = WoundClock(), []
    timed, _, _ = race(calls_of(clock, order, eager=1000.0), clock, rounds=300, longest_s=20)
    assert len(timed["eager"].spent_ms) == 21


def test_a_variant_that_cannot_be_called_leaves_the_race():
    clock, order = WoundClock(), []
    calls = calls_of(clock, order, eager=1.0)

    def broken():
        raise ModelFault("raised NotImplementedError: no kernel")

    timed, answers, faults = race({**calls, "quantised": broken}, clock, rounds=5)
    assert set(timed) == set(answers) == {"eager"}
    assert "no kernel" in str(faults["quantised"])
    with pytest.raises(ModelFault):
        race({"eager": broken}, clock, rounds=5)


@pytest.mark.parametrize(
    ("spent_ms", "outcome"),
    [
        (np.full(300, 5.0), Outcome.PASS),
        (np.full(300, 150.0), Outcome.FAIL),
        (np.full(20, 150.0), Outcome.FAIL),  # the median alone says it
        (np.full(20, 5.0), Outcome.INCONCLUSIVE),  # 20 calls bound no p99
        (np.r_[np.full(299, 5.0), 150.0], Outcome.INCONCLUSIVE),  # one stall in 300 may be the machine's
        (np.r_[np.full(280, 5.0), np.full(20, 150.0)], Outcome.FAIL),  # 20 in 300 are not
    ],
)
def test_latency_is_judged_by_the_interval_of_its_p99(spent_ms, outcome):
    verdict = judge_latency("eager", Timed(6.0, spent_ms), 100.0)
    assert verdict.outcome is outcome
    assert verdict.limit == 100.0 and verdict.unit == "ms" and verdict.n == len(spent_ms)


def test_linear_layers_are_quantised_and_answer_nearly_the_same(layers):
    if torch.backends.quantized.engine == "none":
        pytest.skip("needs a torch build with an 8-bit engine: pip install torch for x86 or arm")
    made = quantised(layers.fresh(), Settings())
    assert isinstance(made, Subject)
    inputs, quality = layers.examples(8)
    found, eager = made.infer(inputs, quality), layers.infer(inputs, quality)
    assert 0 < float((found - eager).abs().max()) < 0.1 * float(eager.abs().max())


def test_a_module_without_linear_layers_is_not_quantised_and_that_is_no_failure():
    made = quantised(subject_of(nn.Conv1d(1, 2, 3), shape=(1, 50)), Settings())
    assert isinstance(made, Note) and "no linear layer" in made.text


def test_without_a_compiler_compiling_is_not_run_and_says_what_to_install(layers, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    made = compiled(layers.fresh(), Settings())
    assert isinstance(made, Verdict) and made.outcome is Outcome.NOT_RUN
    assert "g++" in made.reason and "--no-compile" in made.reason


def test_without_compiling_there_are_tables_a_verdict_and_a_trace_that_perfetto_reads(layers, tmp_path, capfd):
    trace = tmp_path / "trace.json"
    found = list(speed(layers, Settings(compiled=False, trace=trace)))
    verdicts = [item for item in found if isinstance(item, Verdict)]
    assert [verdict.subject for verdict in verdicts] == ["eager"]
    variants, operations = (item for item in found if isinstance(item, Table))
    assert [row[0] for row in variants.rows] == ["eager", "quantised"]
    assert any("addmm" in str(row[0]) for row in operations.rows)  # what a linear layer is made of
    assert any(str(trace) in item.text for item in found if isinstance(item, Note))
    events = json.loads(trace.read_text())["traceEvents"]
    assert any(event.get("name") == "model_inference" for event in events)
    assert any("addmm" in str(event.get("name")) for event in events)
    assert capfd.readouterr() == ("", "")


def test_an_engine_that_is_not_measured_is_named_and_eager_is_judged(layers):
    found = list(speed(layers, Settings(compiled=False, engine="onnx")))
    assert any("engine onnx" in item.text for item in found if isinstance(item, Note))
    assert [item.subject for item in found if isinstance(item, Verdict)] == ["eager"]


def test_a_compiled_module_answers_as_the_eager_one(layers, capfd):
    if not any(shutil.which(name) for name in ("g++", "clang++")):
        pytest.skip("needs a C++ compiler: apt-get install g++")
    found = list(speed(layers, Settings()))
    by_subject = {item.subject: item for item in found if isinstance(item, Verdict)}
    assert by_subject["compile answers"].outcome is Outcome.PASS
    table = next(item for item in found if isinstance(item, Table))
    assert {row[0] for row in table.rows} == {"eager", "compile", "quantised"}
    assert capfd.readouterr() == ("", "")


def test_a_compiled_module_that_answers_otherwise_is_found():
    if not any(shutil.which(name) for name in ("g++", "clang++")):
        pytest.skip("needs a C++ compiler: apt-get install g++")

    class TwoFaced(nn.Module):
        def forward(self, x):
            return x if torch.compiler.is_compiling() else x + 1

    found = list(speed(subject_of(TwoFaced(), shape=(4,)), Settings()))
    wrong = [item for item in found if isinstance(item, Verdict) and item.outcome is Outcome.FAIL]
    assert [verdict.subject for verdict in wrong] == ["compile answers"]
    assert wrong[0].value == pytest.approx(1.0, rel=1e-3)
