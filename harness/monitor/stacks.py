"""Where a thread is: its frames as text, and the innermost one that is not a library's."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from types import CodeType, FrameType

_DEEPEST = 60
_LIBRARIES = tuple({str(Path(path).resolve()) for path in (sysconfig.get_paths()[k] for k in
                   ("stdlib", "platstdlib", "purelib", "platlib"))})  # fmt: skip
_KNOWN: dict[str, bool] = {}


def frames_of(frame: FrameType | None) -> list[FrameType]:
    """Frames from the innermost outwards, at most _DEEPEST."""
    found: list[FrameType] = []
    while frame is not None and len(found) < _DEEPEST:
        found.append(frame)
        frame = frame.f_back
    return found


def is_library(filename: str) -> bool:
    """Python's own library, an installed package, or no file at all."""
    if filename not in _KNOWN:
        path = str(Path(filename).resolve()) if not filename.startswith("<") else filename
        _KNOWN[filename] = path.startswith("<") or "site-packages" in path or path.startswith(_LIBRARIES)
    return _KNOWN[filename]


def named(code: CodeType, line: int | None) -> str:
    """``function (file:line)``."""
    return f"{code.co_qualname} ({Path(code.co_filename).name}:{line})"


def place(frames: list[FrameType]) -> str:
    """The innermost frame that is not a library's, with the library function that it called, if it did."""
    if not frames:
        return "nowhere"
    own = next((frame for frame in frames if not is_library(frame.f_code.co_filename)), frames[0])
    text = named(own.f_code, own.f_lineno)
    inner = frames[0]
    return text if inner is own else f"{text}, in {inner.f_code.co_qualname}"


def as_text(frames: list[FrameType]) -> tuple[str, ...]:
    """All frames, the outermost first."""
    return tuple(named(frame.f_code, frame.f_lineno) for frame in reversed(frames))
