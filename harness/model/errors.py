"""What can be wrong with a model, and who has to act. Imports no torch."""

from __future__ import annotations


class ModelError(Exception):
    """Root of what harness.model raises."""


class LoadError(ModelError):
    """The factory or the file gives no model; the message says what was found and what to give instead."""


class EngineError(ModelError):
    """This machine cannot run the model as the rig asks: no such device, a package is missing."""


class WiringError(ModelError):
    """A stream or an override does not fit the model's input."""


class ModelFault(ModelError):  # noqa: N818 - what is faulty is the model under test
    """The model raised, or returned NaN, Inf, a wrong shape or no tensor: a finding about the model."""


class Unanswered(ModelFault):
    """Nothing came back for any window of a batch, and asking for them one by one would only ask again."""
