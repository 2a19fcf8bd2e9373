"""What is likely the cause of what a probe found, and what to try."""

from __future__ import annotations

from collections.abc import Iterable

from drivers.errors import AttError, HandshakeError, LinkError, MissingExtra

_FLAGS = {
    "flat": "it does not move: electrode or finger off, a cable that is open or shorted, or a gain that is too small",
    "saturated": "it sits at the converter's limit: a lead off, a gain that is too high, or too much light",
    "gap": "samples are missing: see the lost samples and the link",
    "hum": "mains hum: check electrode contact and the ground, keep mains cables away, run a laptop from its battery",
    "motion": "movement: sit still, fix cables and electrodes with tape",
    "low_perfusion": "the pulse in the light is weak: warm the hand, another finger, less pressure",
    "off_body": "it does not seem to be worn: put it on, wet the electrodes",
    "nan": "values that are no numbers: the sensor's calibration or the scale factors are wrong",
    "noise": "noise: check contact, moisten the electrodes, tense muscles less",
    "baseline": "the baseline wanders: electrodes that dry or slip, or breathing; fix them anew",
    "coarse": "the converter's steps are coarse against the signal: raise the gain",
    "pop": "jumps: an electrode or the device was knocked; fix it anew",
    "blink": "eyes: blinks or glances cover the brain's part; rest the eyes on a point",
}
_LINE = "is this the right sensor, and are its settings and the baud rate right?"


def of_refusal(error: BaseException | None) -> str:
    """To a connect() that failed; empty where the error's own text says what to try."""
    if error is None:
        return (
            "connect() returned nothing that is true and `last_error` says nothing: check power, cable and port; "
            "a driver should leave its reason in `last_error`"
        )
    if isinstance(error, MissingExtra):
        return ""
    if isinstance(error, LinkError):
        return "`hil doctor` looks at ports, permissions and radio"
    if isinstance(error, AttError):
        return "the peripheral refuses: is it paired, and connected to nothing else?"
    if isinstance(error, HandshakeError):
        return "the port or radio is there and can be opened; the sensor's settings can be the cause too"
    if isinstance(error, PermissionError):
        return "may this user open it? For a serial port: sudo usermod -aG dialout $USER, then log in again"
    return ""


def of_silence(received_bytes: int | None, connect_bytes: int = 0) -> str:
    """To a sensor that connected and sent no sample; ``connect_bytes`` of what it sent came while it connected."""
    if received_bytes and received_bytes == connect_bytes:
        return (
            f"it answered when it was connected ({connect_bytes} bytes) and sent nothing since: it may need longer to "
            "begin (--seconds), or to be charged or worn"
        )
    if received_bytes:
        return f"{received_bytes} bytes arrived and none of them were samples: {_LINE}"
    asked = "is it switched on, charged and, if it needs that, worn? Is TX wired to RX?"
    if received_bytes is None:
        return f"{asked} {_LINE.capitalize()}"
    return f"not one byte arrived: {asked} Another program or a phone may have it; else, {_LINE}"


def of_malformed() -> str:
    """To many bytes that are no frames."""
    return f"likely a wrong baud rate, parity or format, or a long or unshielded cable: {_LINE}"


def of_rate(value_hz: float, nominal_hz: float) -> str:
    """To a rate that is not what the settings say."""
    if value_hz < nominal_hz:
        return (
            "too slow: the sensor's own rate setting, a link that is too narrow for it (baud rate, BLE connection "
            "interval), or losses that nothing counts"
        )
    return "too fast: the sensor's own rate setting differs, or frames are decoded as more samples than they hold"


def of_losses() -> str:
    """To lost samples."""
    return "likely radio range or interference, a full buffer in the sensor, or a baud rate that leaves no room"


def of_disorder() -> str:
    """To samples that came twice or in another order."""
    return "likely a relay or a driver on the way that sends again or has several queues; take it out and try again"


def of_resets() -> str:
    """To a counter or clock that jumped."""
    return "did the sensor restart (battery, USB power, a watchdog), or was it set by another program?"


def of_flags(flags: Iterable[str]) -> str:
    """To the flags of a low quality, one clause each; all of them where none is up that is known."""
    known = [f"{name}: {_FLAGS[name]}" for name in sorted(flags) if name in _FLAGS]
    return "; ".join(known) or "no single trouble stands out: look at the parts that are lowest, and at the signal"
