"""SerialTransfer, the Arduino library: START, id, overhead, length, stuffed payload, CRC-8, STOP.

START bytes in the payload are replaced by the distance to the next one, the last by 0; ``overhead`` is the place
of the first, 255 if there is none. The CRC (polynomial 0x9B, start 0) covers the payload as it is sent.
Source: PowerBroker2/SerialTransfer, Packet.h and PacketCRC.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drivers.crc import crc8_rows
from drivers.framing import Bytes

START, STOP = 0x7E, 0x81
POLYNOMIAL = 0x9B
NONE = 0xFF
LONGEST = 254
HEADER, TAIL = 4, 2


def encode_rows(payloads: Bytes, packet_id: int = 0) -> Bytes:
    """Payloads (n, length) of up to 254 bytes each as frames (n, length + 6)."""
    count, length = payloads.shape
    if not 1 <= length <= LONGEST:
        raise ValueError(f"a payload of {length} bytes: SerialTransfer carries 1 to {LONGEST}")
    frames = np.empty((count, length + HEADER + TAIL), dtype=np.uint8)
    marks = payloads == START
    first = np.where(marks.any(axis=1), marks.argmax(axis=1), NONE)
    stuffed = payloads.copy()
    rows, places = np.nonzero(marks)
    behind = np.diff(places, append=0)
    last_of_row = np.diff(rows, append=-1) != 0
    stuffed[rows, places] = np.where(last_of_row, 0, behind)
    frames[:, 0], frames[:, 1], frames[:, 2], frames[:, 3] = START, packet_id, first, length
    frames[:, HEADER:-TAIL] = stuffed
    frames[:, -2], frames[:, -1] = crc8_rows(stuffed, POLYNOMIAL), STOP
    return frames


def decode_rows(frames: Bytes) -> tuple[Bytes, NDArray[np.bool_]]:
    """Frames (n, length + 6) as payloads (n, length), and which of them are whole: marks, length, CRC, stuffing.

    Bytes of a frame that is not whole mean nothing.
    """
    payloads = frames[:, HEADER:-TAIL].copy()
    length = payloads.shape[1]
    whole = (frames[:, 0] == START) & (frames[:, -1] == STOP) & (frames[:, 3] == length)
    whole &= crc8_rows(payloads, POLYNOMIAL) == frames[:, -2]
    place = frames[:, 2].astype(np.intp)
    going = np.flatnonzero(whole & (place != NONE))
    place = place[going]
    for _ in range(length):
        inside = place < length
        whole[going[~inside]] = False
        going, place = going[inside], place[inside]
        if not len(going):
            break
        step = payloads[going, place]
        payloads[going, place] = START
        going, place = going[step > 0], (place + step)[step > 0]
    return payloads, whole
