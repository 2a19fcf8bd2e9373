"""Steps are injected into simulated arrivals (tests/benchmarks/arrivals.py), so their place and size are known."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock_steps import Step, StepFinder, find_steps, lasting, smallest_visible_ms

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from arrivals import MODELS, MS, SECOND, Arrivals, clock, stalled, stepped
from clock_steps import LINKS, SLOW, false_alarms

FAST = tuple(name for name in LINKS if name not in SLOW)


def carried(name: str, seed: int, seconds: float = 60.0) -> Arrivals:
    return MODELS[name](np.random.default_rng((seed, 77)), seconds)


def steps_of(run: Arrivals, smallest_ms: float = 50.0) -> list[Step]:
    return find_steps(run.device_ns, run.arrival_ns, run.segment, smallest_ms)


def jumped(run: Arrivals, *jumps: tuple[float, float]) -> Arrivals:
    """The run with the device's clock jumping by ms at seconds of its own time."""
    device = run.device_ns.copy()
    since = run.device_ns - run.device_ns[0]
    for at_s, ms in jumps:
        device += np.where(since >= at_s * SECOND, int(ms * MS), 0)
    return replace(run, device_ns=device)


def without(run: Arrivals, start_s: float, stop_s: float) -> Arrivals:
    """The run without what was taken in these seconds."""
    since = run.device_ns - run.device_ns[0]
    keep = (since < start_s * SECOND) | (since >= stop_s * SECOND)
    names = ("device_ns", "arrival_ns", "segment", "counter", "host_ns", "sampled_ns")
    return replace(run, **{name: getattr(run, name)[keep] for name in names})


# --- found ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAST)
def test_a_half_second_step_is_found_within_a_second_with_its_size(name: str) -> None:
    for seed in range(3):
        run = stepped(np.random.default_rng(seed), carried(name, seed))
        (step,) = steps_of(run)
        assert abs(step.size_ns - run.step_ns) < max(step.error_ns, 12 * MS)
        assert (step.found_at_ns - run.sampled_ns[run.step_at]) < SECOND
        assert step.at_ns == run.arrival_ns[step.index]
        assert abs(run.arrival_ns[step.index] - run.arrival_ns[run.step_at]) < 0.6 * SECOND


@pytest.mark.parametrize("name", ["gauss1", "exp5", "ftdi16", "stall", "ble30"])
def test_a_clock_that_jumps_ahead_shows_in_two_chunks(name: str) -> None:
    for seed in range(4):
        run = jumped(carried(name, seed), (31.0, 500))
        (step,) = steps_of(run)
        chunks = np.unique(run.arrival_ns)
        place = np.searchsorted(chunks, step.at_ns)
        assert chunks[place + 1] == step.found_at_ns


@pytest.mark.parametrize("name", sorted(SLOW))
def test_links_that_cannot_show_it_within_a_second_still_show_it(name: str) -> None:
    for seed in range(4):
        run = stepped(np.random.default_rng(seed), carried(name, seed))
        (step,) = steps_of(run)
        assert (step.found_at_ns - run.sampled_ns[run.step_at]) < SLOW[name] * SECOND


def test_several_steps_of_a_run_are_told_apart() -> None:
    jumps = ((8, 400), (14, -300), (21, -600), (33, 90), (55, 500))
    for name in ("exp5", "ble30", "stall"):
        found = steps_of(jumped(carried(name, 1), *jumps))
        assert [round(step.size_ns / MS / 10) * 10 for step in found] == [400, -300, -600, 90, 500]


@pytest.mark.parametrize("jump_ms", [-500, 500])
@pytest.mark.parametrize("at_s", [4.0, 58.5])
def test_steps_near_the_start_and_the_end_are_found(jump_ms: float, at_s: float) -> None:
    for name in ("gauss1", "exp5", "ftdi16", "ble30"):
        (step,) = steps_of(jumped(carried(name, 3), (at_s, jump_ms)))
        assert step.size_ns / MS == pytest.approx(jump_ms, abs=11)


@pytest.mark.parametrize("jump_ms", [-300, 300])
def test_a_step_during_a_silence_is_found_when_data_come_back(jump_ms: float) -> None:
    for name in ("gauss1", "exp5", "ble30"):
        run = without(jumped(carried(name, 4), (32, jump_ms)), 30, 40)
        (step,) = steps_of(run)
        assert step.size_ns / MS == pytest.approx(jump_ms, abs=12)
        assert run.device_ns[step.index] - run.device_ns[step.index - 1] > 9 * SECOND


