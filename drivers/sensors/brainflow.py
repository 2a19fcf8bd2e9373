"""Any board that BrainFlow reads, by its board id: EEG, ECG, PPG, EDA, acceleration and whatever else it has."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers import brainflow_board as boards
from drivers.codec import Device, Golden, Host
from drivers.errors import SettingError
from drivers.rows import MAGIC, RowDevice, RowHost, RowLayout
from drivers.types import StreamSpec

NAME = "brainflow"
LINK = "brainflow"
BAUD = 0
SOURCES = (
    "BrainFlow documentation: Supported Boards, Data Format Description",
    "BrainFlow's own board descriptors, BoardShim.get_board_descr",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which board, and which of its rows. Every row that is read carries BrainFlow's time stamp."""

    board_id: int = field(default=-1, metadata={"help": "BrainFlow's number of the board; -1 is its synthetic one"})
    params: Mapping[str, str | int] = field(
        default_factory=dict,
        metadata={"help": "BrainFlowInputParams: mac_address, ip_address, ip_port, serial_number, file, master_board "
                          "and so on; the serial port is the rig's `port`"},
    )  # fmt: skip
    streams: Mapping[str, Sequence[int]] = field(
        default_factory=dict,
        metadata={"help": "stream name -> BrainFlow's row numbers; a name that is a kind (ecg, eeg) is of that kind. "
                          "Empty: what the board's descriptor has"},
    )  # fmt: skip
    commands: Sequence[str] = field(
        default=(), metadata={"help": "texts for the board's config_board, before it streams"}
    )
    preset: int = field(default=0, metadata={"help": "BrainFlow's preset: 0 default, 1 auxiliary, 2 ancillary"})
    counter_modulus: int | None = field(
        default=None,
        metadata={"help": "steps of the package counter if it grows by one a row; 0: count no losses. "
                          "If absent, as is known of the board, or 0"},
    )  # fmt: skip

    def __post_init__(self) -> None:
        known = vars(boards.library().BrainFlowInputParams())
        for key in self.params:
            if key not in known or key == "serial_port":
                others = ", ".join(name for name in known if name != "serial_port")
                raise SettingError(f"params: BrainFlow has no parameter {key!r} here; there is {others}")
        if self.board_id in boards.BORROWERS and "master_board" not in self.params:
            raise SettingError(f"board {self.board_id} plays another board: put its number in params as master_board")
        if self.counter_modulus is not None and (self.counter_modulus < 0 or self.counter_modulus == 1):
            raise SettingError(f"counter_modulus {self.counter_modulus}: expected 0 or at least 2")
        if self.commands and not all(isinstance(command, str) for command in self.commands):
            raise SettingError(f"commands {self.commands!r}: expected a list of texts")
        self._check_streams()

    def _check_streams(self) -> None:
        rows = int(self.descriptor()["num_rows"])
        used: dict[int, str] = {}
        for name, wanted in self.rows().items():
            if not name or not isinstance(wanted, list | tuple) or not wanted:
                raise SettingError(f"stream {name!r} needs a name and a list of row numbers, such as [1, 2]")
            for row in wanted:
                if type(row) is not int or not 0 <= row < rows:
                    raise SettingError(f"stream {name!r}: row {row!r} is not one of 0..{rows - 1}")
                if row in used:
                    raise SettingError(f"row {row} is in stream {used[row]!r} and again in {name!r}")
                used[row] = name

    def master(self) -> int:
        """The board whose rows these are."""
        return int(self.params["master_board"]) if self.board_id in boards.BORROWERS else self.board_id

    def descriptor(self) -> Mapping[str, Any]:
        """The board's, from BrainFlow."""
        return boards.descriptor(self.master(), self.preset)

    def rows(self) -> Mapping[str, Sequence[int]]:
        """Stream -> rows."""
        found = self.streams or boards.streams(self.descriptor())
        if not found:
            raise SettingError(f"BrainFlow says of no row of board {self.board_id} what it is: name them in streams")
        return found

    def layout(self) -> RowLayout:
        """The board's rows as columns."""
        found = self.descriptor()
        modulus = self.counter_modulus
        if modulus is None:
            modulus = boards.counter_modulus(self.master()) if self.preset == 0 else 0
        counter = found.get("package_num_channel") if modulus else None
        specs = []
        for name, rows in self.rows().items():
            kind, unit = boards.meaning(name, rows, found)
            specs.append(StreamSpec(
                name, kind, boards.labels(rows, found), unit, float(found["sampling_rate"]),
                counted=counter is not None, timed=True, numbered=counter is not None,
            ))  # fmt: skip
        columns = {name: tuple(rows) for name, rows in self.rows().items()}
        width, time = int(found["num_rows"]), int(found["timestamp_channel"])
        return RowLayout(tuple(specs), columns, width, time, counter, modulus if counter is not None else 0)


SETTINGS = Settings
CONFORMANCE_SETTINGS: tuple[Mapping[str, object], ...] = (
    {},
    {"board_id": 0, "streams": {"ecg": [1], "eeg": [7, 8], "accel": [9, 10, 11]}},
    {"board_id": 22},  # a Muse 2, of whose counter nothing is said
)


def host(settings: Settings) -> Host:
    """The decoding end."""
    return RowHost(settings.layout(), f"BrainFlow's board {settings.board_id}")


def device(settings: Settings) -> Device:
    """The encoding end: such rows as the board would have."""
    return RowDevice(settings.layout())


def _row(*numbers: float) -> bytes:
    """A frame, by the standard library."""
    text = MAGIC + struct.pack(f"<{len(numbers)}d", *numbers)
    return text + struct.pack("<I", zlib.crc32(text))


GOLDEN = (
    Golden(
        "BrainFlow 5.23, rows of the synthetic board as get_board_descr(-1) numbers them, each row holding its number",
        _row(*range(32)),
        {
            "exg": [[float(row) for row in range(1, 17)]], "accel": [[17.0, 18.0, 19.0]], "gyro": [[20.0, 21.0, 22.0]],
            "eda": [[23.0]], "ppg": [[24.0, 25.0]], "temperature": [[26.0]],
        },
    ),
    Golden(
        "BrainFlow 5.23, rows of the Muse 2 as get_board_descr(22) numbers them, each row holding its number",
        _row(*range(8)), {"eeg": [[1.0, 2.0, 3.0, 4.0]]}, {"board_id": 22},
    ),
)  # fmt: skip
