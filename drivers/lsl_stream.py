"""Streams of the Lab Streaming Layer as liblsl describes them: how one is found, and what it says of itself.

Source: liblsl's documentation (stream info, resolving, time synchronisation) and the XDF wiki's meta-data
recommendations for channel labels and units.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from drivers.errors import LinkError, MissingExtra

if TYPE_CHECKING:
    from drivers.sensors.lsl import Settings

_KINDS = {
    "eeg": "eeg", "ecg": "ecg", "ekg": "ecg", "emg": "exg", "exg": "exg", "ppg": "ppg", "eda": "eda", "gsr": "eda",
    "respiration": "respiration", "resp": "respiration", "temperature": "temperature", "acc": "acceleration",
    "accelerometer": "acceleration", "acceleration": "acceleration", "mocap": "raw",
}  # fmt: skip
_UNITS = {
    "microvolts": "uV", "microvolt": "uV", "millivolts": "mV", "millivolt": "mV", "volts": "V", "volt": "V",
    "microsiemens": "uS", "celsius": "degC",
}  # fmt: skip
_SECOND_S = 0.3
"""So long a second stream that fits may take to answer."""


def library() -> Any:
    """pylsl; MissingExtra without it, or without the liblsl that it loads."""
    try:
        import pylsl
    except (ImportError, RuntimeError, OSError) as error:  # pylsl says with either of these that liblsl is missing
        raise MissingExtra("lsl", error) from error
    return pylsl


def predicate(address: str) -> str:
    """liblsl's predicate for an address: one already, or a name, type or source_id."""
    if "=" in address or "(" in address:
        return address
    quote = '"' if "'" in address else "'"
    return " or ".join(f"{key}={quote}{address}{quote}" for key in ("name", "type", "source_id"))


def find(address: str, timeout_s: float, explain: bool = True) -> Any:
    """The StreamInfo of the one stream that fits; LinkError names what there is instead.

    Without ``explain`` that is not looked for, and of several that fit the first is taken.
    """
    pylsl = library()
    found = pylsl.resolve_bypred(predicate(address), 1, timeout_s)
    if found and explain:  # the first answer comes alone
        found = pylsl.resolve_bypred(predicate(address), 2, _SECOND_S) or found
    if len(found) == 1 or (found and not explain):
        return found[0]
    if found:
        raise LinkError(
            f"LSL {address!r} fits {len(found)} streams: {_listed(found)}. Give a predicate for one of them"
        )
    there = pylsl.resolve_streams(1.0) if explain else []
    raise LinkError(
        f"LSL: no stream with the name, type or source_id {address!r} within {timeout_s:g} s; "
        f"there is {_listed(there) or 'none at all'}. Is the program that sends it running, in the same network?"
    )


def _listed(found: list[Any]) -> str:
    every = [f"name={i.name()!r} type={i.type()!r} source_id={i.source_id()!r}" for i in found[:8]]
    return "; ".join(every)


def settled(settings: Settings, address: str) -> Settings:
    """Settings with what they leave open as the stream says; LinkError if there is no such stream."""
    if None not in (settings.channels, settings.rate_hz, settings.kind, settings.unit):
        return settings
    inlet = library().StreamInlet(find(address, settings.timeout_s), recover=False)
    try:
        info = inlet.info(settings.timeout_s)
    except RuntimeError as error:
        raise LinkError(f"LSL {address!r}: it was found, but does not describe itself: {error}") from error
    labels, units = _channels(info)
    return replace(
        settings,
        channels=labels if settings.channels is None else settings.channels,
        rate_hz=float(info.nominal_srate()) if settings.rate_hz is None else settings.rate_hz,
        kind=_KINDS.get(info.type().strip().lower(), "raw") if settings.kind is None else settings.kind,
        unit=units.pop() if settings.unit is None and len(units) == 1 else settings.unit or "1",
    )


def _channels(info: Any) -> tuple[tuple[str, ...], set[str]]:
    """Labels, and every unit that is named."""
    labels: list[str] = []
    units: set[str] = set()
    channel = info.desc().child("channels").child("channel")
    for number in range(info.channel_count()):
        label, unit = channel.child_value("label").strip(), channel.child_value("unit").strip()
        labels.append(label if label and label not in labels else f"ch{number + 1}")
        units.update([_UNITS.get(unit.lower(), unit)] if unit else [])
        channel = channel.next_sibling("channel")
    return tuple(labels), units


def check(settings: Settings, info: Any, where: str) -> None:
    """LinkError unless the stream has the channels and the rate that the settings promise."""
    pylsl = library()
    if info.channel_format() == pylsl.cf_string:
        raise LinkError(f"{where}: expected a stream of numbers, found texts (markers)")
    spec = settings.spec()
    count, rate_hz = info.channel_count(), float(info.nominal_srate())
    if count == len(spec.channels) and abs(rate_hz - (spec.rate_hz or 0.0)) <= 1e-6 * rate_hz:
        return
    names = ", ".join(f"ch{k + 1}" for k in range(count))
    raise LinkError(
        f"{where}: expected {len(spec.channels)} channel(s) at {spec.rate_hz or 0:g} Hz, found {count} at {rate_hz:g} "
        f"Hz. In the sensor's settings, write `rate_hz: {rate_hz:g}` and `channels: [{names}]`"
    )
