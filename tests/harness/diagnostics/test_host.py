"""What this machine was busy with is told where windows were late, and only outside virtual time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.bench import Mode
from harness.diagnostics.runs import diagnose
from harness.judge import judge
from harness.monitor.happenings import COLLECTION, HELD, STACK, Happening
from harness.monitor.resources import Resources
from harness.rig import ModelEntry, Rig, SensorEntry, WindowEntry
from harness.run import run_rig
from harness.verdict import Outcome

S, MS = 1_000_000_000, 1_000_000
MODEL = """
import numpy as np
import torch

class Blocking(torch.nn.Module):
    calls = 0

    def forward(self, inputs):
        Blocking.calls += 1
        if Blocking.calls % 16 == 0:
            self.sort_everything()
        return inputs["ecg"].mean(-1)

    def sort_everything(self):
        total = 0.0
        for _ in range(1000):
            total += float(np.sort(np.random.default_rng(1).random(100_000))[0])
        return total
"""


def test_a_call_that_keeps_the_loop_in_real_time_is_named(tmp_path, monkeypatch):
    (tmp_path / "models_that_block.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    rig = Rig(
        "blocked", {"chest": SensorEntry("chest", "openbci-cyton", {"streams": {"ecg": [1]}})},
        ModelEntry(factory="models_that_block:Blocking"), WindowEntry(hop_ms=80, fill_s=1),
        {"latency": {"max_ms": 100}}, 3.0, seed=5,
    )  # fmt: skip
    result = run_rig(rig, Mode.SIMULATED, tmp_path / "run")
    found = next(one for one in result.report["diagnosis"] if one["rule"] == "blocking-call")
    assert "sort_everything" in found["cause"]


@pytest.fixture
def late(a_recording, some_windows):
    """A function: facts of the host -> what is diagnosed of a run with thirty late windows from 20 s on."""
    latency = np.full(325, 20.0)
    latency[200:230] = 400.0

    def made(mode="simulated", spent=latency, **facts):
        recording = a_recording(windows=some_windows(latency_ms=spent), meta={"mode": mode}, limits={}, **facts)
        return diagnose(recording, judge(recording))

    return made


def happened(kind, for_ms, what="work (model.py:3)"):
    return (Happening(kind, 104 * S + 200 * 80 * MS + 50 * MS, for_ms * MS, what, n=10),)


@pytest.mark.parametrize(
    ("kind", "rule"), [(STACK, "blocking-call"), (COLLECTION, "garbage-collection"), (HELD, "interpreter-held")]
)
def test_what_kept_the_loop_while_windows_were_late_is_told(late, kind, rule):
    assert [one.rule for one in late(happenings=happened(kind, 300))] == [rule]


def test_what_happened_at_another_time_is_not_told(late):
    elsewhere = Happening(STACK, 125 * S, 300 * MS, "work (model.py:3)", n=10)
    assert late(happenings=(elsewhere,)) == []


def test_in_virtual_time_nothing_of_this_machine_is_told(late):
    assert late(mode="virtual", happenings=happened(STACK, 300)) == []


def rows(**columns):
    n = len(next(iter(columns.values())))
    return Resources(100 * S + np.arange(n) * S, columns)


def test_memory_that_grows_is_told_with_its_slope(late):
    grows = rows(rss_bytes=300 * 2**20 + np.arange(60) * 4.0 * 2**20)
    found = late(spent=20.0, resources=grows)
    assert [one.rule for one in found] == ["memory-grows"]
    assert "240 MiB a minute" in found[0].evidence[0]


def test_memory_that_settles_after_the_start_is_not_told(late):
    level = 300 * 2**20 + np.minimum(np.arange(60), 10) * 20.0 * 2**20
    level += np.random.default_rng(1).normal(0, 2**20, 60)
    assert late(spent=20.0, resources=rows(rss_bytes=level)) == []


def test_memory_that_goes_up_in_two_steps_is_not_told(late):
    level = 300 * 2**20 + 60.0 * 2**20 * ((np.arange(60) > 20).astype(float) + (np.arange(60) > 40))
    assert late(spent=20.0, resources=rows(rss_bytes=level)) == []


def test_a_busy_machine_is_told_where_windows_were_late_and_not_where_they_were_in_time(late):
    busy = rows(system_percent=np.full(30, 99.0))
    assert [one.rule for one in late(resources=busy)] == ["machine-busy"]
    assert late(spent=20.0, resources=busy) == []


def test_a_busy_machine_is_not_blamed_for_a_run_that_is_too_short(a_recording, some_windows):
    busy = rows(system_percent=np.full(30, 99.0))
    windows = some_windows(50, 20.0)
    recording = a_recording(
        windows=windows, meta={"mode": "simulated"}, limits={"latency": {"max_ms": 100.0}}, resources=busy
    )
    assert [one.rule for one in diagnose(recording, judge(recording))] == ["too-short"]


def test_simulators_that_send_late_are_told(late):
    found = late(host={"sender_lateness_us": {"chest": {"p99": 60_000.0}}})
    assert [one.rule for one in found] == ["machine-busy"]
    assert "60 ms late" in found[0].evidence[0]


def test_a_queue_that_grows_is_told(late):
    found = late(resources=rows(inbox_depth=np.arange(60) * 5.0))
    assert [one.rule for one in found] == ["queue-grows"]


def test_a_clean_run_on_a_clean_machine_raises_nothing(late, a_recording):
    calm = rows(rss_bytes=np.full(60, 3e8), system_percent=np.full(60, 20.0), inbox_depth=np.zeros(60))
    assert late(spent=20.0, resources=calm) == []
    recording = replace(a_recording(), resources=calm, meta={"mode": "simulated"})
    assert {verdict.outcome for verdict in judge(recording)} == {Outcome.PASS}
