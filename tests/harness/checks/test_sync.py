"""Drift, steps and misalignment against what was put in."""

from dataclasses import replace

import numpy as np
import pytest

from drivers.timebase import OnlineTimebase
from drivers.types import LinkDown, LinkUp, Samples
from harness.checks.sync import LIMITS, check
from harness.verdict import Outcome

MS = 1_000_000
S = 1_000_000_000


def noisy(stream, ppm=0.0, step_ms=0.0, stamp_error_ms=0.0, seed=5):
    """The same sensor with a crystal that is ``ppm`` fast, a clock that jumps at 15 s, and bad stamps."""
    start = stream.arrival_ns[0]
    jitter = np.random.default_rng(seed).exponential(1e6, len(stream.arrival_ns)).astype(np.int64)
    taken = start + ((stream.arrival_ns - start) / (1 + ppm * 1e-6)).astype(np.int64)
    arrival = np.maximum.accumulate(taken + jitter)
    wrong = round(stamp_error_ms * MS)
    changed = replace(stream, arrival_ns=arrival, time_ns=taken + wrong)
    if step_ms:
        jump = np.where(np.arange(len(arrival)) >= len(arrival) // 2, round(step_ms * MS), 0)
        changed = replace(changed, device_ns=stream.device_ns + jump)
    return changed


def verdicts_of(a_recording, *streams):
    return {(v.subject, v.measure): v for v in check(a_recording(list(streams)), LIMITS())}


@pytest.mark.parametrize(
    ("ppm", "outcome"),
    [(0, Outcome.PASS), (50, Outcome.PASS), (-50, Outcome.PASS), (300, Outcome.FAIL), (-300, Outcome.FAIL)],
)
def test_a_counters_drift_is_measured_against_the_host(a_recording, a_stream, ppm, outcome):
    verdict = verdicts_of(a_recording, noisy(a_stream(), ppm))["chest/ecg", "clock drift"]
    assert verdict.outcome is outcome
    assert verdict.value == pytest.approx(ppm, abs=5)
    assert verdict.low <= ppm <= verdict.high


def test_a_drift_at_the_limit_is_inconclusive(a_recording, a_stream):
    assert (
        verdicts_of(a_recording, noisy(a_stream(), 100.0))["chest/ecg", "clock drift"].outcome is Outcome.INCONCLUSIVE
    )


@pytest.mark.parametrize("step_ms", [500.0, -500.0, 120.0])
def test_a_clock_that_jumps_is_found_with_its_size(a_recording, a_stream, step_ms):
    stream = noisy(a_stream(rate_hz=64.0, timed=True), step_ms=step_ms)
    verdict = verdicts_of(a_recording, stream)["chest/ecg", "clock step"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(abs(step_ms), abs=10)


def test_a_steady_clock_does_not_jump(a_recording, a_stream):
    stream = noisy(a_stream(rate_hz=64.0, timed=True), ppm=40)
    assert verdicts_of(a_recording, stream)["chest/ecg", "clock step"].outcome is Outcome.PASS


def test_a_sensor_that_only_counts_has_no_clock_that_could_jump(a_recording, a_stream):
    assert ("chest/ecg", "clock step") not in verdicts_of(a_recording, noisy(a_stream()))


def test_two_sensors_with_right_stamps_are_in_sync(a_recording, a_stream):
    pair = noisy(a_stream(), 20), noisy(a_stream(role="wrist", name="ppg", rate_hz=64.0, timed=True), -30, seed=6)
    verdict = verdicts_of(a_recording, *pair)["chest/ecg~wrist/ppg", "misalignment"]
    assert verdict.outcome is Outcome.PASS
    assert verdict.high < 10


def test_stamps_that_are_far_off_fail_and_name_the_sensor(a_recording, a_stream):
    right = noisy(a_stream(), 20)
    wrong = noisy(a_stream(role="wrist", name="ppg", rate_hz=64.0, timed=True), stamp_error_ms=250.0, seed=6)
    verdict = verdicts_of(a_recording, right, wrong)["chest/ecg~wrist/ppg", "misalignment"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(250, abs=10)
    assert "wrist" in verdict.reason


def test_nothing_that_has_a_clock_is_not_green(a_recording, a_stream):
    (verdict,) = check(a_recording([a_stream(rate_hz=1.0, counted=False)]), LIMITS())
    assert verdict.outcome is Outcome.NOT_RUN


def test_too_few_samples_tell_nothing(a_recording, a_stream):
    found = verdicts_of(a_recording, a_stream(keep=lambda i: i < 2))
    assert found["chest/ecg", "clock drift"].outcome is Outcome.INCONCLUSIVE


def jittered(stream, most_ms=160.0, seed=4):
    """Delays of up to most_ms, drawn anew every quarter of a second."""
    since = (stream.arrival_ns - stream.arrival_ns[0]) // (S // 4)
    delays = np.random.default_rng(seed).uniform(0, most_ms * MS, since[-1] + 1).astype(np.int64)
    return replace(stream, arrival_ns=np.maximum.accumulate(stream.arrival_ns + delays[since]))


def test_a_link_that_hides_jumps_is_inconclusive_and_not_green(a_recording, a_stream):
    stream = jittered(a_stream(rate_hz=64.0, timed=True))
    verdict = verdicts_of(a_recording, stream)["chest/ecg", "clock step"]
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "hide" in verdict.reason


def restarted(stream, back_s=14.0):
    """The device was switched on anew at 14 s: nothing came for four seconds, and its clock began at 0."""
    since = stream.arrival_ns - stream.arrival_ns[0]
    before, after = since < 10 * S, since >= back_s * S
    kept = before | after
    device = np.where(after, stream.device_ns - round(back_s * S), stream.device_ns)[kept]
    columns = {name: getattr(stream, name)[kept] for name in ("values", "index", "arrival_ns", "time_ns")}
    return replace(stream, device_ns=device, segment=after[kept].astype(np.int64), **columns)


def test_a_clock_that_begins_anew_with_the_link_has_not_jumped(a_recording, a_stream):
    stream = restarted(noisy(a_stream(rate_hz=64.0, timed=True)))
    events = [("chest", LinkDown(110 * S, "unplugged")), ("chest", LinkUp(112 * S))]
    found = {(v.subject, v.measure): v for v in check(a_recording([stream], events=events), LIMITS())}
    assert found["chest/ecg", "clock step"].outcome is Outcome.PASS
    assert "1 restarts with the link" in found["chest/ecg", "clock step"].reason
    without = {(v.subject, v.measure): v for v in check(a_recording([stream]), LIMITS())}
    assert without["chest/ecg", "clock step"].outcome is Outcome.FAIL


# --- delays that jump, wander, and whose clock it is ------------------------------------------


def late_from(stream, at_s, by_ms):
    """The link delays everything from then on."""
    since = stream.arrival_ns - stream.arrival_ns[0]
    return replace(stream, arrival_ns=stream.arrival_ns + np.where(since >= at_s * S, round(by_ms * MS), 0))


@pytest.mark.parametrize("by_ms", [300.0, 1500.0])
def test_a_delay_that_jumps_is_no_jump_of_the_clock_and_does_not_hide_its_drift(a_recording, a_stream, by_ms):
    stream = late_from(noisy(a_stream(rate_hz=64.0, timed=True), ppm=40), 12, by_ms)
    found = verdicts_of(a_recording, stream)
    assert found["chest/ecg", "clock step"].outcome is Outcome.PASS
    assert "1 jumps of the link's delay" in found["chest/ecg", "clock step"].reason
    assert found["chest/ecg", "clock drift"].outcome is Outcome.PASS
    assert found["chest/ecg", "clock drift"].value == pytest.approx(40, abs=10)


def test_stamps_that_follow_a_delay_are_misaligned(a_recording, a_stream):
    """The estimate made during the run takes the delayed arrivals for the new floor."""
    right = noisy(a_stream(), 20)
    late = late_from(noisy(a_stream(role="wrist", name="ppg", rate_hz=64.0, timed=True), seed=6), 12, 400)
    since = late.arrival_ns - late.arrival_ns[0]
    late = replace(late, time_ns=late.time_ns + np.where(since >= 13 * S, 400 * MS, 0))
    verdict = verdicts_of(a_recording, right, late)["chest/ecg~wrist/ppg", "misalignment"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.value == pytest.approx(400, abs=10)
    assert "the stamps of wrist are at fault" in verdict.reason


def wandering(stream, excess_s, seed=5):
    """A crystal that has gained excess_s(t) after t seconds; delays of 1 ms at the mean."""
    start = stream.arrival_ns[0]
    phase = (stream.arrival_ns - start) / 1e9
    world = phase.copy()
    for _ in range(5):
        world = phase - excess_s(world)
    late = np.random.default_rng(seed).exponential(1e-3, len(world))
    taken = start + np.rint(world * 1e9).astype(np.int64)
    arrival = np.maximum.accumulate(taken + np.rint(late * 1e9).astype(np.int64))
    return replace(stream, arrival_ns=arrival, time_ns=taken)


@pytest.mark.parametrize("ppm_per_min", [500.0, -500.0])
def test_a_clock_whose_drift_changes_is_found_with_its_size(a_recording, a_stream, ppm_per_min):
    stream = wandering(a_stream(), lambda t: 0.5 * ppm_per_min / 60 * 1e-6 * t**2)
    verdict = verdicts_of(a_recording, stream)["chest/ecg", "clock wander"]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.low <= ppm_per_min <= verdict.high


def test_a_clock_that_swings_is_found_though_its_mean_drift_stays(a_recording, a_stream):
    swing = lambda t: 200e-6 * 20 / (2 * np.pi) * (1 - np.cos(2 * np.pi * t / 20))  # noqa: E731
    stream = wandering(a_stream(seconds=60.0), swing)
    verdict = verdicts_of(a_recording, stream)["chest/ecg", "clock wander"]
    assert verdict.outcome is Outcome.FAIL


@pytest.mark.parametrize("seed", range(20))
def test_a_steady_clock_does_not_wander(a_recording, a_stream, seed):
    stream = wandering(a_stream(), lambda t: 30e-6 * t, seed)
    assert verdicts_of(a_recording, stream)["chest/ecg", "clock wander"].outcome is Outcome.PASS


def several(a_stream, *ppms):
    """Sensors with these drifts."""
    names = ("chest", "wrist", "ankle", "head")
    return [noisy(a_stream(role=name), ppm, seed=n) for n, (name, ppm) in enumerate(zip(names, ppms, strict=False))]


@pytest.mark.parametrize(
    ("ppms", "outcome", "words"),
    [
        ((20, -10, 5), Outcome.PASS, ["the host and 3 clocks agree"]),
        ((20, 400, 5), Outcome.PASS, ["the clock of wrist/ecg is the odd one out"]),
        ((20, 400), Outcome.PASS, ["the clock of wrist/ecg is the odd one out"]),
        ((400, 420, 390), Outcome.FAIL, ["chest/ecg, wrist/ecg, ankle/ecg all run off alike", "host", "NTP"]),
        ((400,), Outcome.INCONCLUSIVE, ["chest/ecg", "only these two", "cannot be told"]),
        ((400, -400), Outcome.INCONCLUSIVE, ["chest/ecg, wrist/ecg", "no majority"]),
    ],
)
def test_the_majority_of_clocks_says_which_one_is_wrong(a_recording, a_stream, ppms, outcome, words):
    verdict = verdicts_of(a_recording, *several(a_stream, *ppms))["rig", "clocks"]
    assert verdict.outcome is outcome, verdict.reason
    for word in words:
        assert word in verdict.reason


def test_streams_that_no_clock_can_judge_are_listed(a_recording, a_stream):
    streams = [noisy(a_stream()), a_stream(role="strap", name="heart_rate", rate_hz=1.0, counted=False)]
    verdict = verdicts_of(a_recording, *streams)["rig", "clocks"]
    assert verdict.reason.endswith("so that no clock can be judged: strap/heart_rate")


def test_a_modality_that_is_missing_or_late_is_named_in_the_pair(a_recording, a_stream):
    silent = a_stream(role="wrist", name="ppg", rate_hz=64.0, keep=lambda i: i < 0)
    missing = verdicts_of(a_recording, noisy(a_stream()), silent)["chest/ecg~wrist/ppg", "misalignment"]
    assert missing.outcome is Outcome.INCONCLUSIVE
    assert missing.reason.startswith("wrist/ppg delivered nothing")
    short = a_stream(role="wrist", name="ppg", rate_hz=64.0, keep=lambda i: (i > 64 * 7) & (i < 64 * 20))
    late = verdicts_of(a_recording, noisy(a_stream()), short)["chest/ecg~wrist/ppg", "misalignment"]
    assert "wrist/ppg begins 7.0 s after the other" in late.reason
    assert "wrist/ppg ends 10.0 s before the other" in late.reason


def test_a_pair_tells_how_fast_its_clocks_part(a_recording, a_stream):
    pair = noisy(a_stream(), 20), noisy(a_stream(role="wrist", name="ppg", rate_hz=64.0, timed=True), -30, seed=6)
    reason = verdicts_of(a_recording, *pair)["chest/ecg~wrist/ppg", "misalignment"].reason
    gained = float(reason.split("the clock of wrist gains ")[1].split(" ppm")[0])
    assert gained == pytest.approx(-50, abs=10)


def test_a_sample_with_a_damaged_number_does_not_bend_the_clock(a_recording, a_stream):
    stream = noisy(a_stream(), 20)
    index = stream.index.copy()
    index[[1000, 4000]] += 2  # 8 ms before they were taken, if it were true
    found = verdicts_of(a_recording, replace(stream, index=index))
    assert found["chest/ecg", "clock drift"].outcome is Outcome.PASS
    assert found["chest/ecg", "clock drift"].value == pytest.approx(20, abs=5)


# --- damage, jitter and small jumps -----------------------------------------------------------


def test_two_rows_that_lost_the_same_digits_are_no_clock_that_jumped(a_recording, a_stream):
    stream = noisy(a_stream(rate_hz=64.0, timed=True), ppm=20)
    device, segment = stream.device_ns.copy(), stream.segment.copy()
    device[900:902] -= 10 * S
    segment[900:], segment[902:] = 1, 2
    found = verdicts_of(a_recording, replace(stream, device_ns=device, segment=segment))
    assert found["chest/ecg", "clock step"].outcome is Outcome.PASS


def held(stream, most_ms, seed, calm_s=3.0, hold_s=0.25):
    """After a calm beginning the link holds everything back, by delays that it draws anew each ``hold_s``."""
    since = (stream.arrival_ns - stream.arrival_ns[0]) / 1e9
    delays = np.random.default_rng(seed).uniform(0, most_ms, int(since[-1] / hold_s) + 1)
    late = np.where(since < calm_s, 0.0, delays[(since / hold_s).astype(int)])
    arrival = stream.arrival_ns + np.rint(late * MS).astype(np.int64)
    return replace(stream, arrival_ns=np.maximum.accumulate(arrival))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("rate_hz", [250.0, 64.0, 10.0])
def test_a_link_that_is_busy_for_moments_is_no_clock_that_drifts_or_wanders(a_recording, a_stream, rate_hz, seed):
    found = verdicts_of(a_recording, held(noisy(a_stream(rate_hz=rate_hz)), 320.0, seed))
    for measure in ("clock drift", "clock wander"):
        assert found["chest/ecg", measure].outcome is Outcome.INCONCLUSIVE
    drift = found["chest/ecg", "clock drift"]
    assert drift.low <= 0 <= drift.high


@pytest.mark.parametrize("size_ms", [25.0, -30.0])
@pytest.mark.parametrize("at_s", [8.0, 15.0, 24.0])
def test_a_jump_below_the_limit_is_no_wander(a_recording, a_stream, size_ms, at_s):
    stream = noisy(a_stream(rate_hz=64.0, timed=True), ppm=20)
    since = stream.arrival_ns - stream.arrival_ns[0]
    jumped = replace(stream, device_ns=stream.device_ns + np.where(since >= at_s * S, round(size_ms * MS), 0))
    verdict = verdicts_of(a_recording, jumped)["chest/ecg", "clock wander"]
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert f"one jump of {size_ms:+.0f} ms" in verdict.reason


def behind_events(stream, event_ms, seed=2):
    """Samples wait for the link's next event."""
    phase = np.random.default_rng(seed).uniform(0, event_ms) * MS
    events = np.ceil((stream.arrival_ns + phase) / (event_ms * MS)) * event_ms * MS - phase
    return replace(stream, arrival_ns=np.rint(events).astype(np.int64))


def test_a_wander_that_cannot_be_told_says_what_is_excluded(a_recording, a_stream):
    stream = behind_events(a_stream(rate_hz=25.0, seconds=20.0), 30.0)
    verdict = verdicts_of(a_recording, stream)["chest/ecg", "clock wander"]
    assert verdict.outcome is Outcome.PASS
    assert verdict.high > LIMITS().max_wander_ppm_per_min
    assert "; excluded is that it left it by 50 ms in this run; " in verdict.reason


# --- stamps as they are given during a run ----------------------------------------------------


def symmetric(stream, seed=8):
    """The host stamps with a normal error of 8 ms; order is kept by sorting, which favours neither side."""
    error = np.random.default_rng(seed).normal(0, 8e6, len(stream.arrival_ns)).astype(np.int64)
    return replace(stream, arrival_ns=np.sort(stream.arrival_ns + error))


def exponential(stream, seed=8):
    late = np.random.default_rng(seed).exponential(5e6, len(stream.arrival_ns)).astype(np.int64)
    return replace(stream, arrival_ns=np.maximum.accumulate(stream.arrival_ns + late))


LINKS = {
    "symmetric": symmetric,
    "exponential": exponential,
    "ble": lambda stream: behind_events(stream, 30.0),
    "usb": lambda stream: behind_events(stream, 16.0),
}


def stamped(stream):
    """With the stamps that OnlineTimebase gives."""
    timebase, times = OnlineTimebase(stream.spec.rate_hz), []
    for part in np.array_split(np.arange(len(stream.index)), 100):
        if len(part):
            device = stream.device_ns[part]
            values, index, arrival = stream.values[part], stream.index[part], stream.arrival_ns[part]
            times.append(timebase.update(Samples(stream.spec.name, values, index, arrival, device, 0)))
    return replace(stream, time_ns=np.concatenate(times))


def paired(a_recording, a_stream, link, change=None, after=None):
    """A steady sensor beside one on this link; ``change`` before its stamps are given, ``after`` once they are."""
    wrist = LINKS[link](a_stream(role="wrist", name="ppg", rate_hz=64.0, timed=True, seconds=60.0))
    wrist = stamped(change(wrist) if change else wrist)
    wrist = after(wrist) if after else wrist
    found = verdicts_of(a_recording, noisy(a_stream(seconds=60.0), 20), wrist)
    return found["chest/ecg~wrist/ppg", "misalignment"]


@pytest.mark.parametrize("link", LINKS)
def test_stamps_that_go_by_the_earliest_arrivals_are_in_sync_with_a_line_that_does_not(a_recording, a_stream, link):
    verdict = paired(a_recording, a_stream, link)
    assert verdict.outcome is Outcome.PASS, verdict.reason
    assert verdict.value < 25


@pytest.mark.parametrize("link", LINKS)
def test_a_delay_that_begins_midway_misaligns_the_stamps(a_recording, a_stream, link):
    verdict = paired(a_recording, a_stream, link, change=lambda stream: late_from(stream, 30, 150))
    assert verdict.outcome is Outcome.FAIL, verdict.reason
    assert "the stamps of wrist are at fault" in verdict.reason
    assert verdict.low > 100


@pytest.mark.parametrize("link", LINKS)
def test_stamps_that_run_away_are_misaligned(a_recording, a_stream, link):
    def slewed(stream):
        since = stream.time_ns - stream.time_ns[0]
        return replace(stream, time_ns=stream.time_ns + since // 250)  # 4 ms a second

    verdict = paired(a_recording, a_stream, link, after=slewed)
    assert verdict.outcome is Outcome.FAIL, verdict.reason
    assert "the stamps of wrist are at fault" in verdict.reason


@pytest.mark.parametrize("seed", range(5))
def test_clocks_that_are_hardly_known_are_blamed_for_nothing(a_recording, a_stream, seed):
    shaken = [held(noisy(a_stream(role=role)), 320.0, seed + k) for k, role in enumerate(("chest", "wrist", "ankle"))]
    verdict = verdicts_of(a_recording, *shaken)["rig", "clocks"]
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "no clock is known well enough" in verdict.reason
    beside = several(a_stream, 20, -10)
    verdict = verdicts_of(a_recording, *beside, replace(shaken[2], role="ankle"))["rig", "clocks"]
    assert verdict.outcome is Outcome.PASS
    assert "odd one out" not in verdict.reason
    assert "not known well enough: ankle/ecg" in verdict.reason
