"""How a BITalino (r)evolution answers its one-byte commands: the board's state, apart from its samples.

Source: firmware-bitalino-revolution 5.2 (main.c), and the Python API's use of it. No command is acknowledged.
"""

from __future__ import annotations

from drivers.bitalino_frame import INPUTS, VCC_V, crc4
from drivers.codec import Reply
from drivers.types import FloatArray

RATES_HZ = (1, 10, 100, 1000)
IDLE, VERSION, STATE = b"\xff", b"\x07", b"\x0b"
_STATE_HAS_PWM = (5, 2)
_ADC_FULL = 1023


def rate_command(rate_hz: int) -> bytes:
    """Set the sampling rate, one of RATES_HZ."""
    return bytes([RATES_HZ.index(rate_hz) << 6 | 3])


def start_command(inputs: tuple[int, ...]) -> bytes:
    """Stream these inputs, 0..5."""
    return bytes([sum(4 << number for number in inputs) | 1])


def state_size(version: tuple[int, int]) -> int:
    """Bytes of the state reply: since 5.2 it tells the PWM too."""
    return 17 if version >= _STATE_HAS_PWM else 16


def battery_code(volts: float) -> int:
    """ADC code of the battery, which a divider halves."""
    return min(round(volts / 2 / VCC_V * _ADC_FULL), _ADC_FULL)


def battery_volts(state: bytes) -> float | None:
    """The battery in a state reply, or None if its CRC is wrong."""
    if crc4(state) != state[-1] & 15:
        return None
    return int.from_bytes(state[2 * INPUTS : 2 * INPUTS + 2], "little") * 2 * VCC_V / _ADC_FULL


class BitalinoBoard:
    """Commands in, replies out, and what they set."""

    def __init__(self, version: tuple[int, int], battery_v: float) -> None:
        self._version, self._battery = version, battery_code(battery_v)
        self.power_on()

    def power_on(self) -> None:
        """Everything as after a power cycle."""
        self.streaming = self.simulated = False
        self.rate_hz = RATES_HZ[-1]
        self.inputs: tuple[int, ...] = tuple(range(INPUTS))
        self.outputs = 0
        self.threshold = self.pwm = 0
        self._value_of_pwm = False

    @property
    def digital(self) -> int:
        """I1 I2 O1 O2; nothing is on the inputs."""
        return self.outputs

    def receive(self, data: bytes, shares: FloatArray) -> list[Reply]:
        """Take any piece of the command stream; ``shares`` (6,) is what the inputs measure, of full scale."""
        return [Reply(answer) for value in data if (answer := self._take(value, shares))]

    def _take(self, value: int, shares: FloatArray) -> bytes:
        if self._value_of_pwm:
            self.pwm, self._value_of_pwm = value, False
        elif value & 0xF3 == 0xB3:
            self.outputs = (value >> 2 & 1) << 1 | value >> 3 & 1
        elif value == 0xA3:
            self._value_of_pwm = True
        elif self.streaming:
            self.streaming = value not in (0x00, 0xFF)
        elif value & 3 == 0:
            self.threshold = value >> 2
        elif value & 3 < 3:
            self._start(value >> 2, simulated=value & 3 == 2)
        elif value & 0x3F == 3:
            self.rate_hz = RATES_HZ[value >> 6]
        elif value in (0x07, 0x0F):
            return b"BITalino_v%d.%d\n" % self._version
        elif value == STATE[0]:
            return self._state(shares)
        return b""

    def _start(self, mask: int, simulated: bool) -> None:
        self.inputs = tuple(number for number in range(INPUTS) if mask >> number & 1)
        self.streaming, self.simulated = bool(self.inputs), simulated

    def _state(self, shares: FloatArray) -> bytes:
        codes = [min(int(share * 1024), _ADC_FULL) for share in shares]
        state = b"".join(code.to_bytes(2, "little") for code in [*codes, self._battery]) + bytes([self.threshold])
        if self._version >= _STATE_HAS_PWM:
            state += bytes([self.pwm])
        state += bytes([self.digital << 4])
        return state[:-1] + bytes([state[-1] | crc4(state)])
