"""SLIP (RFC 1055): packets between END bytes, in which END and ESC stand as two bytes each."""

from __future__ import annotations

END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD
_END, _ESC = bytes([END]), bytes([ESC])
_END_AS, _ESC_AS = bytes([ESC, ESC_END]), bytes([ESC, ESC_ESC])


def encode(packet: bytes) -> bytes:
    """The packet without END bytes."""
    return packet.replace(_ESC, _ESC_AS).replace(_END, _END_AS)


def decode(data: bytes) -> bytes:
    """The packet; ValueError for an END inside or an ESC with another byte or nothing behind it."""
    if END in data:
        raise ValueError("an END byte inside a packet")
    if data.count(_ESC) != data.count(_END_AS) + data.count(_ESC_AS):
        raise ValueError("an ESC byte without ESC_END or ESC_ESC behind it")
    return data.replace(_END_AS, _END).replace(_ESC_AS, _ESC)


def longest(size: int) -> int:
    """Bytes that a packet of ``size`` bytes takes at most, without END bytes."""
    return 2 * size
