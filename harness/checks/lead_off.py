"""Sensors touch the body: time without contact, by what the device says of it and by what its signal shows.

The device's own word: a heart-rate strap's and a Polar's contact, a CMS50's finger, a Nonin's disconnected sensor, the
sensor flags of the Bluetooth oximeter service. It counts for the sensor, from when it is said until it is taken back
or the link goes. A device that never speaks of contact gives no such verdict.

The signal's: a stretch at one rail; one in which nothing moves at all, for two seconds (or as much longer as the kind
rests by itself); a conductance, a temperature, a rate or a saturation that no body has. That needs no word from the
device, and does not see an open input that picks up noise. A stuck converter looks the same and is told as flat.

Where the two contradict each other the verdict that fails says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from drivers.quality.eda import LOWEST_US
from drivers.quality.temperature import HIGHEST_C, LOWEST_C
from drivers.quality.windows import siemens
from drivers.types import FloatArray, Notice, StreamSpec
from harness.delivery import outages_ns
from harness.quality import LOW, scores_of
from harness.rails import Part, at_rails, lasting
from harness.recording import Recording, StreamData
from harness.statistics import share_interval
from harness.verdict import Outcome, Verdict

NAME = "lead_off"
_REST_S = {"ecg": 2.0, "eeg": 2.0, "exg": 2.0, "ppg": 2.0, "eda": 2.0, "respiration": 4.0}
"""Kinds that hang on a contact -> how long one that is alive may hold a value."""
_FINEST = {"eda": 0.002}
"""Kind -> its noise, uS: a converter with larger steps rests by itself."""
_READINGS = frozenset({"heart_rate", "spo2"})
"""Kinds that read nothing, or 0, without contact."""
_AT_RAIL_S, _BEYOND_S = 0.2, 1.0
"""A knock is shorter, and noise does not stay beyond what a body has."""
_FEW = 4
"""Samples that something may be wrong with."""
_CELSIUS = frozenset({"C", "degC", "°C"})
_ON = {"contact": True, "finger": True, "sensor_disconnected": False, "probe_error": False}
"""Notices about contact -> what they say of it when they are true."""
_PROBE = ("sensor unconnected", "sensor displaced", "sensor disconnected")
"""In ``sensor_flags`` of the oximeter service."""
_SPEAKS_AGAINST = 0.5
"""From this share of the time on that one side calls off, the other contradicts it."""

Mask = np.typing.NDArray[np.bool_]


@dataclass(frozen=True)
class LIMITS:
    """Limits of the lead off check."""

    max_off_percent: float = field(default=1.0, metadata={"help": "share of the run that may pass without contact"})
    max_off_s: float = field(
        default=math.inf, metadata={"help": "how long contact may be lost at a stretch. Not judged unless given"}
    )

    def __post_init__(self) -> None:
        if not (0 <= self.max_off_percent <= 100 and self.max_off_s > 0):
            raise ValueError("lead_off: expected 0 <= max_off_percent <= 100 and max_off_s above 0")


def check(recording: Recording, limits: LIMITS) -> list[Verdict]:
    """One verdict per sensor that speaks of contact and per stream whose signal shows it; two with ``max_off_s``."""
    said = {role: spells for role in recording.rig.sensors if (spells := _said(recording, role)) is not None}
    shown = {
        key: found for key, stream in recording.streams.items() if (found := _shown(recording, stream)) is not None
    }
    verdicts = [v for role, spells in said.items() for v in _by_device(recording, role, spells, limits)]
    verdicts += [v for key, found in shown.items() for v in _by_signal(recording, key, found, said, limits)]
    if not verdicts:
        reason = "no sensor of this rig speaks of contact, and no stream is of a kind that would show its loss"
        verdicts.append(
            Verdict(NAME, "rig", Outcome.NOT_RUN, reason, "without contact", None, "%", limits.max_off_percent)
        )
    return verdicts


# --- by the device ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Spells:
    """Stretches (k, 2), s since the run's start, and what they are called."""

    off_s: FloatArray
    known_s: float
    """How much of the run it is known for."""
    words: str
    n: int = 0
    """Samples, or statements."""

    @property
    def total_s(self) -> float:
        return float(np.sum(self.off_s[:, 1] - self.off_s[:, 0]))

    def overlaps(self, start_s: float, stop_s: float) -> float:
        """Seconds of them between two moments."""
        inside = np.clip(self.off_s, start_s, stop_s)
        return float(np.sum(inside[:, 1] - inside[:, 0]))


