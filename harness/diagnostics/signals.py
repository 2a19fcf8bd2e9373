"""What is wrong with the signals themselves: contact, hum, rails, motion."""

from __future__ import annotations

from harness.diagnostics.case import Rule

SIGNALS: tuple[Rule, ...] = ()
