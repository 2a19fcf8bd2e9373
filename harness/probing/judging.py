"""From what was heard to verdicts: connect, acquire, format, quality.

The limits are those of a first look: a sensor at a twentieth more or less than its rate is set otherwise, one that
loses or doubles a sample in a hundred has a bad link, and what is malformed to a hundredth is read at a wrong baud
rate. A run (`hil run`) judges more sharply, over longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from drivers.quality import shortest_s, window_s
from drivers.types import CounterReset, LinkDown, Lost, Malformed, Reordered, Repeated, StreamSpec
from harness.probing import advice
from harness.probing.listening import Heard, Listened, rate_of
from harness.verdict import Outcome, Verdict

CHECKS = ("connect", "acquire", "format", "quality")
RATE_PERCENT = 5.0
LOST_PERCENT = 1.0
MALFORMED_PERCENT = 1.0
MIN_QUALITY = 0.5
_MOST_NO_NUMBERS = 0.5
_TELLS_PERCENT = 25.0
"""A rate known to no more than this says nothing."""
_SHOWN_PARTS = 3
_FEWEST_PERIODS = 2.0
"""A window with fewer of a stream's periods never holds the three samples that drivers.quality.stream needs."""


def judge(heard: Listened) -> list[Verdict]:
    """Verdicts of all four checks; what could not be looked at is NOT_RUN and says why."""
    verdicts: list[Verdict] = []
    steps: tuple[Callable[[Listened], list[Verdict]], ...] = (_connect, _acquire, _format, _quality)
    for name, step in zip(CHECKS, steps, strict=True):
        why = _stopped(heard, name, verdicts)
        verdicts += [Verdict(name, heard.name, Outcome.NOT_RUN, why)] if why else step(heard)
    return verdicts


def _stopped(heard: Listened, check: str, before: list[Verdict]) -> str:
    """Why this check cannot be made; empty if it can."""
    if check == "connect":
        return ""
    if not heard.connected:
        return "there is no connection"
    if check != "acquire" and heard.first_ms is None:
        return "no data were received"
    broken = any(v.check == "format" and v.outcome is not Outcome.PASS for v in before)
    return "the format is wrong" if check == "quality" and broken and not heard.count else ""


# --- connect ----------------------------------------------------------------------------------


def _connect(heard: Listened) -> list[Verdict]:
    if heard.connected:
        where = f" to {heard.where}" if heard.where else ""
        reason = f"connected{where} in {heard.connect_ms:.0f} ms"
        return [Verdict("connect", heard.name, Outcome.PASS, reason, "time to connect", heard.connect_ms, "ms", n=1)]
    return [Verdict("connect", heard.name, _outcome(heard.error), _told(heard.error, advice.of_refusal(heard.error)))]


def _outcome(error: BaseException | None) -> Outcome:
    """A link that is not there says nothing about the sensor; a sensor that answers wrongly has failed."""
    return Outcome.INVALID if isinstance(error, OSError) else Outcome.FAIL


def _told(error: BaseException | None, hint: str) -> str:
    said = "" if error is None else f"{type(error).__name__}: {error}"
    return "; ".join(part for part in (said.rstrip(".") if hint else said, hint) if part)


# --- acquire ----------------------------------------------------------------------------------


def _acquire(heard: Listened) -> list[Verdict]:
    down = next((event for event in heard.events if isinstance(event, LinkDown)), None)
    verdicts: list[Verdict] = []
    if down is not None:
        reason = f"the link went down while it was probed: {down.reason}"
        verdicts.append(Verdict("acquire", heard.name, Outcome.INVALID, reason))
    if heard.error is not None:
        verdicts.append(Verdict("acquire", heard.name, _outcome(heard.error), _told(heard.error, "")))
    if heard.first_ms is None:
        verdicts += [] if verdicts else [_silent(heard)]
        return verdicts
    reason = f"the first reading came {heard.first_ms:.0f} ms after it was asked to connect"
    verdicts.append(Verdict("acquire", heard.name, Outcome.PASS, reason, "first sample", heard.first_ms, "ms", n=1))
    broken = heard.missing_key or heard.wrong_shape
    for name, stream in () if broken else heard.streams.items():
        spec = spec_of(heard, name)
        verdicts.append(_rate(heard, name, stream, spec))
        if spec is not None and spec.counted and stream.count:
            verdicts += _delivery(heard, name, stream)
    return verdicts + _resets(heard)


