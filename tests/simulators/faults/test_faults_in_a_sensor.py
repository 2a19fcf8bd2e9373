"""Faults bound by build(): a small counted and timed sensor, from subject to delivered bytes."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest

import simulators.build as build_module
from drivers.codec import Block
from drivers.errors import SettingError
from drivers.types import Batch, LinkDown, LinkUp, StreamSpec
from simulators.build import SimulatedSpec, build

START_NS = 3_000_000_000
FRAME = struct.Struct("<IqdI")
"""Counter, device time in ns, value, check word."""


class Counting:
    """Sends every sample as a frame of its own, from the start."""

    gatt = None
    streaming = True

    def __init__(self, settings: object) -> None:
        spec = StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0, low=-5, high=5, counted=True, timed=True, numbered=True)
        self.streams = (spec,)
        self.count = 0

    def receive(self, data: bytes, channel: str = "") -> list:
        return []

    def encode(self, blocks: dict[str, Block]) -> list[Batch]:
        block = blocks["ecg"]
        first = self.count
        self.count += len(block.index)
        rows = zip(range(first, self.count), block.device_ns.tolist(), block.values[:, 0].tolist(), strict=True)
        return [Batch.of([FRAME.pack(n, device_ns, value, 0) for n, device_ns, value in rows], block.due_ns)]

    def reset(self) -> None:
        self.count = 0

    def reset_counter(self) -> None:
        self.count = 0


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    from dataclasses import make_dataclass

    module = SimpleNamespace(NAME="counting", BAUD=115200, SETTINGS=make_dataclass("Settings", []), device=Counting)
    monkeypatch.setattr(build_module, "load_sensor", lambda name: module)


def run(faults, seconds=30.0, quantum_s=1.0, **spec):
    sensor = build(SimulatedSpec("counting", seed=4, faults=faults, **spec), start_ns=START_NS)
    items = []
    for step in range(1, round(seconds / quantum_s) + 1):
        items += sensor.advance(START_NS + round(step * quantum_s * 1e9))
    chunks = [c for item in items if isinstance(item, Batch) for c in item.chunks()]
    return chunks, sensor.truths, [item for item in items if not isinstance(item, Batch)]


def decoded(chunks):
    return [FRAME.unpack(chunk) for chunk, _ in chunks]


MANY = (
    {"fault": "motion"}, {"fault": "emg"}, {"fault": "flatline"}, {"fault": "dropout"}, {"fault": "reorder"},
    {"fault": "bit_flip"}, {"fault": "garbage"}, {"fault": "jitter"}, {"fault": "stall"}, {"fault": "clock_drift"},
    {"fault": "counter_reset"}, {"fault": "clock_step"},
)  # fmt: skip


def test_all_at_once_the_bytes_and_the_truth_do_not_depend_on_how_time_passes():
    slow, slow_truth, _ = run(MANY, 12, 1.0)
    fast, fast_truth, _ = run(MANY, 12, 0.01)
    assert slow == fast
    assert sorted(map(str, slow_truth)) == sorted(map(str, fast_truth))
    assert {truth.fault for truth in slow_truth} == {given["fault"] for given in MANY}


@pytest.mark.parametrize("name", ["dropout", "emg", "bit_flip", "stall"])
def test_another_fault_leaves_the_draws_of_this_one_alone(name):
    alone = [t for t in run([{"fault": name}], 12)[1] if t.fault == name]
    others = [{"fault": "clipping"}, {"fault": "electrode_pop"}, {"fault": "truncate", "start_s": 11.99}]
    beside = [t for t in run([*others, {"fault": name}, {"fault": "mains_hum"}], 12)[1] if t.fault == name]
    assert alone
    assert alone == beside


def test_two_faults_of_one_name_draw_differently():
    _, truth, _ = run([{"fault": "stall", "stop_s": 15}, {"fault": "stall", "start_s": 15}], 30)
    begins = [t.start_ns for t in truth]
    assert len(begins) == len(set(begins)) >= 2
    _, once, _ = run([{"fault": "stall"}], 30)
    assert begins != [t.start_ns for t in once]


def test_losses_are_what_the_counter_of_the_wire_shows():
    chunks, truth, _ = run([{"fault": "dropout"}])
    got = [row[0] for row in decoded(chunks)]
    lost = sum(t.detail["frames"] for t in truth)
    assert len(got) + lost == pytest.approx(30 * 250, abs=2)
    assert max(got) + 1 - len(got) == lost - sum(t.detail["frames"] for t in truth if t.end_ns >= START_NS + 29.99e9)


def test_a_fast_crystal_takes_more_samples_in_the_same_time():
    plain = len(run([], 100)[0])
    fast = len(run([{"fault": "clock_drift", "ppm": 5000}], 100)[0])
    part = len(run([{"fault": "clock_drift", "ppm": 5000, "start_s": 20, "stop_s": 60}], 100)[0])
    assert fast - plain == pytest.approx(100 * 250 * 5000e-6, abs=1)
    assert part - plain == pytest.approx(40 * 250 * 5000e-6, abs=1)
    (truth,) = run([{"fault": "clock_drift", "start_s": 20, "stop_s": 60}], 100)[1]
    assert (truth.start_ns, truth.end_ns, truth.detail) == (START_NS + 20e9, START_NS + 60e9, {"ppm": 500.0})


def test_a_step_moves_device_time_once_and_no_sample():
    plain, _, _ = run([], 20)
    stepped, (truth,), _ = run([{"fault": "clock_step", "seconds": -0.25, "at_s": 8}], 20)
    moved = np.array([row[1] for row in decoded(stepped)]) - np.array([row[1] for row in decoded(plain)])
    times = np.array([row[1] for row in decoded(plain)]) / 1e9
    assert set(moved[times < 8]) == {0}
    assert set(moved[times >= 8]) == {-250_000_000}
    assert [row[2] for row in decoded(plain)] == [row[2] for row in decoded(stepped)]
    assert (truth.start_ns, truth.end_ns, truth.detail) == (START_NS + 8e9, START_NS + 8e9, {"seconds": -0.25})


def test_the_counter_falls_back_at_each_told_moment_and_nowhere_else():
    chunks, truth, _ = run([{"fault": "counter_reset", "every_s": 4}], 15)
    counts = [row[0] for row in decoded(chunks)]
    falls = [place for place in range(1, len(counts)) if counts[place] <= counts[place - 1]]
    assert [t.start_ns for t in truth] == [START_NS + s * 1_000_000_000 for s in (4, 8, 12)]
    device_s = [decoded(chunks)[place][1] / 1e9 for place in falls]
    assert device_s == pytest.approx([4, 8, 12], abs=1 / 250 + 1e-6)
    assert all(counts[place] == 0 for place in falls)


def test_while_it_is_unplugged_nothing_comes_and_afterwards_it_starts_anew():
    chunks, (truth,), events = run([{"fault": "unplug", "at_s": 5, "for_s": 3}], 12)
    at_s = np.array([at_ns - START_NS for _, at_ns in chunks]) / 1e9
    assert not np.any((at_s > 5) & (at_s < 8))
    assert np.any(at_s > 11.9)
    down, up = events
    assert isinstance(down, LinkDown)
    assert isinstance(up, LinkUp)
    assert (down.arrival_ns, up.arrival_ns) == (START_NS + 5_000_000_000, START_NS + 8_000_000_000)
    assert (truth.start_ns, truth.end_ns, truth.detail) == (down.arrival_ns, up.arrival_ns, {"back": True})
    again = [row[0] for row in decoded([c for c, t in zip(chunks, at_s, strict=True) if t > 8])]
    assert again[0] == 0


def test_unplugged_for_good_it_stays_away():
    chunks, (truth,), events = run([{"fault": "unplug"}], 20)
    assert max(at_ns for _, at_ns in chunks) <= START_NS + 10_000_000_000
    assert [type(event) for event in events] == [LinkDown]
    assert truth.detail == {"back": False}
    assert truth.end_ns == START_NS + 20_000_000_000  # as far as the run has gone


def test_two_outages_that_overlap_are_one():
    faults = [{"fault": "unplug", "at_s": 3, "for_s": 4}, {"fault": "unplug", "at_s": 5, "for_s": 4}]
    _, truth, events = run(faults, 12)
    assert [event.arrival_ns - START_NS for event in events] == [3_000_000_000, 9_000_000_000]
    assert len(truth) == 2


def test_what_has_not_happened_yet_is_not_told():
    _, truth, _ = run([{"fault": "clock_step", "at_s": 10}, {"fault": "unplug", "at_s": 11}], 9)
    assert truth == []


def test_a_spell_under_way_is_told_as_far_as_it_has_gone():
    _, truth, _ = run([{"fault": "mains_hum", "start_s": 2}], 5)
    (hum,) = truth
    assert hum.start_ns == START_NS + 2_000_000_000
    assert START_NS + 4.99e9 < hum.end_ns <= START_NS + 5e9
    assert hum.detail["samples"] == pytest.approx(750, abs=1)


def test_building_refuses_a_fault_that_does_not_fit():
    with pytest.raises(SettingError, match="low_perfusion needs a stream of kind ppg"):
        build(SimulatedSpec("counting", faults=[{"fault": "low_perfusion"}]))


def test_what_a_sensor_sends_before_the_run_starts_is_untouched():
    faults = [given for given in MANY if given["fault"] != "counter_reset"]
    sent = []
    for asked in ([], [*faults, {"fault": "duplicate"}, {"fault": "truncate"}]):
        spec = SimulatedSpec("counting", seed=4, faults=asked)
        sensor = build(spec, start_ns=START_NS, boot_ns=START_NS - 2_500_000_000)
        items = [*sensor.advance(START_NS - 5_000_000), *sensor.advance(START_NS + 2_000_000_000)]
        sent.append([c for item in items for c in item.chunks()])
        assert all(truth.start_ns >= START_NS for truth in sensor.truths)
    before = [[c for c in chunks if c[1] < START_NS] for chunks in sent]
    assert len(before[0]) > 600
    assert before[0] == before[1]
    assert sent[0] != sent[1]
