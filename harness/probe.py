"""One sensor: does it connect, deliver, in the right format, with what rate, age and quality?

from harness.probe import probe
report = probe(driver)  # our Driver, or any object with connect() and read_data(timeout)
report.interface_passed  # True or False
print(*report.messages, sep="\\n")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from drivers.clock import Clock
from harness.probing.judging import judge, needed_s
from harness.probing.listening import Heard, Interface, Listened, declared, listen
from harness.probing.showing import document, show
from harness.verdict import Outcome, Verdict

EXIT_MEANING = {
    0: "nothing is wrong: connected, every stream with a rate came, in the right format, and no quality is low",
    1: "the sensor does not answer, or not as its protocol says; or a stream is silent, off its rate, lossy,\n"
    "       malformed or of low quality",
    2: "usage error",
    3: "the link could not be opened, or went away: nothing is said about the sensor",
}
"""What is INCONCLUSIVE, such as a quality that takes longer to tell, is said and changes no exit code."""


_FINE = (Outcome.PASS, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, eq=False)
class ProbeReport:
    """What one probe found."""

    verdicts: tuple[Verdict, ...]
    """Of the checks connect, acquire, format and quality, at least one each."""
    messages: tuple[str, ...]
    """Sentences that say how it went, to be searched for: the first words are fixed, the reason follows a colon."""
    heard: Listened

    @property
    def streams(self) -> Mapping[str, Heard]:
        """What each stream delivered."""
        return self.heard.streams

    @property
    def interface_passed(self) -> bool:
        """It connected and delivered data in the right format. Their quality is another matter and only warned of."""
        return all(v.outcome in _FINE for v in self.verdicts if v.check != "quality")

    @property
    def exit_code(self) -> int:
        """See EXIT_MEANING; 3 wins over 1."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return 3 if Outcome.INVALID in outcomes else 1 if Outcome.FAIL in outcomes else 0

    def document(self) -> dict[str, Any]:
        """As plain data, for harness.report.document.to_json and harness.report.junit.to_junit."""
        code = self.exit_code
        return document(self.heard, self.verdicts, self.messages, code, " ".join(EXIT_MEANING[code].split()))


def probe(driver: Interface, seconds: float | None = None, clock: Clock | None = None) -> ProbeReport:
    """Connect to a sensor, listen, close, and say what was found; whatever it raises is a finding.

    ``driver`` is a Driver, real or simulated, or any object with ``connect()`` and ``read_data(timeout=...)``; its
    readings are mappings with physiological, timestamps and quality_metrics, each array plain or by stream.
    ``seconds``: by default as many as the slowest quality score of its streams needs, and at least 5. ``clock``: the
    driver's own if it has one, else the machine's.
    """
    heard = listen(driver, default_seconds(driver) if seconds is None else seconds, clock)
    verdicts = judge(heard)
    return ProbeReport(tuple(verdicts), tuple(_messages(heard, verdicts)), heard)


def default_seconds(driver: Interface) -> float:
    """Seconds after which the quality of all its streams should be known."""
    return needed_s(declared(driver))


def probe_driver(driver: Interface, duration_ns: int, out: Console) -> int:
    """probe(), shown on a console; the exit code, as EXIT_MEANING says."""
    name, link = getattr(driver, "name", type(driver).__name__), getattr(driver, "link", None)
    where = f": {link.description}" if link is not None else ""
    out.print(f"connecting to {name}{where} ...", markup=False, highlight=False)
    report = probe(driver, duration_ns / 1e9)
    show_report(report, out)
    return report.exit_code


def show_report(report: ProbeReport, out: Console) -> None:
    """Streams, incidents, verdicts and messages."""
    show(report.heard, report.verdicts, report.messages, out)


# --- the sentences ----------------------------------------------------------------------------


def _messages(heard: Listened, verdicts: list[Verdict]) -> list[str]:
    reason = {(v.check, v.subject): v.reason for v in reversed(verdicts)}
    if heard.raised:
        return [f"Hardware interface error: {heard.error}: {type(heard.error).__name__} in {heard.error_step}"]
    if not heard.connected:
        return [f"ERROR: Failed to connect to hardware: {reason['connect', heard.name]}"]
    if heard.first_ms is None:
        return [f"ERROR: No data received from hardware: {reason['acquire', heard.name]}"]
    if heard.missing_key:
        return [f"ERROR: Missing expected data key: {heard.missing_key}: {reason['format', heard.name]}"]
    warnings = [
        f"WARNING: Low data quality: {v.value:.2f}: {v.subject}: {v.reason}"
        for v in verdicts
        if v.check == "quality" and v.outcome is Outcome.FAIL and v.value is not None
    ]
    return warnings + _ending(heard, verdicts, bool(warnings))


def _ending(heard: Listened, verdicts: list[Verdict], warned: bool) -> list[str]:
    if any(v.outcome not in _FINE for v in verdicts if v.check != "quality"):
        return []  # each verdict says what is wrong, and no sentence says that it passed
    unknown = [v.subject for v in verdicts if v.check == "quality" and v.outcome is Outcome.INCONCLUSIVE]
    rest = "; but the quality is low, see the warning" if warned else ""
    rest += f"; the quality of {', '.join(unknown)} is not known yet" if unknown else ""
    return [f"Hardware interface test passed{rest}"]
