"""What one rig needs of this machine: its ports, radio, packages, model and line rates."""

from __future__ import annotations

import shlex
from pathlib import Path

from drivers.errors import SensorError
from drivers.registry import line_options, load_sensor, make_settings
from harness.api.address import address_of, is_loopback
from harness.doctor import bluetooth
from harness.doctor.machine import Fact, Machine, State
from harness.doctor.ports import port_fact
from harness.doctor.software import compiler, extra_fact
from harness.rig import Rig, SensorEntry

_EXTRAS = {"brainflow": "brainflow", "lsl": "lsl"}
_LISTENED_S = 4.0
_FULL, _TIGHT = 97.0, 90.0
"""Per cent of a line at which it delays samples for ever, and at which any hiccup does for long."""
_BITS = 10
"""Of a byte on a line without parity: a start bit, eight of data, a stop bit."""


def facts(machine: Machine, rig: Rig) -> list[Fact]:
    """Everything that the rig's own file asks for; a simulated rig needs no port."""
    found = [fact for entry in rig.sensors.values() for fact in _role(machine, rig, entry)]
    radio = any(load_sensor(entry.sensor).LINK == "ble" for entry in rig.sensors.values())
    if radio and not rig.simulate:
        found += bluetooth.facts(machine, needed=True)
    return found + _model(machine, rig) + _servers(machine, rig)


def _role(machine: Machine, rig: Rig, entry: SensorEntry) -> list[Fact]:
    link = load_sensor(entry.sensor).LINK
    found = [_place(machine, rig, entry)]
    if link in _EXTRAS and not rig.simulate:
        fact = extra_fact(machine, _EXTRAS[link], needed=True)
        found.append(_renamed(f"{entry.role}: {fact.name}", fact))
    if link == "serial":
        found.append(line_fact(entry))
    return found


def _renamed(name: str, fact: Fact) -> Fact:
    return Fact(name, fact.found, fact.state, fix=fact.fix)


def _place(machine: Machine, rig: Rig, entry: SensorEntry) -> Fact:
    name = f"{entry.role}: {entry.sensor}"
    if entry.port and "://" not in entry.port and not rig.simulate:
        fact = port_fact(machine, entry.port)
        return _renamed(f"{entry.role}: {fact.name}", fact)
    if rig.simulate:
        return Fact(name, "simulated: needs no port")
    if entry.port:
        return Fact(name, f"{entry.port}: looked for when the run starts, not here")
    if entry.address:
        return Fact(name, f"address {entry.address}: looked for when the run starts, not here")
    if load_sensor(entry.sensor).LINK == "brainflow":
        return Fact(name, "found by BrainFlow itself")
    fix = "hil discover  # prints what to put under sensors:"
    return Fact(name, "has neither port nor address", State.ATTENTION, fix)


def line_fact(entry: SensorEntry) -> Fact:
    """How full the sensor's line is: by what its simulation sends with these settings in a few seconds."""
    from harness.probing.listening import listen
    from simulators.build import simulated

    name, sensor = f"{entry.role}: line", load_sensor(entry.sensor)
    made = make_settings(sensor, entry.settings)
    options = line_options(made)
    baud = entry.baud or int(options.get("baud", sensor.BAUD))
    bits = _BITS + (options.get("parity", "N") != "N")
    try:
        heard = listen(simulated(entry.sensor, **entry.settings), _LISTENED_S)
    except SensorError as error:
        return Fact(name, f"cannot be told: {error}", State.ABSENT)
    if not heard.received_bytes or not heard.elapsed_s:
        return Fact(name, "cannot be told: its simulation sends nothing by itself", State.ABSENT)
    percent = 100 * heard.received_bytes * bits / heard.elapsed_s / baud
    found = f"{percent:.0f} % of {baud} baud"
    if percent >= _TIGHT:
        why = "more than it carries, so samples come later and later" if percent >= _FULL else "hardly any room"
        fix = "# a higher baud rate, fewer channels or a lower rate, in the sensor and under settings: in the rig"
        return Fact(name, f"{found}: {why}", State.ATTENTION, fix)
    return Fact(name, found)


def _model(machine: Machine, rig: Rig) -> list[Fact]:
    found, model = [], rig.model
    if model.file:
        there = Path(model.file).is_file()
        fix = f"ls {shlex.quote(str(model.file))}  # it counts from the rig's folder"
        state = State.OK if there else State.ATTENTION
        found.append(Fact("model file", f"{model.file} is {'' if there else 'not '}there", state, "" if there else fix))
    if model.engine == "onnx":
        found.append(extra_fact(machine, "onnx", needed=True))
    if model.engine == "compile" and not compiler(machine):
        text = "engine: compile needs one, and there is none"
        found.append(Fact("model compiler", text, State.ATTENTION, "sudo apt-get install g++ python3-dev"))
    if model.device.startswith("cuda"):
        torch = machine.torch()
        works = torch is not None and torch.cuda_works
        state = State.OK if works else State.ATTENTION
        text = f"{model.device} {'can be used' if works else 'cannot be used: torch finds no CUDA'}"
        found.append(Fact("model device", text, state, "" if works else "nvidia-smi  # or device: cpu in the rig"))
    return found


def _servers(machine: Machine, rig: Rig) -> list[Fact]:
    """The model behind a URL, and the API that is tested."""
    found = [_server(machine, "model server", "model.url", rig.model.url)] if rig.model.url else []
    return found + ([_server(machine, "api server", "api.base_url", rig.api.base_url)] if rig.api else [])


def _server(machine: Machine, name: str, key: str, url: str) -> Fact:
    """Whether something listens there, if that is this machine; nothing is sent."""
    at = address_of(url, allow_remote=True)
    if not is_loopback(at.host):
        return Fact(name, f"{at.place} is another machine: asked when the run starts, not here")
    if machine.listens(at.host, at.port):
        return Fact(name, f"something listens on {at.place}")
    host = "" if at.host in ("127.0.0.1", "localhost") else f" --host {at.host}"
    fix = f"hil serve{host} --port {at.port}  # or start the server of your own that {key} names"
    if at.scheme == "https":
        fix = f"# start the server that {key} names; hil serve has no TLS"
    return Fact(name, f"nothing listens on {at.place}, which {key} names", State.ATTENTION, fix)