def spec_of(heard: Listened, name: str) -> StreamSpec | None:
    """What is declared of a stream."""
    return next((spec for spec in heard.specs if spec.name == name), None)


def _silent(heard: Listened) -> Verdict:
    hint = advice.of_silence(heard.received_bytes, heard.connect_bytes)
    reason = f"connected, but no sample came in {heard.elapsed_s:.1f} s: {hint}"
    return Verdict("acquire", heard.name, Outcome.FAIL, reason, "samples", 0.0, "samples", 1.0)


def lost_of(heard: Listened, name: str) -> int:
    """Samples of a stream that its counter shows as lost: one that comes late after all was counted as lost before."""
    return max(0, _count(heard, name, Lost) - _count(heard, name, Reordered))


def _count(heard: Listened, name: str, kind: type[Lost] | type[Repeated] | type[Reordered]) -> int:
    return sum(event.count for event in heard.events if isinstance(event, kind) and event.stream == name)


def _rate(heard: Listened, name: str, stream: Heard, spec: StreamSpec | None) -> Verdict:
    subject, nominal = f"{heard.name}/{name}", spec.rate_hz if spec else None
    if not stream.count and nominal:
        reason = f"no sample of {name} came in {heard.elapsed_s:.1f} s; --seconds waits longer"
        return Verdict("acquire", subject, Outcome.FAIL, reason, "rate", 0.0, "Hz", nominal, 0)
    rate = rate_of(stream, lost_of(heard, name))
    if nominal is None or rate is None:
        reason = f"{stream.count} samples in {heard.elapsed_s:.1f} s"
        reason += "" if nominal is None else "; too few readings to tell a rate"
        return Verdict("acquire", subject, Outcome.PASS, reason, "samples", float(stream.count), "", None, stream.count)
    off = 100 * (rate.value / nominal - 1)
    reason = f"{rate.value:.4g} Hz of {nominal:g} ({off:+.1f} %, surely {rate.low:.4g} .. {rate.high:.4g} Hz)"
    slow, fast = (nominal * (1 + sign * RATE_PERCENT / 100) for sign in (-1, 1))
    outcome = Outcome.PASS
    if rate.high < slow or rate.low > fast:
        outcome, reason = Outcome.FAIL, f"{reason}: {advice.of_rate(rate.value, nominal)}"
    elif 100 * (rate.high - rate.low) / nominal > 2 * _TELLS_PERCENT:
        outcome, reason = Outcome.INCONCLUSIVE, f"{reason}: it comes too unevenly to tell; --seconds listens longer"
    return Verdict(
        "acquire", subject, outcome, reason, "rate", rate.value, "Hz", nominal, rate.n, rate.low, rate.high
    )  # fmt: skip


def _delivery(heard: Listened, name: str, stream: Heard) -> list[Verdict]:
    """What was lost; what came twice or out of order, if anything did."""
    lost, of = lost_of(heard, name), lost_of(heard, name) + stream.count
    found = [_share(heard, name, "lost", lost, of, "lost by the sensor's own count", advice.of_losses())]
    for measure, kind in (("repeated", Repeated), ("out of order", Reordered)):
        if count := _count(heard, name, kind):
            text = "came twice" if kind is Repeated else "came out of order"
            found.append(_share(heard, name, measure, count, of, text, advice.of_disorder()))
    return found


def _share(heard: Listened, name: str, measure: str, count: int, of: int, text: str, hint: str) -> Verdict:
    percent = 100 * count / of
    passed, reason = percent <= LOST_PERCENT, f"{count} of {of} samples {text}"
    return Verdict(
        "acquire", f"{heard.name}/{name}", Outcome.PASS if passed else Outcome.FAIL,
        reason if passed else f"{reason}: {hint}", measure, percent, "%", LOST_PERCENT, of, percent, percent, 1.0,
    )  # fmt: skip


def _resets(heard: Listened) -> list[Verdict]:
    """That the device's counter or clock jumped, if it did; one jump shows in every stream that it counts."""
    resets = [event for event in heard.events if isinstance(event, CounterReset)]
    if not resets:
        return []
    count = len({event.arrival_ns for event in resets})
    reason = (
        f"the sensor's {'clock' if resets[0].clock else 'counter'} jumped: {resets[0].detail}: {advice.of_resets()}"
    )
    return [Verdict("acquire", heard.name, Outcome.FAIL, reason, "resets", float(count), "", 0.0, count)]


# --- format -----------------------------------------------------------------------------------


