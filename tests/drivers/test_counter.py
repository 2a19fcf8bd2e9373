import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.counter import TOO_SOON, CounterUnwrapper, Incident, SparseIndex, Unwrapped

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from arrivals import clock
from clock_steps import LINKS, gaps_of, score_gaps, with_gaps

PERIOD = 4_000_000
TURN = 256 * PERIOD


def cyton_counter() -> CounterUnwrapper:
    return CounterUnwrapper(256, PERIOD)


def on_time(numbers: np.ndarray, delay_ns: int = 1_000_000) -> np.ndarray:
    return np.maximum.accumulate(numbers * PERIOD + delay_ns)


def unwrap(numbers: np.ndarray, arrival_ns: np.ndarray | None = None) -> Unwrapped:
    arrival = on_time(numbers) if arrival_ns is None else arrival_ns
    return cyton_counter().update(numbers % 256, arrival)


def told(result: Unwrapped) -> list[tuple[str, int, int]]:
    return [(i.kind, i.position, i.count) for i in result.incidents]


def test_a_clean_counter_is_unwrapped_over_many_turns() -> None:
    result = unwrap(np.arange(3000))
    assert result.index.tolist() == list(range(3000))
    assert result.segment.tolist() == [0] * 3000
    assert result.incidents == ()


def test_numbering_begins_with_the_counter_that_is_joined() -> None:
    assert unwrap(np.arange(700, 1200)).index.tolist() == [700 % 256 + k for k in range(500)]


@pytest.mark.parametrize("lost", [1, 8, 9, 100, 255, 256, 257, 511, 512, 513, 2000, 15_000])
def test_a_loss_of_any_length_is_sized_exactly(lost: int) -> None:
    numbers = np.concatenate([np.arange(400), np.arange(400 + lost, 900 + lost)])
    result = unwrap(numbers)
    assert result.index.tolist() == numbers.tolist()
    assert told(result) == [("lost", 400, lost)]


@pytest.mark.parametrize("lost", [0, 3, 120, 255, 256, 700])
@pytest.mark.parametrize("stall_ms", [30, 400, 850])
def test_a_loss_before_a_stall_is_sized_exactly(lost: int, stall_ms: int) -> None:
    """The frames behind the loss are held back and then come all at once."""
    numbers = np.concatenate([np.arange(400), np.arange(400 + lost, 1200 + lost)])
    arrival = on_time(numbers)
    held = slice(400, len(arrival))
    arrival[held] = np.maximum(arrival[held], arrival[400] + stall_ms * 1_000_000)
    result = unwrap(numbers, arrival)
    assert result.index.tolist() == numbers.tolist()
    assert [i for i in told(result) if i[0] != "lost"] == []


def test_a_repeated_frame_is_told_and_not_kept() -> None:
    numbers = np.array([0, 1, 2, 2, 3, 4, 4, 4, 5])
    result = unwrap(numbers)
    assert told(result) == [("repeated", 3, 1), ("repeated", 6, 1), ("repeated", 7, 1)]
    assert result.index[result.kept()].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_late_frame_is_first_lost_and_then_reordered_with_its_own_number() -> None:
    numbers = np.array([0, 1, 2, 4, 5, 3, 6, 7])
    result = unwrap(numbers)
    assert result.index.tolist() == numbers.tolist()
    assert told(result) == [("lost", 3, 1), ("reordered", 5, 1)]


def test_a_late_frame_that_comes_twice_is_a_repeat() -> None:
    assert told(unwrap(np.array([0, 1, 3, 2, 2, 4]))) == [("lost", 2, 1), ("reordered", 3, 1), ("repeated", 4, 1)]


def test_a_frame_repeated_behind_later_ones_is_a_repeat() -> None:
    assert told(unwrap(np.array([0, 1, 2, 3, 1, 4]))) == [("repeated", 4, 1)]


def test_a_counter_that_falls_back_begins_a_segment_and_loses_no_frame() -> None:
    counters = np.concatenate([np.arange(100), np.arange(50)])
    result = cyton_counter().update(counters, on_time(np.arange(150)))
    assert told(result) == [("reset", 100, 1)]
    assert result.segment.tolist() == [0] * 100 + [1] * 50
    assert result.index.tolist() == [*range(100), *range(50)]
    assert "99" in result.incidents[0].detail


@pytest.mark.parametrize("ahead", [2, 5, 8, 40])
def test_a_slow_counter_that_jumps_ahead_of_time_begins_a_segment(ahead: int) -> None:
    """At 10 Hz even a few frames are more than time allows."""
    counters = np.where(np.arange(200) < 100, np.arange(200), np.arange(200) + ahead)
    result = CounterUnwrapper(1 << 40, 1e8).update(counters, np.arange(200) * 100_000_000)
    assert told(result) == [("reset", 100, 1)]


