"""Each fault changes exactly the verdicts that it should, and clean runs stay green: the demo rig in virtual time.

What must change is stated by each fault's TOUCHES and MAY_TOUCH and explained in docs/faults.md; what was really done
comes from the truth log. Nothing here is taken from what the harness answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from drivers.errors import SettingError
from drivers.registry import load_sensor, make_settings
from drivers.types import StreamSpec
from harness.bench import Mode
from harness.rig import Rig
from harness.rig_file import read_rig
from harness.run import Result, run_rig
from harness.verdict import Outcome, Verdict
from simulators.faults import Fault, SampleFault
from simulators.faults.registry import fault_names, load_fault, make_fault

ROOT = Path(__file__).parents[2]
DEMO = replace(read_rig(ROOT / "rigs" / "demo.rig.yaml"), path="", text="")
SEED = 7
MORE_SEEDS = (1, 2, 3, 4, 5)

FLAGS = {
    "baseline_wander": "baseline", "clipping": "saturated", "electrode_pop": "pop", "emg": "noise", "flatline": "flat",
    "lead_off": "saturated", "low_perfusion": "low_perfusion", "mains_hum": "hum", "motion": "motion",
    "quantisation": "coarse", "white_noise": "noise", "spikes": "pop motion noise", "hold": "flat",
}  # fmt: skip
"""What the quality check must call each of them, or one of several words."""
UNDECIDED = {"content_sync", "hr_accuracy", "rr_accuracy", "respiration_accuracy", "spo2_accuracy"}
"""Checks that compare what a signal shows, and that too little of it leaves undecided."""


def simulated(rig: Rig, role: str, **changes: object) -> Rig:
    """The rig with other simulation keys for one role."""
    entry = rig.sensors[role]
    return replace(rig, sensors={**rig.sensors, role: replace(entry, simulate={**entry.simulate, **changes})})


def damaged(role: str, *faults: Mapping[str, object], rig: Rig = DEMO, seed: int = SEED) -> Rig:
    return replace(simulated(rig, role, faults=list(faults)), seed=seed)


def judged(rig: Rig, directory: Path | None = None) -> Result:
    return run_rig(rig, Mode.VIRTUAL, directory)


def streams_of(role: str) -> tuple[StreamSpec, ...]:
    entry = DEMO.sensors[role]
    sensor = load_sensor(entry.sensor)
    return sensor.host(make_settings(sensor, entry.settings)).streams


def others(verdicts: Iterable[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.outcome is not Outcome.PASS]


def failing(verdicts: Iterable[Verdict]) -> set[str]:
    return {verdict.check for verdict in verdicts if verdict.outcome is Outcome.FAIL}


def told(verdicts: Iterable[Verdict]) -> str:
    return "\n".join(f"{v.check} {v.subject} {v.outcome}: {v.reason}" for v in others(verdicts))


def names(verdict: Verdict, role: str) -> bool:
    """The verdict is about this role: by its subject, or where that is the whole rig, by its reason."""
    if verdict.subject == "rig":
        return f"{role}/" in verdict.reason
    return any(part.split("/")[0] == role for part in verdict.subject.split("~"))


# --- clean ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_run_is_green(seed):
    result = judged(replace(DEMO, seed=seed))
    assert others(result.verdicts) == [], told(result.verdicts)
    assert result.exit_code == 0


def everywhere(rig: Rig = DEMO, ppm: float | None = None, **changes: object) -> Rig:
    """Other simulation keys on every sensor that has them."""
    for role, entry in rig.sensors.items():
        fits = {
            key: value for key, value in changes.items() if (key == "usb_latency_ms") == (entry.sensor != "heart-rate")
        }
        if ppm is not None:
            fits["clock"] = {**entry.simulate.get("clock", {}), "ppm": ppm}
        rig = simulated(rig, role, **fits)
    return rig


RHYTHM = {("content_sync", subject) for subject in ("strap/rr", "strap/rr~wrist/ppg", "chest/ecg~strap/rr")}
CONDITIONS: dict[str, tuple[Rig, set[tuple[str, str]]]] = {
    "rest for 120 s": (replace(DEMO, duration_s=120), set()),
    "stress for 120 s": (replace(DEMO, duration_s=120, subject={"script": "stress"}), set()),
    "joy": (replace(DEMO, subject={"script": "joy"}), set()),
    "calm": (replace(DEMO, subject={"script": "calm"}), RHYTHM),
    "heart at 40": (replace(DEMO, subject={"heart_rate_bpm": 40}), set()),
    # Its intervals hardly vary, so that a strap's sequence of them fits a beat sooner or later as well
    "heart at 180": (replace(DEMO, subject={"heart_rate_bpm": 180}), RHYTHM),
    "crystals 50 ppm slow": (everywhere(ppm=-50), set()),
    "crystals 20 ppm fast": (everywhere(ppm=20), set()),
    "crystals 50 ppm fast": (everywhere(ppm=50), set()),
    "radio every 15 ms": (everywhere(connection_interval_ms=15), set()),
    "radio every 45 ms": (everywhere(connection_interval_ms=45), set()),
    # 98 windows; a 99th percentile takes 299. A saturation takes ten seconds of light
    "12 s": (replace(DEMO, duration_s=12), {("latency", "rig"), ("spo2_accuracy", "wrist/ppg")}),
    # Polled every 16 ms, a clock that ticks 4 ms apart (or 100, with the same divisor) hides a drift of 4 ms a run
    "USB every 16 ms": (everywhere(usb_latency_ms=16), {("sync", "chest/ecg"), ("sync", "mood/affect")}),
    "USB every 16 ms for 120 s": (everywhere(replace(DEMO, duration_s=120), usb_latency_ms=16), set()),
}
"""Rig, and what may be INCONCLUSIVE there."""


@pytest.mark.parametrize("condition", CONDITIONS)
def test_no_clean_condition_fails(condition):
    rig, undecided = CONDITIONS[condition]
    result = judged(rig)
    found = {(v.check, v.subject): v.outcome for v in others(result.verdicts)}
    assert set(found.values()) <= {Outcome.INCONCLUSIVE}, told(result.verdicts)
    assert set(found) <= undecided, told(result.verdicts)
    for verdict in result.verdicts:
        if verdict.measure == "clock drift":
            clock = rig.sensors[verdict.subject.split("/")[0]].simulate.get("clock", {})
            spare = (verdict.high - verdict.low) / 2  # one in twenty may miss, but none by as much as it is wide
            assert verdict.low - spare <= clock.get("ppm", 0.0) <= verdict.high + spare, verdict


# --- each fault on each sensor ----------------------------------------------------------------


def fits(fault: type[Fault], role: str) -> bool:
    try:
        make_fault({"fault": fault.NAME}).check_fits(role, streams_of(role))
    except SettingError:
        return False
    return load_sensor(DEMO.sensors[role].sensor).LINK in fault.LINKS


def can_be_seen(fault: type[Fault], role: str) -> bool:
    """Windows wait for a stream that samples once a hop; a drift and a growing delay take a counter or a clock."""
    rates = [spec.rate_hz or 0.0 for spec in streams_of(role)]
    if "latency" in fault.TOUCHES:
        return max(rates) * DEMO.window.hop_ms >= 1000
    by_clock = "sync" in fault.TOUCHES or fault.NAME == "delay"
    return not by_clock or any(spec.counted for spec in streams_of(role))


PAIRS = [(name, role) for name in fault_names() for role in DEMO.sensors if fits(load_fault(name), role)]
SEEN = [pair for pair in PAIRS if can_be_seen(load_fault(pair[0]), pair[1])]
UNSEEN = [pair for pair in PAIRS if pair not in SEEN]


def test_every_fault_is_tried_and_little_is_left_out():
    assert {name for name, _ in SEEN} == set(fault_names())
    assert set(UNSEEN) == {
        ("jitter", "strap"), ("jitter", "mood"), ("stall", "strap"), ("stall", "mood"), ("clock_drift", "strap"),
        ("clock_wander", "strap"), ("delay", "strap"),
    }  # fmt: skip


def undecided(fault: type[Fault]) -> set[str]:
    """Checks that may be INCONCLUSIVE: clocks that late samples hide, content and accuracy of which a damaged signal
    shows too little, noise that movement hides, and a few windows of low quality in a short run."""
    late = {"sync", "age", "rate"} if fault.TOUCHES & {"latency", "age"} else {"sync"} & fault.MAY_TOUCH
    little = {"noise_floor", "quality"} & fault.MAY_TOUCH
    return late | little | UNDECIDED


def starts(name: str, role: str) -> bool:
    """A board that is silent longer than its exchange waits is not connected, and nothing else can be judged."""
    return not (name == "slow_start" and role in ("wrist", "mood"))


def damaged_streams(fault: type[SampleFault], role: str) -> set[str]:
    return {f"{role}/{spec.name}" for spec in streams_of(role) if spec.kind in fault.KINDS}


@cache
def judged_places() -> Mapping[str, set[str]]:
    """What each check says something of in a clean run."""
    verdicts = judged(replace(DEMO, seed=SEED)).verdicts
    return {check: {v.subject for v in verdicts if v.check == check} for check in {v.check for v in verdicts}}


def must_change(fault: type[Fault], role: str) -> set[str]:
    """Of the checks that must notice, those that judge what is damaged: a stream of it, or the whole sensor."""
    if not issubclass(fault, SampleFault):
        return set(fault.TOUCHES)
    return {check for check in fault.TOUCHES if judged_places()[check] & damaged_streams(fault, role)}


def assert_only_what_must(name: str, role: str, seed: int) -> None:
    fault = load_fault(name)
    long = role == "strap" and name in ("dropout", "truncate")  # of 30 notifications, often none is hit
    keys = {"mean_burst_frames": 1} if long and name == "dropout" else {}
    rig = replace(DEMO, duration_s=120) if long else DEMO
    verdicts = judged(damaged(role, {"fault": name, **keys}, rig=rig, seed=seed)).verdicts
    if not starts(name, role):
        assert failing(verdicts) == {"connect"} <= fault.MAY_TOUCH, told(verdicts)
        assert [v.subject for v in verdicts if v.outcome is Outcome.FAIL] == [role]
        return
    assert must_change(fault, role) <= failing(verdicts) <= fault.TOUCHES | fault.MAY_TOUCH, told(verdicts)
    for verdict in others(verdicts):
        assert names(verdict, role), told([verdict])
        allowed = undecided(fault) if verdict.outcome is Outcome.INCONCLUSIVE else set(failing(verdicts))
        assert verdict.check in allowed, told([verdict])
    if issubclass(fault, SampleFault) and "quality" in fault.TOUCHES:
        verdicts = [v for v in verdicts if v.check == "quality"]
        assert {v.subject for v in others(verdicts)} == damaged_streams(fault, role), told(verdicts)
        assert all(any(f" {flag} in " in v.reason for flag in FLAGS[name].split()) for v in others(verdicts)), told(
            verdicts
        )


def test_some_check_judges_what_each_fault_damages():
    assert all(must_change(load_fault(name), role) for name, role in SEEN)


@pytest.mark.parametrize(
    ("gain", "failed"), [(1.2, {"hr_accuracy", "rr_accuracy"}), (1.02, {"rr_accuracy"}), (1.0005, set())]
)
def test_intervals_that_are_off_by_a_factor_are_wrong_and_from_some_size_on_the_rate_is(gain, failed):
    """1 ms of 900 is the limit of intervals, 3 bpm of 67 that of the rate. Wrong intervals are found in no other
    stream, so that content_sync may be undecided."""
    verdicts = judged(damaged("strap", {"fault": "bias", "stream": "rr", "gain": gain})).verdicts
    assert failing(verdicts) == failed, told(verdicts)
    assert {v.subject for v in verdicts if v.outcome is Outcome.FAIL} <= {"strap/rr"}, told(verdicts)
    assert {v.check for v in others(verdicts)} <= failed | {"content_sync"}, told(verdicts)


@pytest.mark.parametrize(("name", "role"), SEEN, ids=map("-".join, SEEN))
def test_a_fault_changes_what_it_must_and_nothing_else(name, role):
    assert_only_what_must(name, role, SEED)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", MORE_SEEDS)
@pytest.mark.parametrize(("name", "role"), SEEN, ids=map("-".join, SEEN))
def test_a_fault_changes_what_it_must_with_every_seed(name, role, seed):
    assert_only_what_must(name, role, seed)


@pytest.mark.parametrize(("name", "role"), UNSEEN, ids=map("-".join, UNSEEN))
def test_what_nothing_can_see_is_not_pretended(name, role):
    """A delay that grows is seen on a strap by the samples that do not come in time any more, and by nothing else."""
    verdicts = judged(damaged(role, {"fault": name})).verdicts
    assert failing(verdicts) <= ({"delivery", "rate"} if name == "delay" else set()), told(verdicts)
    for verdict in others(verdicts):
        if verdict.outcome is not Outcome.FAIL:
            assert verdict.outcome is Outcome.INCONCLUSIVE, told([verdict])
            assert verdict.check in undecided(load_fault(name)), told([verdict])
        assert names(verdict, role), told([verdict])


# --- how much of it ---------------------------------------------------------------------------

A_TWENTIETH = [
    ("chest", {"fault": "mains_hum", "level": 0.2 / 20}),
    ("chest", {"fault": "emg", "level": 0.35 / 20}),
    ("chest", {"fault": "dropout", "mean_lost_percent": 10 / 20}),
    ("chest", {"fault": "jitter", "mean_ms": 80 / 20}),
    ("chest", {"fault": "stall", "for_ms": 400 / 20}),
    ("wrist", {"fault": "motion", "level": 0.75 / 20}),
    ("wrist", {"fault": "jitter", "mean_ms": 80 / 20}),
    ("wrist", {"fault": "clock_drift", "ppm": 500 / 20}),
    ("wrist", {"fault": "clock_step", "seconds": 0.5 / 20}),
    ("mood", {"fault": "clock_drift", "ppm": 500 / 20}),
]


@pytest.mark.parametrize(("role", "fault"), A_TWENTIETH, ids=[f"{f['fault']}-{role}" for role, f in A_TWENTIETH])
def test_a_twentieth_of_a_default_level_leaves_everything_green(role, fault):
    verdicts = judged(damaged(role, fault)).verdicts
    unsure = ("jitter", "clock_step")  # what they leave is too small for a jump and too large to tell a drift by
    undecided = {"sync", "age"} if fault["fault"] in unsure else set()
    if fault["fault"] in ("motion", "emg", "baseline_wander", "white_noise"):
        undecided |= {"rr_accuracy"}  # the foot of a pulse moves by milliseconds with the least noise
    assert {v.check for v in others(verdicts)} <= undecided | {"content_sync"}, told(verdicts)
    assert failing(verdicts) == set(), told(verdicts)


# --- the truth --------------------------------------------------------------------------------


class Told:
    """A run and what was really done in it."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self.result = judged(rig, directory)
        self.start_ns = self.result.recording.start_ns
        lines = (directory / "truth.jsonl").read_text().splitlines() if (directory / "truth.jsonl").exists() else []
        self.truths = [json.loads(line) for line in lines]

    def sum(self, key: str, until_ns: int | None = None) -> int:
        """Over the entries that had begun before a moment: what nothing came after cannot be counted."""
        ended = [t for t in self.truths if until_ns is None or t["start_ns"] < until_ns]
        return sum(t["detail"][key] for t in ended)

    def measured(self, check: str, subject: str, measure: str) -> Verdict:
        return next(v for v in self.result.verdicts if (v.check, v.subject, v.measure) == (check, subject, measure))


