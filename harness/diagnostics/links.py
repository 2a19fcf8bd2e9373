"""Links: what was lost, what several sensors lost at once, and what came late."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import stats

from drivers.registry import load_sensor
from drivers.types import CounterReset, IntArray, LinkDown, Lost, Malformed
from harness.diagnostics.case import Case, Rule, facts, named, roles_of, unique
from harness.diagnostics.diagnosis import Diagnosis
from harness.recording import StreamData
from harness.verdict import Verdict

FOLLOWS = (
    "delivery", "rate", "age", "quality", "content_sync", "lead_off", "saturation", "noise_floor", "hr_accuracy",
    "rr_accuracy", "spo2_accuracy", "respiration_accuracy", "latency", "pacing",
)  # fmt: skip
"""What a missing stretch of a stream can turn from PASS."""
_TOGETHER_NS = 50_000_000
"""Losses of two roles within this time count as one moment."""
_BY_CHANCE = 0.01
_BATCH_MS = (14.0, 18.0)
"""An FTDI adapter's latency timer is 16 ms unless somebody sets it."""
_MERGED_NS = 2_000_000
_SAID = 3
"""Moments that are told one by one."""


def shared_outages(case: Case) -> list[Diagnosis]:
    """Two or more sensors lost samples or links at the same moments, more often than chance would have it."""
    losses = {role: _moments(case, role) for role in case.recording.rig.sensors}
    seconds = max((case.recording.stop_ns - case.recording.start_ns) / 1e9, 1e-9)
    together: dict[str, IntArray] = {}
    for a, b in combinations([role for role, times in losses.items() if len(times)], 2):
        few, many = sorted((losses[a], losses[b]), key=len)
        shared = few[_near(few, many)]
        chance = min(1.0, 2 * _TOGETHER_NS / 1e9 * len(many) / seconds)
        if 2 * len(shared) > len(few) and stats.binom.sf(len(shared) - 1, len(few), chance) < _BY_CHANCE:
            for role in (a, b):
                together[role] = np.union1d(together.get(role, shared), shared)
    explains = case.accounted(FOLLOWS, together) if together else ()
    if not explains:
        return []
    roles, times = ", ".join(together), np.unique(np.concatenate(list(together.values())))
    apart = times[np.diff(times, prepend=times[0] - 2 * _TOGETHER_NS) > _TOGETHER_NS]
    first = ", ".join(f"{case.at_s(int(at)):.1f} s" for at in apart[:_SAID])
    evidence = (f"{roles} lose samples or their links at the same {_times(len(apart))}: {first}",)
    cause = (
        f"something that {roles} share: a USB hub or its power, one Bluetooth adapter, or this machine standing still"
    )
    step = "plug the sensors into ports of the machine itself, or a hub with its own supply, and see dmesg at that time"
    return [Diagnosis("shared-hub", "several sensors drop out together", cause, evidence, step, 88, explains)]


def _times(count: int) -> str:
    return f"{count} moments" if count > 1 else "moment"


def _moments(case: Case, role: str) -> IntArray:
    """When a role lost something, each outage once."""
    downs = [e.arrival_ns for e in case.events(role, LinkDown) if isinstance(e, LinkDown)]
    downs += [e.arrival_ns for e in case.events(role, Lost) if isinstance(e, Lost)]
    times = np.sort(np.array(downs, dtype=np.int64))
    return times[np.diff(times, prepend=-(2**62)) > _TOGETHER_NS]


def _near(times: IntArray, others: IntArray) -> np.typing.NDArray[np.bool_]:
    place = np.searchsorted(others, times)
    before = np.abs(times - others[np.maximum(place - 1, 0)])
    after = np.abs(others[np.minimum(place, len(others) - 1)] - times)
    return np.asarray(np.minimum(before, after) <= _TOGETHER_NS)


def unplugged(case: Case) -> list[Diagnosis]:
    """A link went down during the run."""
    made = []
    for role in case.recording.rig.sensors:
        downs = [event for event in case.events(role, LinkDown) if isinstance(event, LinkDown)]
        explains = case.accounted(FOLLOWS, role)
        if downs and explains:
            evidence = tuple(f"{case.at_s(event.arrival_ns):.1f} s: {event.reason}" for event in downs[:_SAID])
            cause = f"{role} was unplugged, out of range, or reset itself"
            step = "check cable, power and distance at that time; dmesg says whether the adapter left the bus"
            made.append(Diagnosis("link-down", f"{role} was gone for a while", cause, evidence, step, 85, explains))
    return made


def silent(case: Case) -> list[Diagnosis]:
    """A sensor is connected and delivers nothing, or nothing that can be read."""
    made = []
    for verdict in case.red("connect"):
        role = verdict.subject
        if role in case.recording.meta.get("connect_errors", {}) or verdict.value != 0.0:
            continue
        explains = case.accounted(("connect", "sync", *FOLLOWS), role)
        sensor = case.recording.rig.sensors[role].sensor
        received = int(case.recording.meta.get("bytes", {}).get(role, 0))
        if received:
            cause = f"what {role} sends is no {sensor} stream: another baud rate, format or sensor at that port"
            step = f"compare the rig's settings of {role} with the device; hil probe {sensor} shows what comes"
            made.append(Diagnosis("unreadable", f"{role} cannot be read", cause, (facts(verdict),), step, 93, explains))
        else:
            cause = f"{role} is off, waits for a command or for contact, or another device is at that port"
            step = f"switch it on and wear it; hil probe {sensor} listens to it alone"
            made.append(Diagnosis("silent", f"{role} sends nothing", cause, (facts(verdict),), step, 92, explains))
    return made


