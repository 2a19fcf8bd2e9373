"""General biopotential inputs, such as an eight-channel amplifier's: an EEG on every channel."""

from __future__ import annotations

from simulators.signals.eeg import OPTIONS, signal

__all__ = ["OPTIONS", "signal"]
