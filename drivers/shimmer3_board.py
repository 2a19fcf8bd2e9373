"""How a Shimmer3 with LogAndStream answers commands: the device's state, apart from its samples.

Source: log-and-stream-common (shimmer_bt_uart.c, shimmer_config.c); reply lengths as pyshimmer reads them.
"""

from __future__ import annotations

from drivers.codec import Reply
from drivers.shimmer3_gsr import AUTO
from drivers.shimmer3_packet import ADC_FULL, battery_volts, channels_of, with_crc
from drivers.shimmer3_replies import ACK, BATTERY, IN_STREAM, NACK, STATUS

LOG_AND_STREAM = 3
SHIMMER3 = 3
REGISTERS = 10
"""Of each of the two ExG chips."""
_DEFAULT_REGISTERS = bytes.fromhex("00801000000000000201")
_ARGUMENTS = {0x05: 2, 0x08: 3, 0x0E: 4, 0x21: 1, 0x5E: 1, 0x63: 3, 0x8B: 1, 0x8F: 8, 0xA3: 1}
"""Command -> bytes behind it."""
_COUNTED = {0x61: 3, 0x79: 1, 0x7C: 1, 0x85: 1}
"""Command -> bytes behind it, the last of which says how many more there are."""
_DUMMY = 0xB5
_BARE = frozenset({
    0x01, 0x03, 0x07, 0x20, 0x23, 0x24, 0x2C, 0x2E, 0x36, 0x3F, 0x70, 0x72, 0x7B, 0x7E, 0x87,
    0x91, 0x92, 0x93, 0x95, 0x96, 0x97, _DUMMY,
})  # fmt: skip
"""Commands with nothing behind them."""
_BLOCKED_WHILE_SENSING = frozenset({0x05, 0x08, 0x0E, 0x21, 0x5E, 0x61, 0x79, 0x7C, 0x85})
_LONGEST_TEXT = 12
_LONGEST_PAYLOAD = 128
_CALIBRATION = bytes([0xFF]) * 84
"""Never calibrated."""


