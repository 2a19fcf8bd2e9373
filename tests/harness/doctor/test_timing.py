"""What lateness, clocks and disks are said to be, from numbers that are given; and that they can be measured."""

import os
from datetime import timedelta

import pytest

from drivers.clock import RealClock, VirtualClock
from harness.doctor import storage, timing
from harness.doctor.machine import State
from harness.doctor.storage import Disk
from harness.doctor.timing import Timing, quantile_ms

MS = 1_000_000
GOOD = Timing((MS // 10,) * 200, (MS // 20,) * 200, 60, 3_000)


def attention(facts):
    return {fact.name: fact for fact in facts if fact.state is State.ATTENTION}


def test_a_machine_that_is_in_time_needs_nothing():
    assert attention(timing.facts(GOOD)) == {}


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        (Timing(GOOD.late_ns, (MS // 20,) * 190 + (9 * MS,) * 10, 60, 0), "stamp error"),
        (Timing((MS // 10,) * 190 + (9 * MS,) * 10, GOOD.stamp_ns, 60, 0), "scheduling"),
        (Timing((MS // 10,) * 199 + (80 * MS,), GOOD.stamp_ns, 60, 0), "scheduling"),
        (Timing(GOOD.late_ns, GOOD.stamp_ns, 4 * MS, 0), "monotonic clock"),
        (Timing(GOOD.late_ns, GOOD.stamp_ns, 0, 0), "monotonic clock"),
        (Timing(GOOD.late_ns, GOOD.stamp_ns, 60, -25 * MS), "wall clock"),
    ],
)
def test_what_is_late_coarse_or_stepped_is_named_with_a_fix(broken, name):
    found = attention(timing.facts(broken))
    assert list(found) == [name]
    assert found[name].fix


def test_quantiles_are_by_nearest_rank():
    assert quantile_ms([k * MS for k in range(1, 101)], 0.99) == 99
    assert quantile_ms([k * MS for k in range(1, 101)], 0.5) == 50
    assert quantile_ms([7 * MS], 0.99) == 7


def test_without_pseudo_terminals_the_stamp_error_is_not_invented():
    fact = timing.facts(Timing((MS,) * 5, (), 60, 0, why_no_stamps="out of pty devices"))[0]
    assert (fact.state, fact.found) == (State.ABSENT, "cannot be measured: out of pty devices")


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo terminals: a POSIX system")
def test_every_byte_that_is_written_is_stamped_after_it_was_written():
    found = timing.measure(0.1)
    assert len(found.late_ns) == 20  # one each 5 ms
    assert len(found.stamp_ns) == 20
    assert min(found.stamp_ns) >= 0
    assert min(found.late_ns) >= 0
    assert found.resolution_ns > 0


class Slipping(RealClock):
    """A machine whose wall clock is set back by 40 ms while it is watched."""

    calls = 0

    def utc(self):
        self.calls += 1
        return super().utc() - timedelta(milliseconds=40 * (self.calls > 1))


@pytest.mark.skipif(os.name != "posix", reason="needs pseudo terminals: a POSIX system")
def test_a_wall_clock_that_is_set_meanwhile_is_seen():
    assert "wall clock" in attention(timing.facts(timing.measure(0.02, Slipping())))


# --- disk -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        ({"free_gb": 0.2}, "only 0.2 GB free"), ({"trouble": "Permission denied"}, "cannot be written to"),
        ({"mb_per_s": 1.5}, "slow"), ({"sync_ms": 900.0}, "slow"),
    ],
)  # fmt: skip
def test_a_disk_that_is_full_slow_or_shut_is_told(tmp_path, disk, words):
    (fact,) = storage.facts(Disk(tmp_path, **{"free_gb": 50.0, "mb_per_s": 200.0, "sync_ms": 5.0, **disk}))
    assert fact.state is State.ATTENTION
    assert words in fact.found
    assert fact.fix


def test_a_good_disk_needs_nothing(tmp_path):
    assert attention(storage.facts(Disk(tmp_path, 50.0, 200.0, 5.0))) == {}
    assert attention(storage.facts(Disk(tmp_path, 50.0))) == {}


class Ticking(VirtualClock):
    """Each look at it takes 10 ms."""

    def now_ns(self):
        self.sleep_until(super().now_ns() + 10 * MS)
        return super().now_ns()


def test_speed_is_four_mebibytes_by_the_time_until_they_are_safe_and_leaves_no_file(tmp_path):
    found = storage.measure(tmp_path / "not" / "there" / "yet", Ticking())
    assert found.folder == tmp_path
    assert found.mb_per_s == pytest.approx(4.194304 / 0.02)  # three looks: begun, written, safe
    assert found.sync_ms == pytest.approx(10)
    assert list(tmp_path.iterdir()) == []


def test_quick_writes_nothing(tmp_path):
    assert storage.measure(tmp_path, Ticking(), quick=True).mb_per_s is None