def _contact(notice: Notice) -> bool | None:
    """What a notice says of contact, or None if it is about something else."""
    if notice.name in _ON and isinstance(notice.value, bool | int | float):
        return bool(notice.value) == _ON[notice.name]
    if notice.name == "sensor_flags":
        return not any(word in str(notice.value) for word in _PROBE)
    return None


def _said(recording: Recording, role: str) -> _Spells | None:
    """When the device said that it had no contact; None if it never spoke of that."""
    told = [
        (event.arrival_ns, event.name, contact)
        for owner, event in recording.events
        if owner == role and isinstance(event, Notice) and (contact := _contact(event)) is not None
    ]
    if not told:
        return None
    gone = [(down_ns, "", True) for down_ns, _ in outages_ns(recording, role)]  # what it said goes with the link
    off: dict[str, bool] = {}
    spells: list[tuple[float, float]] = []
    known_s, names, since_ns = 0.0, set[str](), None
    for at_ns, name, contact in [*sorted(told + gone), (recording.stop_ns, "", True)]:
        moment_ns = min(max(at_ns, recording.start_ns), recording.stop_ns)
        if since_ns is not None:
            known_s += (moment_ns - since_ns) / 1e9
            if any(off.values()) and moment_ns > since_ns:
                spells.append(((since_ns - recording.start_ns) / 1e9, (moment_ns - recording.start_ns) / 1e9))
                names |= {each for each, raised in off.items() if raised}
        off = {**off, name: not contact} if name else {}
        since_ns = moment_ns if name else None
    return _Spells(_joined(spells), known_s, ", ".join(sorted(names)), len(told))


def _joined(spells: Sequence[tuple[float, float]]) -> FloatArray:
    """Spells that follow each other without a pause as one, (k, 2)."""
    out: list[list[float]] = []
    for begin, end in spells:
        if out and begin <= out[-1][1]:
            out[-1][1] = end
        else:
            out.append([begin, end])
    return np.array(out, dtype=np.float64).reshape(-1, 2)


def _by_device(recording: Recording, role: str, spells: _Spells, limits: LIMITS) -> list[Verdict]:
    if spells.known_s <= 0:
        reason = "the device spoke of contact, but not of the time of the run"
        return [_verdict(role, Outcome.INCONCLUSIVE, reason, spells, limits)]
    reason = f"by the device's own word ({spells.words or 'contact'})"
    good = [
        stream.key
        for stream in recording.streams.values()
        if stream.role == role and stream.spec.kind in _REST_S and _good_during(recording, stream, spells)
    ]
    if good:
        reason += f", against the signal, which is good then: {', '.join(good)}"
    return _judge(role, spells, reason, limits)


def _good_during(recording: Recording, stream: StreamData, spells: _Spells) -> bool:
    """Most windows that lie in the spells score well."""
    ends_ns, table = scores_of(recording, stream)
    end_s = (ends_ns - recording.start_ns) / 1e9
    inside = np.array([spells.overlaps(end - 1.0, end) > _SPEAKS_AGAINST for end in end_s.tolist()], dtype=bool)
    inside &= np.isfinite(table.score)
    return bool(inside.any()) and float(np.mean(table.score[inside] >= LOW)) > _SPEAKS_AGAINST


# --- by the signal ----------------------------------------------------------------------------


def _shown(recording: Recording, stream: StreamData) -> _Spells | None:
    """Stretches in which the signal shows that nothing is touched; None for kinds that cannot."""
    spec = stream.spec
    if not (spec.rate_hz and (spec.kind in _REST_S or spec.kind in _READINGS or _is_skin(spec))):
        return None
    part = Part.of(recording, stream)
    off, words = np.zeros(len(part.values), dtype=bool), []
    for word, mask in _signs(part.values, part.period_s, spec).items():
        hit = mask.any(axis=1)
        if hit.any():
            words.append(f"{word} {100 * np.mean(hit):.3g} %")
            off |= hit
    return _Spells(part.stretches(off), len(off) * part.period_s, ", ".join(words), len(off))


