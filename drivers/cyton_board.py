"""How an OpenBCI Cyton answers its commands: the board's state, apart from its samples.

Source: OpenBCI_Cyton_Library (OpenBCI_32bit_Library.cpp, _Definitions.h) and the Cyton SDK page of
OpenBCI's documentation.
"""

from __future__ import annotations

import numpy as np

from drivers.codec import Reply
from drivers.types import FloatArray, IntArray

CHANNELS = 8
GAINS = (1, 2, 4, 6, 8, 12, 24)
FULL_COUNT = (1 << 23) - 1
REFERENCE_UV = 4.5e6
RATE_HZ = 250.0

_HELLO = b"OpenBCI V3 8-16 channel\r\nOn Board ADS1299 Device ID: 0x3E\r\n"
_DAISY = b"On Daisy ADS1299 Device ID: 0x3E\r\n"
_FIRMWARE = b"LIS3DH Device ID: 0x33\r\nFirmware: v3.1.2\r\n$$$"
_RESET_NS = 500_000_000
_LENGTHS = {b"x": 9, b"z": 5, b"~": 2, b"/": 2, b"`": 2, b"\xf0": 2}
"""Commands of several characters. The firmware forgets an incomplete one after 1 s; here it waits for its rest."""
_LATCHES = {b"x": b"X", b"z": b"Z"}
_RATES = (16000, 8000, 4000, 2000, 1000, 500, 250)
_MODES = ("default", "debug", "analog", "digital", "marker", "BLE")
_RAW_AUX_MODES = (2, 3, 4)
_OFF, _ON = b"12345678qwertyui", b"!@#$%^&*QWERTYUI"
CHANNEL_CODES = b"12345678QWERTYUI"
"""Channels 1 to 16 in the commands x and z."""
_TESTS = b"0-=p[]"
_TEST_UV = REFERENCE_UV / 2400
"""Amplitude of the ADS1299's internal test signal."""
_TEST_HZ = {b"-": 2**-21, b"=": 2**-20, b"[": 2**-21, b"]": 2**-20}
_ADS_CLOCK_HZ = 2.048e6


def microvolts_per_count(gain: float) -> float:
    """Size of one step of the ADC at a gain."""
    return REFERENCE_UV / gain / FULL_COUNT


