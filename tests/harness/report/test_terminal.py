"""What a person reads: nothing cut off, nothing interpreted, the exit code in the last line."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from harness.report.terminal import ProgressBar, show_report
from harness.session import Progress
from harness.verdict import EXIT_MEANING, Outcome, Verdict, exit_code

VERDICTS = [
    Verdict("connect", "chest", Outcome.PASS, "it delivered 7500 samples", "samples", 7500.0, "samples", 1.0, 7500),
    Verdict("latency", "rig", Outcome.FAIL, "9 of 323 windows missed 100 ms; the model is slow", "p99 latency", 123.4,
            "ms", 100.0, 323, 118.2, 131.9, 0.95),
    Verdict("sync", "chest/ecg~wrist/temperature", Outcome.INCONCLUSIVE, "run longer", "misalignment", 262.1, "ms",
            100.0, 309, 72.3, 451.9, 0.95),
    Verdict("delivery", "wrist/temperature", Outcome.FAIL, "3 of 120 samples lost", "lost", 2.5, "%", 1.0, 120,
            2.5, 2.5, 1.0),
    Verdict("rate", "strap", Outcome.NOT_RUN, "no stream has a rate"),
]  # fmt: skip
STEPS = [{"step": "model", "p50_ms": 5.0, "p99_ms": 7.25, "max_ms": 9.0}]


def report_of(verdicts, steps=STEPS):
    code = exit_code(verdicts)
    return {
        "rig": {"name": "demo"},
        "latency_steps": steps,
        "outcome": {"exit_code": code, "meaning": EXIT_MEANING[code]},
    }


def shown(verdicts, width=80, terminal=True, **changes):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    show_report(console, report_of(verdicts) | changes, verdicts)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 160, 220])
def test_every_number_name_and_reason_is_there_at_any_width(width):
    text = shown(VERDICTS, width)
    assert max(map(len, text.splitlines())) <= width
    flat = "".join(text.split())
    for v in VERDICTS:
        assert v.outcome in text
        assert v.check in text
        assert v.measure in text
    for words in ("123.4 ms", "262.1 ms", "2.5 %", "118.2 .. 131.9", "72.3 .. 451.9"):
        assert "".join(words.split()) in flat
    for reason in (v.reason for v in VERDICTS if v.outcome is not Outcome.PASS):
        assert all(word in text for word in reason.split())
    assert "…" not in text  # rich's sign for text that was cut off


def test_a_subject_stands_whole_where_it_fits():
    assert "wrist/temperature" in shown(VERDICTS, 80)
    assert "chest/ecg~wrist/temperature" in shown(VERDICTS, 160)


@pytest.mark.parametrize("code", [0, 1, 3, 4, 5])
def test_the_last_line_names_the_exit_code_and_its_meaning(code):
    outcomes = {0: Outcome.PASS, 1: Outcome.FAIL, 3: Outcome.INVALID, 4: Outcome.INCONCLUSIVE, 5: Outcome.NOT_RUN}
    verdicts = [replace(VERDICTS[0], outcome=outcomes[code])]
    for width, terminal in ((80, True), (160, True), (80, False)):
        last = shown(verdicts, width, terminal).splitlines()[-1]
        assert f"exit {code}, {EXIT_MEANING[code]}" in last
        assert f"1 {outcomes[code]}" in last


def test_the_last_line_follows_the_report_when_somebody_ended_the_run():
    last = shown(VERDICTS, outcome={"exit_code": 130, "meaning": "interrupted"}).splitlines()[-1]
    assert last.endswith("exit 130, interrupted")


def test_no_verdict_at_all_is_said():
    assert shown([]).splitlines()[-1].startswith("no verdict: exit 3, INVALID")


@pytest.mark.parametrize("width", [80, 160])
def test_markup_in_a_sensors_text_is_text(width):
    rude = "[bold red]boo[/bold red] [/] [link=http://x]y[/link]"
    verdict = Verdict("connect", "[red]a[/red]", Outcome.FAIL, rude, "[b]m[/b]", 1.0, "[i]u[/i]", 1.0, 1)
    text = shown([verdict], width, rig={"name": "[blink]demo[/blink]"})
    flat = "".join(text.split())
    for words in (rude, "[red]a[/red]", "[b]m[/b]", "[i]u[/i]", "[blink]demo[/blink]"):
        assert "".join(words.split()) in flat


def test_a_log_without_an_edge_gets_the_wide_table_and_no_colours():
    text = shown(VERDICTS, 80, terminal=False)
    assert "\x1b" not in text
    assert "why" in text.splitlines()[1]


def test_a_value_that_is_exact_has_no_interval_and_one_without_value_stays_empty():
    text = shown(VERDICTS, 220)
    row = next(line for line in text.splitlines() if re.search(r"wrist/temperature\s+lost", line))
    assert "exact" in row
    assert "None" not in text


def test_tiny_numbers_are_rounded_and_large_ones_keep_four_digits():
    verdict = Verdict("sync", "a", Outcome.PASS, "", "drift", 0.0, "ppm", 100.0, 9, -5.9e-5, 23159.01, 0.95)
    assert "-0.000 .. 2.316e+04" in shown([verdict], 160)


def test_without_windows_no_latency_steps_are_shown():
    assert "where the time went" in shown(VERDICTS)
    assert "where the time went" not in shown(VERDICTS, latency_steps=[])


# --- progress ---------------------------------------------------------------------------------


def steps_to(bar, seconds):
    for second in range(seconds + 1):
        bar(Progress(float(second), float(seconds), 250 * second, 12 * second, 55.0))


def test_on_a_pipe_progress_is_a_line_every_five_seconds():
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    bar = ProgressBar(console)
    steps_to(bar, 12)
    bar.close()
    lines = console.file.getvalue().splitlines()
    assert [line.split(" of ")[0].strip() for line in lines] == ["0.0", "5.0", "10.0"]
    assert "2500 samples, 120 windows, slowest 55.0 ms" in lines[-1]


def test_on_a_terminal_progress_is_a_bar_that_fits_80_columns_and_goes_away():
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    bar = ProgressBar(console)
    steps_to(bar, 30)
    bar(Progress(30.0, 30.0, 7500, 360, 55.0, trouble="strap: unplugged [red]x[/red]"))
    bar.close()
    text = console.file.getvalue()
    assert "━" in text
    assert "30.0 of 30 s, 7500 samples, 360 windows, slowest 55.0 ms" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    assert text.endswith("\x1b[2K")  # the line was erased


def test_quiet_progress_says_nothing():
    for terminal in (True, False):
        console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
        bar = ProgressBar(console, quiet=True)
        steps_to(bar, 12)
        bar.close()
        assert console.file.getvalue() == ""


def test_connecting_is_told_as_such():
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    bar = ProgressBar(console)
    bar(Progress(0.0, 30.0, 0, 0, 0.0, trouble="connecting, 0 s"))
    assert console.file.getvalue() == "connecting, 0 s\n"