def lost_samples(told_run: Told, key: str) -> int:
    verdict = told_run.measured("delivery", key, "lost")
    return round(verdict.value / 100 * verdict.n)


@pytest.mark.parametrize(("role", "stream"), [("chest", "ecg"), ("wrist", "ppg"), ("mood", "affect")])
def test_exactly_the_frames_that_were_lost_are_counted(role, stream, tmp_path):
    run = Told(damaged(role, {"fault": "dropout"}), tmp_path)
    last_ns = int(run.result.recording.streams[f"{role}/{stream}"].time_ns.max())
    assert run.sum("frames") > 0
    assert lost_samples(run, f"{role}/{stream}") == run.sum("frames", last_ns)


@pytest.mark.parametrize("seed", range(4))
def test_notifications_without_a_number_that_were_lost_are_counted_by_their_rate(seed, tmp_path):
    rig = damaged("strap", {"fault": "dropout", "stop_s": 28}, seed=seed)
    run = Told(rig, tmp_path)
    assert lost_samples(run, "strap/heart_rate") == run.sum("frames")
    assert ("delivery" in failing(run.result.verdicts)) == (run.sum("frames") > 0)


@pytest.mark.parametrize(
    ("fault", "kind"), [("duplicate", "repeated"), ("reorder", "reordered"), ("counter_reset", "counter resets")]
)
@pytest.mark.parametrize("role", ["chest", "mood"])
def test_exactly_what_was_done_to_frames_is_counted(role, fault, kind, tmp_path):
    run = Told(damaged(role, {"fault": fault}), tmp_path)
    verdict = run.measured("delivery", role, "damaged frames")
    assert run.truths
    assert verdict.value == len(run.truths)
    assert verdict.reason == f"{len(run.truths)} {kind}"
    if fault != "counter_reset":  # every frame came
        assert all(v.value == 0 for v in run.result.verdicts if v.measure == "lost" and names(v, role))


