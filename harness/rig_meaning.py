"""What a rig file's shape cannot tell: names that must exist, keys that a sensor reads, faults that fit it.

Works on the file's plain values, section by section, so that a mistake in one place hides none in another.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any

from drivers.codec import Sensor
from drivers.errors import SettingError
from drivers.registry import load_sensor, make_settings, sensor_names
from drivers.types import StreamSpec
from harness.api.meaning import api_problems, model_problems
from harness.blame import Make, objections
from harness.checks.registry import check_names, load_check, make_limits
from harness.monitor.run_metrics import health_problems
from harness.yaml_tree import Problem, Tree, Where
from simulators.draws import Draws
from simulators.faults.registry import fault_names, load_fault, make_fault
from simulators.signals.registry import load_signal, make_options, make_signal, signal_names
from simulators.subject import Profile, Subject, make_profile

_OTHER_LINK = {
    "ble": ("port", "baud", "reader", "usb_latency_ms"),
    "serial": ("address", "connection_interval_ms"),
    "brainflow": ("address", "baud", "reader", "usb_latency_ms", "connection_interval_ms"),
    "lsl": ("port", "baud", "reader", "usb_latency_ms", "connection_interval_ms"),
}
"""Keys that a sensor on this kind of link never reads."""


def near(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: the one that was meant, or all that there are."""
    with_unit = [other for other in known if other.startswith(f"{name}_")]
    guess = with_unit or difflib.get_close_matches(name, known, n=1)
    if guess:
        return f"; did you mean {guess[0]!r}?"
    return f"; expected one of {', '.join(known)}" if known else "; there are none"


