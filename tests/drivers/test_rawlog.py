"""The raw log: whole records, exact stamps, torn ends, full disks."""

import errno
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from drivers.clock import VirtualClock
from drivers.errors import LinkError
from drivers.rawlog import (
    AppendFile,
    Closed,
    DiskError,
    GattValue,
    NotingLink,
    Opened,
    RawLogError,
    RawLogWriter,
    merged,
    read_raw_log,
)
from drivers.types import Batch, LinkDown, LinkUp

FAR_NS = 2**62 + 1  # no float64 holds it


def write_log(path: Path, *items: object) -> Path:
    log = RawLogWriter(path)
    for item in items:
        log.put(item)  # type: ignore[arg-type]
    log.close()
    return path


def chunks(*parts: bytes, channel: str = "", start_ns: int = FAR_NS) -> Batch:
    return Batch.of(list(parts), start_ns + np.arange(len(parts)), channel)


def test_every_kind_of_item_comes_back_as_it_was_put(tmp_path: Path) -> None:
    items = [
        Opened(5),
        GattValue("2a37", b"\x00\xff", 6),
        GattValue("2a38", None, 7),
        GattValue("2a39", b"", 8),
        LinkDown(9, "unplugged: é"),
        LinkUp(-3),
        Closed(FAR_NS),
    ]
    log = read_raw_log(write_log(tmp_path / "a.bin", *items))
    assert list(log.items) == items
    assert log.torn_bytes == 0


def test_chunks_come_back_with_their_bytes_and_exact_stamps(tmp_path: Path) -> None:
    batch = chunks(b"abc", b"", b"\x00\x01", b"z" * 70_000, channel="fb005c82")
    (read,) = read_raw_log(write_log(tmp_path / "a.bin", batch)).items
    assert isinstance(read, Batch)
    assert list(read.chunks()) == list(batch.chunks())
    assert read.channel == "fb005c82"
    assert read.at_ns.dtype == np.int64 and read.at_ns[-1] == FAR_NS + 3


def test_neighbours_on_one_channel_become_one_batch_and_order_is_kept(tmp_path: Path) -> None:
    puts = [chunks(b"a", b"bc"), chunks(b"d"), chunks(b"x", channel="c"), LinkDown(1, "gone"), chunks(b"e")]
    items = read_raw_log(write_log(tmp_path / "a.bin", *puts)).items
    assert [getattr(item, "data", None) for item in items] == [b"abcd", b"x", None, b"e"]
    assert isinstance(items[0], Batch)
    assert [data for data, _ in items[0].chunks()] == [b"a", b"bc", b"d"]


def test_merging_is_joining_the_lists_of_chunks() -> None:
    parts = [chunks(b"ab", b"c"), chunks(b""), chunks(b"def", start_ns=7)]
    assert list(merged(parts).chunks()) == [chunk for part in parts for chunk in part.chunks()]


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.bin", chunks(b"ab", b"c", channel="u", start_ns=10))
    head = struct.pack("<BBII", 1, 1, 2, 3)
    body = b"u" + struct.pack("<qq", 10, 11) + struct.pack("<II", 2, 3) + b"abc"
    assert path.read_bytes() == b"HILRAW1\n" + head + struct.pack("<I", zlib.crc32(head + body)) + body


def test_a_torn_end_costs_its_record_alone_wherever_it_is_torn(tmp_path: Path) -> None:
    whole = write_log(tmp_path / "whole.bin", chunks(b"first", channel="a")).stat().st_size
    data = write_log(tmp_path / "a.bin", chunks(b"first", channel="a"), chunks(b"second", channel="b")).read_bytes()
    for size in range(whole, len(data)):
        (tmp_path / "torn.bin").write_bytes(data[:size])
        log = read_raw_log(tmp_path / "torn.bin")
        assert [item.data for item in log.items] == [b"first"]  # type: ignore[union-attr]
        assert log.torn_bytes == size - whole


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    data = write_log(tmp_path / "a.bin", chunks(b"first", channel="a")).read_bytes()
    for at in range(8, len(data)):
        (tmp_path / "bad.bin").write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        log = read_raw_log(tmp_path / "bad.bin")
        assert log.items == () and log.torn_bytes == len(data) - 8


def test_nothing_is_lost_that_was_flushed_and_all_else_is(tmp_path: Path) -> None:
    log = RawLogWriter(tmp_path / "a.bin")
    log.put(chunks(b"one"))
    log.flush()
    log.put(chunks(b"two"))
    assert [item.data for item in read_raw_log(tmp_path / "a.bin").items] == [b"one"]  # type: ignore[union-attr]
    log.close()
    log.close()
    assert len(read_raw_log(tmp_path / "a.bin").items) == 2


def test_a_missing_log_and_a_foreign_file_are_link_errors_that_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(RawLogError, match=r"none\.bin"):
        read_raw_log(tmp_path / "none.bin")
    (tmp_path / "text.bin").write_text("hello world")
    with pytest.raises(LinkError, match=r"HILRAW1.*hello"):
        read_raw_log(tmp_path / "text.bin")


def test_a_recording_is_never_overwritten(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.bin", chunks(b"precious"))
    before = path.read_bytes()
    with pytest.raises(DiskError, match="exists already"):
        RawLogWriter(path)
    assert path.read_bytes() == before


class NearlyFullDisk:
    """Takes ``room`` bytes, then says ENOSPC like a file system."""

    def __init__(self, file: object, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: memoryview) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(self.room, len(data))
        self.room -= taken
        return self.file.write(data[:taken])  # type: ignore[attr-defined,no-any-return]

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


def test_a_write_that_the_disk_takes_in_part_leaves_no_part_behind(tmp_path: Path) -> None:
    file = AppendFile(tmp_path / "a.bin")
    file.write(b"whole")
    file._file = NearlyFullDisk(file._file, 3)  # type: ignore[assignment]
    with pytest.raises(DiskError, match=r"a\.bin: 6 bytes .*No space left.* the 5 bytes before"):
        file.write(b"second")
    assert (tmp_path / "a.bin").read_bytes() == b"whole"
    file._file.room = 100  # type: ignore[attr-defined]
    file.write(b" again")
    file.close()
    assert (tmp_path / "a.bin").read_bytes() == b"whole again"


class PlainLink:
    """A link that answers one GATT read."""

    description = "a plain link"
    quantum_ns = 20

    def __init__(self) -> None:
        self.clock = VirtualClock(40)
        self.calls: list[object] = []

    def open(self, sink: object) -> None:
        self.calls.append("open")

    def write(self, data: bytes, channel: str = "") -> None:
        self.calls.append((data, channel))

    def subscribe(self, channel: str) -> None:
        self.calls.append(channel)

    def read(self, channel: str) -> bytes | None:
        return b"\x01" if channel == "battery" else None

    def close(self) -> None:
        self.calls.append("close")

    def stamp_error_ns(self) -> int:
        return 7


def test_opening_and_gatt_reads_are_noted_and_all_else_passes_through() -> None:
    noted: list[object] = []
    plain = PlainLink()
    link = NotingLink(plain, noted.append)  # type: ignore[arg-type]
    link.open(lambda item: None)
    assert link.read("battery") == b"\x01"
    assert link.read("none") is None
    link.write(b"go", "control")
    link.subscribe("data")
    link.close()
    link.quantum_ns = 99
    assert noted == [Opened(40), GattValue("battery", b"\x01", 40), GattValue("none", None, 40)]
    assert plain.calls == ["open", (b"go", "control"), "data", "close"]
    assert plain.quantum_ns == 99 and link.stamp_error_ns() == 7
    assert not hasattr(link, "peer")