def test_a_step_that_the_codec_segmented_is_known_at_once() -> None:
    run = carried("exp5", 1)
    segment = (run.counter >= 8000).astype(np.int64)
    (step,) = steps_of(replace(jumped(run, (32, -400)), segment=segment))
    assert (step.segmented, step.index, step.found_at_ns) == (True, 8000, run.arrival_ns[8000])
    assert step.size_ns / MS == pytest.approx(-400, abs=2)
    assert steps_of(replace(run, segment=segment)) == []


# --- silent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LINKS)
def test_no_link_passes_for_a_step(name: str) -> None:
    for seed in range(4):
        assert steps_of(carried(name, seed)) == []


def test_a_link_that_loses_its_data_for_minutes_shows_no_step() -> None:
    for name in ("exp5", "ble30", "gauss1"):
        assert steps_of(without(carried(name, 5, 400), 40, 340)) == []


@pytest.mark.parametrize("drain_s", [0.7, 2.5, 6.0])
def test_a_queue_that_drains_is_no_step(drain_s: float) -> None:
    run = carried("exp5", 6)
    since = (run.arrival_ns - run.arrival_ns[0]) / SECOND
    late = np.interp(since, [30, 30.001, 30 + drain_s], [0, 0.5, 0]) * SECOND
    assert steps_of(replace(run, arrival_ns=np.maximum.accumulate(run.arrival_ns + late.astype(np.int64)))) == []


@pytest.mark.parametrize("rate_off", [-0.05, -0.01, 0.01, 0.05])
def test_a_wrong_rate_is_no_step(rate_off: float) -> None:
    for name in ("gauss1", "exp5", "ble30", "stall"):
        run = carried(name, 7)
        device = ((run.device_ns - run.device_ns[0]) * (1 + rate_off)).astype(np.int64)
        assert steps_of(replace(run, device_ns=device)) == []


def test_a_run_that_begins_in_a_stall_shows_no_step() -> None:
    run = carried("exp5", 8)
    begin = int(run.arrival_ns[0] + 0.5 * SECOND)
    late = np.maximum(run.arrival_ns, begin + np.arange(len(run.arrival_ns)) * 1000)
    assert steps_of(replace(run, arrival_ns=np.maximum.accumulate(late))) == []


