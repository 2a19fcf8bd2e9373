"""GATT names: every characteristic and service is written as a lowercase 128-bit UUID here."""

from __future__ import annotations

import re

from drivers.errors import SettingError

_BASE = "-0000-1000-8000-00805f9b34fb"
"""The Bluetooth base UUID behind short numbers (Bluetooth Core Specification, vol. 3, part B, 2.5.1)."""
_LONG = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHORT = re.compile(r"(?:0x)?([0-9a-f]{4}|[0-9a-f]{8})")


def uuid128(short: int | str) -> str:
    """``0x180D``, ``"180d"``, ``"0x180D"`` or a full UUID as a lowercase 128-bit UUID; SettingError otherwise."""
    if isinstance(short, int):
        if not 0 <= short < 1 << 32:
            raise SettingError(f"{short} is no 16- or 32-bit UUID: expected 0 to 0xffffffff, such as 0x180d")
        return f"{short:08x}{_BASE}"
    text = short.strip().lower()
    if _LONG.fullmatch(text):
        return text
    found = _SHORT.fullmatch(text)
    if found is None:
        raise SettingError(f"{short!r} is no UUID: expected 4, 8 or 32 hexadecimal digits, such as '180d'")
    return f"{found[1]:0>8}{_BASE}"
