"""Who is simulated: the numbers that one simulated person's physiology follows from."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from drivers.errors import SettingError

Script: TypeAlias = tuple[tuple[float, float, float], ...]
"""(time in s, arousal, valence) points, joined by straight lines; arousal and valence in -1..1."""

SCENARIOS: Mapping[str, Script] = {
    "rest": ((0.0, 0.0, 0.2),),
    "calm": ((0.0, -0.6, 0.5),),
    "stress": ((0.0, 0.0, 0.2), (20.0, 0.0, 0.2), (30.0, 0.8, -0.6), (90.0, 0.8, -0.6), (120.0, 0.1, 0.1)),
    "joy": ((0.0, 0.0, 0.2), (20.0, 0.0, 0.2), (30.0, 0.6, 0.8), (90.0, 0.6, 0.8), (120.0, 0.1, 0.3)),
}
"""Arousal and valence over time, by name."""


def _number(default: float, low: float, high: float, explained: str) -> Any:
    return field(default=default, metadata={"help": explained, "low": low, "high": high})


@dataclass(frozen=True)
class Profile:
    """A healthy adult at rest unless told otherwise. SettingError for a value out of its range."""

    heart_rate_bpm: float = _number(65.0, 30.0, 200.0, "mean heart rate at arousal 0")
    hrv_breath_percent: float = _number(5.0, 0.0, 20.0, "respiratory sinus arrhythmia: heart rate swing with breathing")
    hrv_mayer_percent: float = _number(3.0, 0.0, 20.0, "heart rate swing at 0.1 Hz (Mayer waves)")
    hrv_slow_percent: float = _number(2.0, 0.0, 20.0, "standard deviation of heart rate over minutes")
    breath_rate_per_min: float = _number(15.0, 4.0, 60.0, "mean breath rate at arousal 0")
    spo2_percent: float = _number(97.5, 50.0, 100.0, "arterial oxygen saturation")
    scr_per_min: float = _number(2.0, 0.0, 30.0, "spontaneous skin conductance responses at arousal 0")
    skin_conductance_us: float = _number(5.0, 0.1, 100.0, "tonic skin conductance in microsiemens")
    skin_temperature_c: float = _number(33.5, 15.0, 45.0, "skin temperature at arousal 0")
    pat_ms: float = _number(245.0, 50.0, 800.0, "R peak to pulse foot; finger 245, ear 174, toe 361")
    pat_jitter_ms: float = _number(4.0, 0.0, 50.0, "beat-to-beat standard deviation of the pulse arrival time")
    ppg_perfusion_percent: float = _number(2.0, 0.01, 30.0, "infrared pulse height over its DC level")
    blink_per_min: float = _number(15.0, 0.0, 60.0, "eye blinks")
    alpha_uv: float = _number(20.0, 0.0, 200.0, "EEG alpha rhythm at arousal 0, peak in microvolt")
    script: str | Script = field(
        default="rest",
        metadata={"help": f"{', '.join(SCENARIOS)}, or a list of [time_s, arousal, valence] joined by straight lines"},
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            if "low" in item.metadata:
                object.__setattr__(self, item.name, _checked(item.name, getattr(self, item.name), item.metadata))
        object.__setattr__(self, "script", _checked_script(self.script))

    @property
    def points(self) -> Script:
        """The script's points, with a scenario's name resolved."""
        return SCENARIOS[self.script] if isinstance(self.script, str) else self.script


def _checked(name: str, value: Any, limits: Mapping[str, Any]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingError(f"subject {name!r} is {value!r}; a number is wanted ({limits['help']})")
    if not limits["low"] <= value <= limits["high"]:
        raise SettingError(f"subject {name!r} is {value}; it may be {limits['low']:g}..{limits['high']:g}")
    return float(value)


def _checked_script(script: Any) -> str | Script:
    if isinstance(script, str):
        if script not in SCENARIOS:
            near = difflib.get_close_matches(script, SCENARIOS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there is {', '.join(SCENARIOS)}"
            raise SettingError(f"subject 'script' names no scenario {script!r}{hint}")
        return script
    if not isinstance(script, list | tuple) or not script:
        raise SettingError(f"subject 'script' is {script!r}; a scenario or [[time_s, arousal, valence], ...] is wanted")
    points = tuple(_checked_point(number, point) for number, point in enumerate(script))
    for number, (before, after) in enumerate(itertools.pairwise(points), 1):
        if after[0] <= before[0]:
            raise SettingError(f"subject 'script' point {number} is at {after[0]:g} s, not after {before[0]:g} s")
    return points


def _checked_point(number: int, point: Any) -> tuple[float, float, float]:
    plain = isinstance(point, list | tuple) and len(point) == 3
    if not plain or any(isinstance(v, bool) or not isinstance(v, int | float) for v in point):
        raise SettingError(f"subject 'script' point {number} is {point!r}; [time_s, arousal, valence] is wanted")
    time_s, arousal, valence = (float(v) for v in point)
    if not math.isfinite(time_s):
        raise SettingError(f"subject 'script' point {number} is at {time_s} s; a finite time is wanted")
    for name, value in (("arousal", arousal), ("valence", valence)):
        if not -1 <= value <= 1:
            raise SettingError(f"subject 'script' point {number} has {name} {value:g}; it may be -1..1")
    return time_s, arousal, valence


def make_profile(given: Mapping[str, Any] | None = None) -> Profile:
    """A Profile from plain values, as a rig file has them; SettingError names an unknown key."""
    known = [item.name for item in fields(Profile)]
    for name in given or {}:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known)}"
            raise SettingError(f"the subject has no {name!r}{hint}")
    return Profile(**(given or {}))
