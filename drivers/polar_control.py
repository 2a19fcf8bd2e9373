"""Both ends of Polar's PMD control point: requests are written, answers are indicated."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from drivers import polar_pmd as pmd
from drivers.codec import Expect, ReadValue, Step, Subscribe, Write
from drivers.errors import HandshakeError
from drivers.polar_pmd import Answer

_PATIENCE_S = 10.0
_FEATURE_BYTES = 17
_VERBS = {pmd.GET: "tell the settings of", pmd.START: "start", pmd.STOP: "stop"}
_REFUSALS = {
    pmd.RATE: pmd.BAD_RATE, pmd.RESOLUTION: pmd.BAD_RESOLUTION, pmd.RANGE: pmd.BAD_RANGE,
    pmd.CHANNELS: pmd.BAD_CHANNELS,
}  # fmt: skip

Asking = Generator[Step, "bytes | None", Answer]


# --- host end ---------------------------------------------------------------------------------


def ask(op: int, kind: int, parameters: bytes = b"") -> Asking:
    """One request and its answer, whatever its status."""
    yield Write(bytes([op, kind]) + parameters, pmd.CONTROL)
    header = bytes([pmd.ANSWER, op, kind])
    what = f"the answer of the Polar control point to {_name(op, kind)}"
    text = yield Expect(re.escape(header) + b".+", what, _PATIENCE_S, channel=pmd.CONTROL)
    said = text or b""
    answer = pmd.parse_answer(said[said.find(header) :])
    if answer is None:
        raise HandshakeError(f"expected {what}, found {said.hex(' ')}")
    if answer.more:
        raise HandshakeError(f"{what} comes in parts, expected it in one: is the connection's MTU below 232?")
    return answer


def _name(op: int, kind: int) -> str:
    return f"'{_VERBS.get(op, f'op {op}')} {pmd.NAMES.get(kind, kind)}'"


def read_features(needed: frozenset[int]) -> Generator[Step, bytes | None, None]:
    """Subscribe to both characteristics; HandshakeError unless the sensor offers the measurements needed."""
    value = yield ReadValue(pmd.CONTROL)
    if not value or value[0] != pmd.FEATURES or len(value) < 2:
        found = value.hex(" ") if value else "no such characteristic"
        raise HandshakeError(
            f"expected a Polar sensor's features at {pmd.CONTROL}, found {found}: is it another make, "
            "or asleep because it is not worn?"
        )
    offered = {8 * (k - 1) + bit for k in range(1, len(value)) for bit in range(8) if value[k] >> bit & 1}
    missing = [pmd.NAMES[kind] for kind in sorted(needed - offered)]
    if missing:
        found = ", ".join(pmd.NAMES.get(kind, str(kind)) for kind in sorted(offered)) or "nothing"
        raise HandshakeError(f"expected a Polar sensor that measures {' and '.join(missing)}; it offers {found}")
    yield Subscribe(pmd.CONTROL)
    yield Subscribe(pmd.DATA)


def begin(kind: int, wanted: Mapping[int, int] | None) -> Asking:
    """Start a measurement with these settings, and the first of every other that is offered; None: it has no settings.

    HandshakeError says what is offered where a setting is not, or with what status the sensor refused.
    """
    request: dict[int, tuple[int, ...]] = {}
    if wanted is not None:
        answer = yield from ask(pmd.GET, kind)
        _must(answer)
        offered, _ = pmd.parse_settings(answer.parameters)
        for setting, values in offered.items():
            if setting in (pmd.FACTOR, pmd.SECURITY, pmd.RANGE_MILLI) or not values:
                continue
            value = wanted.get(setting, values[0])
            if value not in values:
                raise HandshakeError(
                    f"{pmd.NAMES[kind]}: the sensor offers {pmd.SETTING_NAMES[setting]} "
                    f"{', '.join(map(str, values))}; the settings ask for {value}"
                )
            request[setting] = (value,)
    answer = yield from ask(pmd.START, kind, pmd.write_settings(request))
    if answer.status == pmd.ALREADY:  # left running by whoever was connected before, with settings of their own
        yield from ask(pmd.STOP, kind)
        answer = yield from ask(pmd.START, kind, pmd.write_settings(request))
    return _must(answer)


def _must(answer: Answer) -> Answer:
    if answer.status == pmd.OK:
        return answer
    hint = {
        pmd.IN_CHARGER: ": take it out of its charger",
        pmd.NOT_SUPPORTED: ": another model, or its firmware is too old",
        pmd.BAD_STATE: ": is it worn, and is no recording or SDK mode running?",
        pmd.DISK_FULL: ": delete recordings with the vendor's app",
    }.get(answer.status, "")
    asked = _name(answer.op, answer.kind)
    raise HandshakeError(
        f"expected success from the Polar control point for {asked}, found {answer.status} ({answer.meaning}){hint}"
    )


# --- device end -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """One measurement that a simulated sensor can do."""

    settings: Mapping[int, tuple[int, ...]]
    """Setting -> what may be chosen; where there is only one value, a start may leave it out."""
    started: bytes = b""
    """Parameters of the answer to a start."""
    fastest_hz: int | None = None
    """What is simulated: a higher rate is refused although the real sensor has it."""


class ControlPoint:
    """A simulated sensor's control point: what runs, and the answer to every request."""

    def __init__(self, offers: Mapping[int, Offer], in_charger: bool = False) -> None:
        self._offers, self._in_charger = offers, in_charger
        self.running: dict[int, dict[int, int]] = {}
        """Measurement -> its settings as they were chosen."""

    def features(self) -> bytes:
        """What the characteristic reads as."""
        bits = sum(1 << kind for kind in self._offers)
        return bytes([pmd.FEATURES]) + bits.to_bytes(_FEATURE_BYTES - 1, "little")

    def receive(self, request: bytes) -> bytes:
        """The answer to a request."""
        op, kind = request[0] if request else 0, request[1] if len(request) > 1 else 0
        status, parameters = self._handle(op, kind & pmd.TYPE_MASK, request)
        answer = bytes([pmd.ANSWER, op, kind, status, 0])
        return answer + parameters if status == pmd.OK else answer

    def _handle(self, op: int, kind: int, request: bytes) -> tuple[int, bytes]:
        if op not in (pmd.GET, pmd.START, pmd.STOP):
            return pmd.BAD_OP, b""
        if len(request) < 2 or (op != pmd.START and len(request) > 2):
            return pmd.BAD_LENGTH, b""
        if kind not in self._offers:
            return (pmd.NOT_SUPPORTED if kind in pmd.NAMES else pmd.BAD_TYPE), b""
        if op == pmd.GET:
            return pmd.OK, pmd.write_settings(self._offers[kind].settings)
        if op == pmd.START:
            return self._start(kind, request[2:]), self._offers[kind].started
        return (pmd.ALREADY if self.running.pop(kind, None) is None else pmd.OK), b""

    def _start(self, kind: int, parameters: bytes) -> int:
        if self._in_charger:
            return pmd.IN_CHARGER
        if kind in self.running:
            return pmd.ALREADY
        given, rest = pmd.parse_settings(parameters)
        if rest:
            return pmd.BAD_LENGTH if rest[0] < len(pmd.SETTING_NAMES) else pmd.BAD_PARAMETER
        offer = self._offers[kind]
        offered = offer.settings
        if any(len(values) != 1 or setting not in offered for setting, values in given.items()):
            return pmd.BAD_PARAMETER
        chosen: dict[int, int] = {}
        for setting, values in offered.items():
            if setting not in given and len(values) > 1:
                return pmd.BAD_PARAMETER
            chosen[setting] = given.get(setting, values)[0]
            if chosen[setting] not in values:
                return _REFUSALS.get(setting, pmd.BAD_PARAMETER)
        if offer.fastest_hz is not None and chosen[pmd.RATE] > offer.fastest_hz:
            return pmd.BAD_RATE
        self.running[kind] = chosen
        return pmd.OK
