"""``hil serve``: a model behind HTTP until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from harness.commands import UsageError
from harness.rig import ModelEntry
from harness.versions import package_version

if TYPE_CHECKING:
    from harness.api.served import Served

_ABOUT = """Puts a model behind HTTP: POST /infer runs it on windows that come as JSON, GET /health says whether all is
well, GET /metrics counts for Prometheus, GET /openapi.json and /model say what it takes. Runs until Ctrl-C.

  hil serve                                      the reference network, on http://127.0.0.1:8000
  hil serve rigs/demo.rig.yaml --port 0          the model of a rig, on any free port
  hil serve --factory pkg.mod:build              a function that builds your module
  hil serve --file model.pt2 --threads 2         a program that torch.export wrote
  hil serve --alert latency_ms=50 --log api.jsonl

Only this machine can reach it, unless --host says else; there is no authentication."""
_CODES = """exit codes:
  0    ended by Ctrl-C or SIGTERM
  2    usage error: no such model or rig, port in use, a package is missing
  3    this machine cannot run the model"""
_LONGEST_EXAMPLE = 400
_PROGRAMS = (".pt2", ".pt", ".pth", ".torchscript")


def add(some: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """``hil serve`` with its options."""
    parser = some.add_parser("serve", help="serve a model over HTTP")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _CODES
    parser.add_argument("rig", type=Path, nargs="?", help="take the model of this rig file")
    parser.add_argument("--factory", metavar="PKG.MOD:FN", help="function that builds the module")
    parser.add_argument("--file", type=Path, metavar="FILE", help=".pt2 (torch.export) or TorchScript")
    parser.add_argument("--host", metavar="ADDRESS", help="address to serve on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="TCP port, 0: any free one (default 8000)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the model (default 1, or the rig's)")
    parser.add_argument("--limit-mb", type=float, default=8.0, metavar="MB", help="longest request (default 8)")
    parser.add_argument(
        "--timeout-ms",
        type=float,
        default=1000.0,
        metavar="MS",
        help="what a request may wait, 503 then (default 1000)",
    )
    parser.add_argument("--queue", type=int, default=16, metavar="N", help="requests that may wait (default 16)")
    parser.add_argument(
        "--alert", action="append", default=[], metavar="METRIC=LIMIT",
        help="/health alerts above this mean of the last ten values: latency_ms (default 100), errors_percent "
        "(default 5), queue_depth, rss_mb",
    )  # fmt: skip
    parser.add_argument("--log", type=Path, metavar="FILE", help="write an event per request as JSON lines")
    parser.set_defaults(call=serve)


def serve(given: argparse.Namespace, err: Console) -> int:
    """Load, bind, say where, serve; 0 when it was stopped."""
    _require()
    from harness.api import running
    from harness.api.served import serve_model
    from harness.api.server import ModelServer

    entry, limits, alerts = model_of(given), limits_of(given), alerts_of(given.alert)
    _log_has_a_place(given.log)
    host = given.host or "127.0.0.1"
    with contextlib.closing(running.bind(host, given.port)) as bound, _log(given.log) as log:  # loading takes seconds
        local = running.is_loopback(bound)
        if not local:
            text = f"{host} can be reached from other machines, and there is no authentication: whoever reaches "
            err.print(
                f"warning: {text}the port can use the model",
                style="yellow",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        served = serve_model(entry, limits)
        names = (host.lower(),) if local else None
        app = ModelServer(
            served, alerts=alerts, log_event=log.log_event, hosts=names, version=package_version(otherwise="0")
        )
        _run(app, served, bound, err)
    return 0


def _run(app: Any, served: Served, bound: Any, err: Console) -> None:
    from harness.api import running

    if served.fault:
        err.print(
            f"warning: on windows of zeros {served.fault}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    ready = threading.Event()
    announcing = threading.Thread(target=_announce, args=(ready, served, running.url_of(bound)), daemon=True)
    announcing.start()
    try:
        running.until_stopped(app, bound, ready)
    finally:
        served.worker.stop()
    err.print("stopped", highlight=False)


def _announce(ready: threading.Event, served: Served, url: str) -> None:
    """On standard output, once requests are answered."""
    ready.wait()
    sys.stdout.write(announcement(served, url))
    sys.stdout.flush()


def announcement(served: Served, url: str) -> str:
    """What is served, where, and how to try it."""
    warm = f", {served.warm.p50_ms:.1f} ms a window" if served.warm else ""
    lines = [
        f"serving {served.model.name} ({served.model.parameters:,} parameters, {served.entry.engine}{warm}) on {url}",
        "Ctrl-C ends it. Try it:",
        f"  curl {url}/model",
        f"  curl {url}/health",
    ]
    body = json.dumps(served.example[0])
    if len(body) <= _LONGEST_EXAMPLE:
        lines.append(f"  curl -H 'Content-Type: application/json' -d '{body}' {url}/infer")
    else:
        lines.append(f"  curl {url}/openapi.json   holds an example of a request")
    return "\n".join(lines) + "\n"


# --- options ----------------------------------------------------------------------------------


def _require() -> None:
    """UsageError where the extra is not installed."""
    try:
        import fastapi  # noqa: F401
        import h11  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise UsageError(f"hil serve needs {error.name}: pip install 'spiral-hil[api]'") from error


def model_of(given: argparse.Namespace) -> ModelEntry:
    """The model that the command line asks for; UsageError, RigError."""
    ways = [name for name in ("rig", "factory", "file") if getattr(given, name)]
    if len(ways) > 1:
        raise UsageError(f"say one model: a rig, --factory or --file; found {' and '.join(ways)}")
    if given.rig is not None and given.rig.suffix.lower() in _PROGRAMS:
        raise UsageError(f"{given.rig} is no rig file: serve a program with --file {given.rig}")
    if given.rig is not None:
        from harness.rig_file import read_rig

        entry = read_rig(given.rig).model
        if entry.url:
            raise UsageError(f"{given.rig}: its model is served already, at {entry.url}")
    else:
        entry = ModelEntry(factory=given.factory, file=str(given.file) if given.file else None)
    if given.threads is None:
        return entry
    if given.threads < 1:
        raise UsageError(f"--threads: expected 1 or more, found {given.threads}")
    return replace(entry, threads=given.threads)


def limits_of(given: argparse.Namespace) -> Any:
    """Limits of the command line; UsageError."""
    from harness.api.served import Limits

    if not 0 <= given.port <= 65535:
        raise UsageError(f"--port: expected 0 to 65535, found {given.port}")
    for option, value in (("--limit-mb", given.limit_mb), ("--timeout-ms", given.timeout_ms)):
        if not 0 < value < math.inf:
            raise UsageError(f"{option}: expected a number above 0, found {value:g}")
    if given.queue < 1:
        raise UsageError(f"--queue: expected 1 or more, found {given.queue}")
    return Limits(body_bytes=round(given.limit_mb * 1e6), timeout_ms=given.timeout_ms, waiting=given.queue)


def alerts_of(given: Sequence[str]) -> dict[str, float]:
    """Thresholds, the usual ones where nothing else is said; UsageError."""
    from harness.api.server import ALERTS, HEALTH_METRICS

    made = dict(ALERTS)
    for text in given:
        name, equals, limit = text.partition("=")
        if name not in HEALTH_METRICS or not equals:
            raise UsageError(
                f"--alert: expected METRIC=LIMIT, METRIC one of {', '.join(HEALTH_METRICS)}; found {text!r}"
            )
        try:
            made[name] = float(limit)
        except ValueError:
            raise UsageError(f"--alert: expected a number after {name}=, found {limit!r}") from None
        if math.isnan(made[name]):
            raise UsageError(f"--alert: expected a number after {name}=, found {limit!r}: nothing exceeds that")
    return made


def _log_has_a_place(path: Path | None) -> None:
    """UsageError: a folder that is not there is a slip more often than a wish."""
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"--log: there is no folder {str(path.parent)!r}")
    if path is not None and path.is_dir():
        raise UsageError(f"--log: {str(path)!r} is a folder; give the name of a file in it")


def _log(path: Path | None) -> Any:
    """A context in which events are written, to nowhere without a path."""
    if path is None:
        return contextlib.nullcontext(_Nowhere())
    from harness.monitor.logs import EventLog

    return EventLog(path)


class _Nowhere:
    """Takes events and forgets them."""

    def log_event(self, event_type: str, **data: Any) -> None:
        """Nothing."""
