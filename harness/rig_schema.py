"""The shape of a rig file, for pydantic, which checks it, and for editors (JSON Schema)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ClockSchema(_Strict):
    """The clock of a simulated device."""

    offset_s: float = Field(0.0, ge=-1e9, le=1e9, description="what the clock says at the start of the run")
    ppm: float = Field(0.0, ge=-50_000, le=50_000, description="how much too fast it runs; negative: too slow")
    ppm_per_min: float = Field(0.0, ge=-1000, le=1000, description="how ppm changes")


class SimulateSchema(_Strict):
    """How a sensor is simulated."""

    clock: ClockSchema = Field(ClockSchema(), description="the device's clock")
    signals: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="stream -> {signal: name, options}; see `hil list signals`"
    )
    faults: list[dict[str, Any]] = Field(
        default_factory=list, description="list of {fault: name, keys}, applied in this order; see `hil list faults`"
    )
    usb_latency_ms: float = Field(
        0.0, ge=0, le=255, description="serial: the USB bridge delivers every so often; FTDI: 16"
    )
    connection_interval_ms: float = Field(30.0, ge=7.5, le=4000, description="BLE: connection interval")


class SensorSchema(_Strict):
    """One sensor of the rig, under its role."""

    sensor: str = Field(description="sensor type; see `hil list sensors`")
    port: str | None = Field(None, description="serial device or pyserial URL (socket://, rfc2217://, hwgrep://)")
    address: str | None = Field(None, description="BLE address, name or service UUID; LSL: name, type or source_id")
    baud: int | None = Field(None, ge=300, le=12_000_000, description="line rate, if not the sensor's own")
    reader: Literal["thread", "process"] = Field("thread", description="who reads the serial port")
    reconnect: bool = Field(True, description="reopen a link that was lost")
    floor_ms: float = Field(0.0, ge=0, le=10_000, description="declared least delay of the link, added to latency")
    settings: dict[str, Any] = Field(default_factory=dict, description="the sensor's own settings")
    simulate: SimulateSchema = Field(SimulateSchema(), description="its simulation")


class InputSchema(_Strict):
    """Which stream feeds a modality of the model."""

    stream: str = Field(description="role/stream")
    seconds: float | None = Field(None, gt=0, le=600, description="length of the window")
    rate_hz: float | None = Field(None, gt=0, le=5000, description="rate that the model wants")
    channels: list[int] | None = Field(None, description="channels of the stream to use, from 0")


class ModelSchema(_Strict):
    """The module under test."""

    factory: str | None = Field(
        None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$", description="pkg.mod:function that returns a torch module"
    )
    file: str | None = Field(None, description="exported program (.pt2) or TorchScript file")
    engine: Literal["eager", "compile", "onnx"] = Field("eager", description="how it is run")
    device: str = Field("cpu", description="cpu, or cuda where there is one")
    threads: int = Field(1, ge=1, le=64, description="CPU threads; more than one costs tail latency on small machines")
    inputs: dict[str, InputSchema] = Field(default_factory=dict, description="modality -> where it comes from")
    virtual_ms: float = Field(5.0, ge=0, le=10_000, description="model time assumed in virtual time")
    url: str | None = Field(None, description="server with /infer and /model (`hil serve`) instead of factory or file")
    timeout_ms: float = Field(1000.0, gt=0, le=60_000, description="how long that server may take for one request")
    allow_remote: bool = Field(False, description="that server may be on another machine")


class WindowSchema(_Strict):
    """When the model runs."""

    hop_ms: float = Field(80.0, ge=1, le=60_000, description="time from one window to the next")
    wait_ms: float = Field(50.0, ge=0, le=10_000, description="how long a window waits for late streams")
    fill_s: float = Field(4.0, ge=0, le=600, description="first window is due this long after the start")
    grace_ms: float = Field(150.0, ge=0, le=10_000, description="no window is due so late before the end")


class MonitorSchema(_Strict):
    """What is watched beside a run in real time."""

    resources: bool = Field(True, description="memory, CPU, threads, files and queue depth, once a second")
    stacks: bool = Field(True, description="what runs while a window is overdue, and garbage collections")
    sample_ms: float = Field(10.0, ge=1, le=1000, description="how often an overdue consumer is looked at")
    flight_recorder: bool = Field(True, description="write the last seconds when a window is judged too late")
    keep_s: float = Field(10.0, gt=0, le=120, description="how many seconds a flight covers")
    most: int = Field(3, ge=1, le=100, description="flights written in a run")


class ExpectSchema(_Strict):
    """What an endpoint must answer."""

    status: int = Field(200, ge=200, le=599, description="HTTP status")
    structure: dict[str, Any] | None = Field(None, alias="schema", description="JSON Schema of the response")
    schema_file: str | None = Field(None, description="file with that JSON Schema instead")
    is_json: bool = Field(True, alias="json", description="the response must be JSON; false: anything will do")


class EndpointSchema(_Strict):
    """One endpoint of the API."""

    path: str | None = Field(None, description="path below base_url, if it is not the endpoint's name")
    method: Literal["post", "get", "put", "patch", "delete"] = Field("post", description="HTTP method")
    payload: Any = Field(None, description="what to send as JSON")
    payload_file: str | None = Field(None, description="JSON file to send instead")
    live: bool = Field(False, description="send the newest model inputs of the run instead, as /infer takes them")
    headers: dict[str, str] = Field(default_factory=dict, description='besides the API\'s; credentials as "env:NAME"')
    expect: ExpectSchema = Field(ExpectSchema(), description="what must come back")
    budget_ms: float | None = Field(
        100.0, gt=0, le=60_000, description="how long a call may take; null: latency is not judged"
    )
    repeat: int = Field(30, ge=1, le=100_000, description="calls in one run, spread over it")


class ApiSchema(_Strict):
    """An HTTP API that is tested beside the streams."""

    base_url: str = Field(description="such as http://127.0.0.1:8000")
    timeout_ms: float = Field(1000.0, gt=0, le=60_000, description="how long one call may take at all")
    allow_remote: bool = Field(False, description="the API may be on another machine")
    headers: dict[str, str] = Field(default_factory=dict, description='of every endpoint; credentials as "env:NAME"')
    endpoints: dict[str, EndpointSchema] = Field(min_length=1, description="path, or any name with `path`, -> endpoint")


class LogSchema(_Strict):
    """A log of what happens, as JSON lines."""

    file: str | None = Field(None, min_length=1, description="where, in the run's folder; without it no log is written")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="the least that is logged")
    rotate_mb: float = Field(10.0, ge=0.01, le=10_000, description="a file that is this large is put aside")
    keep: int = Field(5, ge=1, le=1000, description="how many files that were put aside stay")
    personal: Literal["hash", "drop", "keep"] = Field(
        "hash", description="personal data: pseudonyms of this log alone, left out, or as it is"
    )


class HealthSchema(_Strict):
    """When a run in real time alerts: limits on the mean of a metric's last ten values."""

    above: dict[str, float] = Field(
        default_factory=dict, description="metric -> limit: latency_ms, misses, inbox_depth, rss_mb"
    )
    below: dict[str, float] = Field(default_factory=dict, description="metric -> limit: quality/ROLE/STREAM")


