"""Headers whose values come from the environment, so that no credential stands in a rig, a recording or a report."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from drivers.errors import SettingError

_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
"""RFC 9110, 5.1: a field name is a token."""
_FROM = re.compile(r"^(?:(?P<scheme>[A-Za-z][A-Za-z0-9-]*) )?env:(?P<name>.*)$")
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_SECRET = re.compile(r"auth|cookie|token|secret|passw|credential|signature|(^|[-_])(api|access)?[-_]?key$", re.I)
_OWN = ("host", "content-length", "transfer-encoding", "connection", "accept-encoding")
_SHORTEST = 6
"""Words of a secret that are shorter are no secret by themselves."""
_SCHEMES = frozenset(("basic", "bearer", "digest", "negotiate"))
MASK = "***"


def is_secret(name: str) -> bool:
    """True if a header or parameter of this name usually holds a credential."""
    return _SECRET.search(name) is not None


def check_header(name: str, value: str, environ: Mapping[str, str] | None = None) -> None:
    """SettingError, which never shows a secret, unless the header can be sent: see header_value."""
    if not _NAME.match(name):
        raise SettingError(f"expected the name of a header, found {name!r}")
    if name.lower() in _OWN:
        raise SettingError(f"the header {name} is set by the client itself; leave it out")
    header_value(name, value, environ)


def header_value(name: str, value: str, environ: Mapping[str, str] | None = None) -> str:
    """What to send: the value, or for ``env:NAME`` and ``Bearer env:NAME`` what the environment variable holds.

    SettingError names the variable that is not set, and refuses a credential that stands in the rig itself.
    """
    found = _FROM.match(value)
    if found is None:
        if is_secret(name):
            raise SettingError(
                f"{name}: this is a credential, and a rig is recorded: put it into an environment variable and write "
                f'{name}: "env:NAME_OF_THE_VARIABLE"'
            )
        if not value.isascii() or not value.isprintable():
            raise SettingError(f"{name}: expected printable ASCII, found {value!r}")
        return value
    variable = found["name"]
    if not _VARIABLE.match(variable):
        raise SettingError(f"{name}: expected env:NAME with the name of an environment variable, found {value!r}")
    held = (os.environ if environ is None else environ).get(variable, "")
    if not held:
        raise SettingError(f"{name}: the environment variable {variable} is not set here: export {variable}=...")
    if not held.isascii() or not held.isprintable():
        raise SettingError(f"{name}: the environment variable {variable} holds a character that no header can")
    return f"{found['scheme']} {held}" if found["scheme"] else held


def secrets_of(headers: Mapping[str, str], environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Texts that must not appear anywhere, the longest first; of headers as the rig has them.

    Each also as JSON and as URLs write it.
    """
    sent = {name: header_value(name, value, environ) for name, value in headers.items() if _FROM.match(value)}
    words = {word for value in sent.values() for word in value.split() if _tells(word)}
    plain = {*words, *sent.values()}
    written = {form for text in plain for form in (json.dumps(text)[1:-1], quote(text, safe=""), quote_plus(text))}
    slashed = {text.replace("/", "\\/") for text in written}
    return tuple(sorted(plain | written | slashed, key=lambda text: (len(text), text), reverse=True))


def _tells(word: str) -> bool:
    return len(word) >= _SHORTEST and word.lower() not in _SCHEMES


def masked(text: str, secrets: tuple[str, ...]) -> str:
    """The text with each of these masked, as a server that repeats what it was sent would have them recorded."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def masked_inside(value: Any, secrets: tuple[str, ...]) -> Any:
    """Plain values with every text in them masked, keys too."""
    if isinstance(value, str):
        return masked(value, secrets)
    if isinstance(value, Mapping):
        return {masked(str(key), secrets): masked_inside(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [masked_inside(inner, secrets) for inner in value]
    return value
