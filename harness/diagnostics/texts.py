"""Error texts of Python, torch, numpy, pyserial, BlueZ and HTTP libraries: what they mean and what to do.

Each entry was made from what the library itself says; tests raise the true exceptions. Within a family (a shape, a
connection, ...) only the most specific entry speaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.diagnostics.diagnosis import Diagnosis, ranked
from harness.diagnostics.host_texts import HOST_RULES
from harness.diagnostics.model_texts import MODEL_RULES
from harness.diagnostics.text_rule import TextRule

RULES = (*MODEL_RULES, *HOST_RULES)

LONGEST = 4_000_000
"""Characters of a log that are read, its last ones."""
_LINE = 300
_FRAME = re.compile(r'^ *File "([^"\n]+)", line (\d+), in ([^\n]+)$', re.MULTILINE)
_LIBRARY = ("site-packages", "dist-packages", "lib/python", "<frozen")
_PACKAGES = {
    "serial": "pyserial", "yaml": "PyYAML", "sklearn": "scikit-learn", "cv2": "opencv-python", "PIL": "pillow",
    "dbus_fast": "dbus-fast", "google.protobuf": "protobuf", "skimage": "scikit-image", "usb": "pyusb",
    **{
        name: name
        for name in (
            "torch", "torchaudio", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "bleak", "pydantic", "rich",
            "psutil", "safetensors", "h5py", "tqdm", "mne", "neurokit2", "pyedflib", "einops", "transformers",
            "requests", "pytest",
        )
    },
}  # fmt: skip
"""Module -> its package on PyPI. Of any other module none is named: a stranger may own a package of that name."""
_EXTRAS = {
    "wfdb": "recordings", "edfio": "recordings", "brainflow": "brainflow", "pylsl": "lsl", "onnx": "onnx",
    "onnxruntime": "onnx", "onnxscript": "onnx", "bumble": "bumble", "fastapi": "api", "uvicorn": "api",
    "httpx": "api", "prometheus_client": "api", "jsonschema": "api", "IPython": "shell",
}  # fmt: skip
"""Packages that come with an extra of this one."""
_WORD = re.compile(r"[a-z0-9_]{4,}")
_COMMAND = re.compile(r"`([^`]+)`")
_REPEATS = 0.4
"""Share of an advice's words that a message may hold without having given it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A rule that matched."""

    rule: TextRule
    diagnosis: Diagnosis


def diagnose_text(text: str) -> list[Diagnosis]:
    """What an error message, a traceback or a log says of its cause, the most specific first; empty: nothing known."""
    return ranked(found.diagnosis for found in matched(text))


def matched(text: str) -> list[Found]:
    """The most specific rule of each family that matches, in the order of the table."""
    text = text[-LONGEST:]
    best: dict[str, Found] = {}
    for rule in RULES:
        diagnosis = _apply(rule, text)
        if diagnosis is not None:
            before = best.get(rule.family)
            if before is None or diagnosis.weight > before.diagnosis.weight:
                best[rule.family] = Found(rule, diagnosis)
    return list(best.values())


def _apply(rule: TextRule, text: str) -> Diagnosis | None:
    """By the last place that matches, which is what ended it."""
    places = list(rule.pattern.finditer(text))
    if not places:
        return None
    last = places[-1]
    said = {name: value or "?" for name, value in last.groupdict().items()}
    if "module" in said:
        said |= {"install": _install(said["module"]), "upgrade": _upgrade(said["module"])}
    evidence = [_line_of(text, last.start())]
    if len(places) > 1:
        evidence.append(f"{len(places)} times in this text")
    if frame := _frame_before(text, last.start()):
        evidence.append(frame)
    return Diagnosis(
        rule.name, rule.symptom, rule.cause.format(**said), tuple(evidence), rule.next_step.format(**said), rule.weight
    )


def package_of(module: str) -> str:
    """What to give to ``pip install`` for a module that is missing; empty where that is not known for sure."""
    top = module.partition(".")[0]
    if top in _EXTRAS:
        return f"'spiral-hil[{_EXTRAS[top]}]'"
    return _PACKAGES.get(module, _PACKAGES.get(top, ""))


def _install(module: str) -> str:
    package, which = package_of(module), "`python -m pip --version` says which environment that is"
    if package:
        return f"python -m pip install {package}; {which}"
    return (
        "if it is a file of yours, run from the folder that holds it or put that on PYTHONPATH; else look up in its "
        f"own documentation which package provides it, which need not have the same name; {which}"
    )


def _upgrade(module: str) -> str:
    if package := package_of(module):
        return f"python -m pip install --upgrade {package}, and compare with the versions that pyproject.toml asks for"
    return (
        f"`python -c 'import {module}; print({module}.__file__)'` says which file that is: one of yours, or of a "
        "package whose version must be compared with what its caller asks for"
    )


def _line_of(text: str, at: int) -> str:
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[begin : end if end >= 0 else len(text)]
    if len(line) > _LINE:  # keep what matched in sight
        first = max(0, min(at - begin - 40, len(line) - _LINE))
        line = ("... " if first else "") + line[first : first + _LINE] + " ..."
    return line.strip()


def _frame_before(text: str, at: int) -> str:
    """The innermost frame of the traceback above that is not a library's, as ``file:line in function``."""
    begin = text.rfind("Traceback (most recent call last)", 0, at)
    if begin < 0:
        return ""
    frames = [found.groups() for found in _FRAME.finditer(text, begin, at)]
    own = [frame for frame in frames if not any(part in frame[0] for part in _LIBRARY)] or frames
    return f"raised below {own[-1][0]}:{own[-1][1]} in {own[-1][2]}" if own else ""


def hint(message: str) -> str:
    """One line with cause and next step for an error that ends a command; empty where it says as much itself."""
    for one in diagnose_text(message)[:1]:
        if not _holds(message, one.next_step):
            return f"likely: {one.cause}; try: {one.next_step}"
    return ""


def _holds(message: str, advice: str) -> bool:
    """Whether a command that the advice names, or many of its words, are in the message already."""
    if any(command in message for command in _COMMAND.findall(advice)):
        return True
    wanted, there = set(_words(advice)), set(_words(message))
    return len(wanted & there) > _REPEATS * len(wanted)


def _words(text: str) -> Iterable[str]:
    return _WORD.findall(text.lower())
