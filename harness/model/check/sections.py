"""The sections of ``hil model check`` in the order in which they run. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from harness.model.check.findings import Section

SECTIONS: Mapping[str, str] = {
    "shapes": "harness.model.check.shapes:shapes",
    "fusion": "harness.model.check.fusion:fusion",
    "determinism": "harness.model.check.determinism:determinism",
    "missing": "harness.model.check.missing:missing",
    "quality_aware": "harness.model.check.quality_aware:quality_aware",
    "gradients": "harness.model.check.gradients:gradients",
    "activations": "harness.model.check.activations:activations",
    "training": "harness.model.check.training:training",
    "hints": "harness.model.check.hints:hints",
    "memory": "harness.model.check.memory:memory",
    "speed": "harness.model.check.speed:speed",
}
"""Name -> where its function is; imported when it runs."""


def load_section(name: str) -> Section:
    """The function of a section by its name in SECTIONS."""
    module, _, function = SECTIONS[name].partition(":")
    return cast(Section, getattr(import_module(module), function))
