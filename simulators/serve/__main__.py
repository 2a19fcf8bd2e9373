"""The simulator process: one JSON document on stdin, JSON lines on stdout.

stdin: ``{"seed", "subject", "lead_s", "sensors": [{"via", "at", "radio", "spec": {...}}]}`` on one line, then nothing;
its end, or a line ``stop``, ends the process. stdout: first ``{"ready": places, "start_ns", "bus"}`` or
``{"error": {"kind", "message"}}``, last ``{"ended": {"reports", "truths", "journals"}}``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from drivers.errors import SensorError
from simulators.build import SimulatedSpec
from simulators.serve.serving import ServedSpec, Serving


def main() -> int:
    """Serve what stdin describes; 0, or 2 for a description that makes no sense."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    given = json.loads(sys.stdin.buffer.readline())
    sensors = given["sensors"]
    specs = [ServedSpec(SimulatedSpec(**one["spec"]), one["via"], one["at"], one["radio"]) for one in sensors]
    try:
        serving = Serving(specs, seed=given["seed"], subject=given["subject"], lead_s=given["lead_s"])
    except SensorError as error:
        _say({"error": {"kind": type(error).__name__, "message": str(error)}})
        return 2
    with serving:
        serving.pacer.watch(sys.stdin.fileno(), lambda: _told(serving))
        _say({"ready": serving.places, "start_ns": serving.start_ns, "bus": serving.bus_address})
        serving.run()
        _say({"ended": _ended(serving)})
    return 0


def _told(serving: Serving) -> None:
    """Whatever comes on stdin after the description means stop, its end too: the parent is gone.

    (A death signal from the kernel would come too early where the thread that started us ends first.)
    """
    os.read(sys.stdin.fileno(), 4096)
    serving.pacer.stop()


def _ended(serving: Serving) -> dict[str, Any]:
    journals = {
        role: [[a.at_ns, a.kind, a.data.hex(), a.channel] for a in actions]
        for role, actions in serving.journals().items()
    }
    return {
        "reports": serving.report(),
        "truths": [asdict(truth) for truth in serving.truths()],
        "journals": journals,
    }


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
