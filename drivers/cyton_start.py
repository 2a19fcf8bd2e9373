"""What a computer asks of an OpenBCI Cyton before it streams, and what the answers mean.

Source: OpenBCI_Cyton_Library (OpenBCI_32bit_Library.cpp) and the Cyton SDK page of OpenBCI's documentation.
"""

from __future__ import annotations

from drivers.codec import Expect, Pause, Steps, Write
from drivers.cyton_board import CHANNEL_CODES, CHANNELS, GAINS
from drivers.errors import HandshakeError


def set_up(gain: int, timestamps: bool, daisy: bool) -> Steps:
    """Stop what may be running, reset, check the banner, and set the board up; all but the start itself."""
    yield Write(b"s")  # a board that streams answers nothing
    yield Pause(0.25)
    yield Write(b"v")
    banner = (yield Expect(rb"\$\$\$", "the Cyton's banner ending in $$$", timeout_s=3.0)) or b""
    _check_banner(banner)
    if daisy:
        yield from _attach()
    elif b"On Daisy" in banner:  # it would stream 16 channels of its own accord
        yield from _ask(b"c", b"daisy removed")
    if gain != 24:
        for channel in CHANNEL_CODES[: CHANNELS * (1 + daisy)]:
            yield from _ask(b"x%c0%d0110X" % (channel, GAINS.index(gain)), b"Success")
    if timestamps:
        yield from _ask(b"<", b"Time stamp ON")


def _check_banner(banner: bytes) -> None:
    if b"Failure" in banner:
        raise HandshakeError(
            f"the dongle answered, but the Cyton board did not: {_shown(banner)}. Switch the board on (to PC, not "
            "BLE), charge its battery, and move it closer to the dongle"
        )
    if b"OpenBCI" not in banner:
        raise HandshakeError(
            f"expected a banner with 'OpenBCI' in it, found {_shown(banner)}: another device is on this port"
        )


def _attach() -> Steps:
    yield Write(b"C")
    answer = (yield Expect(rb"\$\$\$", "the Cyton's answer to C: is there a Daisy?")) or b""
    if b"no daisy" in answer or b"16" not in answer:
        raise HandshakeError(
            f"sent C for 16 channels, expected '16', found {_shown(answer)}: the board sees no Daisy. Switch it off, "
            "press the Daisy home on its pins and switch on again, or leave out `daisy: true` for 8 channels"
        )


def _ask(command: bytes, expected: bytes) -> Steps:
    yield Write(command)
    answer = yield Expect(rb"\$\$\$", f"the Cyton's answer to {command.decode()}")
    if expected not in (answer or b""):
        raise HandshakeError(f"sent {command.decode()}, expected {expected.decode()!r}, found {_shown(answer or b'')}")


def _shown(text: bytes) -> str:
    return repr(text[-120:].decode("ascii", "replace"))