def test_a_loss_behind_a_late_beginning_is_a_loss() -> None:
    """The first frames were held up by 400 ms, so that all later ones look early."""
    numbers = np.delete(np.arange(100), [30, 31])
    arrival = np.maximum(numbers * 100_000_000, 400_000_000)
    assert told(CounterUnwrapper(1 << 40, 1e8).update(numbers, arrival)) == [("lost", 30, 2)]


@pytest.mark.parametrize("back", [2, 3, 5, 8])
def test_a_counter_that_falls_back_a_little_begins_a_segment_after_three_frames(back: int) -> None:
    counters = np.concatenate([np.arange(200), np.arange(200 - back - 1, 260)]) % 256
    result = cyton_counter().update(counters, on_time(np.arange(len(counters))))
    assert [(i.kind, i.position) for i in result.incidents] == [("repeated", 200), ("repeated", 201), ("reset", 202)]
    assert result.segment[-1] == 1


def test_frames_that_a_buffer_repeats_at_once_are_repeats_and_no_reset() -> None:
    numbers = np.concatenate([np.arange(20), np.arange(14, 20), np.arange(20, 40)])
    result = unwrap(numbers)
    assert {i.kind for i in result.incidents} == {"repeated"}
    assert result.index[result.kept()].tolist() == list(range(40))


@pytest.mark.parametrize("bit", range(4, 8))
def test_a_flipped_bit_in_one_counter_costs_that_frame_alone(bit: int) -> None:
    counters = np.arange(100)
    counters[60] ^= 1 << bit
    result = cyton_counter().update(counters, on_time(np.arange(100)))
    assert [(i.kind, i.position) for i in result.incidents] == [("odd", 60), ("lost", 61)]
    assert result.segment.tolist() == [0] * 100


@pytest.mark.parametrize("bit", range(4))
def test_a_flipped_low_bit_in_one_counter_makes_no_segment(bit: int) -> None:
    """A few frames ahead or back is possible, so it is told as a loss that is made good; never as a reset."""
    for at in range(40, 60):
        counters = np.arange(100)
        counters[at] ^= 1 << bit
        result = cyton_counter().update(counters, on_time(np.arange(100)))
        assert result.segment.tolist() == [0] * 100
        count = {kind: sum(i.count for i in result.incidents if i.kind == kind) for kind in ("lost", "reordered")}
        assert count["lost"] - count["reordered"] == 1


def test_a_restart_begins_a_segment_without_an_incident() -> None:
    unwrapper = cyton_counter()
    unwrapper.update(np.arange(100), on_time(np.arange(100)))
    unwrapper.restart()
    result = unwrapper.update(np.arange(10), on_time(np.arange(500, 510)))
    assert (result.segment.tolist(), result.incidents) == ([1] * 10, ())


def test_a_lateness_close_to_a_turn_after_a_silence_is_told_as_ambiguous() -> None:
    numbers = np.arange(1000)
    arrival = on_time(numbers)
    arrival[500:] = np.maximum(arrival[500:], arrival[500] + TURN - 75_000_000)
    result = unwrap(numbers, arrival)
    assert result.index.tolist() == numbers.tolist()
    assert "ambiguous" in {i.kind for i in result.incidents}


def test_a_stall_of_more_than_a_turn_is_found_out_when_the_frames_come_early() -> None:
    """Silence and lateness are both above a turn: 256 too many are told, and soon that this was wrong."""
    numbers = np.concatenate([np.arange(400), np.arange(700, 1700)])
    arrival = on_time(numbers)
    arrival[400:] = np.maximum(arrival[400:], arrival[400] + TURN + 100_000_000)
    result = unwrap(numbers, arrival)
    kinds = [i.kind for i in result.incidents]
    assert kinds[0] == "lost"
    assert result.incidents[0].count == 300 + 256
    assert kinds[1:] == ["reset"]
    assert "256 frames too long" in result.incidents[1].detail


def test_jitter_below_the_stall_limit_is_never_an_incident() -> None:
    numbers = np.arange(20_000)
    delay = np.random.default_rng(5).exponential(30e6, len(numbers)).astype(np.int64)
    arrival = np.maximum.accumulate(numbers * PERIOD + delay)
    assert unwrap(numbers, arrival).incidents == ()


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_crystal_that_is_off_is_followed_for_hours(ppm: int) -> None:
    numbers = np.concatenate([np.arange(2_000_000), np.arange(2_000_600, 2_001_000)])
    arrival = (numbers * PERIOD * (1 + ppm * 1e-6)).astype(np.int64)
    assert told(unwrap(numbers, arrival)) == [("lost", 2_000_000, 600)]


