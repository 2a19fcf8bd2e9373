"""What can be damaged in a rig: each fault on each sensor and stream that it fits, at each of its levels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from drivers.errors import SettingError
from drivers.registry import load_sensor, make_settings
from drivers.types import StreamSpec
from harness.rig import Rig
from simulators.draws import Draws
from simulators.faults import Fault, SampleFault
from simulators.faults.registry import fault_names, load_fault, make_fault

_USUAL_LINKS = frozenset({"serial", "ble"})


@dataclass(frozen=True)
class Target:
    """One fault on one sensor, or on one stream of it."""

    fault: str
    role: str
    stream: str = ""
    """Sample faults: the stream that is damaged; else the whole sensor is."""
    key: str = ""
    """The fault's key that says how much; empty: only its default is tried."""
    levels: tuple[float, ...] = ()
    """Values of ``key``, from harmless to bold; one NaN stands for the default."""
    unit: str = ""

    @property
    def place(self) -> str:
        """``role`` or ``role/stream``."""
        return f"{self.role}/{self.stream}" if self.stream else self.role

    @property
    def touches(self) -> frozenset[str]:
        """The checks that must notice."""
        return load_fault(self.fault).TOUCHES

    @property
    def may_touch(self) -> frozenset[str]:
        """The checks that may notice too."""
        return load_fault(self.fault).MAY_TOUCH


def clean(rig: Rig) -> Rig:
    """The rig without the faults that its file injects."""
    sensors = {
        role: replace(entry, simulate={**entry.simulate, "faults": []}) if "faults" in entry.simulate else entry
        for role, entry in rig.sensors.items()
    }
    return replace(rig, sensors=sensors, simulate=True)


def targets_of(
    rig: Rig, faults: Collection[str] = (), roles: Collection[str] = (), levels: str = "all"
) -> list[Target]:
    """Every fault on everything that it fits and where it happens in the field.

    ``faults`` and ``roles``: only these; empty means all. ``levels``: "all", "ends" (the most harmless and the
    boldest) or "default" (each fault as it is without keys). SettingError names an unknown fault or role.
    """
    for role in roles:
        if role not in rig.sensors:
            raise SettingError(f"the rig has no role {role!r}; it has {', '.join(rig.sensors)}")
    found = []
    for name in faults or fault_names():
        fault = load_fault(name)
        for role in roles or rig.sensors:
            found += _on(fault, rig, role, levels)
    return found


def _on(fault: type[Fault], rig: Rig, role: str, levels: str) -> list[Target]:
    entry = rig.sensors[role]
    sensor = load_sensor(entry.sensor)
    if not (sensor.LINK in fault.LINKS or _USUAL_LINKS <= fault.LINKS):
        return []
    streams = sensor.host(make_settings(sensor, entry.settings)).streams
    key, values = fault.LEVELS
    if levels == "default" or not values:
        key, values = "", (float("nan"),)
    elif levels == "ends":
        values = (values[0], values[-1])
    unit = next((str(each.metadata.get("unit", "")) for each in fields(fault) if each.name == key), "")
    places = [""]
    if issubclass(fault, SampleFault):
        places = [spec.name for spec in streams if spec.kind in fault.KINDS | fault.NAMED]
    made = [Target(fault.NAME, role, place, key, values, unit) for place in places]
    return [target for target in made if _fits(target, streams)]


def _fits(target: Target, streams: tuple[StreamSpec, ...]) -> bool:
    given = {"fault": target.fault, **({"stream": target.stream} if target.stream else {})}
    try:
        make_fault(given).check_fits(target.role, streams)
    except SettingError:
        return False
    return True


def damage(target: Target, level: int, seed: int, duration_s: float) -> dict[str, Any]:
    """The fault as it would stand in a rig file.

    A fault that happens at a moment happens at another one for every seed, in the run's second third: seeds that
    all hit the same phase of a counter or a window would be one run many times over.
    """
    given: dict[str, Any] = {"fault": target.fault}
    if target.stream:
        given["stream"] = target.stream
    if target.key:
        given[target.key] = target.levels[level]
    moment = float(Draws(seed, "scorecard").child(target.fault, target.place).uniform(0, 1)[0])
    defaults = {each.name: each.default for each in fields(load_fault(target.fault))}
    if isinstance(defaults.get("at_s"), float):
        given["at_s"] = round(duration_s * (1 + moment) / 3, 6)
    elif target.key == "every_s":
        given["start_s"] = round(min(target.levels[level], duration_s / 6) * moment, 6)
    return given


def damaged(rig: Rig, role: str, fault: Mapping[str, Any], seed: int) -> Rig:
    """A clean rig with one fault on one sensor, and another seed."""
    entry = rig.sensors[role]
    broken = replace(entry, simulate={**entry.simulate, "faults": [dict(fault)]})
    return replace(rig, sensors={**rig.sensors, role: broken}, seed=seed)
