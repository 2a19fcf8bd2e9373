"""The exchange that makes a Shimmer3 ready to stream what the settings ask for, step by step."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeAlias

from drivers.codec import Expect, Pause, Step, Steps, Write
from drivers.errors import HandshakeError
from drivers.shimmer3_packet import channels_of, size_of, with_crc
from drivers.shimmer3_replies import ACK, BATTERY, IN_STREAM, NACK, STATUS, meaning
from drivers.shimmer3_settings import Settings
from drivers.shimmer3_streams import registers_for

_LOG_AND_STREAM, _BT_STREAM = 3, 1
_CONFIG_BYTES = {0x03: 4, 0x0A: 7}
"""Hardware, Shimmer3 and Shimmer3R, -> bytes of configuration in the answer to an inquiry."""
_BUSY = "it is logging, or in a synchronised session. Stop that, or put it into its dock and take it out again"
_Asked: TypeAlias = Generator[Step, "bytes | None", bytes]


@dataclass
class Found:
    """What the device has said about itself."""

    channels: tuple[int, ...] = ()
    """Of its packets, in order."""
    crc_bytes: int = 0
    """Behind its packets."""
    said: dict[str, bool | float | str] = field(default_factory=dict)


def set_up(made: Settings, found: Found) -> Steps:
    """Stop what may be running, ask what this is, set it up; fills in ``found``. HandshakeError if it will not do."""
    yield Write(b"\x20")
    yield Pause(0.3)
    yield Write(b"\x8b\x00")  # a CRC that an earlier client asked for would stand behind every answer
    yield Pause(0.1)
    firmware = yield from _ask(b"\x2e", b"\x2f", 6, "firmware version")
    if firmware[0] not in (_LOG_AND_STREAM, _BT_STREAM):
        raise HandshakeError(f"expected the firmware LogAndStream (3) or BtStream (1), found {firmware[0]}")
    found.said["firmware"] = f"{firmware[2]}.{firmware[4]}.{firmware[5]}"
    hardware = yield from _ask(b"\x3f", b"\x25", 1, "hardware version")
    if hardware[0] not in _CONFIG_BYTES:
        raise HandshakeError(f"expected the hardware Shimmer3 (3) or Shimmer3R (10), found {hardware[0]}")
    yield from _configure(made)
    found.channels = tuple((yield from _inquire(made, _CONFIG_BYTES[hardware[0]])))
    for command, code, size in ((b"\x72", STATUS, 1), (b"\x95", BATTERY, 3)):
        head = bytes([IN_STREAM, code])
        found.said |= meaning(head + (yield from _ask(command, head, size, "state")))
    found.crc_bytes = int.from_bytes((yield from _agree_on_crc(made.crc_bytes)), "little")
    if found.crc_bytes < made.crc_bytes:
        found.said["crc"] = "unknown to this firmware: a lost byte damages a sample unseen"


def begin(found: Found) -> Steps:
    """Stream; what arrives behind the last step is data. Where noise has hit the ACK, data that comes will do."""
    yield Write(b"\x07")
    ack, nack = (re.escape(with_crc(bytes([code]), found.crc_bytes)) for code in (ACK, NACK))
    got = yield Expect(b"^" + nack + b"|" + ack, "a Shimmer3's ACK to 0x07", timeout_s=1.0, optional=True)
    if got is not None and got[0] == NACK:
        raise HandshakeError(f"told to stream (0x07), the Shimmer3 refused with NACK: {_BUSY}")


def _configure(made: Settings) -> Steps:
    yield from _tell(b"\x05" + made.ticks().to_bytes(2, "little"), f"sample at {made.rate_hz:g} Hz")
    yield from _tell(b"\x08" + made.field().to_bytes(3, "little"), f"measure {', '.join(made.sensors)}")
    if "gsr" in made.sensors:
        yield from _tell(bytes([0x21, made.gsr_range]), f"use GSR range {made.gsr_range}")
    if "ppg" in made.sensors:
        yield from _tell(b"\x5e\x01", "power its expansion board, as the PPG needs")
    for name in made.sensors:
        for chip, registers in enumerate(registers_for(name, made.rate_hz, made.exg_gain)):
            count = len(registers)
            yield from _tell(bytes([0x61, chip, 0, count]) + registers, f"set up ExG chip {chip + 1}")
            kept = yield from _ask(bytes([0x63, chip, 0, count]), bytes([0x62, count]), count, "ExG registers")
            if kept[3:5] != registers[3:5]:
                raise HandshakeError(
                    f"expected the gain registers {registers[3:5].hex()} of ExG chip {chip + 1}, found "
                    f"{kept[3:5].hex()}: is there an ExG board in this Shimmer?"
                )


def _inquire(made: Settings, config_bytes: int) -> _Asked:
    """Channels that the device will send; HandshakeError unless they and its rate are what the settings ask for."""
    head = yield from _ask(b"\x01", b"\x02", 2 + config_bytes + 2, "answer to an inquiry")
    count, ticks = head[-2], int.from_bytes(head[:2], "little")
    if ticks != made.ticks():
        raise HandshakeError(f"expected a sampling period of {made.ticks()} ticks of 1/32768 s, found {ticks}")
    listed = (yield Expect(b".{%d}" % count, f"the {count} channels in the answer to an inquiry")) or b""
    wanted = bytes(channels_of(made.field()))
    unknown = bytes(channel for channel in listed if size_of(channel) is None)
    missing = bytes(channel for channel in wanted if channel not in listed)
    if unknown or missing or len(set(listed)) < len(listed):
        raise HandshakeError(
            f"expected the channels {wanted.hex(' ')}, found {listed.hex(' ') or 'none'}"
            + (f"; missing: {missing.hex(' ')}" if missing else "")
            + (f"; unknown: {unknown.hex(' ')}" if unknown else "")
            + ". Do the sensors of the settings fit this unit?"
        )
    return listed


def _agree_on_crc(wanted: int) -> _Asked:
    """One byte: how many bytes of CRC the device will send, 0 where its firmware knows of none."""
    if not wanted:
        return b"\0"
    yield Write(bytes([0x8B, wanted]))
    ack = re.escape(with_crc(bytes([ACK]), wanted))
    got = yield Expect(ack, "a Shimmer3's ACK to a CRC mode (0x8b)", timeout_s=2.0, optional=True)
    return bytes([wanted if got is not None else 0])


def _ask(command: bytes, head: bytes, size: int, what: str) -> _Asked:
    """The ``size`` bytes behind ``head`` of the answer; HandshakeError for a NACK."""
    yield Write(command)
    wanted = b"%b.{%d}" % (re.escape(bytes([ACK]) + head), size)
    got = (yield Expect(b"^\xfe|" + wanted, f"a Shimmer3's {what} (0x{head[-1]:02x})")) or b""
    if got == bytes([NACK]):
        raise HandshakeError(f"asked for its {what} (0x{command[0]:02x}), the Shimmer3 refused with NACK: {_BUSY}")
    return got[-size:] if size else b""


def _tell(command: bytes, what: str) -> Steps:
    """A command that is only acknowledged."""
    yield Write(command)
    got = yield Expect(b"^\xfe|\xff", f"a Shimmer3's ACK to 0x{command[0]:02x}")
    if got == bytes([NACK]):
        raise HandshakeError(f"told to {what} (0x{command[0]:02x}), the Shimmer3 refused with NACK: {_BUSY}")