def _is_skin(spec: StreamSpec) -> bool:
    return spec.kind == "temperature" and spec.unit in _CELSIUS


def _signs(values: FloatArray, period_s: float, spec: StreamSpec) -> dict[str, Mask]:
    """Sign -> where it is seen, (n, channels)."""
    signs: dict[str, Mask] = {}
    if spec.kind in _REST_S:
        for rail, mask in at_rails(values, spec).items():
            signs[f"at the {rail} rail"] = lasting(mask, max(_FEW, math.ceil(_AT_RAIL_S / period_s)))
        finest = _FINEST.get(spec.kind)
        if finest is None or (spec.lsb or 0.0) * (siemens(spec) or 1.0) <= finest:
            equal = np.diff(values, axis=0, prepend=np.nan) == 0
            signs["flat"] = lasting(equal, max(2 * _FEW, round(_REST_S[spec.kind] / period_s)))
    if spec.kind == "eda" and siemens(spec):
        dry = values * (siemens(spec) or 1.0) < LOWEST_US
        signs[f"below {LOWEST_US:g} uS"] = lasting(dry, max(1, round(_BEYOND_S / period_s)))
    if _is_skin(spec):
        away = (values < LOWEST_C) | (values > HIGHEST_C)
        signs[f"outside {LOWEST_C:g} to {HIGHEST_C:g} C"] = lasting(away, max(1, round(_BEYOND_S / period_s)))
    if spec.kind in _READINGS:
        signs["no reading"] = ~(values > 0)
    return signs


def _by_signal(
    recording: Recording, key: str, found: _Spells, said: dict[str, _Spells], limits: LIMITS
) -> list[Verdict]:
    if not found.n:
        reason = "no sample of this stream lies in the run"
        return [_verdict(key, Outcome.INCONCLUSIVE, reason, found, limits)]
    reason = f"by the signal: {found.words or 'nothing speaks against contact'}"
    word = said.get(recording.streams[key].role)
    if word is not None and found.total_s and word.known_s:
        agreed = sum(word.overlaps(begin, end) for begin, end in found.off_s.tolist())
        if agreed < _SPEAKS_AGAINST * found.total_s:
            reason += ", against the device, which says that it has contact then"
    return _judge(key, found, reason, limits)


# --- verdicts ---------------------------------------------------------------------------------


def _judge(subject: str, spells: _Spells, reason: str, limits: LIMITS) -> list[Verdict]:
    longest = max((float(end - begin) for begin, end in spells.off_s), default=0.0)
    if longest:
        begin = float(spells.off_s[np.argmax(spells.off_s[:, 1] - spells.off_s[:, 0]), 0])
        reason += f"; {spells.total_s:.3g} s in {len(spells.off_s)} stretches, longest {longest:.3g} s at {begin:.2f} s"
    percent = min(100.0, 100 * spells.total_s / spells.known_s)
    ok = percent <= limits.max_off_percent
    advice = "" if ok else ": look at electrodes, strap, clip and cable"
    verdicts = [_verdict(subject, Outcome.PASS if ok else Outcome.FAIL, reason + advice, spells, limits, percent)]
    if math.isfinite(limits.max_off_s):
        ok = longest <= limits.max_off_s
        verdicts.append(
            Verdict(
                NAME, subject, Outcome.PASS if ok else Outcome.FAIL, reason, "longest without contact", longest, "s",
                limits.max_off_s, spells.n, longest, longest, 1.0,
            )
        )  # fmt: skip
    return verdicts


def _verdict(
    subject: str, outcome: Outcome, reason: str, spells: _Spells, limits: LIMITS, percent: float | None = None
) -> Verdict:
    if percent is None:
        return Verdict(
            NAME, subject, outcome, reason, "without contact", None, "%", limits.max_off_percent, spells.n
        )  # fmt: skip
    count = len(spells.off_s)
    mean_s = spells.total_s / count if count else 1.0
    low, high = share_interval(count, max(count, round(spells.known_s / mean_s), 1))
    return Verdict(
        NAME, subject, outcome, reason, "without contact", percent, "%", limits.max_off_percent, spells.n, 100 * low,
        100 * high, 0.95,
    )  # fmt: skip
