"""The scorecard finds out what a check is worth: sane ones are green, and each way of being broken has its own reason.

The broken checks and the fault that they should see come from entry points, as those of another package would.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import harness.checks.registry
import simulators.faults.registry
from drivers.types import Lost
from harness.cli import main
from harness.rig import Rig, SensorEntry, WindowEntry
from harness.rig_file import read_rig
from harness.scorecard.campaign import Plan, run_campaign
from harness.scorecard.document import document
from harness.scorecard.html import to_html
from harness.scorecard.markdown import to_markdown
from harness.verdict import Outcome, Verdict
from simulators.faults.registry import load_fault

ROOT = Path(__file__).parents[2]
PLAN = Plan(seeds=3, pilots=2, clean=4, power=0.35, faults=("losses",))
CHEST = SensorEntry("chest", "openbci-cyton", {"streams": {"ecg": [1]}})
MOOD = SensorEntry("mood", "text-lines", {
    "format": "csv", "time_column": "t", "counter_column": "n",
    "columns": [{"name": "valence", "stream": "affect", "kind": "affect", "unit": "1", "rate_hz": 10}],
})  # fmt: skip
RIG = Rig("small", {"chest": CHEST, "mood": MOOD}, window=WindowEntry(fill_s=1), duration_s=3.0)


class Losses(load_fault("dropout")):
    """Frames are lost, which a check of another package must notice."""

    NAME = "losses"
    TOUCHES = frozenset({"loss"})
    MAY_TOUCH = frozenset()
    LEVELS = ("mean_lost_percent", (0.001, 10.0, 30.0))


@dataclass(frozen=True)
class NoLimits:
    """There is nothing to set."""


@dataclass
class Point:
    name: str
    module: object

    def load(self):
        return self.module


def losses_of(recording, role):
    return sum(event.count for name, event in recording.events if name == role and isinstance(event, Lost))


def verdicts_of(recording, failed, subject=lambda role: role):
    return [
        Verdict(
            "loss", subject(role), Outcome.FAIL if failed(role) else Outcome.PASS, f"{losses_of(recording, role)} lost"
        )
        for role in recording.rig.sensors
    ]


def sane(recording, limits):
    return verdicts_of(recording, lambda role: losses_of(recording, role) > 0)


def deaf(recording, limits):
    return verdicts_of(recording, lambda role: False)


def nervous(recording, limits):
    return verdicts_of(recording, lambda role: losses_of(recording, role) > 0 or recording.rig.seed % 3 == 0)


def unjust(recording, limits):
    other = {"chest": "mood", "mood": "chest"}
    return verdicts_of(recording, lambda role: losses_of(recording, role) > 0, other.get)


def meddling(recording, limits):
    return [*sane(recording, limits), *(replace(v, check="rate") for v in sane(recording, limits))]


def raising(recording, limits):
    return [] if losses_of(recording, "chest") else sane(recording, limits)


def deaf_to_mood(recording, limits):
    return verdicts_of(recording, lambda role: role == "chest" and losses_of(recording, role) > 0)


def deaf_when_bold(recording, limits):
    return verdicts_of(recording, lambda role: 0 < losses_of(recording, role) < 100)


def undecided(recording, limits):
    made = sane(recording, limits)
    return [replace(v, outcome=Outcome.INCONCLUSIVE) if v.outcome is Outcome.FAIL else v for v in made]


def hesitant(recording, limits):
    return (undecided if recording.rig.seed % 4 == 2 else sane)(recording, limits)


@pytest.fixture
def scored(monkeypatch):
    """(exit code, kinds of reason, texts) of a campaign with this function as the check ``loss``."""

    def score(function, plan=PLAN, rig=RIG):
        check = Point("loss", SimpleNamespace(NAME="loss", LIMITS=NoLimits, check=function))
        fault = Point("losses", SimpleNamespace(FAULT=Losses))
        monkeypatch.setattr(harness.checks.registry, "entry_points", lambda group: [check])
        monkeypatch.setattr(simulators.faults.registry, "entry_points", lambda group: [fault])
        report = document(run_campaign(replace(rig, limits={"loss": {}}), plan, jobs=1))
        return report["outcome"]["exit_code"], {r["kind"] for r in report["reasons"]}, report

    return score


def test_a_sane_check_is_green_at_the_smallest_level_that_it_always_finds(scored):
    code, kinds, report = scored(sane)
    assert (code, kinds) == (0, set())
    levels = {claim["place"]: claim["level"] for claim in report["claims"]}
    assert levels == {"chest": 10.0, "mood": 30.0} or levels == {"chest": 10.0, "mood": 10.0}
    assert report["clean"]["without_alarm"] == report["clean"]["n"] == 4
    assert all(claim["power_low"] == pytest.approx(0.05 ** (1 / 3)) for claim in report["claims"])


@pytest.mark.parametrize(
    ("broken", "kind", "words"),
    [
        (deaf, "never fires", "loss never failed for a right reason"),
        (deaf_to_mood, "missed", "losses on mood"),
        (nervous, "false alarm", "loss failed in 2 of 4 clean runs; seeds 0, 3; the first: chest:"),
        (unjust, "wrong reason", "losses on chest (mean_lost_percent = 30): loss failed in"),
        (meddling, "wrong reason", "rate failed in"),
    ],
)
def test_a_check_that_is_broken_on_purpose_fails_the_run_for_that_reason(scored, broken, kind, words):
    code, kinds, report = scored(broken)
    assert code == 1
    assert kind in kinds
    assert any(words in reason["text"] for reason in report["reasons"] if reason["kind"] == kind)


def test_a_check_that_goes_deaf_when_it_gets_bad_does_not_pass(scored):
    code, kinds, _ = scored(deaf_when_bold, replace(PLAN, pilots=8, roles=("chest",)))
    assert (code, kinds) == (1, {"missed"})


def test_a_check_that_asks_for_longer_runs_misses_nothing_and_one_that_only_hesitates_does(scored):
    plan = replace(PLAN, roles=("chest",), pilots=4)
    code, kinds, report = scored(hesitant, plan)
    assert (code, kinds) == (0, set())
    assert report["too_short"] == [
        "losses on chest (mean_lost_percent = 30): loss finds 3 of 4 and says of the others that 3 s cannot tell"
    ]
    for text in (to_html(report), to_markdown(report)):
        assert f"needs longer runs: {report['too_short'][0]}" in text
        assert "no level" not in text
    code, kinds, report = scored(undecided, plan)
    assert (code, kinds, report["too_short"]) == (1, {"never fires", "missed"}, [])


def test_a_check_that_breaks_makes_the_run_invalid(scored):
    code, kinds, report = scored(raising, replace(PLAN, roles=("chest",)))
    assert code == 3
    assert "broken" in kinds
    assert any("the check returned no verdict" in reason["text"] for reason in report["reasons"])


def test_too_few_seeds_for_the_claim_are_inconclusive(scored):
    code, kinds, report = scored(sane, replace(PLAN, power=0.95))
    assert (code, kinds) == (4, {"too few seeds"})
    assert "a power of 36.8 % is proven, 95 % is asked for; --seeds 59 would do" in report["reasons"][0]["text"]


def test_a_campaign_that_is_ended_shows_what_is_there(scored, monkeypatch):
    from harness.scorecard import campaign

    real, made = campaign.Score.add, []

    def ends(score, trace):
        made.append(trace)
        if len(made) > 9:
            raise KeyboardInterrupt
        real(score, trace)

    monkeypatch.setattr(campaign.Score, "add", ends)
    code, kinds, report = scored(sane)
    assert (code, kinds) == (130, {"interrupted"})
    assert report["clean"]["n"] == 4
    assert sum(level["n"] for target in report["targets"] for level in target["levels"]) == 5


def test_reports_hold_everything_and_escape_it(scored):
    _, _, report = scored(unjust, rig=replace(RIG, name="<script>|rig"))
    page = to_html(report)
    assert "<script>" not in page
    assert "&lt;script&gt;|rig" in page
    assert "http" not in page
    for claim in report["claims"]:
        assert f"<td>{claim['place']}</td>" in page
    text = to_markdown(report)
    assert "wrong reason: losses on chest" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


# --- our own checks ---------------------------------------------------------------------------

SMALL = """
schema: 1
name: small
simulate: true
duration_s: 6
sensors:
  chest:
    sensor: openbci-cyton
    settings: {streams: {ecg: [1]}}
    simulate: {faults: [{fault: unplug, at_s: 2}]}
  mood:
    sensor: text-lines
    settings:
      {format: csv, time_column: t, counter_column: n,
       columns: [{name: valence, stream: affect, kind: affect, unit: "1", rate_hz: 10}]}
