"""What is read of the process and the GPU, and that the profiler starts and stops only where there is time."""

import os
import stat
import sys
import threading

import pytest

from harness.monitor.gpu import GpuUse
from harness.monitor.happenings import PROFILER
from harness.monitor.process import ThreadWaits, Use
from harness.monitor.profile import START_NS, WINDOWS, ModelProfile
from harness.monitor.resources import COLUMNS

MS, S = 1_000_000, 1_000_000_000


def test_every_column_but_the_inbox_is_read():
    found = Use().read()
    assert set(found) | {"inbox_depth"} == set(COLUMNS)
    assert found["rss_bytes"] > 10e6
    assert 0 <= found["system_percent"] <= 100


def test_threads_and_files_are_counted():
    use, end = Use(), threading.Event()
    before = use.read()
    threads = [threading.Thread(target=end.wait) for _ in range(3)]
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    for thread in threads:
        thread.start()
    after = use.read()
    end.set()
    for thread in threads:
        thread.join()
    for file in files:
        os.close(file)
    assert after["threads"] - before["threads"] == 3
    assert after["open_files"] - before["open_files"] == 5


def test_why_a_thread_came_late_can_always_be_said():
    waits = ThreadWaits()
    waits.mark()
    assert "1000 ms" in waits.why(S)


# --- the GPU ----------------------------------------------------------------------------------


@pytest.fixture
def a_tool(tmp_path, monkeypatch):
    """A program in place of nvidia-smi that says these lines and then stays."""

    def made(*lines):
        path = tmp_path / "fake-smi"
        said = "".join(f"print({line!r}, flush=True)\n" for line in lines)
        path.write_text(f"#!{sys.executable}\nimport threading\n{said}threading.Event().wait()\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        return "fake-smi"

    return made


def listened(gpu, lines):
    """The reading once the tool has said ``lines`` lines."""
    told = threading.Event()
    while gpu.lines < lines:
        told.wait(0.01)
    return gpu.busy()


def test_how_busy_the_gpu_is_comes_from_the_tools_last_line(a_tool):
    gpu = GpuUse(0, a_tool("7", "[N/A]", "42"))
    try:
        assert listened(gpu, 3) == {"gpu_percent": 42.0}
    finally:
        gpu.close()


def test_a_tool_that_does_not_know_leaves_the_column_out(a_tool):
    gpu = GpuUse(0, a_tool("[N/A]"))
    try:
        assert listened(gpu, 1) == {}
    finally:
        gpu.close()


def test_without_a_tool_the_column_is_left_out():
    gpu = GpuUse(0, "no-such-tool-anywhere")
    assert gpu.busy() == {}
    gpu.close()


# --- the profiler -----------------------------------------------------------------------------


class HandClock:
    """Reads what it was set to."""

    virtual = False
    at_ns = 0

    def now_ns(self):
        return self.at_ns


@pytest.fixture
def profile():
    pytest.importorskip("torch")
    made = ModelProfile(HandClock())
    yield made
    if made.happened is None:
        made.stop()


def computed(profile, windows):
    import torch

    for _ in range(windows):
        torch.sin(torch.ones(3))
        profile._clock.at_ns += 80 * MS
        profile.after_window(profile._clock.at_ns + S)


def test_nothing_is_profiled_that_was_not_asked_for(profile, tmp_path):
    computed(profile, 5)
    profile.stop()
    assert profile.happened is None
    assert not profile.write(tmp_path / "t.json")


def test_windows_after_the_first_that_was_late_are_profiled_and_no_others(profile, tmp_path, capfd):
    profile.arm()
    profile.after_window(S)
    computed(profile, WINDOWS)
    assert (profile.happened.kind, profile.happened.for_ns) == (PROFILER, WINDOWS * 80 * MS)
    profile.arm()
    computed(profile, 7)
    profile.stop()
    assert profile.write(tmp_path / "t.json")
    assert (tmp_path / "t.json").read_text().count('"aten::sin"') == WINDOWS
    assert capfd.readouterr().err == "", "torch warns of whatever kind of work is left running"


def test_it_is_not_started_when_the_next_window_is_near(profile, tmp_path):
    for _ in range(3):  # windows behind the late one are late too
        profile.arm()
        profile.after_window(START_NS)
    computed(profile, 1)  # from here on there is time
    computed(profile, 1)
    profile.stop()
    assert profile.write(tmp_path / "t.json")
    assert (tmp_path / "t.json").read_text().count('"aten::sin"') == 1


def test_a_model_with_a_profiler_of_its_own_keeps_it(profile, tmp_path):
    from torch.autograd.profiler import profile as own

    with own(use_kineto=True) as theirs:
        profile.arm()
        profile.after_window(S)
        computed(profile, 5)
    assert [event.name for event in theirs.function_events].count("aten::sin") == 5
    profile.stop()
    assert not profile.write(tmp_path / "t.json")


def test_what_a_short_run_left_unfinished_is_written_all_the_same(profile, tmp_path):
    profile.arm()
    profile.after_window(S)
    computed(profile, WINDOWS - 1)
    profile.stop()
    assert profile.happened.what.startswith(f"{WINDOWS - 1} windows ran under torch's profiler")
    assert profile.write(tmp_path / "t.json")