def fell_silent(case: Case) -> list[Diagnosis]:
    """Missing data in one modality: streams end long before the run does while others go on, their link being up."""
    ended: dict[str, list[str]] = {}
    for verdict in case.red("delivery", "longest gap"):
        stream = case.recording.streams.get(verdict.subject)
        if stream is not None and _ended(case, stream, (verdict.limit or 0.0) * 1e6):
            ended.setdefault(stream.role, []).append(stream.key)
    made = []
    for role, keys in ended.items():
        streams = [case.recording.streams[key] for key in keys]
        evidence = [f"{s.key}: its last sample came at {case.at_s(int(s.arrival_ns.max())):.1f} s" for s in streams]
        evidence[-1] += "; other sensors went on"
        whole = len(keys) == sum(bool(len(s.arrival_ns)) for s in case.recording.streams.values() if s.role == role)
        cause = f"{role} stopped sending: it fell asleep, its battery is empty, or its firmware hangs"
        if not whole:
            cause = f"{role} goes on with its other streams: it stopped measuring these, or was told to"
        step = "look at the device (light, battery); does it need a keep-alive, or contact, to go on?"
        explains = case.accounted((*FOLLOWS, "sync"), role if whole else keys)
        symptom = f"{role if whole else ', '.join(keys)} is missing from some time on"
        made.append(Diagnosis("fell-silent", symptom, cause, tuple(evidence), step, 84, explains))
    return made


def _ended(case: Case, stream: StreamData, limit_ns: float) -> bool:
    """The stream came in the run, then no more, and nothing else of its sensor did either, be it damaged."""
    recording, n = case.recording, len(stream.arrival_ns)
    last_ns = int(stream.arrival_ns.max()) if n else -1
    if last_ns <= recording.start_ns or recording.stop_ns - last_ns <= limit_ns or case.events(stream.role, LinkDown):
        return False
    if any(isinstance(e, Malformed) and e.arrival_ns > last_ns for e in case.events(stream.role, Malformed)):
        return False
    others = [s for s in recording.streams.values() if s.role != stream.role and len(s.arrival_ns)]
    return any(int(s.arrival_ns.max()) > last_ns + limit_ns for s in others)


def restarted(case: Case) -> list[Diagnosis]:
    """A device's frame counter began anew while its link stayed up."""
    made = []
    for role in case.recording.rig.sensors:
        resets = [e for e in case.events(role, CounterReset) if isinstance(e, CounterReset) and not e.clock]
        explains = case.accounted(("delivery", "sync"), role)
        if resets and explains:
            evidence = tuple(f"{case.at_s(e.arrival_ns):.1f} s: {e.detail}" for e in resets[:_SAID])
            cause = f"{role} restarted or was restarted: a dip of its supply, a watchdog, or a command"
            step = "measure its supply under load, use a shorter or thicker cable, and look at its own log"
            made.append(Diagnosis("restart", f"{role} began to count anew", cause, evidence, step, 83, explains))
    return made


def damaged(case: Case) -> list[Diagnosis]:
    """Bytes that are no frames: noise on the line, a wrong rate of the line, or bytes that were dropped on the way."""
    made = []
    for role in case.recording.rig.sensors:
        bad = [e for e in case.events(role, Malformed) if isinstance(e, Malformed)]
        if not bad or not case.red("delivery", "damaged"):
            continue
        explains = case.accounted(("delivery", "quality"), role)
        size = sum(event.size for event in bad)
        evidence = f"{role}: {len(bad)} malformed, {size} bytes; the first at {case.at_s(bad[0].arrival_ns):.1f} s: "
        cause = "noise on the cable, a baud rate that differs slightly, or bytes that a full buffer dropped"
        step = "try a shorter, shielded cable and another port; compare the baud rate at both ends"
        symptom = f"bytes of {role} arrive damaged"
        if explains:
            evidence += bad[0].reason
            made.append(Diagnosis("damaged-bytes", symptom, cause, (evidence,), step, 78, explains))
    return made


def lost(case: Case) -> list[Diagnosis]:
    """Samples are lost while the link stays up."""
    made = []
    for role in case.recording.rig.sensors:
        red = [v for v in case.red("delivery", "lost") if roles_of(v) == [role]]
        if not red or not any(len(s.index) for s in case.recording.streams.values() if s.role == role):
            continue
        explains = case.accounted(("delivery", "quality", "content_sync", "rate", "age"), role)
        radio = load_sensor(case.recording.rig.sensors[role].sensor).LINK == "ble"
        cause = "the radio link is weak or shared" if radio else "the line or the sensor's buffer overflows"
        step = "come closer, keep the body out of the way, and switch off other Bluetooth and 2.4 GHz devices nearby"
        if not radio:
            step = "raise the baud rate or send fewer channels; check cable and hub; is a radio part of the way?"
        made.append(
            Diagnosis("lost-samples", f"{role} loses samples", cause, _evidence(red), step, 70, explains)
        )  # fmt: skip
    return made


