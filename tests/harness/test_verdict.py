"""Only all-PASS is green."""

import pytest

from harness.verdict import EXIT_MEANING, Outcome, Verdict, exit_code


def verdict_of(outcome):
    return Verdict("check", "rig", Outcome(outcome), "because")


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["PASS", "PASS"], 0),
        (["PASS", "FAIL"], 1),
        (["PASS", "INCONCLUSIVE"], 4),
        (["PASS", "NOT_RUN"], 5),
        (["PASS", "INVALID"], 3),
        (["FAIL", "INCONCLUSIVE", "NOT_RUN"], 1),
        (["FAIL", "INVALID"], 3),
        (["INCONCLUSIVE", "NOT_RUN"], 4),
        ([], 3),
    ],
)
def test_the_exit_code_follows_from_the_outcomes(outcomes, code):
    assert exit_code(map(verdict_of, outcomes)) == code
    assert code in EXIT_MEANING
