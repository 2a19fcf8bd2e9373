"""The XDF writer against pyxdf (an independent reader) and MNE; our reader against our writer."""

import errno
import struct
from pathlib import Path

import numpy as np
import pytest

from drivers.rawlog import DiskError
from harness.xdf import BOUNDARY_MARK, Channel, XdfWriter
from harness.xdf_read import XdfError, read_xdf

pyxdf = pytest.importorskip("pyxdf", reason="needs pyxdf: pip install pyxdf")

UV = [Channel("Fz", "µV", "EEG"), Channel("<C&z>", "µV", "EEG")]


def gappy_stamps(count: int, rate_hz: float) -> np.ndarray:
    """Stamps with losses, jitter and an awkward origin, all of which a line fit would change."""
    rng = np.random.default_rng(3)
    kept = np.sort(rng.choice(2 * count, count, replace=False))
    return 86_400.123456789 + kept / rate_hz + rng.normal(0, 0.002, count)


def test_pyxdf_reads_every_format_and_changes_no_value_and_no_stamp(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    extremes = np.array([[2**63 - 1, -(2**63)], [2**53 + 1, -1], [0, 10**18 + 7]])
    floats = rng.standard_normal((400, 2))
    stamps = gappy_stamps(400, 250.0)
    writer = XdfWriter(tmp_path / "a.xdf")
    doubles = writer.stream("a/eeg", "EEG", UV, 250.0, "float64", can_drop_samples=True)
    singles = writer.stream("a/raw", "EEG", UV, 250.0, "float32", can_drop_samples=True)
    integers = writer.stream("a/eeg.bookkeeping", "Bookkeeping", [Channel("x"), Channel("y")], None, "int64")
    texts = writer.stream("incidents", "Markers", [Channel("JSON")], None, "string")
    for number in (doubles, singles, integers, texts):
        writer.clock_offset(number, stamps[0], 0.0)
    for part in np.array_split(np.arange(400), 7):
        writer.samples(doubles, stamps[part], floats[part])
        writer.samples(singles, stamps[part], floats[part].astype(np.float32))
        writer.boundary()
    writer.samples(integers, stamps[:3], extremes)
    writer.samples(texts, stamps[:2], [("{}",), ("µ漢" * 300,)])
    writer.close()

    streams, header = pyxdf.load_xdf(tmp_path / "a.xdf")
    assert header["info"]["version"] == ["1.0"]
    found = {stream["info"]["name"][0]: stream for stream in streams}
    assert np.array_equal(found["a/eeg"]["time_series"], floats)
    assert np.array_equal(found["a/raw"]["time_series"], floats.astype(np.float32))
    assert np.array_equal(found["a/eeg.bookkeeping"]["time_series"], extremes)
    assert found["a/eeg.bookkeeping"]["time_series"].dtype == np.int64
    assert found["incidents"]["time_series"] == [["{}"], ["µ漢" * 300]]
    for name, count in (("a/eeg", 400), ("a/raw", 400), ("a/eeg.bookkeeping", 3), ("incidents", 2)):
        assert np.array_equal(found[name]["time_stamps"], stamps[:count]), name
        footer = found[name]["footer"]["info"]
        assert int(footer["sample_count"][0]) == count
        assert float(footer["first_timestamp"][0]) == stamps[0]
        assert float(footer["last_timestamp"][0]) == stamps[count - 1]


def test_without_the_drop_flag_pyxdf_would_have_bent_the_stamps(tmp_path: Path) -> None:
    stamps = gappy_stamps(400, 250.0)
    writer = XdfWriter(tmp_path / "a.xdf")
    number = writer.stream("a/eeg", "EEG", UV, 250.0, "float64")
    writer.samples(number, stamps, np.zeros((400, 2)))
    writer.close()
    (stream,), _ = pyxdf.load_xdf(tmp_path / "a.xdf")
    assert np.abs(stream["time_stamps"] - stamps).max() > 0.01


def test_the_header_says_what_the_stream_is_where_others_look(tmp_path: Path) -> None:
    writer = XdfWriter(tmp_path / "a.xdf")
    writer.stream("chest/ecg", "EEG", UV, 250.0, "float64", {"role": "chest", "lsb": "0.5"}, can_drop_samples=True)
    writer.close()
    (stream,), _ = pyxdf.load_xdf(tmp_path / "a.xdf")
    info = stream["info"]
    assert (info["name"], info["type"]) == (["chest/ecg"], ["EEG"])
    assert (info["channel_count"], info["channel_format"]) == (["2"], ["double64"])
    assert float(info["nominal_srate"][0]) == 250.0
    desc = info["desc"][0]
    assert desc["synchronization"][0]["can_drop_samples"] == ["true"]
    channels = desc["channels"][0]["channel"]
    assert [(c["label"][0], c["unit"][0], c["type"][0]) for c in channels] == [
        ("Fz", "µV", "EEG"),
        ("<C&z>", "µV", "EEG"),
    ]
    assert desc["hil"][0] == {"role": ["chest"], "lsb": ["0.5"]}


def test_mne_takes_a_stream_through_pyxdf(tmp_path: Path) -> None:
    mne = pytest.importorskip("mne", reason="needs MNE: pip install mne")
    microvolts = np.random.default_rng(2).standard_normal((500, 2))
    writer = XdfWriter(tmp_path / "a.xdf")
    number = writer.stream("a/eeg", "EEG", UV, 250.0, "float64", can_drop_samples=True)
    writer.samples(number, np.arange(500) / 250.0, microvolts)
    writer.close()
    streams, _ = pyxdf.load_xdf(tmp_path / "a.xdf", select_streams=[{"type": "EEG"}])
    labels = [channel["label"][0] for channel in streams[0]["info"]["desc"][0]["channels"][0]["channel"]]
    info = mne.create_info(labels, float(streams[0]["info"]["nominal_srate"][0]), "eeg")
    raw = mne.io.RawArray(streams[0]["time_series"].T * 1e-6, info, verbose="error")
    assert raw.ch_names == ["Fz", "<C&z>"]
    assert raw.n_times == 500
    np.testing.assert_allclose(raw.get_data() * 1e6, microvolts.T, rtol=1e-12)


def write_two_chunks(path: Path) -> tuple[int, int]:
    """Two chunks of 50 samples, a boundary after the first; the file's size after each."""
    writer = XdfWriter(path)
    number = writer.stream("a/eeg", "EEG", UV, 250.0, "float64", can_drop_samples=True)
    values = np.arange(200.0).reshape(100, 2)
    writer.samples(number, np.arange(50) / 250.0, values[:50])
    writer.boundary()
    first = writer.size
    writer.samples(number, np.arange(50, 100) / 250.0, values[50:])
    second = writer.size
    writer.abandon()
    return first, second


def test_our_reader_gives_back_what_was_written(tmp_path: Path) -> None:
    stamps = gappy_stamps(30, 100.0)
    writer = XdfWriter(tmp_path / "a.xdf", {"harness": "0.1"})
    numeric = writer.stream("a/eeg", "EEG", UV, 250.0, "float64", {"role": "a"}, can_drop_samples=True)
    texts = writer.stream("notes", "Markers", [Channel("1"), Channel("2")], None, "string")
    empty = writer.stream("a/rr", "rr", [Channel("rr", "ms")], None, "int64")
    writer.clock_offset(numeric, 3.5, -0.25)
    writer.samples(numeric, stamps, np.full((30, 2), np.nan))
    writer.samples(texts, stamps[:2], [("", "x"), ("é\n", "y" * 70_000)])
    writer.samples(empty, np.zeros(0), np.zeros((0, 1)))
    writer.close()
    file = read_xdf(tmp_path / "a.xdf")
    assert (file.torn_bytes, file.skipped_bytes, file.metadata["harness"]) == (0, 0, "0.1")
    eeg, notes, rr = file.streams
    assert (eeg.name, eeg.kind, eeg.rate_hz, eeg.dtype) == ("a/eeg", "EEG", 250.0, "float64")
    assert eeg.can_drop_samples and not notes.can_drop_samples
    assert eeg.channels == tuple(UV) and eeg.metadata == {"role": "a"}
    assert eeg.clock_offsets == ((3.5, -0.25),)
    assert np.array_equal(eeg.stamps, stamps) and np.isnan(eeg.values).all() and eeg.values.shape == (30, 2)
    assert notes.values == [("", "x"), ("é\n", "y" * 70_000)]
    assert rr.values.shape == (0, 1) and rr.values.dtype == np.int64 and rr.rate_hz is None
    assert rr.footer == {"sample_count": "0"}


def test_a_torn_end_costs_its_chunk_alone_and_is_measured(tmp_path: Path) -> None:
    first, second = write_two_chunks(tmp_path / "a.xdf")
    data = (tmp_path / "a.xdf").read_bytes()
    for size in range(first + 1, second):
        (tmp_path / "torn.xdf").write_bytes(data[:size])
        file = read_xdf(tmp_path / "torn.xdf")
        assert np.array_equal(file.streams[0].values, np.arange(100.0).reshape(50, 2))
        assert file.torn_bytes == size - first
        assert file.streams[0].footer is None


def test_pyxdf_reads_a_file_without_footers_and_all_but_the_torn_chunk(tmp_path: Path) -> None:
    _, second = write_two_chunks(tmp_path / "a.xdf")
    (stream,), _ = pyxdf.load_xdf(tmp_path / "a.xdf")
    assert np.array_equal(stream["time_series"], np.arange(200.0).reshape(100, 2))
    (tmp_path / "torn.xdf").write_bytes((tmp_path / "a.xdf").read_bytes()[: second - 200])
    (stream,), _ = pyxdf.load_xdf(tmp_path / "torn.xdf")
    assert np.array_equal(stream["time_series"], np.arange(100.0).reshape(50, 2))


def test_reading_goes_on_behind_a_damaged_place(tmp_path: Path) -> None:
    first, _ = write_two_chunks(tmp_path / "a.xdf")
    data = bytearray((tmp_path / "a.xdf").read_bytes())
    start = data.index(struct.pack("<HI", 3, 1))  # the first Samples chunk's tag and stream
    data[start - 5 : start + 40] = bytes(45)
    (tmp_path / "a.xdf").write_bytes(data)
    file = read_xdf(tmp_path / "a.xdf")
    assert np.array_equal(file.streams[0].values, np.arange(100.0, 200.0).reshape(50, 2))
    assert file.skipped_bytes == first - len(BOUNDARY_MARK) - (start - 5)
    assert file.torn_bytes == 0


def test_the_boundary_is_the_one_of_the_specification(tmp_path: Path) -> None:
    from pyxdf.pyxdf import _scan_forward

    first, _ = write_two_chunks(tmp_path / "a.xdf")
    with (tmp_path / "a.xdf").open("rb") as file:
        assert _scan_forward(file)
        assert file.tell() == first


def test_random_damage_never_breaks_the_reader(tmp_path: Path) -> None:
    write_two_chunks(tmp_path / "a.xdf")
    data = (tmp_path / "a.xdf").read_bytes()
    rng = np.random.default_rng(11)
    for k in range(1000):
        bad = bytearray(data)
        for at in rng.integers(4, (700, len(bad))[k % 2], 3):  # the headers are in the first 700 bytes
            bad[at] = rng.choice([rng.integers(256), ord("0") + rng.integers(10)])
        (tmp_path / "bad.xdf").write_bytes(bad)
        try:
            file = read_xdf(tmp_path / "bad.xdf")
        except XdfError:
            continue
        assert all(len(stream.stamps) == len(stream.values) for stream in file.streams)


def test_a_header_that_declares_entities_is_not_parsed(tmp_path: Path) -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><info><name>&a;</name></info>'
    chunk = struct.pack("<BIHI", 4, len(bomb) + 6, 2, 1) + bomb
    (tmp_path / "a.xdf").write_bytes(b"XDF:" + chunk)
    file = read_xdf(tmp_path / "a.xdf")
    assert file.streams == () and file.torn_bytes == len(chunk)


def test_a_foreign_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.xdf").write_bytes(b"RIFFxxxx")
    with pytest.raises(XdfError, match=r"a\.xdf.*XDF:.*RIFF"):
        read_xdf(tmp_path / "a.xdf")


@pytest.mark.parametrize("values", [np.zeros((3, 1)), np.zeros((2, 2)), np.zeros(3)])
def test_values_that_do_not_fit_the_stream_are_refused_and_not_written(tmp_path: Path, values: np.ndarray) -> None:
    writer = XdfWriter(tmp_path / "a.xdf")
    number = writer.stream("a/eeg", "EEG", UV, 250.0, "float64")
    size = writer.size
    with pytest.raises(ValueError, match=r"a/eeg.*\(3, 2\)"):
        writer.samples(number, np.zeros(3), values)
    assert writer.size == size
    writer.close()


def test_an_unknown_format_and_an_unwritable_label_are_refused(tmp_path: Path) -> None:
    writer = XdfWriter(tmp_path / "a.xdf")
    with pytest.raises(ValueError, match="float16"):
        writer.stream("a", "EEG", UV, 250.0, "float16")
    with pytest.raises(ValueError, match="label"):
        writer.stream("a", "EEG", [Channel("a\x00b")], 250.0, "float64")
    writer.close()


def test_a_full_disk_is_an_error_and_what_was_written_stays_readable(tmp_path: Path) -> None:
    class FullDisk:
        def __init__(self, file: object) -> None:
            self.file, self.room = file, 100

        def write(self, data: memoryview) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, "No space left on device")
            taken, self.room = min(self.room, len(data)), 0
            return self.file.write(data[:taken])  # type: ignore[attr-defined,no-any-return]

        def __getattr__(self, name: str) -> object:
            return getattr(self.file, name)

    writer = XdfWriter(tmp_path / "a.xdf")
    number = writer.stream("a/eeg", "EEG", UV, 250.0, "float64", can_drop_samples=True)
    writer.samples(number, np.arange(5.0), np.ones((5, 2)))
    writer._file._file = FullDisk(writer._file._file)  # type: ignore[assignment]
    with pytest.raises(DiskError, match="No space left"):
        writer.samples(number, np.arange(5.0, 99.0), np.ones((94, 2)))
    writer.abandon()
    file = read_xdf(tmp_path / "a.xdf")
    assert (len(file.streams[0].stamps), file.torn_bytes) == (5, 0)
    (stream,), _ = pyxdf.load_xdf(tmp_path / "a.xdf")
    assert len(stream["time_stamps"]) == 5