def late(case: Case) -> list[Diagnosis]:
    """Data are old: their delay grows, they stand still for a while, or they were old from the start."""
    what = {
        "age growth": (
            "old-data-growing", "grow older and older", "a queue fills faster than it is emptied (in the device, its "
            "driver or a bridge), or its clock runs slow",
            "send less or read faster; compare with the clock verdicts", 80,
        ),
        "longest stall": (
            "link-stalls", "stand still and come at once",
            "the link, a bridge or the device is busy with something else at that time",
            "look for what happens at that moment: writing to a card, a scan, power saving", 77,
        ),
        "age": (
            "old-data", "are old when they come", "samples wait in a queue, a buffer or a packet that is too large",
            "lower buffer and packet sizes in the sensor's settings; see the connection interval of a BLE link", 76,
        ),
        "first sample": (
            "slow-start", "begin late", "the device warms up, looks for a signal, or waits for contact",
            "switch it on earlier, or raise age.max_first_sample_s if that is its way", 66,
        ),
    }  # fmt: skip
    made = []
    for measure, (rule, symptom, cause, step, weight) in what.items():
        by_role: dict[str, list[Verdict]] = {}
        for verdict in case.red("age", measure):
            if verdict.measure == measure:
                by_role.setdefault(roles_of(verdict)[0], []).append(verdict)
        for role, red in by_role.items():
            follows: tuple[str, ...] = ("sync", "content_sync", "latency", "pacing") if rule != "slow-start" else ()
            follows += ("rate",) if rule == "old-data-growing" else ()
            explains = unique(named(v) for v in red) + case.accounted(follows, role)
            made.append(Diagnosis(rule, f"samples of {role} {symptom}", cause, _evidence(red), step, weight, explains))
    return made


def usb_batches(case: Case) -> list[Diagnosis]:
    """Latency, and bytes that come every 16 ms: the latency timer of an FTDI adapter at its default."""
    if not (case.spikes.above or case.red("latency") or case.red("pacing")):
        return []  # such an adapter is then within the budget, and a run too short to tell has another cause
    explains = case.accounted(("latency", "pacing"), "rig")
    found = {
        stream.role: gap_ms
        for stream in case.recording.streams.values()
        if load_sensor(case.recording.rig.sensors[stream.role].sensor).LINK == "serial"
        and _BATCH_MS[0] <= (gap_ms := _batch_ms(stream)) <= _BATCH_MS[1]
    }
    if not found:
        return []
    evidence = tuple(
        f"{role}: bytes arrive every {gap_ms:.1f} ms, several samples at once" for role, gap_ms in found.items()
    )
    cause = "the USB adapter holds bytes back for 16 ms, an FTDI chip's latency timer at its default"
    step = "echo 1 | sudo tee /sys/bus/usb-serial/devices/ttyUSB*/latency_timer; `hil doctor` shows every timer"
    return [Diagnosis("ftdi-latency-timer", "latency above the budget", cause, evidence, step, 90, explains)]


def _batch_ms(stream: StreamData) -> float:
    """Median time between arrivals of a stream that samples at least twice between two of them; else 0."""
    arrivals = stream.arrival_ns
    if len(arrivals) < 100 or not stream.spec.rate_hz:
        return 0.0
    gaps = np.diff(arrivals)
    gaps = gaps[gaps > _MERGED_NS]
    median_ms = float(np.median(gaps)) / 1e6 if len(gaps) else 0.0
    return median_ms if median_ms * stream.spec.rate_hz >= 2000 else 0.0


def late_stream(case: Case) -> list[Diagnosis]:
    """Windows are late since they wait for one stream."""
    windows, red = case.recording.windows, case.red("latency")
    if not red or not len(windows.late) or not windows.late.any():
        return []
    counts = windows.late.sum(axis=0)
    key, count = windows.waited_for[int(counts.argmax())], int(counts.max())
    waiting = [one for one in case.spikes.worst if one.step == "link and wait"]
    if 2 * len(waiting) < len(case.spikes.worst):
        return []
    evidence = f"{key} was not there in time for {count} of {len(windows.late)} windows"
    cause = f"the link of {key} delivers late: a connection interval, a USB timer, or a sender that stalls"
    step = "shorten the connection interval or the adapter's timer, or raise window.wait_ms if the budget allows it"
    explains = case.accounted(("latency", "pacing"), "rig")
    return [Diagnosis("late-stream", "windows wait for one stream", cause, (evidence,), step, 72, explains)]


def _evidence(verdicts: list[Verdict]) -> tuple[str, ...]:
    return unique(facts(verdict) for verdict in verdicts)[:_SAID]


LINKS: tuple[Rule, ...] = (
    shared_outages, unplugged, silent, fell_silent, restarted, damaged, lost, late, usb_batches, late_stream,
)  # fmt: skip
