"""What every test may ask for on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--guide",
        type=Path,
        default=_ROOT.parent / "shared" / "requirements" / "debugging-guide.md",
        metavar="PATH",
        help="the debugging guide whose printed functions must run on our objects (default: %(default)s)",
    )
    parser.addoption(
        "--data",
        type=Path,
        default=_ROOT.parent / "shared" / "data",
        metavar="DIR",
        help="folder with real recordings that are not part of the project (default: %(default)s)",
    )