class CytonBoard:
    """Commands in, replies out, and what they set. While it streams it answers none but a reset."""

    def __init__(self, daisy: bool = False) -> None:
        self._daisy, self.rate_hz = daisy, RATE_HZ / (1 + daisy)
        self._channels = CHANNELS * (1 + daisy)
        self.power_on()

    def power_on(self) -> None:
        """Everything as after a power cycle or ``v``."""
        self.streaming = self.timestamps = self.first_stamp = False
        self.mode = 0
        self.attached = self._daisy
        """Sixteen channels go out."""
        self._command = b""
        self._set_defaults()

    def _set_defaults(self) -> None:
        self.gains = np.full(self._channels, 24.0)
        self.powered = np.ones(self._channels, dtype=bool)
        self._test = b""

    @property
    def raw_aux(self) -> bool:
        """The last six bytes carry pins instead of the accelerometer."""
        return self.mode in _RAW_AUX_MODES

    def counts(self, microvolts: FloatArray, index: IntArray) -> FloatArray:
        """What the ADC makes of (n, 8 or 16) microvolts of samples number ``index`` (n,), as whole numbers."""
        if self._test:
            microvolts = np.repeat(self._test_signal(index)[:, None], self._channels, axis=1)
        counts = np.rint(microvolts / (REFERENCE_UV / self.gains / FULL_COUNT))
        return np.asarray(np.clip(counts, -FULL_COUNT - 1, FULL_COUNT) * self.powered)

    def _test_signal(self, index: IntArray) -> FloatArray:
        """Microvolts of the internal square wave, constant level or shorted input, (n,)."""
        level = 0.0 if self._test == b"0" else _TEST_UV * (2 if self._test in b"[]" else 1)
        hertz = _TEST_HZ.get(self._test, 0.0) * _ADS_CLOCK_HZ
        return np.where((index * (hertz / self.rate_hz)) % 1.0 < 0.5, level, -level)

    # --- commands -----------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Reply]:
        """Take any piece of the command stream."""
        replies: list[Reply] = []
        for value in data:
            text = self._take(bytes([value]))
            if text == self._banner:
                replies = [Reply(text, _RESET_NS)]
            elif text and not self.streaming:
                replies.append(Reply(text))
        return replies

    def _take(self, char: bytes) -> bytes:
        if not self._command and char not in _LENGTHS:
            return self._single(char)
        self._command += char
        head, length = self._command[:1], len(self._command)
        latch = _LATCHES.get(head)
        whole = length == _LENGTHS[head]
        if not whole and char != latch:
            return b""
        command, self._command = self._command, b""
        if not whole:
            return b"Failure: too few chars$$$"
        if latch and char != latch:
            return b"Failure: Err: %dth char not %s$$$" % (length, latch)
        return self._several(head, command[1:])

    @property
    def _banner(self) -> bytes:
        return _HELLO + _DAISY * self._daisy + _FIRMWARE

    def _single(self, char: bytes) -> bytes:
        if char == b"v":
            self.power_on()
            return self._banner
        if char in b"bs":
            self.streaming = char == b"b"
        elif char in b"<>":
            self.timestamps = self.first_stamp = char == b"<"
            return b"Time stamp ON$$$" if self.timestamps else b"Time stamp OFF$$$"
        elif char in _OFF or char in _ON:
            channel = (_ON if char in _ON else _OFF).index(char)
            if channel < self._channels:
                self.powered[channel] = char in _ON
        elif char in _TESTS:
            self._test = char
            return b"Success: Configured internal test signal.$$$"
        elif char == b"d":
            self._set_defaults()
            return b"updating channel settings to default$$$"
        elif char in b"cC":
            return self._attach(char == b"C")
        return self._question(char)

    def _attach(self, wanted: bool) -> bytes:
        was, self.attached = self.attached, wanted and self._daisy
        if not wanted:
            return b"daisy removed$$$" if was else b""
        if not self._daisy:
            return b"no daisy to attach!8$$$"
        return b"16$$$" if was else b"daisy attached16$$$"

    def _question(self, char: bytes) -> bytes:
        if char == b"?":
            gain_codes = [GAINS.index(int(gain)) << 4 for gain in self.gains]
            registers = "".join(f"CH{n}SET, 0x{4 + n:02X}, 0x{code:02X}\r\n" for n, code in enumerate(gain_codes, 1))
            return b"Board ADS Registers\r\nADS_ID, 0x00, 0x3E\r\n" + registers.encode() + b"$$$"
        return {b"V": b"v3.1.5$$$", b"D": b"060110$$$"}.get(char, b"")

    def _several(self, head: bytes, rest: bytes) -> bytes:
        if head == b"x":
            return self._set_channel(rest)
        if head == b"z":
            return b"Success: Lead off set for %s$$$" % _number(rest[:1])
        if head == b"~":
            known = rest.isdigit() and int(rest) < len(_RATES)
            return b"Success: Sample rate is %dHz$$$" % (_RATES[int(rest)] if known else int(RATE_HZ))
        if head == b"/":
            if rest.isdigit() and int(rest) < len(_MODES):
                self.mode = int(rest)
            return b"Success: %s$$$" % _MODES[self.mode].encode()
        return b"Success: System is Up$$$" if (head, rest) == (b"\xf0", b"\x07") else b""

    def _set_channel(self, rest: bytes) -> bytes:
        """``x C P G I B S2 S1 X``: power and gain act on the samples, the rest is taken note of."""
        channel, power, gain = rest[0:1], rest[1:2], rest[2:3]
        at = CHANNEL_CODES.find(channel)
        if 0 <= at < self._channels:
            self.powered[at] = power == b"0"
            self.gains[at] = GAINS[int(gain)] if gain in b"0123456" else 24
        return b"Success: Channel set for %s$$$" % _number(channel)


def _number(code: bytes) -> bytes:
    """A channel as replies name it, 1 to 16."""
    return b"%d" % (CHANNEL_CODES.index(code) + 1) if code in CHANNEL_CODES else code
