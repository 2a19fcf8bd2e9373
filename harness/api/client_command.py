"""``hil api check``: arguments, and from them to a report."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from drivers.errors import SettingError
from harness.api.address import address_of
from harness.commands import UsageError, hand_over
from harness.rig import ApiEntry
from harness.rig_file import read_rig
from harness.rig_meaning import near
from harness.verdict import EXIT_MEANING

_ABOUT = """Calls the endpoints in a rig's `api:` section, without its sensors, and judges the answers and how long they
took. Live payloads are made of windows of the rig's simulated sensors.

  hil api check rigs/my.rig.yaml
  hil api check rigs/my.rig.yaml --url http://127.0.0.1:8001 --repeat 100
  hil api check rigs/my.rig.yaml --endpoint /infer --junit api.xml

Each endpoint comes to PASS, INVALID_RESPONSE, HTTP_<status> or ERROR; `hil run` calls the same endpoints
beside a run. `hil serve` puts a model behind HTTP, to try it on:

  hil serve &
  hil api check rigs/my.rig.yaml"""


def add(some: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``hil api`` with its command ``check``."""
    api = some.add_parser("api", help="check an HTTP API: responses, structure, latency")
    api.description = "What can be known about an HTTP API without sensors."
    inner = api.add_subparsers(title="commands", required=True, metavar="COMMAND")
    codes = "exit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in EXIT_MEANING.items())
    check = inner.add_parser(
        "check", help="call a rig's endpoints and judge what comes back", description=_ABOUT, epilog=codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    check.add_argument("rig", type=Path, help="rig file (YAML) with an `api:` section")
    check.add_argument("--url", metavar="URL", help="instead of the rig's base_url")
    check.add_argument("--endpoint", action="append", default=[], metavar="NAME", help="only this one; may be repeated")
    check.add_argument("--repeat", type=int, metavar="N", help="calls of each endpoint, instead of the rig's")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON, - for standard output")
    check.add_argument("--junit", type=Path, metavar="FILE", help="write the report as JUnit XML")
    check.add_argument("--quiet", action="store_true", help="no table: only the exit code, and errors")
    check.set_defaults(call=api_check)


def api_check(given: argparse.Namespace, err: Console) -> int:
    """hil api check"""
    rig = read_rig(given.rig)
    if rig.api is None:
        raise UsageError(f"{given.rig}: there is no `api:` section in this rig, so there is no endpoint to call")
    api = chosen(rig.api, given.url, given.endpoint, given.repeat)
    from harness.api.checking import check_api

    return hand_over(check_api(replace(rig, api=api)), given, err)


def chosen(api: ApiEntry, url: str | None, names: Sequence[str], repeat: int | None) -> ApiEntry:
    """The section with what the command line changes; UsageError."""
    if url is not None:
        try:
            address_of(url, allow_remote=api.allow_remote)
        except SettingError as error:
            raise UsageError(f"--url: {error}") from error
        api = replace(api, base_url=url)
    for name in names:
        if name not in api.endpoints:
            raise UsageError(f"--endpoint: this rig has no endpoint {name!r}{near(name, list(api.endpoints))}")
    if repeat is not None and repeat < 1:
        raise UsageError(f"--repeat: expected 1 or more, found {repeat}")
    kept = {name: entry for name, entry in api.endpoints.items() if not names or name in names}
    if repeat is not None:
        kept = {name: replace(entry, repeat=repeat) for name, entry in kept.items()}
    return replace(api, endpoints=kept)