class RigSchema(_Strict):
    """A bench, or its simulation."""

    schema_version: Literal[1] = Field(1, alias="schema", description="version of this format")
    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the rig")
    notes: str = Field("", description="for people")
    simulate: bool = Field(False, description="simulated unless the bench is asked for (`--bench`)")
    duration_s: float = Field(30.0, gt=0, le=864_000, description="length of a run")
    seed: int = Field(0, ge=0, lt=2**63, description="every random draw of a simulation follows from it")
    mains_hz: Literal[50, 60] | None = Field(
        None, description="mains frequency where the rig stands; without it hum is looked for at both"
    )
    subject: dict[str, Any] = Field(default_factory=dict, description="the simulated person")
    sensors: dict[str, SensorSchema] = Field(min_length=1, description="role -> sensor")
    model: ModelSchema = ModelSchema()
    window: WindowSchema = WindowSchema()
    monitor: MonitorSchema = MonitorSchema()
    log: LogSchema = LogSchema()
    health: HealthSchema = HealthSchema()
    api: ApiSchema | None = Field(None, description="an HTTP API that is tested beside the streams")
    limits: dict[str, dict[str, Any]] = Field(min_length=1, description="check -> limits; see `hil list checks`")


def json_schema() -> dict[str, Any]:
    """JSON Schema of a rig file, with the settings, faults, signals and limits that are installed."""
    from drivers.registry import load_sensor, sensor_names
    from harness.checks.registry import check_names, load_check
    from simulators.faults.registry import fault_names, load_fault
    from simulators.signals.registry import load_signal, signal_names
    from simulators.subject import Profile

    schema = RigSchema.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "spiral-hil rig"
    limits = {name: _dataclass_schema(load_check(name).LIMITS) for name in check_names()}
    schema["properties"]["limits"].update(properties=limits, additionalProperties=False)
    schema["properties"]["subject"].update(_dataclass_schema(Profile))
    sensor = schema["$defs"]["SensorSchema"]
    settings = {name: {"settings": _dataclass_schema(load_sensor(name).SETTINGS)} for name in sensor_names()}
    sensor["allOf"] = [_if("sensor", name, {"properties": kind}) for name, kind in settings.items()]
    sensor["properties"]["sensor"]["enum"] = sensor_names()
    faults = {name: _dataclass_schema(load_fault(name), "fault") for name in fault_names()}
    signals = {name: _dataclass_schema(load_signal(name).OPTIONS, "signal") for name in signal_names()}
    simulate = schema["$defs"]["SimulateSchema"]["properties"]
    simulate["faults"]["items"] = _chosen("fault", faults) | {"required": ["fault"]}
    simulate["signals"]["additionalProperties"] = _chosen("signal", signals)
    return schema


def _if(key: str, name: str, then: dict[str, Any]) -> dict[str, Any]:
    return {"if": {"type": "object", "properties": {key: {"const": name}}, "required": [key]}, "then": then}


def _chosen(key: str, kinds: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A mapping whose ``key`` says which of the kinds it is."""
    schema: dict[str, Any] = {"type": "object", "properties": {key: {"enum": sorted(kinds)}}}
    schema["allOf"] = [_if(key, name, kind) for name, kind in kinds.items()]
    return schema


def _dataclass_schema(kind: type[Any], besides: str = "") -> dict[str, Any]:
    """Keys of a dataclass, and ``besides``, with their help; nothing else is allowed."""
    schema = TypeAdapter(kind).json_schema()
    schema.pop("title", None)
    schema.pop("description", None)
    properties = schema.setdefault("properties", {})
    for field in fields(kind):
        properties[field.name]["description"] = field.metadata.get("help", "")
        if properties[field.name].get("default") in (float("inf"), float("-inf")):
            del properties[field.name]["default"]  # JSON has no infinity
        if isinstance(field.default, tuple) and kind.__name__ == "FAULT":  # one moment may stand for a list of one
            one = properties[field.name].pop("items"), properties[field.name].pop("type")
            properties[field.name]["anyOf"] = [one[0], {"type": one[1], "items": one[0]}]
    if besides:
        properties[besides] = {"type": "string"}
    schema["additionalProperties"] = False
    return schema