class Meaning:
    """Collects the problems of one rig file."""

    def __init__(self, tree: Tree, folder: Path) -> None:
        self.problems: list[Problem] = []
        self._tree, self._folder = tree, folder
        self._streams: dict[str, tuple[StreamSpec, ...] | None] = {}
        """Role -> what it sends; None where a mistake hides it."""

    def check(self) -> list[Problem]:
        """Everything that is wrong with a file whose top level is a mapping."""
        top = self._tree.value
        for role, raw in _mapping(top.get("sensors")).items():
            self._streams[role] = self._sensor(("sensors", role), role, _mapping(raw))
        self._places(_mapping(top.get("sensors")))
        self._keys(("subject",), _mapping(top.get("subject")), Profile, "the subject", make_profile)
        self._limits(_mapping(top.get("limits")))
        self._model(_mapping(top.get("model")))
        self._api(top.get("api"), "api" in _mapping(top.get("limits")))
        self._health(_mapping(top.get("health")))
        return self.problems

    def _add(self, where: Where, message: str, at_key: bool = False) -> None:
        self.problems.append(self._tree.problem(where, message, at_key))

    def _name(self, where: Where, what: str, name: Any, known: Sequence[str], see: str, at_key: bool = False) -> bool:
        """True if the name is known; a name that is no text is the shape's business."""
        if isinstance(name, str) and name not in known:
            self._add(where, f"unknown {what} {name!r}{near(name, known)} (see `hil list {see}`)", at_key)
        return isinstance(name, str) and name in known

    def _keys(
        self, where: Where, given: Mapping[str, Any], kind: type[Any], owner: str, make: Make, besides: str = ""
    ) -> bool:
        """Problems of plain values for a dataclass; True if there are none."""
        known = {field.name: field for field in fields(kind)}
        rest = {key: value for key, value in given.items() if key != besides}
        unknown = [key for key in rest if key not in known]
        for key in unknown:
            self._add((*where, key), f"unknown key {key!r} for {owner}{near(key, list(known))}", True)
            del rest[key]
        needed = [k for k, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
        missing = [key for key in needed if key not in rest]
        for key in missing:
            self._add(where, f"{owner} needs the key {key!r}: {known[key].metadata.get('help', '')}")
        found = objections(rest, make, needed) if not missing else []
        for inner, message in found:
            self._add((*where, *inner), message)
        return not (unknown or missing or found)

    # --- sensors ------------------------------------------------------------------------------

    def _sensor(self, at: Where, role: str, raw: Mapping[str, Any]) -> tuple[StreamSpec, ...] | None:
        if not role or any(c in role for c in "/~") or not role.isprintable() or role != role.strip():
            self._add(at, f"role {role!r}: expected a name without '/' and '~', such as 'chest'", True)
        if not self._name((*at, "sensor"), "sensor", raw.get("sensor"), sensor_names(), "sensors"):
            return None
        sensor = load_sensor(raw["sensor"])
        simulate = _mapping(raw.get("simulate"))
        for key in _OTHER_LINK[sensor.LINK]:
            text = f"{sensor.NAME} is a {sensor.LINK} sensor and has no {key!r}"
            if key in raw:
                self._add((*at, key), text, True)
            if key in simulate:
                self._add((*at, "simulate", key), text, True)
        settings = _mapping(raw.get("settings"))
        owner = f"the settings of {sensor.NAME}"
        good = self._keys((*at, "settings"), settings, sensor.SETTINGS, owner, partial(make_settings, sensor))
        streams = sensor.device(make_settings(sensor, settings)).streams if good else None
        self._faults((*at, "simulate", "faults"), simulate.get("faults"), sensor, streams)
        self._signals((*at, "simulate", "signals"), _mapping(simulate.get("signals")), streams)
        return streams

    def _places(self, sensors: Mapping[str, Any]) -> None:
        """Two roles on one port or address would take turns in stealing each other's bytes."""
        taken: dict[str, str] = {}
        for role, raw in sensors.items():
            for key in ("port", "address"):
                place = _mapping(raw).get(key)
                if isinstance(place, str) and place in taken:
                    text = f"{key} {place!r} is that of {taken[place]!r} already: each sensor needs its own"
                    self._add(("sensors", role, key), text)
                elif isinstance(place, str):
                    taken[place] = role

    def _faults(self, at: Where, faults: Any, sensor: Sensor, streams: tuple[StreamSpec, ...] | None) -> None:
        for number, given in enumerate(faults if isinstance(faults, list) else ()):
            where, keys = (*at, number), _mapping(given)
            if "fault" not in keys:
                if isinstance(given, Mapping):
                    self._add(where, f"expected a fault as {{fault: name, key: value}}, found {_brief(given)}")
                continue
            if not isinstance(keys["fault"], str):
                self._add((*where, "fault"), f"expected the name of a fault, found {_brief(keys['fault'])}")
            if not self._name((*where, "fault"), "fault", keys["fault"], fault_names(), "faults"):
                continue
            self._fault(where, keys, sensor, streams)

    def _fault(
        self, where: Where, keys: Mapping[str, Any], sensor: Sensor, streams: tuple[StreamSpec, ...] | None
    ) -> None:
        name = keys["fault"]
        owner = f"the fault {name}"
        good = self._keys(
            where, keys, load_fault(name), owner, lambda given: make_fault({"fault": name, **given}), "fault"
        )
        if not good or streams is None:
            return
        stream = keys.get("stream", "")
        if stream and not self._stream((*where, "stream"), stream, sensor.NAME, streams):
            return
        try:
            make_fault(keys).check_fits(sensor.NAME, streams)
        except SettingError as error:
            self._add((*where, "stream" if stream else "fault"), str(error))

    def _stream(self, where: Where, name: str, owner: str, streams: Iterable[StreamSpec], at_key: bool = False) -> bool:
        known = [stream.name for stream in streams]
        if name not in known:
            self._add(where, f"{owner} has no stream {name!r} with these settings{near(name, known)}", at_key)
        return name in known

    def _signals(self, at: Where, signals: Mapping[str, Any], streams: tuple[StreamSpec, ...] | None) -> None:
        for stream, given in signals.items():
            where, keys = (*at, stream), _mapping(given)
            known = {s.name: s for s in streams or ()}
            there = streams is not None and self._stream(where, stream, "this sensor", known.values(), at_key=True)
            name = keys.get("signal", known[stream].kind if there else None)
            if not self._name((*where, "signal"), "signal", name, signal_names(), "signals"):
                if name is not None and not isinstance(name, str):
                    self._add((*where, "signal"), f"expected the name of a signal, found {_brief(name)}")
                continue
            self._signal(where, name, keys, known[stream] if there else None)

    def _signal(self, where: Where, name: str, keys: Mapping[str, Any], stream: StreamSpec | None) -> None:
        def made(given: dict[str, Any]) -> object:
            options = make_options(name, given)
            here = resolved({"signal": name, **given}, self._folder)
            return make_signal(here, Subject(0), stream, Draws(0, "rig")) if stream else options

        self._keys(where, keys, load_signal(name).OPTIONS, f"the signal {name}", made, "signal")

    # --- the rest -----------------------------------------------------------------------------

    def _limits(self, limits: Mapping[str, Any]) -> None:
        for name, given in limits.items():
            if self._name(("limits", name), "check", name, check_names(), "checks", at_key=True):
                check = load_check(name)
                make = partial(make_limits, check)
                self._keys(("limits", name), _mapping(given), check.LIMITS, f"the check {name}", make)

    def _model(self, model: Mapping[str, Any]) -> None:
        for where, text in model_problems(model):
            self._add(("model", *where), text)
        file = model.get("file")
        if file is not None and model.get("factory") is not None:
            self._add(("model", "file"), "give either factory or file, not both", True)
        elif isinstance(file, str) and not (self._folder / file).is_file():
            self._add(("model", "file"), f"no such file: {self._folder / file}")
        for modality, given in _mapping(model.get("inputs")).items():
            self._input(("model", "inputs", modality), _mapping(given))

    def _api(self, api: Any, judged: bool) -> None:
        for where, text in api_problems(_mapping(api), self._folder):
            self._add(("api", *where), text)
        if judged and api is None:
            self._add(("limits", "api"), "this rig has no `api:` section, so there is nothing to judge", True)

    def _health(self, health: Mapping[str, Any]) -> None:
        for where, text in health_problems(health, self._streams):
            self._add(("health", *where), text, True)

    def _input(self, at: Where, given: Mapping[str, Any]) -> None:
        wanted = given.get("stream")
        if not isinstance(wanted, str):
            return
        known = {f"{role}/{s.name}": s for role, streams in self._streams.items() for s in streams or ()}
        role = wanted.partition("/")[0]
        if self._streams.get(role, ()) is None:
            return  # that sensor's own problem comes first
        if wanted not in known:
            self._add((*at, "stream"), f"this rig has no stream {wanted!r}{near(wanted, list(known))}")
            return
        channels = given.get("channels")
        for number, channel in enumerate(channels if isinstance(channels, list) else ()):
            if isinstance(channel, int) and not 0 <= channel < len(known[wanted].channels):
                text = f"{wanted} has the channels 0 to {len(known[wanted].channels) - 1}, found {channel}"
                self._add((*at, "channels", number), text)


def resolved(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A signal's options with the file it plays named from the rig file's folder."""
    file = options.get("file")
    return {**options, "file": str(folder / Path(file).expanduser())} if isinstance(file, str) else dict(options)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
