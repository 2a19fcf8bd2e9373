"""Simulated Bluetooth LE peripherals on bumble's stack: in this process, or over a dongle for phones to see.

The same sensors, clock and pacing as on the simulated BlueZ (simulators.serve.air), down to the HCI packets:
attribute handles, ATT errors, the MTU exchange, pairing, btsnoop captures. bumble runs on its ether's loop;
sensors are touched by the pacing thread only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, get_type_hints

from drivers.codec import Characteristic, Gatt, Service
from drivers.errors import AttError, SettingError
from drivers.field_types import described, fits
from drivers.gatt import uuid128
from drivers.links.bumble_stack import POWER_OFF, Ether
from simulators.serve.outlet import Chunk, Lateness, Ticks
from simulators.serve.pacer import Served

PAIRING = ("optional", "required", "refused")
_MTU_LIMITS = (23, 517)
_INTERVAL_LIMITS_MS = (20.0, 10240.0)
"""Of advertising (Core Specification, vol. 6, part B, 4.4.2.2)."""
_SHORTEST_INTERVAL_MS = 7.5
_SUPERVISION_MS = 4000.0
_CONNECTION_TIMEOUT = 0x08
_LEGACY_DATA = 31
_FLAGS = b"\x02\x01\x06"
"""AD structure: general discoverable, no BR/EDR."""
_UUIDS_16, _UUIDS_128, _SHORT_NAME, _FULL_NAME = 0x03, 0x07, 0x08, 0x09
_UNLIKELY, _BAD_LENGTH, _BAD_CONFIGURATION = 0x0E, 0x0D, 0xFD
_CONFIGURATION = 0x2902
_NOTIFY, _INDICATE = 1, 2

Submit: TypeAlias = Callable[[Callable[[int], Any]], "Future[Any]"]


@dataclass(frozen=True)
class RadioSettings:
    """How a simulated peripheral is on the air; SettingError for what no peripheral can be."""

    transport: str = ""
    """Controller that it sends through, such as ``usb:0``; empty: heard in this process only."""
    snoop: str = ""
    """File for a btsnoop capture of its HCI packets; empty: none."""
    att_mtu: int = 247
    """The largest that it agrees to. Longer values are cut to what fits, as the Core Specification has it
    for notifications (vol. 3, part F, 3.4.7.1), and what was cut is counted in dropped_bytes."""
    advertising_interval_ms: float = 20.0
    pairing: str = "optional"
    """``required``: everything is refused until the client has paired; ``refused``: and pairing is refused too."""

    def __post_init__(self) -> None:
        low, high = _MTU_LIMITS
        if not low <= self.att_mtu <= high:
            raise SettingError(f"att_mtu {self.att_mtu}: expected {low} to {high} bytes")
        first, last = _INTERVAL_LIMITS_MS
        if not first <= self.advertising_interval_ms <= last:
            raise SettingError(
                f"advertising_interval_ms {self.advertising_interval_ms:g}: expected {first:g} to {last:g} ms"
            )
        if self.pairing not in PAIRING:
            raise SettingError(f"pairing {self.pairing!r}: expected one of {', '.join(PAIRING)}")


def radio_settings(given: Mapping[str, Any]) -> RadioSettings:
    """From plain values; SettingError names an unknown or a wrong one."""
    known = get_type_hints(RadioSettings)
    for key, value in given.items():
        if key not in known:
            raise SettingError(f"radio has no {key!r}; it has {', '.join(known)}")
        if not fits(value, known[key]):
            raise SettingError(f"radio: {key!r} is {value!r}; expected {described(known[key])}")
    return RadioSettings(**given)


def advertisement(gatt: Gatt) -> tuple[bytes, bytes]:
    """Advertising data and scan response, at most 31 bytes each: flags, service UUIDs and name.

    A name that does not fit is shortened in the first and complete in the second. SettingError for more
    service UUIDs than fit.
    """
    data = _FLAGS
    every = [uuid128(uuid) for uuid in gatt.advertised]
    short = [uuid for uuid in every if uuid128(uuid[4:8]) == uuid]
    for kind, uuids in ((_UUIDS_16, short), (_UUIDS_128, [uuid for uuid in every if uuid not in short])):
        octets = [_octets(uuid, short=kind == _UUIDS_16) for uuid in uuids]
        data += _structure(kind, b"".join(octets)) if octets else b""
    room = _LEGACY_DATA - len(data) - 2
    if room < -2:
        raise SettingError(
            f"{gatt.name}: {len(every)} service UUIDs do not fit an advertisement, which has {_LEGACY_DATA} bytes"
        )
    name = gatt.name.encode()
    if len(name) <= room:
        return data + _structure(_FULL_NAME, name), b""
    cut = name[: max(room, 0)].decode(errors="ignore").encode()
    response = _structure(_FULL_NAME, name[: _LEGACY_DATA - 2].decode(errors="ignore").encode())
    return data + (_structure(_SHORT_NAME, cut) if cut else b""), response


def _octets(uuid: str, *, short: bool) -> bytes:
    return bytes.fromhex(uuid[4:8] if short else uuid.replace("-", ""))[::-1]


def _structure(kind: int, value: bytes) -> bytes:
    return bytes([len(value) + 1, kind]) + value


class BumbleOutlet:
    """One peripheral. Its public methods are called by the pacing thread and act on the ether's loop.

    ``submit`` has the pacing thread run a call (Pacer.submit). Once connected it asks for its connection
    interval, as straps do; the client's side decides. LinkError without a working controller.
    """

    def __init__(
        self, ether: Ether, gatt: Gatt, address: str, clock: Ticks, submit: Submit, radio: RadioSettings,
        connection_interval_ms: float = 30.0,
    ) -> None:  # fmt: skip
        self.place, self.radio = address, radio
        self.lateness = Lateness()
        self.sent_bytes = self.dropped_bytes = self.unheard_bytes = 0
        self.served: Served | None = None
        self.in_range = False
        self._ether, self._gatt, self._clock, self._submit = ether, gatt, clock, submit
        self._interval_ms = connection_interval_ms
        self._report: dict[str, float] = {}
        self._advertising_data = advertisement(gatt)
        self._connection: Any = None
        self._is_advertising = False
        self._values: dict[str, Any] = {}
        """Characteristic -> bumble's."""
        self._wanted: dict[str, int] = {}
        """Characteristic -> bits of its client configuration."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._device: Any = ether.call(self._appear())

    async def _appear(self) -> Any:
        from bumble.pairing import PairingConfig, PairingDelegate

        self._settling = asyncio.Lock()
        refuses = self.radio.pairing == "refused"

        class Delegate(PairingDelegate):  # type: ignore[misc]
            async def accept(self) -> bool:
                return not refuses

        device = await self._ether.device(self._gatt.name, self.place, self.radio.transport, self.radio.snoop)
        device.gatt_server.max_mtu = self.radio.att_mtu
        device.pairing_config_factory = lambda connection: PairingConfig(mitm=False, delegate=Delegate())
        device.add_services([self._service(service) for service in self._gatt.services])
        device.on("connection", self._on_connection)
        await self._ether.power_on(device, self.radio.transport or "in this process")
        return device

    # --- what the pacing thread calls -----------------------------------------------------------

    def open(self, served: Served) -> None:
        """Come into range."""
        self.served = served
        self.replug()

    def replug(self) -> None:
        """Come into range: advertise."""
        self._ether.soon(self._in_range, True)

    def unplug(self) -> None:
        """Go out of range: the connection is lost, and nothing is advertised.

        Without a radio the client's controller times out; a dongle can only say that power goes off.
        """
        self._ether.soon(self._in_range, False)

    def close(self) -> None:
        """Nothing of its own to release; Ether.close() ends all."""

    def readers(self) -> list[int]:
        """None: commands come in as submitted calls."""
        return []

    def writers(self) -> list[int]:
        """None."""
        return []

    def attend(self) -> list[bytes]:
        """Nothing comes this way."""
        return []

    def send(self, chunks: Sequence[Chunk]) -> None:
        """One notification or indication per chunk, to a client that subscribed."""
        self._ether.soon(self._notify, chunks)

    def connection_report(self) -> dict[str, float]:
        """``att_mtu`` and ``connection_interval_ms`` of the connection, or of the last one; empty before the first."""
        return self._report

    # --- on the loop: coming and going ----------------------------------------------------------

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _in_range(self, is_here: bool) -> None:
        self.in_range = is_here
        self._task(self._settle())

    async def _settle(self) -> None:
        """Advertise if in range and not connected, and lose the connection if out of range."""
        async with self._settling:
            if not self.in_range and self._connection is not None:
                reason = POWER_OFF if self.radio.transport else _CONNECTION_TIMEOUT
                await self._connection.disconnect(reason)
            wanted = self.in_range and self._connection is None
            if wanted and not self._is_advertising:
                data, response = self._advertising_data
                interval_ms = self.radio.advertising_interval_ms
                await self._device.start_advertising(
                    advertising_data=data, scan_response_data=response,
                    advertising_interval_min=interval_ms, advertising_interval_max=interval_ms,
                )  # fmt: skip
            elif not wanted and self._is_advertising:
                await self._device.stop_advertising()
            self._is_advertising = wanted

    def _on_connection(self, connection: Any) -> None:
        self._connection, self._is_advertising = connection, False  # a controller that is connected to is silent
        connection.on("disconnection", self._on_disconnection)
        connection.on("connection_att_mtu_update", lambda: self._tell_mtu(connection.att_mtu))
        for event in ("connection_att_mtu_update", "connection_parameters_update"):
            connection.on(event, lambda: self._note(connection))
        self._note(connection)
        self._task(self._settle() if not self.in_range else self._ask_for_interval(connection))

    def _note(self, connection: Any) -> None:
        interval_ms = float(connection.parameters.connection_interval)
        self._report = {"att_mtu": int(connection.att_mtu), "connection_interval_ms": interval_ms}

    async def _ask_for_interval(self, connection: Any) -> None:
        from bumble.core import BaseBumbleError

        if self._interval_ms < _SHORTEST_INTERVAL_MS:
            return
        with suppress(BaseBumbleError, asyncio.CancelledError):  # refused, or gone meanwhile
            await connection.update_parameters(self._interval_ms, self._interval_ms, 0, _SUPERVISION_MS)

    def _on_disconnection(self, reason: int) -> None:
        was_larger = self._connection.att_mtu > _MTU_LIMITS[0]
        wanted = [uuid for uuid, bits in self._wanted.items() if bits]
        self._connection = None
        self._wanted.clear()
        if self.in_range:  # what took it out of range has reset the device already
            for uuid in wanted:
                self._act("unsubscribe", channel=uuid)
            if was_larger:
                self._tell_mtu(_MTU_LIMITS[0])
        self._task(self._settle())

    # --- on the loop: the device behind it ------------------------------------------------------

    def _act(self, kind: str, data: bytes = b"", channel: str = "") -> Future[Any]:
        served = self.served
        assert served is not None
        return self._submit(lambda now_ns: served.act(now_ns, kind, data, channel))

    def _tell_mtu(self, att_mtu: int) -> None:
        self._act("mtu", att_mtu.to_bytes(2, "little"))

    def _service(self, service: Service) -> Any:
        from bumble.core import UUID
        from bumble.gatt import Service as BumbleService

        characteristics = [self._characteristic(one) for one in service.characteristics]
        return BumbleService(UUID.from_bytes(_shortest(service.uuid)), characteristics)

    def _characteristic(self, one: Characteristic) -> Any:
        from bumble.att import Attribute, AttributeValue
        from bumble.core import UUID
        from bumble.gatt import Characteristic as BumbleCharacteristic
        from bumble.gatt import Descriptor

        may, kinds = Attribute.Permissions, BumbleCharacteristic.Properties
        properties, closed = set(one.properties), self.radio.pairing != "optional"
        readable = may.READABLE | (may.READ_REQUIRES_ENCRYPTION if closed else 0)
        writable = may.WRITEABLE | (may.WRITE_REQUIRES_ENCRYPTION if closed else 0)
        permissions = readable if "read" in properties else may(0)
        permissions |= writable if {"write", "write-without-response"} & properties else may(0)
        bits = kinds(0)
        for name in one.properties:
            bits |= kinds[name.upper().replace("-", "_")]

        async def read(connection: Any) -> bytes:
            served = self.served
            assert served is not None
            value = await self._answer(self._submit(lambda now_ns: served.sensor.read(one.uuid)))
            if value is None:
                raise _att_error(_UNLIKELY)
            return bytes(value)

        async def write(connection: Any, value: bytes) -> None:
            await self._answer(self._act("write", bytes(value), one.uuid))

        async def configure(connection: Any, value: bytes) -> None:
            await self._configure(one, bytes(value))

        descriptors = []
        if {"notify", "indicate"} & properties:
            state = AttributeValue(lambda connection: self._wanted.get(one.uuid, 0).to_bytes(2, "little"), configure)
            descriptors.append(Descriptor(UUID.from_16_bits(_CONFIGURATION), may.READABLE | writable, state))
        self._values[one.uuid] = made = BumbleCharacteristic(
            UUID.from_bytes(_shortest(one.uuid)), bits, permissions, AttributeValue(read, write), descriptors
        )
        return made

    async def _answer(self, asked: Future[Any]) -> Any:
        """The device's answer, and its refusal as an ATT error response."""
        try:
            return await asyncio.wrap_future(asked)
        except AttError as refusal:
            raise _att_error(refusal.code) from refusal

    async def _configure(self, one: Characteristic, value: bytes) -> None:
        """The client writes the Client Characteristic Configuration descriptor."""
        if len(value) != 2:
            raise _att_error(_BAD_LENGTH)
        bits = int.from_bytes(value, "little")
        offered = (_NOTIFY if "notify" in one.properties else 0) | (_INDICATE if "indicate" in one.properties else 0)
        if bits & ~offered:
            raise _att_error(_BAD_CONFIGURATION)
        before = self._wanted.get(one.uuid, 0)
        self._wanted[one.uuid] = bits
        if bool(bits) == bool(before):
            return
        try:
            await self._answer(self._act("subscribe" if bits else "unsubscribe", channel=one.uuid))
        except BaseException:
            self._wanted[one.uuid] = before
            raise

    # --- on the loop: notifications -------------------------------------------------------------

    def _notify(self, chunks: Sequence[Chunk]) -> None:
        for due_ns, data, uuid in chunks:
            bits, connection = self._wanted.get(uuid, 0), self._connection
            if connection is None or not bits:
                self.unheard_bytes += len(data)
                continue
            value = data[: connection.att_mtu - 3]
            self.dropped_bytes += len(data) - len(value)
            if bits & _NOTIFY:
                self._send_notification(connection, uuid, value)
            else:
                self._task(self._indicate(connection, uuid, value))
            self.sent_bytes += len(value)
            self.lateness.add(self._clock.now_ns() - due_ns)

    def _send_notification(self, connection: Any, uuid: str, value: bytes) -> None:
        from bumble.att import ATT_Handle_Value_Notification

        notification = ATT_Handle_Value_Notification(attribute_handle=self._values[uuid].handle, attribute_value=value)
        self._device.gatt_server.send_gatt_pdu(connection, bytes(notification))

    async def _indicate(self, connection: Any, uuid: str, value: bytes) -> None:
        """One after another: the next leaves when the client has confirmed the one before, or is gone."""
        with suppress(TimeoutError):
            await self._device.gatt_server.indicate_subscriber(connection, self._values[uuid], value, force=True)


def _att_error(code: int) -> Exception:
    from bumble.att import ATT_Error

    error: Exception = ATT_Error(code)
    return error


def _shortest(uuid: str) -> bytes:
    """Two bytes for a UUID that is an assigned number, else sixteen, little-endian."""
    return _octets(uuid, short=uuid128(uuid[4:8]) == uuid)