class ShimmerBoard:
    """Commands in, replies out, and what they set."""

    def __init__(self, version: tuple[int, int, int], battery_v: float) -> None:
        self._version, self._battery_v = version, battery_v
        self.power_on()

    def power_on(self) -> None:
        """Everything as after a power cycle; the firmware keeps its settings, but this device is as good as new."""
        self.streaming = self.logging = self._clock_set = False
        self.period_ticks, self.sensors, self.crc_bytes = 640, 0, 0
        self.gsr_range, self.expansion_power = AUTO, True
        self.registers = [bytearray(_DEFAULT_REGISTERS), bytearray(_DEFAULT_REGISTERS)]
        self._setup = bytearray(b"\x01\xff\x01")
        self._texts = {0x79: b"Shimmer", 0x7C: b"Default", 0x85: b"0"}
        self.now_ticks = self._clock_ticks = self._clock_at = 0
        self._command = b""

    @property
    def status(self) -> int:
        """Not docked, with an SD card; bit 1 sensing, 2 clock set, 3 logging, 4 streaming, 5 card."""
        sensing = self.streaming or self.logging
        return sensing << 1 | self._clock_set << 2 | self.logging << 3 | self.streaming << 4 | 1 << 5

    def receive(self, data: bytes) -> list[Reply]:
        """Take any piece of the command stream."""
        replies = []
        for value in data:
            self._command += bytes([value])
            size = self._size()
            if size == 0:
                self._command = b""  # what is no command is passed over without a word
            elif len(self._command) == size:
                command, self._command = self._command, b""
                answer = self._answer(command)
                if answer:
                    replies.append(Reply(with_crc(answer, self.crc_bytes)))
        return replies

    def _size(self) -> int:
        """Bytes of the command that has begun, as far as it tells; 0 if there is no such command."""
        code = self._command[0]
        if code in _COUNTED:
            head = 1 + _COUNTED[code]
            return head if len(self._command) < head else head + min(self._command[head - 1], _LONGEST_PAYLOAD)
        if code in _ARGUMENTS:
            return 1 + _ARGUMENTS[code]
        return 1 if code in _BARE else 0

    def _answer(self, command: bytes) -> bytes:
        code, given = command[0], command[1:]
        if code == _DUMMY:
            return b""
        too_long = code in _COUNTED and given[_COUNTED[code] - 1] > _LONGEST_PAYLOAD
        if too_long or ((self.streaming or self.logging) and code in _BLOCKED_WHILE_SENSING):
            return bytes([NACK])
        self._obey(code, given)
        return bytes([ACK]) + self._response(code, given)

    def _obey(self, code: int, given: bytes) -> None:
        if code in (0x07, 0x70):
            self.streaming, self.logging = True, self.logging or code == 0x70
        elif code in (0x20, 0x97):
            self.streaming, self.logging = False, self.logging and code == 0x20
        elif code in (0x92, 0x93):
            self.logging = code == 0x92
        elif code == 0x05:
            self.period_ticks = max(int.from_bytes(given, "little"), 1)
        elif code == 0x08:
            self.sensors = int.from_bytes(given, "little")
        elif code == 0x0E:
            self._setup[:] = given[:3]
            self.gsr_range, self.expansion_power = min(given[3] >> 1 & 7, AUTO), bool(given[3] & 1)
        elif code == 0x21:
            self.gsr_range = min(given[0], AUTO)
        elif code == 0x5E:
            self.expansion_power = given[0] == 1
        elif code == 0x8B:
            self.crc_bytes = given[0] if given[0] <= 2 else 0
        elif code == 0x8F:
            self._clock_ticks, self._clock_at, self._clock_set = int.from_bytes(given, "little"), self.now_ticks, True
        elif code in self._texts:
            self._texts[code] = given[1 : 1 + _LONGEST_TEXT]
        elif code == 0x61:
            self._set_registers(given[0], given[1], given[2], given[3:])

    def _set_registers(self, chip: int, first: int, count: int, data: bytes) -> None:
        if chip < 2 and first + count <= REGISTERS:
            self.registers[chip][first : first + count] = data

    def _response(self, code: int, given: bytes) -> bytes:
        """What follows the ACK; nothing for a command that only sets or does something."""
        match code:
            case 0x01:
                channels = channels_of(self.sensors)
                return b"\x02" + self._period() + self._config() + bytes([len(channels), 1, *channels])
            case 0x03:
                return b"\x04" + self._period()
            case 0x23:
                return bytes([0x22, self.gsr_range])
            case 0x2C:
                return b"\x2d" + _CALIBRATION
            case 0x2E:
                major, minor, patch = self._version
                return bytes([0x2F, LOG_AND_STREAM, 0]) + major.to_bytes(2, "little") + bytes([minor, patch])
            case 0x24 | 0x3F:
                return bytes([0x25, SHIMMER3])
            case 0x36:
                return b"\x35\x01"
            case 0x63:
                registers = self._registers(*given)
                return bytes([0x62, len(registers)]) + registers
            case 0x72:
                return bytes([IN_STREAM, STATUS, self.status])
            case 0x7B | 0x7E | 0x87:
                text = self._texts[code - 2]
                return bytes([code - 1, len(text)]) + text
            case 0x91:
                return b"\x90" + (self._clock_ticks + self.now_ticks - self._clock_at).to_bytes(8, "little")
            case 0x95:
                code = round(self._battery_v / battery_volts(ADC_FULL) * ADC_FULL)
                return bytes([IN_STREAM, BATTERY]) + code.to_bytes(2, "little") + b"\x80"
        return b""

    def _registers(self, chip: int, first: int, count: int) -> bytes:
        known = chip < 2 and first < REGISTERS and count <= REGISTERS
        return bytes(self.registers[chip][first : first + count]) if known else b""

    def _period(self) -> bytes:
        return self.period_ticks.to_bytes(2, "little")

    def _config(self) -> bytes:
        return bytes([*self._setup, self.gsr_range << 1 | self.expansion_power])