@pytest.mark.parametrize("scale_ms", [20, 80])
@pytest.mark.parametrize("hold", [1, 60])
def test_jitter_is_no_step_but_a_step_shows_through_it(scale_ms: float, hold: int) -> None:
    """Delays uniform in 0 to twice the scale, drawn anew for each sample or held for 0.24 s."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        run = clock(rng, 60)
        delay = np.repeat(rng.uniform(0, 2 * scale_ms * MS, len(run.counter) // hold + 1), hold)[: len(run.counter)]
        at = np.maximum.accumulate(run.sampled_ns + delay)
        run = replace(run, arrival_ns=np.ceil(at).astype(np.int64))
        assert steps_of(run) == []
        (step,) = steps_of(jumped(run, (36.3, 500 if seed % 2 else -500)))
        assert abs(step.size_ns / MS) == pytest.approx(500, abs=2 * scale_ms)


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_three_hours_with_stalls_show_no_step() -> None:
    assert false_alarms(3.0) == 0


def test_twenty_minutes_with_stalls_show_no_step() -> None:
    assert false_alarms(1 / 3, seed=1) == 0


# --- what can be seen -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gauss1", "exp5", "ble30", "ftdi16", "text", "exp20"])
def test_a_step_of_the_visible_size_is_found_and_half_of_it_is_not(name: str) -> None:
    found = half = 0
    for seed in range(12):
        run, rng = carried(name, seed), np.random.default_rng(seed)
        visible = smallest_visible_ms(run.device_ns, run.arrival_ns, run.segment)
        found += len(steps_of(stepped(rng, run, int(visible * MS)), visible)) == 1
        half += len(steps_of(stepped(rng, run, int(visible * MS / 2)), visible))
    assert found >= 11
    assert half == 0


def test_noisier_links_hide_larger_steps() -> None:
    seen = {}
    for name in ("exp5", "exp20", "polar"):
        run = carried(name, 2)
        seen[name] = smallest_visible_ms(run.device_ns, run.arrival_ns, run.segment)
    assert seen["exp5"] < seen["exp20"] < seen["polar"]
    run = jumped(carried("exp5", 2), (30, 500))
    assert smallest_visible_ms(run.device_ns, run.arrival_ns, run.segment) < 20


def test_a_few_seconds_say_nothing_about_what_can_be_seen() -> None:
    run = carried("exp5", 2, seconds=3)
    assert np.isinf(smallest_visible_ms(run.device_ns, run.arrival_ns, run.segment))
    assert steps_of(run) == []
    assert find_steps(run.device_ns[:0], run.arrival_ns[:0]) == []


# --- in pieces --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pieces_of_any_cut_give_the_same_steps(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["exp20", "ble30", "ftdi16", "wifi", "text", "tcp"]))
    run = stalled(np.random.default_rng(1), carried(name, data.draw(st.integers(0, 30)), 40))
    times, sizes = st.floats(0, 40), st.floats(-700, 700)
    run = jumped(run, *data.draw(st.lists(st.tuples(times, sizes), max_size=6)))
    n = len(run.device_ns)
    segment = run.segment.copy()
    for cut in data.draw(st.lists(st.integers(0, n), max_size=2)):
        segment[cut:] += 1
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=40)))
    finder, got = StepFinder(), []
    for start, stop in zip([0, *cuts], [*cuts, n], strict=True):
        part = slice(start, stop)
        got += finder.update(run.device_ns[part], run.arrival_ns[part], segment[part])
    assert lasting(got + finder.close()) == find_steps(run.device_ns, run.arrival_ns, segment)


def test_a_step_is_handed_out_soon_after_it_was_found() -> None:
    run = jumped(carried("exp5", 3), (31.0, -500))
    finder = StepFinder()
    for start in range(0, len(run.device_ns), 5):
        part = slice(start, start + 5)
        if told := finder.update(run.device_ns[part], run.arrival_ns[part], run.segment[part]):
            assert run.arrival_ns[part][-1] - told[0].found_at_ns < 1.6 * SECOND
            return
    pytest.fail("the step was never handed out")


def test_what_is_kept_of_a_long_stream_does_not_grow() -> None:
    run = carried("stall", 9, 600)
    finder, most = StepFinder(), 0
    for start in range(0, len(run.device_ns), 250):
        part = slice(start, start + 250)
        finder.update(run.device_ns[part], run.arrival_ns[part], run.segment[part])
        most = max(most, len(finder._chunks))
    assert most < 15 * 250


@pytest.mark.parametrize("wrong_ms", [-49, -200, 40, 200])
def test_a_single_wrong_stamp_is_no_step(wrong_ms: float) -> None:
    for name in ("exp5", "ble30", "text"):
        run = carried(name, 2, 30)
        packet = run.packet
        for at in (0, 9, 40, len(run.device_ns) // packet - 1):
            device = run.device_ns.copy()
            device[at * packet : (at + 1) * packet] += int(wrong_ms * MS)
            assert steps_of(replace(run, device_ns=device)) == []


# --- undone -----------------------------------------------------------------------------------


def in_segments(run: Arrivals, *cuts: int) -> Arrivals:
    """The codec began a new segment at these samples."""
    number = np.arange(len(run.device_ns))
    return replace(run, segment=sum((number >= cut).astype(np.int64) for cut in cuts))


@pytest.mark.parametrize("name", ["gauss1", "exp5", "text"])
@pytest.mark.parametrize("back_ms", [-10_000, 300, -60])
def test_what_two_samples_further_is_undone_is_no_step(name: str, back_ms: int) -> None:
    """Two rows in a row that lost the same digits of their times."""
    run = carried(name, 1)
    device = run.device_ns.copy()
    device[3000:3002] += int(back_ms * MS)
    assert steps_of(in_segments(replace(run, device_ns=device), 3000, 3002)) == []


def test_damage_beside_a_step_does_not_hide_it() -> None:
    run = carried("exp5", 2)
    device = run.device_ns.copy()
    device[3000:3002] -= int(10_000 * MS)
    device[3002:] += int(500 * MS)
    steps = steps_of(in_segments(replace(run, device_ns=device), 3000, 3002))
    assert sum(step.size_ns for step in steps) == pytest.approx(500 * MS, abs=12 * MS)


def test_a_step_that_is_taken_back_after_a_while_is_two() -> None:
    run = jumped(carried("exp5", 3), (20.0, 400), (24.0, -400))
    assert [round(step.size_ns / MS / 100) for step in steps_of(run)] == [4, -4]