def _format(heard: Listened) -> list[Verdict]:
    if heard.missing_key:
        reason = f"a reading lacks the key {heard.missing_key!r}, which every reading needs"
        return [Verdict("format", heard.name, Outcome.FAIL, reason)]
    if heard.wrong_shape:
        return [Verdict("format", heard.name, Outcome.FAIL, heard.wrong_shape)]
    reason = f"{heard.count} samples with their timestamps and a quality"
    bad = [event for event in heard.events if isinstance(event, Malformed)]
    if heard.received_bytes is None:
        return [Verdict("format", heard.name, Outcome.PASS, reason, n=heard.count)]
    size = sum(event.size for event in bad)
    percent = min(100.0, 100 * size / max(heard.received_bytes, 1))
    if bad:
        reason += f"; {size} of {heard.received_bytes} bytes were no frames ({bad[0].reason})"
    passed = percent <= MALFORMED_PERCENT
    return [
        Verdict(
            "format", heard.name, Outcome.PASS if passed else Outcome.FAIL,
            reason if passed else f"{reason}: {advice.of_malformed()}", "malformed bytes", percent, "%",
            MALFORMED_PERCENT, heard.received_bytes, percent, percent, 1.0,
        )
    ]  # fmt: skip


# --- quality ----------------------------------------------------------------------------------


def _quality(heard: Listened) -> list[Verdict]:
    return [_score(heard, name, stream) for name, stream in heard.streams.items() if stream.count] or [
        Verdict("quality", heard.name, Outcome.NOT_RUN, "no sample came whose quality could be told")
    ]


def _score(heard: Listened, name: str, stream: Heard) -> Verdict:
    subject = f"{heard.name}/{name}"
    if stream.no_numbers > _MOST_NO_NUMBERS:  # whatever the driver says of them
        reason = f"{100 * stream.no_numbers:.0f} % of the values are NaN or infinite: {advice.of_flags(('nan',))}"
        return Verdict("quality", subject, Outcome.FAIL, reason, "score", 0.0, "", MIN_QUALITY, stream.count)
    if math.isnan(stream.score):
        return Verdict("quality", subject, Outcome.INCONCLUSIVE, _unknown(heard, name), "score", limit=MIN_QUALITY)
    flags = ", ".join(sorted(stream.flags - {"unknown"}))
    parts = sorted((value, part) for part, value in stream.parts.items() if not math.isnan(value))
    reason = f"score {stream.score:.2f}"
    reason += f", flags {flags}" if flags else ""
    if parts:
        reason += f"; lowest parts {', '.join(f'{part} {value:.2f}' for value, part in parts[:_SHOWN_PARTS])}"
    outcome = Outcome.PASS
    if stream.score < MIN_QUALITY:
        outcome, reason = Outcome.FAIL, f"{reason}: {advice.of_flags(stream.flags)}"
    return Verdict("quality", subject, outcome, reason, "score", stream.score, "", MIN_QUALITY, stream.count)


def _unknown(heard: Listened, name: str) -> str:
    spec = spec_of(heard, name)
    if spec is None:
        return "the driver gives no number for the quality (NaN): too little may have come to tell"
    need, wait = shortest_s(spec.kind), needed_s((spec,))
    unknown = f"unknown after {heard.elapsed_s:.1f} s: needs {need:g} s of signal from the first sample on"
    if heard.elapsed_s + 0.5 < wait:
        return f"{unknown}; try --seconds {math.ceil(wait)}"
    if spec.rate_hz and spec.rate_hz * window_s(spec.kind) < _FEWEST_PERIODS:
        return f"unknown: at {spec.rate_hz:g} Hz a window of {window_s(spec.kind):g} s holds too few samples to tell"
    longer = math.ceil(heard.elapsed_s + need)
    return f"{unknown}, and {heard.streams[name].count} samples came so late or so rarely; try --seconds {longer}"


_LEAST_S = 5.0
_BEGINS_S = 2.0
"""Until the first sample has come, and one more second."""
_EVENTS_BEGIN_S = 10.0
"""Beats come by themselves, and some sensors send the first ones late."""


def needed_s(streams: tuple[StreamSpec, ...]) -> float:
    """Seconds of listening from which on the quality of all these streams should be known."""
    waits = (shortest_s(s.kind) + (_BEGINS_S if s.rate_hz else _EVENTS_BEGIN_S) for s in streams)
    return max((_LEAST_S, *waits))