def test_a_four_bit_counter_survives_stalls_longer_than_its_turn_and_sizes_long_losses() -> None:
    """BITalino: 16 ms a turn at 1000 Hz, so lateness alone cannot be a loss."""
    period = 1_000_000
    numbers = np.concatenate([np.arange(2000), np.arange(2500, 4000)])
    arrival = numbers * period
    arrival[700:800] = arrival[800]
    result = CounterUnwrapper(16, period).update(numbers % 16, arrival)
    assert result.index.tolist() == numbers.tolist()
    assert told(result) == [("lost", 2000, 500)]


@pytest.mark.parametrize("stall", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_gaps_longer_than_a_turn_are_sized_right_on_every_link_or_told_to_be_unsure(link: str, stall: bool) -> None:
    right, unsure, wrong, by_modulus, _ = score_gaps(link, 2, 8, stall, seed=4)
    assert right + unsure > 0
    assert wrong == 0
    assert right >= 0.8 * (right + unsure)
    assert by_modulus == 0  # what the counter says without the arrivals


@pytest.mark.parametrize("bits", [4, 7, 8, 12, 16])
def test_counters_of_any_width_never_size_a_gap_wrongly_in_silence(bits: int) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        run = clock(rng, 60.0)
        counter, arrival = with_gaps(rng, run, stall=bool(seed % 2))
        _, _, wrong, _, _ = gaps_of(run, counter, arrival, 1 << bits)
        assert wrong == 0


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_gaps_are_sized_through_jitter_of_300_ms(bits: int) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        run = clock(rng, 60.0)
        counter, _ = with_gaps(rng, run, stall=False)
        delay = rng.uniform(0, 300e6, len(counter))
        arrival = np.maximum.accumulate(run.sampled_ns[counter] + delay).astype(np.int64)
        right, _, wrong, _, _ = gaps_of(run, counter, arrival, 1 << bits)
        assert wrong == 0
        assert right >= 3


def test_a_slow_counter_is_not_reset_after_a_long_loss() -> None:
    """The line of earliest arrivals follows a device; at 64 Hz by 50 ms within a turn of 256."""
    period = 15_625_000
    numbers = np.concatenate([np.arange(500), np.arange(2000, 3000)])
    result = CounterUnwrapper(256, period).update(numbers % 256, numbers * period)
    assert told(result) == [("lost", 500, 1500)]
    assert result.segment.tolist() == [0] * 1500


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_loss_that_a_short_counter_takes_for_a_stall_is_found_out_as_frames_stay_late(size: int) -> None:
    """BITalino: ten turns of 16 ms are lost, which is less than a stall may take."""
    period = 1_000_000
    numbers = np.concatenate([np.arange(3000), np.arange(3160, 7000)])
    arrival, counters = numbers * period, numbers % 16
    unwrapper, incidents = CounterUnwrapper(16, period), []
    for start in range(0, len(counters), size):
        part = unwrapper.update(counters[start : start + size], arrival[start : start + size])
        incidents += [(start + i.position, i.kind, i.detail) for i in part.incidents]
    ((position, kind, detail),) = incidents
    assert kind == "reset"
    assert arrival[position] - arrival[3000] == pytest.approx(1e9, abs=2 * period)
    assert "160 were lost and not counted" in detail


def test_a_stall_of_a_short_counter_is_no_reset() -> None:
    numbers = np.arange(6000)
    arrival = numbers * 1_000_000
    arrival[3000:3180] = arrival[3180]
    assert CounterUnwrapper(16, 1_000_000).update(numbers % 16, arrival).incidents == ()


def test_a_loss_close_behind_one_of_more_than_a_turn_is_told_as_ambiguous() -> None:
    """A stall of more than a turn behind the first makes it look longer, and the second as much shorter."""
    numbers = np.concatenate([np.arange(400), np.arange(700, 760), np.arange(1100, 2000)])
    result = unwrap(numbers)
    assert [(i.kind, i.count) for i in result.incidents] == [("lost", 300), ("lost", 340), ("ambiguous", 256)]
    far = np.concatenate([np.arange(400), np.arange(700, 2000), np.arange(2340, 3000)])
    assert told(unwrap(far)) == [("lost", 400, 300), ("lost", 1700, 340)]


def test_turns_during_an_outage_are_counted_when_the_device_went_on() -> None:
    """No reset: the frames that were made while the link was down are lost, all of them."""
    numbers = np.concatenate([np.arange(1000), np.arange(1000 + 45 * 250, 14_000)])
    assert told(unwrap(numbers)) == [("lost", 1000, 45 * 250)]


def test_a_device_that_starts_anew_after_an_outage_begins_a_segment_or_a_loss_never_a_wrong_time() -> None:
    """Replugged without restart(): a counter from 0 goes on as a loss, and its frames still come in time."""
    counters = np.concatenate([np.arange(1000) % 256, np.arange(2000) % 256])
    arrival = np.concatenate([np.arange(1000) * PERIOD, 10_000_000_000 + np.arange(2000) * PERIOD])
    result = cyton_counter().update(counters, arrival)
    assert [i.kind for i in result.incidents] in (["lost"], ["reset"])
    assert abs(int(result.index[-1]) * PERIOD - int(arrival[-1])) < 256 * PERIOD


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_frames_one_by_one_and_in_batches_give_the_same_answer(data: st.DataObject) -> None:
    steps = data.draw(
        st.lists(st.sampled_from([1] * 30 + [0, 2, 5, -1, -3, 200, 256, 300, 1000, -90]), min_size=1, max_size=120)
    )
    numbers = np.cumsum([data.draw(st.integers(0, 255)), *steps])
    jitter = data.draw(st.lists(st.integers(0, 400_000_000), min_size=len(numbers), max_size=len(numbers)))
    arrival = np.maximum.accumulate(np.maximum.accumulate(numbers) * PERIOD + np.array(jitter))
    counters = numbers % 256
    whole = cyton_counter().update(counters, arrival)
    for size in (1, data.draw(st.integers(2, 40))):
        unwrapper, index, segment, incidents = cyton_counter(), [], [], []
        for a in range(0, len(counters), size):
            begin = len(index)  # with the frame that was not decided
            part = unwrapper.update(counters[begin : a + size], arrival[begin : a + size])
            index += part.index.tolist()
            segment += part.segment.tolist()
            incidents += [Incident(begin + i.position, i.kind, i.count, i.detail) for i in part.incidents]
        assert index == whole.index.tolist()
        assert segment == whole.segment.tolist()
        assert tuple(incidents) == whole.incidents


def test_a_sparse_stream_counts_its_own_samples_whatever_its_phase() -> None:
    for phase in range(10):
        index, lost = SparseIndex(10).update(np.arange(phase, 1000, 10))
        assert np.diff(index).tolist() == [1] * 99
        assert not lost.any()


def test_a_sparse_stream_with_a_broken_ratio_is_numbered_without_holes() -> None:
    frames = np.ceil(np.arange(500) * 250 / 32).astype(np.int64)
    assert SparseIndex(250 / 32).update(frames)[0].tolist() == list(range(500))


def test_losses_of_a_sparse_stream_are_counted_also_across_batches() -> None:
    frames = np.array([0, 10, 20, 50, 60, 100])
    one, two = SparseIndex(10), SparseIndex(10)
    index, lost = one.update(frames)
    assert index.tolist() == [0, 1, 2, 5, 6, 10]
    assert lost.tolist() == [0, 0, 0, 2, 0, 3]
    parts = [two.update(frames[k : k + 1]) for k in range(len(frames))]
    assert [int(p[0][0]) for p in parts] == index.tolist()
    assert [int(p[1][0]) for p in parts] == lost.tolist()


def test_a_late_sample_of_a_sparse_stream_is_marked() -> None:
    index, lost = SparseIndex(10).update(np.array([0, 20, 10, 30]))
    assert index.tolist() == [0, 2, 1, 3]
    assert lost.tolist() == [0, 1, -2, 0]


@pytest.mark.parametrize("soon", range(1, 10))
def test_a_sample_out_of_turn_does_not_shift_the_numbers_of_the_others(soon: int) -> None:
    """A bit flipped in a frame that carries no sample makes it look as if it did."""
    frames = np.array([0, 10, 20, 20 + soon, *range(30, 400, 10)])
    index, lost = SparseIndex(10).update(frames)
    kept = lost != TOO_SOON
    assert np.count_nonzero(~kept) == 1
    assert index[kept].tolist() == list(range(40))
    assert not lost[kept].any()


def test_among_many_damaged_frames_the_numbers_of_a_sparse_stream_do_not_creep() -> None:
    """A quarter of all frames lost and one in twenty falsely carrying a sample: numbers stay those of the grid."""
    rng = np.random.default_rng(3)
    frames = np.arange(20_000)
    carries = (frames % 10 == 0) | (rng.random(len(frames)) < 0.05)
    there = frames[carries & (rng.random(len(frames)) > 0.25)]
    index, lost = SparseIndex(10).update(there)
    true = there % 10 == 0
    assert np.abs(index - there / 10).max() <= 1
    assert np.mean(index[true] == there[true] // 10) > 0.99
    assert int(lost[lost > 0].sum()) + len(set(index.tolist())) == index.max() - index.min() + 1


def test_a_sparse_stream_that_creeps_is_followed() -> None:
    """An accelerometer with a clock of its own: 25.2 Hz among frames at 250 Hz."""
    frames = np.ceil(np.arange(3000) * 250 / 25.2).astype(np.int64)
    assert SparseIndex(10).update(frames)[0].tolist() == list(range(3000))
