"""Versions of installed packages, this one among them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version(name: str = "spiral-hil", otherwise: str = "not installed as a package") -> str:
    """Its version; ``otherwise`` where it is none that was installed, such as a checkout that is run as it lies."""
    try:
        return version(name)
    except PackageNotFoundError:
        return otherwise
