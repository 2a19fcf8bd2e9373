"""Signals are found by name, and wrong names and options are refused in words."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import SettingError
from drivers.types import StreamSpec
from simulators.draws import Draws
from simulators.signals.registry import load_signal, make_signal, signal_names
from simulators.subject import Subject

_SPEC = StreamSpec("ecg", "ecg", ("ecg",), "mV", 250.0)


def _make(**given: Any) -> object:
    return make_signal(given, Subject(0), _SPEC, Draws(0))


@pytest.mark.parametrize("name", signal_names())
def test_every_signal_says_what_it_is_and_explains_each_option(name: str) -> None:
    module = load_signal(name)
    assert (module.__doc__ or "").splitlines()[0].strip()
    assert all(field.metadata["help"] for field in fields(module.OPTIONS))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"signal": "egc"}, "no signal is called 'egc'; there is .*ecg"),
        ({"signal": "registry"}, "no signal is called 'registry'"),
        ({"signal": "ecg", "noise": 1}, "did you mean 'noise_uv'"),
        ({"signal": "ecg", "noise_uv": "much"}, "option 'noise_uv' is 'much'; float is wanted"),
        ({"signal": "ecg", "noise_uv": True}, "float is wanted"),
        ({"signal": "ecg", "noise_uv": float("nan")}, "float is wanted"),
        ({"signal": "ecg", "noise_uv": -1.0}, "not negative"),
        ({"signal": "heart_rate", "beats": 2.5}, "int is wanted"),
        ({"signal": "recording"}, "needs the option 'file'"),
        ({"signal": "raw", "shape": "square"}, "sine, ramp, constant"),
        ({"signal": "eda"}, "'mV', which 'uS' does not convert into"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        _make(**given)


def test_without_a_name_the_stream_has_the_signal_of_its_kind() -> None:
    assert type(_make()) is type(_make(signal="ecg"))


def test_a_hyphen_is_as_good_as_an_underscore() -> None:
    assert load_signal("heart-rate") is load_signal("heart_rate")


def test_an_installed_package_adds_a_signal_by_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "strain_signal-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: strain-signal\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[hil.signals]\nstrain = strain_signal\n")
    (tmp_path / "strain_signal.py").write_text('"""Strain."""\nfrom simulators.signals.raw import OPTIONS, signal\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "strain" in signal_names()
    assert _make(signal="strain", shape="constant").span > 0  # type: ignore[attr-defined]
