"""Fake the sensors: one physiology, rendered, digitised, encoded, damaged on purpose and served."""

from __future__ import annotations

from simulators.build import simulated

__all__ = ["simulated"]
