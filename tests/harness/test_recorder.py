"""The recorder: what it returns is what loading gives, bit for bit; kill -9 and full disks cost what they may."""

import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from drivers.clock import SECOND_NS, VirtualClock
from drivers.links.replay import ReplayLink
from drivers.rawlog import Closed, DiskError, GattValue, Opened, RawLogError
from drivers.types import (
    Batch,
    CounterReset,
    Event,
    LinkDown,
    LinkUp,
    Lost,
    Malformed,
    Notice,
    Reordered,
    Repeated,
    Samples,
    StreamSpec,
)
from harness.recorder import Recorder
from harness.recording import Recording
from harness.recording_files import (
    RecordingError,
    incident_text,
    load_recording,
    load_truth,
    raw_path,
    replay_batches,
)
from harness.rig import ModelEntry, Rig, SensorEntry, WindowEntry, rig_from_dict, rig_to_dict

START_NS = 2**60 + 12_345  # an uptime whose ns no float64 holds
ECG = StreamSpec(
    "ecg", "ecg", ("I", "II µ"), "mV", 250.0, lsb=0.1 + 0.2, low=-187.5, high=187.5, counted=True, mains_hz=50.0
)
RR = StreamSpec("rr", "rr", ("rr",), "ms", None, timed=True)
SPECS = {"chest": [ECG, RR], "wrist/left": [StreamSpec("eda", "eda", ("eda",), "uS", 4.0)]}
RIG = Rig(
    "bench",
    {
        "chest": SensorEntry("chest", "polar-h10", {"rate": 130}, address="AA:BB"),
        "wrist/left": SensorEntry("wrist/left", "gsr", simulate={"faults": [{"kind": "drop", "p": 0.1}]}),
    },
    model=ModelEntry(threads=2, inputs={"ecg": {"role": "chest"}}),
    window=WindowEntry(hop_ms=40.0),
    limits={"latency": {"max_ms": 100.0}},
    seed=7,
    text="name: bench  # µ\n",
)
EVENTS: list[Event] = [
    Malformed("bad checksum", 3, b"\x00\xff\n", START_NS + 1),
    Lost("ecg", 12, START_NS + 2),
    Repeated("ecg", 1, START_NS + 3),
    Reordered("ecg", 2, START_NS + 4),
    CounterReset("ecg", START_NS + 5, "17 after 4000: µ"),
    Notice("battery", 0.1 + 0.2, START_NS + 6),
    Notice("contact", False, START_NS + 7),
    Notice("reply", 'quote " and \ud800 surrogate', START_NS + 8),
    LinkDown(START_NS + 9, "unplugged"),
    LinkUp(START_NS + 10),
]