@pytest.mark.parametrize(("seconds", "role"), [(0.5, "wrist"), (-2.0, "wrist"), (0.5, "mood"), (-30.0, "mood")])
def test_a_step_of_a_clock_is_found_with_its_size(seconds, role, tmp_path):
    run = Told(damaged(role, {"fault": "clock_step", "seconds": seconds}), tmp_path)
    (verdict,) = others(run.result.verdicts)
    (truth,) = run.truths
    assert verdict.value == pytest.approx(1000 * abs(truth["detail"]["seconds"]), abs=5)


@pytest.mark.parametrize("ppm", [500, -500, 200])
@pytest.mark.parametrize("role", ["chest", "wrist", "mood"])
def test_a_drift_lies_within_its_stated_interval(role, ppm):
    result = judged(damaged(role, {"fault": "clock_drift", "ppm": ppm}))
    verdict = next(v for v in result.verdicts if v.measure == "clock drift" and names(v, role))
    own = DEMO.sensors[role].simulate.get("clock", {}).get("ppm", 0.0)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.low <= own + ppm <= verdict.high
    assert verdict.high - verdict.low < 150


@pytest.mark.parametrize("role", list(DEMO.sensors))
@pytest.mark.parametrize("for_s", [2.0, 6.0])
def test_an_outage_is_delivery_and_nothing_else_also_when_the_sensor_comes_back(role, for_s, tmp_path):
    """A Cyton takes about two seconds to start, a board one line."""
    run = Told(damaged(role, {"fault": "unplug", "at_s": 10, "for_s": for_s}), tmp_path)
    verdicts = run.result.verdicts
    assert failing(verdicts) == {"delivery"}, told(verdicts)
    rest = [v for v in others(verdicts) if not (v.check in UNDECIDED and v.outcome is Outcome.INCONCLUSIVE)]
    assert all(v.check == "delivery" and names(v, role) for v in rest), told(verdicts)
    (truth,) = run.truths
    assert (truth["start_ns"] - run.start_ns, truth["end_ns"] - run.start_ns) == (10_000_000_000, (10 + for_s) * 1e9)
    assert f"1 link losses ({for_s:.1f} s down)" in run.measured("delivery", role, "damaged frames").reason
    spec = max(streams_of(role), key=lambda spec: spec.rate_hz or 0)
    gap = run.measured("delivery", f"{role}/{spec.name}", "longest gap")
    assert 1000 * for_s - 1100 / spec.rate_hz <= gap.value <= 1000 * (for_s + 3.5)
    assert lost_samples(run, f"{role}/{spec.name}") == pytest.approx(gap.value / 1000 * spec.rate_hz, abs=1.01)


# --- in real time -----------------------------------------------------------------------------


def test_in_real_time_the_same_checks_fail_on_the_same_sensors():
    """Over pseudo-terminals. Latency is this machine's and is left out."""
    rig = replace(DEMO, sensors={role: DEMO.sensors[role] for role in ("chest", "wrist", "mood")}, duration_s=12.0)
    rig = replace(rig, limits={check: given for check, given in rig.limits.items() if check != "latency"})
    rig = damaged("chest", {"fault": "unplug", "at_s": 2, "for_s": 1}, rig=rig)
    rig = damaged("wrist", {"fault": "clock_drift", "ppm": 3000}, rig=rig)
    rig = damaged("mood", {"fault": "dropout", "mean_lost_percent": 15}, rig=rig)
    expected = {("delivery", "chest"), ("sync", "wrist"), ("delivery", "mood")}
    for mode in (Mode.VIRTUAL, Mode.SIMULATED):
        verdicts = run_rig(rig, mode).verdicts
        failed = {(v.check, v.subject.split("/")[0]) for v in verdicts if v.outcome is Outcome.FAIL}
        assert failed == expected, f"{mode}\n{told(verdicts)}"
