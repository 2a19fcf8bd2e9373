"""What a stream is compared with: a stream that the rig names, the truth of a simulated run, or the next best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.types import FloatArray
from harness.accuracy.intervals import beats_of
from harness.accuracy.material import BEFORE_S, LONGEST_BEAT_S, Material
from harness.accuracy.rates import Course, Doubt, Mask
from harness.recording import StreamData

NEVER = Doubt(np.empty(0), np.empty(0))
_GRID_S = 0.5


class WrongReferenceError(Exception):
    """The rig names a reference that cannot be one."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where the right values come from."""

    words: str
    stream: StreamData | None = None
    """None: the truth of the simulation."""
    certain: bool = True
    """It is right where the two differ: it was simulated, or the rig says so."""
    outranked: bool = False
    """It is less to be trusted than what is compared with it."""


def reference_for(material: Material, stream: StreamData, ranks: tuple[str, ...], named: str) -> Reference | str:
    """The reference of one stream, or why there is none.

    ``ranks``: kinds that can be one, the best first. ``named``: as the rig says it, ``role.stream``, or nothing.
    """
    if named:
        key = named.replace(".", "/", 1) if "/" not in named else named
        return Reference(f"{key}, the rig's reference", _named(material, key, ranks))
    if material.is_physiology(stream):
        return Reference("the simulated person")
    if material.world is not None:
        return (
            f"{stream.key} plays a signal that is not the simulated person's: name the stream to compare it with "
            "under `reference: role.stream`"
        )
    others = [s for s in material.streams(*ranks) if s.key != stream.key and len(s.values)]
    others.sort(key=lambda s: (s.role == stream.role, ranks.index(s.spec.kind)))
    if not others:
        return (
            f"there is nothing to compare {stream.key} with: add a reference sensor to the rig file, such as a chest "
            "strap or an ECG, and name it here as `reference: role.stream`"
        )
    best = others[0]
    own = ", a stream of the same device, so that only their agreement is shown" if best.role == stream.role else ""
    rank = ranks.index(stream.spec.kind) if stream.spec.kind in ranks else len(ranks)
    return Reference(f"{best.key}{own}", best, False, ranks.index(best.spec.kind) > rank)


def _named(material: Material, key: str, ranks: tuple[str, ...]) -> StreamData:
    found = material.recording.streams.get(key)
    if found is None:
        raise WrongReferenceError(
            f"reference {key!r}: this rig has no such stream; it has {', '.join(material.recording.streams)}"
        )
    if found.spec.kind not in ranks:
        raise WrongReferenceError(f"reference {key!r} is of kind {found.spec.kind}; expected {', '.join(ranks)}")
    return found


# --- what each kind of reference says ---------------------------------------------------------


def heart_course(material: Material, reference: Reference) -> Course:
    """Heart rate over time."""
    if reference.stream is not None:
        return material.shown(reference.stream).heart
    return Course.of_events(_true_beats(material, "ecg"), LONGEST_BEAT_S, NEVER)


def breath_course(material: Material, reference: Reference) -> Course:
    """Breath rate over time."""
    if reference.stream is not None:
        return material.shown(reference.stream).breathing
    onsets_s = material.subject.breaths(*_span(material)).onset_s - material.since_s
    return Course.of_events(onsets_s, float("inf"), NEVER)


def saturation_course(material: Material, reference: Reference) -> Course:
    """Oxygen saturation over time."""
    if reference.stream is not None:
        shown = material.shown(reference.stream)
        return Course.of_values(*shown.values(0), 2 * shown.stale_s, shown.poor)
    times_s = np.arange(-BEFORE_S, material.seconds + 1.0, _GRID_S)
    percent = material.subject.spo2(times_s + material.since_s)
    return Course.of_values(times_s, percent, float("inf"), NEVER)


def reference_beats(material: Material, reference: Reference, kind: str) -> tuple[FloatArray, Mask]:
    """Beats (n,), and of which of them the interval before is known. ``kind``: what is compared, beats or pulses."""
    if reference.stream is None:
        beats_s = _true_beats(material, kind)
        return beats_s, np.arange(len(beats_s)) > 0
    shown = material.shown(reference.stream)
    if shown.spec.kind == "rr":
        beats_s, whole = beats_of(shown.interval_s, shown.times_s)
        return beats_s, whole & shown.poor.free(shown.times_s, shown.times_s + 1e-6)
    return shown.beats_s, shown.trusted(shown.beats_s)


def _true_beats(material: Material, kind: str) -> FloatArray:
    """R peaks, or for a PPG the pulses' feet at the finger, in seconds since the run's start."""
    subject = material.subject
    times_s = subject.feet(*_span(material)) if kind == "ppg" else subject.beats(*_span(material))
    return times_s - material.since_s


def _span(material: Material) -> tuple[float, float]:
    return material.since_s - BEFORE_S, material.since_s + material.seconds + 3.0
