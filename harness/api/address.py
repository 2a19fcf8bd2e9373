"""Where an API is: what of a URL is accepted, and which hosts are this machine."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from drivers.errors import SettingError
from harness.api.credentials import is_secret


@dataclass(frozen=True, slots=True)
class Address:
    """A server, and the path below which its endpoints are."""

    scheme: str
    host: str
    port: int
    prefix: str = ""
    """``/v1``, or nothing; never a slash at its end."""

    @property
    def place(self) -> str:
        """``host:port``, as people say it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def url(self, endpoint: str) -> str:
        """Of an endpoint such as ``/infer``."""
        return f"{self.scheme}://{self.place}{self.prefix}/{endpoint.lstrip('/')}"


def address_of(url: str, *, allow_remote: bool = False) -> Address:
    """What ``http://127.0.0.1:8000`` says; SettingError.

    A host that is not this machine is refused unless ``allow_remote``: what sensors say of a person must not leave it
    by a slip. Credentials in a URL are refused, since URLs are recorded.
    """
    wanted = "expected a URL such as http://127.0.0.1:8000"
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingError(f"{wanted}, found {url!r}: {error}") from error
    if parts.username is not None or parts.password is not None:
        raise SettingError(f"{wanted}: a URL that holds a user's name or password would be recorded; use headers")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or not url.isprintable():
        raise SettingError(f"{wanted}, found {url!r}")
    if not host.isascii() or " " in host or port == 0:
        raise SettingError(f"{wanted}, found {url!r}: no host and port that could be connected to")
    if not allow_remote and not is_loopback(host):
        raise SettingError(
            f"{host} is not this machine: what sensors say of a person would leave it. If that is meant, write "
            "`allow_remote: true` beside it"
        )
    prefix = quote(unquote(parts.path), safe="/:@!$&'()*+,;=~-._").rstrip("/")
    return Address(parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme], prefix)


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8 and ::1. Other names are not looked up: what they mean can change."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_path(path: str) -> None:
    """SettingError unless it is the path of an endpoint, ``/infer`` or ``/items?kind=ecg``, without a secret in it."""
    if not path.startswith("/") or path.startswith("//") or not path.isascii() or not path.isprintable() or " " in path:
        raise SettingError(f"expected a path that begins with one '/', such as /infer, in ASCII, found {path!r}")
    if "#" in path or ".." in path.partition("?")[0].split("/"):
        raise SettingError(f"expected a path without '#' and '..', found {path!r}")
    for key, _ in parse_qsl(path.partition("?")[2], keep_blank_values=True):
        if is_secret(key):
            raise SettingError(f"the parameter {key!r} reads like a credential, and paths are recorded; use headers")