window: {fill_s: 1}
limits: {delivery: {}}
"""
FEW = [
    "--faults",
    "dropout,unplug",
    "--levels",
    "ends",
    "--seeds",
    "2",
    "--pilots",
    "1",
    "--clean",
    "2",
    "--power",
    "20",
]


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.rig.yaml"
    path.write_text(SMALL)
    return path


def test_any_number_of_jobs_gives_the_same_card_and_faults_of_the_rig_are_left_out(small, tmp_path, capsys):
    cards = []
    for jobs in ("1", "2"):
        card = tmp_path / f"{jobs}.json"
        assert (
            main(["scorecard", str(small), *FEW, "--delay", "1", "--jobs", jobs, "--json", str(card), "--quiet"]) == 0
        )
        cards.append(card.read_bytes())
    assert cards[0] == cards[1]
    report = json.loads(cards[0])
    assert report["clean"]["without_alarm"] == 2
    unplugs = [claim for claim in report["claims"] if claim["fault"] == "unplug"]
    assert {claim["place"] for claim in unplugs} == {"chest", "mood"}
    assert all(claim["delay_s"] == pytest.approx(0.0, abs=0.03) for claim in unplugs)  # the link itself tells of it
    assert capsys.readouterr() == ("", "")


def test_the_command_shows_the_card_and_says_why_it_ends_as_it_does(small, capsys):
    code = main(["scorecard", str(small), *FEW[:-1], "90", "--jobs", "1"])
    out, _ = capsys.readouterr()
    assert code == 4
    assert "2 of 2 clean runs without a false alarm" in out
    assert "too few seeds: " in out
    assert out.rstrip().endswith("exit 4: INCONCLUSIVE: too few seeds for what is claimed")
    assert "mean_lost_percent = 80" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--faults", "drop_out"], "no fault is called 'drop_out'; there is dropout"),
        (["--roles", "breast"], "the rig has no role 'breast'; it has chest, mood"),
        (["--checks", "delivry"], "no check is called 'delivry'; there is delivery"),
        (["--seeds", "0"], "--seeds: expected 1 or more, found 0"),
        (["--power", "100"], "--power: expected per cent between 0 and 100, found 100"),
        (["--duration", "-1"], "--duration: expected seconds above 0, found -1"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_named(small, argv, words, capsys):
    assert main(["scorecard", str(small), *argv]) == 2
    assert words in capsys.readouterr().err


# --- spliced runs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "fault"),
    [
        ("wrist", {"fault": "stall", "for_ms": 300}),
        ("strap", {"fault": "unplug", "at_s": 4.0, "for_s": 2.0}),
        ("mood", {"fault": "clock_step", "at_s": 5.0}),
        ("wrist", {"fault": "flatline", "stream": "ppg"}),
        ("mood", {"fault": "truncate"}),
    ],
)
def test_a_sensor_that_is_run_alone_beside_the_clean_others_gives_the_verdicts_of_the_whole_rig(role, fault):
    from harness.scorecard.targets import damaged
    from harness.scorecard.trial import prepare

    demo = replace(read_rig(ROOT / "rigs" / "demo.rig.yaml"), path="", text="", duration_s=8.0)
    splicer = prepare(demo)
    rig = damaged(demo, role, fault, seed=4)
    whole, part = splicer.whole(rig), splicer.run(rig, role)
    assert splicer.fits
    assert list(part.verdicts) == list(whole.verdicts)
    assert part.recording.windows.stamps_ns.tolist() == whole.recording.windows.stamps_ns.tolist()
    assert part.truths == tuple(truth for truth in whole.truths if truth.sensor == role)
