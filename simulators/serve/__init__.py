"""Serves simulated sensors to any program, on ptys, TCP and a BlueZ without a radio.

``serve(...)`` and ``run_until_interrupted(...)`` serve from this process,
``simulators.serve.process.SimulatorProcess`` from a process of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulators.build import SimulatedSpec
from simulators.serve.serving import ServedSpec, Serving, run_until_interrupted

__all__ = ["ServedSpec", "Serving", "run_until_interrupted", "serve"]


def serve(
    spec: SimulatedSpec,
    *,
    pty: str | None = None,
    tcp: int | None = None,
    rfc2217: int | None = None,
    address: str | None = None,
    subject: Mapping[str, Any] | None = None,
) -> Serving:
    """One sensor at a pty's path, a TCP port, or a BLE address; by default wherever it belongs.

    Call run() on what is returned, and stop it from elsewhere with ``.pacer.stop()``.
    """
    via, at = "", address or ""
    if pty is not None:
        via, at = "pty", pty
    elif tcp is not None:
        via, at = "tcp", str(tcp)
    elif rfc2217 is not None:
        via, at = "rfc2217", str(rfc2217)
    return Serving([ServedSpec(spec, via, at)], seed=spec.seed, subject=subject)
