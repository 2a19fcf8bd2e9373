"""A real intensive-care recording whose heart hardly varies: ambiguous stretches are refused, not mismatched."""

import io
import lzma

import numpy as np
import pytest

from harness.content import Trace, align_pulses, r_peaks

RATE_HZ = 125.0


@pytest.fixture(scope="module")
def bidmc(request):
    """(ECG lead II, pleth) of BIDMC recording 01, 480 s (PhysioNet, ODC-By)."""
    path = request.config.getoption("--data") / "bidmc01.npz.xz"
    if not path.is_file():
        pytest.skip(f"needs the recording {path}: give its folder with --data DIR")
    data = np.load(io.BytesIO(lzma.decompress(path.read_bytes())))
    names = [str(name).strip().lower() for name in data["names"]]
    times_s = np.arange(len(data["x"])) / RATE_HZ
    return [Trace.of(data["x"][:, names.index(name)], times_s, RATE_HZ) for name in ("ii", "pleth")]


def test_its_beats_and_pulses_are_found(bidmc):
    beats_s = r_peaks(bidmc[0])
    assert len(beats_s) == pytest.approx(480 * 91 / 60, rel=0.01)  # 91 a minute


@pytest.mark.parametrize("seconds", [10.0, 30.0, 60.0])
def test_what_fits_at_several_beats_is_refused(bidmc, seconds):
    ecg, ppg = bidmc
    for start_s in np.arange(0, 480 - seconds, seconds / 2).tolist():
        part = (trace.between(start_s, start_s + seconds) for trace in (ecg, ppg))
        found = align_pulses(r_peaks(next(part)), next(part))
        assert found.refused is not None or 100 < found.lag_ms < 900, f"{start_s} s: {found}"
        if found.refused is not None:
            assert np.isnan(found.lag_ms)
