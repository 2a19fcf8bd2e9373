"""What a Shimmer3 says that is no data packet: ACK, NACK, status and battery, alone or between packets.

Source: log-and-stream-common (shimmer_bt_uart.c). With a CRC mode, every reply ends in a CRC over all of it.
"""

from __future__ import annotations

from drivers.shimmer3_packet import battery_volts, with_crc

ACK, NACK, IN_STREAM, STATUS, BATTERY = 0xFF, 0xFE, 0x8A, 0x71, 0x94
STATUS_BITS = ("docked", "sensing", "clock_set", "logging", "streaming", "sd_card", "sd_error", "red_led")
"""Of the status byte, from bit 0."""
_SIZES = {STATUS: 3, BATTERY: 5}


def meaning(reply: bytes) -> dict[str, bool | float]:
    """What a status or battery reply says, with or without ACK ahead and CRC behind; nothing for any other."""
    at = reply.find(IN_STREAM)
    if at < 0:
        return {}
    if reply[at + 1] == STATUS:
        return {name: bool(reply[at + 2] >> bit & 1) for bit, name in enumerate(STATUS_BITS)}
    return {"battery_V": battery_volts(int.from_bytes(reply[at + 2 : at + 4], "little"))}


def reply_size(data: bytes, at: int, crc_bytes: int) -> int:
    """Length of the reply that begins at this offset, 0 if none does, -1 if that takes more bytes to tell."""
    body = at
    if data[at] in (ACK, NACK):
        body = at + 1
        if data[at : body + crc_bytes] == with_crc(data[at:body], crc_bytes):
            return 1 + crc_bytes
        if len(data) < body + max(crc_bytes, 1):
            return -1
    if data[body] != IN_STREAM:
        return 0
    if len(data) < body + 2:
        return -1
    if data[body + 1] not in _SIZES:
        return 0
    end = body + _SIZES[data[body + 1]]
    if len(data) < end + crc_bytes:
        return -1
    return end + crc_bytes - at if data[at : end + crc_bytes] == with_crc(data[at:end], crc_bytes) else 0