def ecg_samples(first: int, count: int, at_ns: int) -> tuple[Samples, np.ndarray]:
    rng = np.random.default_rng(first)
    index = np.arange(first, first + count)
    arrival = at_ns + np.sort(rng.integers(0, SECOND_NS // 10, count))
    samples = Samples("ecg", rng.standard_normal((count, 2)), index, arrival, None, segment=first // 100)
    return samples, arrival - rng.integers(0, 10**7, count)


def play(recorder: Recorder, clock: VirtualClock, steps: int) -> None:
    """A run of ``steps`` tenths of a second with everything in it."""
    recorder.batch("chest", Batch.single(b"banner", clock.now_ns()))
    recorder.start(clock.now_ns() + 5, ("chest/ecg", "wrist/left/eda"))
    for k in range(steps):
        clock.sleep_until(clock.now_ns() + SECOND_NS // 10)
        now = clock.now_ns()
        recorder.batch("chest", Batch.of([b"%03d" % k, b"x"], np.array([now - 7, now])))
        recorder.samples("chest", *ecg_samples(25 * k, 25, now))
        if k % 3 == 0:
            times = np.array([now - 11])
            rr = Samples("rr", np.array([[800.0 + k]]), np.array([k]), np.array([now]), np.array([2**62 + k]), 1)
            recorder.samples("chest", rr, times)
            recorder.event("chest", EVENTS[k % len(EVENTS)])
            stamps = np.array([[now, now + 1, now + 2, now + 3, -1, -1]])
            recorder.windows(stamps, np.array([[k % 2, 0]]), np.array([[np.nan, 0.5 * k]]))
        recorder.tick(now)


def assert_same(one: Recording, other: Recording) -> None:
    for part in ("rig", "start_ns", "stop_ns", "events", "meta", "host", "interrupted"):
        assert getattr(one, part) == getattr(other, part), part
    assert list(one.streams) == list(other.streams)
    for key, data in one.streams.items():
        assert data.role == other.streams[key].role and data.spec == other.streams[key].spec
        assert_same_arrays(data, other.streams[key])
    assert one.windows.waited_for == other.windows.waited_for
    assert one.windows.errors == other.windows.errors
    assert_same_arrays(one.windows, other.windows)


def assert_same_arrays(one: object, other: object) -> None:
    for field in fields(one):  # type: ignore[arg-type]
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), field.name
        elif a is None:
            assert b is None, field.name


def test_loading_gives_exactly_what_finish_returned(tmp_path: Path) -> None:
    clock = VirtualClock(START_NS)
    recorder = Recorder(tmp_path / "run", RIG, clock, SPECS)
    play(recorder, clock, 40)
    made = recorder.finish(
        clock.now_ns(),
        host={"utc": "2026", "spread": np.float64(0.1), "path": Path("x")},
        meta={"model": "sha", "shape": (1, 2), "bytes": np.int64(3)},
        errors=["ValueError: NaN"],
    )
    assert made.interrupted == ""
    assert made.host == {"utc": "2026", "spread": 0.1, "path": "x"}
    assert made.meta == {"model": "sha", "shape": [1, 2], "bytes": 3}
    assert made.start_ns == START_NS + 5
    assert_same(made, load_recording(tmp_path / "run"))


def test_every_column_is_what_was_handed_over(tmp_path: Path) -> None:
    clock = VirtualClock(START_NS)
    recorder = Recorder(tmp_path / "run", RIG, clock, SPECS)
    play(recorder, clock, 40)
    recorder.finish(clock.now_ns())
    loaded = load_recording(tmp_path / "run")
    tenth = SECOND_NS // 10
    given = [ecg_samples(25 * k, 25, START_NS + (k + 1) * tenth) for k in range(40)]
    ecg = loaded.streams["chest/ecg"]
    assert np.array_equal(ecg.values, np.concatenate([samples.values for samples, _ in given]))
    assert np.array_equal(ecg.index, np.arange(1000))
    assert np.array_equal(ecg.segment, np.repeat([samples.segment for samples, _ in given], 25))
    assert np.array_equal(ecg.arrival_ns, np.concatenate([samples.arrival_ns for samples, _ in given]))
    assert np.array_equal(ecg.time_ns, np.concatenate([times for _, times in given]))
    assert ecg.device_ns is None and ecg.spec == ECG
    rr = loaded.streams["chest/rr"]
    assert rr.device_ns is not None and np.array_equal(rr.device_ns, 2**62 + np.arange(0, 40, 3))
    assert rr.values[:, 0].tolist() == [800.0 + k for k in range(0, 40, 3)] and rr.spec == RR
    empty = loaded.streams["wrist/left/eda"]
    assert empty.values.shape == (0, 1) and len(empty.index) == 0
    windows = loaded.windows
    due = START_NS + tenth * np.arange(1, 41, 3)
    assert np.array_equal(windows.stamps_ns[:, :4], due[:, None] + np.arange(4))
    assert np.all(windows.stamps_ns[:, 4:] == -1)
    assert windows.late.tolist() == [[k % 2, 0] for k in range(0, 40, 3)]
    assert np.isnan(windows.outputs[:, 0]).all()
    assert windows.outputs[:, 1].tolist() == [0.5 * k for k in range(0, 40, 3)]
    assert loaded.events == tuple(("chest", EVENTS[k % 10]) for k in range(0, 40, 3))


def test_every_kind_of_event_survives_and_stays_in_order(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", RIG, VirtualClock(START_NS), SPECS)
    for event in EVENTS:
        recorder.event("wrist/left", event)
    recorder.finish(START_NS + 99)
    assert load_recording(tmp_path / "run").events == tuple(("wrist/left", event) for event in EVENTS)
    assert incident_text("r", EVENTS[0]).isascii()


def test_recording_in_memory_gives_the_same_and_writes_nothing(tmp_path: Path) -> None:
    made = []
    for directory in (tmp_path / "run", None):
        clock = VirtualClock(START_NS)
        recorder = Recorder(directory, RIG, clock, SPECS)
        play(recorder, clock, 20)
        made.append(recorder.finish(clock.now_ns(), meta={"a": 1}))
    assert_same(*made)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_without_windows_or_start_can_be_loaded(tmp_path: Path) -> None:
    clock = VirtualClock(START_NS)
    recorder = Recorder(tmp_path / "run", RIG, clock, SPECS)
    made = recorder.finish(START_NS + 7, interrupted="no such port", start_ns=START_NS + 3)
    assert (made.start_ns, made.interrupted) == (START_NS + 3, "no such port")
    assert made.windows.stamps_ns.shape == (0, 6) and made.windows.late.shape == (0, 0)
    assert_same(made, load_recording(tmp_path / "run"))


def test_the_rig_stands_beside_its_recording(tmp_path: Path) -> None:
    Recorder(tmp_path / "run", RIG, VirtualClock(), SPECS).finish(1)
    assert (tmp_path / "run" / "rig.yaml").read_text("utf-8") == RIG.text
    assert load_recording(tmp_path / "run").rig == RIG
    assert rig_from_dict(rig_to_dict(RIG)) == RIG
    with pytest.raises(TypeError):
        rig_from_dict({**rig_to_dict(RIG), "surprise": 1})


def test_pyxdf_reads_a_run_with_its_stamps_unchanged(tmp_path: Path) -> None:
    pyxdf = pytest.importorskip("pyxdf", reason="needs pyxdf: pip install pyxdf")
    clock = VirtualClock(START_NS)
    recorder = Recorder(tmp_path / "run", RIG, clock, SPECS)
    play(recorder, clock, 40)
    made = recorder.finish(clock.now_ns())
    streams, _ = pyxdf.load_xdf(tmp_path / "run" / "recording.xdf")
    found = {stream["info"]["name"][0]: stream for stream in streams}
    ecg = found["chest/ecg"]
    assert np.array_equal(ecg["time_series"], made.streams["chest/ecg"].values)
    assert np.array_equal(ecg["time_stamps"], made.streams["chest/ecg"].time_ns / 1e9)
    assert ecg["info"]["type"] == ["ECG"] and float(ecg["info"]["nominal_srate"][0]) == 250.0
    about = ecg["info"]["desc"][0]["hil"][0]
    assert about["sensor"] == ["polar-h10"] and float(about["lsb"][0]) == 0.1 + 0.2 and about["counted"] == ["True"]
    book = found["chest/ecg.bookkeeping"]
    assert np.array_equal(book["time_series"][:, 2], made.streams["chest/ecg"].arrival_ns)
    assert len(found["incidents"]["time_series"]) == len(made.events)


# --- raw bytes --------------------------------------------------------------------------------


class OneReadLink:
    """A link of one GATT value."""

    description = "one"

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    def open(self, sink: object) -> None:
        pass

    def write(self, data: bytes, channel: str = "") -> None:
        pass

    def subscribe(self, channel: str) -> None:
        pass

    def read(self, channel: str) -> bytes | None:
        return b"\x55"

    def close(self) -> None:
        pass


def test_the_raw_log_of_a_role_replays_the_run(tmp_path: Path) -> None:
    clock = VirtualClock(START_NS)
    recorder = Recorder(tmp_path / "run", RIG, clock, SPECS)
    link = recorder.tap("wrist/left", OneReadLink(clock))  # type: ignore[arg-type]
    clock.sleep_until(START_NS + 50)
    link.open(lambda item: None)
    link.read("battery")
    recorder.batch("wrist/left", Batch.single(b"abc", START_NS + 60))
    recorder.event("wrist/left", LinkDown(START_NS + 70, "gone"))
    recorder.event("wrist/left", LinkUp(START_NS + 80))
    recorder.batch("wrist/left", Batch.single(b"def", START_NS + 90))
    recorder.finish(START_NS + 100)
    items = list(replay_batches(tmp_path / "run", "wrist/left"))
    assert [item for item in items if not isinstance(item, Batch)] == [
        Opened(START_NS),
        Opened(START_NS + 50),
        GattValue("battery", b"\x55", START_NS + 50),
        LinkDown(START_NS + 70, "gone"),
        LinkUp(START_NS + 80),
        Closed(START_NS + 100),
    ]
    replay = ReplayLink(raw_path(tmp_path / "run", "wrist/left"), VirtualClock())
    inbox = replay.clock.inbox()
    replay.open(lambda item: inbox.put("", item))
    assert replay.read("battery") == b"\x55"
    got = [item[1] for item in iter(lambda: inbox.get(SECOND_NS), None)]
    assert [(item.data, item.at_ns.tolist()) for item in got if isinstance(item, Batch)] == [
        (b"abc", [10]),
        (b"def", [40]),
    ]
    assert got[-1] == LinkDown(50, "end of recording")
    with pytest.raises(RawLogError, match="ankle"):
        list(replay_batches(tmp_path / "run", "ankle"))


def test_truth_is_kept_line_by_line_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    truth = pytest.importorskip("simulators.truth").Truth
    truths = [truth("chest", "drop", "bytes", "ecg", START_NS, START_NS + 5, {"count": 3, "at": [1, 2]})] * 2
    recorder = Recorder(tmp_path / "run", RIG, VirtualClock(), SPECS)
    recorder.truth(truths)
    recorder.truth([])
    recorder.truth(truths)
    recorder.finish(1)
    assert load_truth(tmp_path / "run") == truths * 2
    path = tmp_path / "run" / "truth.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert load_truth(tmp_path / "run") == truths + truths[:1]


# --- what goes wrong --------------------------------------------------------------------------

CHILD = """
import os, resource, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_recorder as t
clock = t.VirtualClock(t.START_NS)
recorder = t.Recorder(Path({directory!r}), t.RIG, clock, t.SPECS)
{body}
"""


def run_child(directory: Path, body: str) -> subprocess.CompletedProcess[str]:
    code = CHILD.format(tests=str(Path(__file__).parent), directory=str(directory), body=body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def test_kill_9_costs_at_most_the_last_second(tmp_path: Path) -> None:
    steps = 47
    died = run_child(
        tmp_path / "run",
        f"t.play(recorder, clock, {steps})\nprint('alive', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)",
    )
    assert died.returncode == -signal.SIGKILL and died.stdout == "alive\n", died.stderr
    last_ns = START_NS + steps * SECOND_NS // 10
    loaded = load_recording(tmp_path / "run")
    assert "killed" in loaded.interrupted
    assert loaded.start_ns == START_NS + 5 and loaded.stop_ns > last_ns - SECOND_NS
    kept = len(loaded.streams["chest/ecg"].index)
    assert kept >= 25 * (steps - 10)
    given = [ecg_samples(25 * k, 25, START_NS + (k + 1) * SECOND_NS // 10)[0] for k in range(steps)]
    values = np.concatenate([samples.values for samples in given])
    assert np.array_equal(loaded.streams["chest/ecg"].values, values[:kept])
    assert np.array_equal(loaded.streams["chest/ecg"].index, np.arange(kept))
    assert loaded.windows.stamps_ns[-1, 0] > last_ns - SECOND_NS - 3 * SECOND_NS // 10
    raw = [item for item in replay_batches(tmp_path / "run", "chest") if isinstance(item, Batch)]
    assert raw[-1].at_ns[-1] > last_ns - SECOND_NS
    pyxdf = pytest.importorskip("pyxdf", reason="needs pyxdf: pip install pyxdf")
    streams, _ = pyxdf.load_xdf(tmp_path / "run" / "recording.xdf")
    theirs = {stream["info"]["name"][0]: stream for stream in streams}["chest/ecg"]
    assert np.array_equal(theirs["time_series"], values[:kept])


def test_a_torn_tail_is_left_out_and_measured(tmp_path: Path) -> None:
    clock = VirtualClock(START_NS)
    recorder = Recorder(tmp_path / "run", RIG, clock, SPECS)
    play(recorder, clock, 20)
    made = recorder.finish(clock.now_ns())
    path = tmp_path / "run" / "recording.xdf"
    data = path.read_bytes()
    for size in range(len(data) - 6000, len(data), 37):
        path.write_bytes(data[:size])
        loaded = load_recording(tmp_path / "run")
        kept = len(loaded.streams["chest/ecg"].index)
        assert np.array_equal(loaded.streams["chest/ecg"].values, made.streams["chest/ecg"].values[:kept])
        assert loaded.events == made.events[: len(loaded.events)]
        assert len(loaded.windows.outputs) == len(loaded.windows.stamps_ns) == len(loaded.windows.late)
        assert loaded.interrupted
    path.write_bytes(data[:-6000] + b"\x04\xff\xff")
    assert "torn bytes" in load_recording(tmp_path / "run").interrupted


def test_a_full_disk_is_reported_and_what_was_written_stays_readable(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="needs a POSIX system: file size limits")
    done = run_child(
        tmp_path / "run",
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "try:\n    t.play(recorder, clock, 400)\n"
        "except t.DiskError as error:\n    print(error)\n"
        "made = recorder.finish(clock.now_ns())\n"
        "print(made.interrupted)\n"
        "print(len(made.streams['chest/ecg'].index))\n",
    )
    assert done.returncode == 0, done.stderr
    error, interrupted, in_memory = done.stdout.splitlines()
    assert "recording.xdf" in error and "File too large" in error and "stay readable" in error
    assert interrupted == error
    loaded = load_recording(tmp_path / "run")
    assert "no end" in loaded.interrupted and "torn" not in loaded.interrupted
    kept = len(loaded.streams["chest/ecg"].index)
    assert 0 < kept < int(in_memory)
    assert np.array_equal(loaded.streams["chest/ecg"].index, np.arange(kept))


def test_after_a_failed_write_memory_still_holds_everything(tmp_path: Path) -> None:
    clock = VirtualClock(START_NS)
    recorder = Recorder(tmp_path / "run", RIG, clock, SPECS)
    assert recorder._disk is not None
    recorder._disk._xdf._file.close()  # as if the disk had been pulled
    recorder._disk._xdf._file._file = (tmp_path / "run" / "rig.json").open("rb", buffering=0)  # cannot be written
    recorder.samples("chest", *ecg_samples(0, 25, START_NS))
    with pytest.raises(OSError, match=r"recording\.xdf"):
        recorder.flush()
    recorder.samples("chest", *ecg_samples(25, 25, START_NS))
    recorder.flush()
    made = recorder.finish(START_NS + 1, interrupted="stopped")
    assert len(made.streams["chest/ecg"].index) == 50
    assert made.interrupted.startswith("stopped; ") and "recording.xdf" in made.interrupted


def test_what_breaks_a_write_off_leaves_no_silent_gap_on_disk(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", RIG, VirtualClock(START_NS), SPECS)
    recorder.samples("chest", *ecg_samples(0, 25, START_NS))
    recorder.flush()
    recorder.samples("chest", *ecg_samples(25, 25, START_NS))
    recorder.event("chest", Notice("odd", object(), START_NS))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be recorded"):
        recorder.flush()
    recorder.samples("chest", *ecg_samples(50, 25, START_NS))
    made = recorder.finish(START_NS + 1)
    assert len(made.streams["chest/ecg"].index) == 75 and "broken off: TypeError" in made.interrupted
    loaded = load_recording(tmp_path / "run")
    assert np.array_equal(loaded.streams["chest/ecg"].index, np.arange(50)) and "no end" in loaded.interrupted


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    Recorder(tmp_path / "run", RIG, VirtualClock(), SPECS).finish(1)
    with pytest.raises(RecordingError, match="no such directory"):
        load_recording(tmp_path / "elsewhere")
    for name in ("recording.xdf", "rig.json"):
        moved = (tmp_path / "run" / name).rename(tmp_path / name)
        with pytest.raises(RecordingError, match=rf"{name} is missing"):
            load_recording(tmp_path / "run")
        moved.rename(tmp_path / "run" / name)
    (tmp_path / "run" / "recording.xdf").write_bytes(b"nothing of the kind")
    with pytest.raises(RecordingError, match=r"recording\.xdf: expected an XDF file"):
        load_recording(tmp_path / "run")
    (tmp_path / "run" / "rig.json").write_text("[]")
    with pytest.raises(RecordingError, match=r"rig\.json: expected the rig"):
        load_recording(tmp_path / "run")


def test_a_run_is_never_written_over_another(tmp_path: Path) -> None:
    Recorder(tmp_path / "run", RIG, VirtualClock(), SPECS).finish(1)
    before = (tmp_path / "run" / "recording.xdf").read_bytes()
    with pytest.raises(DiskError, match=r"recording\.xdf exists already"):
        Recorder(tmp_path / "run", RIG, VirtualClock(), SPECS)
    assert (tmp_path / "run" / "recording.xdf").read_bytes() == before


def test_what_does_not_fit_is_refused_by_name() -> None:
    recorder = Recorder(None, RIG, VirtualClock(), SPECS)
    wrong = Samples("ecg", np.zeros((2, 1)), np.arange(2), np.arange(2))
    with pytest.raises(ValueError, match="chest/ecg: expected 2 samples of 2 channels"):
        recorder.samples("chest", wrong, np.arange(2))
    with pytest.raises(ValueError, match="before start"):
        recorder.windows(np.zeros((1, 6), dtype=np.int64), np.zeros((1, 0)), np.zeros((1, 1)))
    recorder.start(0, ("chest/ecg",))
    with pytest.raises(ValueError, match=r"late \(n, 1\)"):
        recorder.windows(np.zeros((1, 6), dtype=np.int64), np.zeros((1, 0)), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="one run"):
        recorder.start(0)
    with pytest.raises(TypeError, match="cannot be recorded"):
        recorder.finish(1, meta={"bad": object()})
