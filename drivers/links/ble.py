"""A Bluetooth LE peripheral over bleak, on an event loop that all links of the process share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from drivers.clock import Clock
from drivers.errors import AttError, HandshakeError, LinkError, LinkLost, NotConnected, SensorError, SettingError
from drivers.gatt import uuid128
from drivers.link import Sink
from drivers.links.ble_radio import Adapter, Advertiser, Radio, matcher, radio, scan, troubles
from drivers.types import Batch, LinkDown, LinkItem, LinkUp

if TYPE_CHECKING:
    from bleak import BleakClient

_CONNECT_S = 10.0
_CONNECT_TRIES = 3
_ANSWER_S = 5.0
_RETRY_S = 0.25
_RESCAN_S = 3.0
_UNPAIRED = (0x05, 0x08, 0x0C, 0x0F)


class BleLink:
    """Notifications of the peripheral at ``address``: a Bluetooth address, an advertised name or a service
    UUID (``service:180d``). Of several that match, the first that is heard is taken, and kept to.

    Channels are characteristic UUIDs, lowercase and 128-bit in what is delivered; short ones are taken too.
    ``adapter`` is another Bluetooth stack than the operating system's (drivers.links.bumble_bleak.Central).
    With ``reconnect`` a lost peripheral is looked for until it is back, and subscribed to as before.
    A stamp is taken when the notification reaches this process, behind the radio's connection interval.
    """

    def __init__(
        self, address: str, clock: Clock, *, reconnect: bool = True, scan_s: float = 10.0,
        adapter: Adapter | None = None,
    ) -> None:  # fmt: skip
        if clock.virtual:
            raise SettingError(f"{address}: a radio lives in real time and cannot be read on a virtual clock")
        if not scan_s > 0:
            raise SettingError(f"{address}: scan_s is {scan_s}; it must be a positive number of seconds")
        self.clock = clock
        self.description = f"BLE {address}"
        self._address, self._matches = address, matcher(address)
        self._reconnect, self._scan_s = reconnect, scan_s
        self._adapter = adapter
        self._radio: Radio | None = None
        self._sink: Sink | None = None
        self._client: BleakClient | None = None
        self._peer: Advertiser | None = None
        self._up = False
        self._held: list[LinkItem] = []  # notifications that come before their LinkUp
        self._subscribed: dict[str, None] = {}  # in the order of asking
        self._returning: asyncio.Task[None] | None = None

    # --- what a Driver calls, from its own thread ----------------------------------------------

    def open(self, sink: Sink) -> None:
        """Scan, connect and deliver until close(); LinkError says what was heard instead and what to try."""
        if self._sink is not None:
            raise LinkError(f"{self.description}: this link is open already")
        self._radio, self._sink = radio(), sink
        self._subscribed.clear()
        try:
            self._radio.call(self._open(self._radio))
        except BaseException:
            self.close()
            raise

    def write(self, data: bytes, channel: str = "") -> None:
        """Write a characteristic, with a response where it offers that.

        LinkLost while the peripheral is gone, AttError if it refuses, HandshakeError without the characteristic.
        """
        self._opened().call(self._write(data, uuid128(channel)))

    def subscribe(self, channel: str) -> None:
        """Ask for notifications or indications, once and after every reconnection; errors as write()."""
        self._opened().call(self._subscribe(uuid128(channel)))

    def read(self, channel: str) -> bytes | None:
        """A characteristic's value, None where the peripheral has none of that UUID; errors as write()."""
        return self._opened().call(self._read(uuid128(channel)))

    def close(self) -> None:
        """Stop delivering and disconnect; safe to call twice."""
        self._sink = None
        if self._radio is not None:
            self._radio.call(self.leave(self._radio))
            self._radio = None

    def stamp_error_ns(self) -> dict[str, int]:
        """How late stamps are, measured: ``n``, and where n > 0 ``p50``, ``p99`` and ``max`` in ns.

        About five times a second the kernel rings an alarm in the event loop in which notifications
        arrive; the delay to its callback has the scheduler, the interpreter lock and other links' callbacks
        in it. What D-Bus, bluetoothd and the connection interval add before is not in it.
        """
        return radio().stamp_error.summary()

    def _opened(self) -> Radio:
        if self._radio is None:
            raise NotConnected(f"{self.description}: open the link first")
        return self._radio

    # --- connecting, on the loop ----------------------------------------------------------------

    async def _open(self, on: Radio) -> None:
        on.measure(self.clock)
        self._held.clear()
        await self._establish(on, self._matches, self._scan_s)
        self._up = True

    async def _establish(self, on: Radio, wanted: Callable[[Advertiser], bool], scan_s: float) -> None:
        """Find and connect; LinkError otherwise."""
        async with on.busy:
            found, heard = await scan(scan_s, lambda seen: seen.address not in on.held and wanted(seen), self._adapter)
            if found is None:
                raise self._not_found(heard, scan_s)
            self._client = await self._connect(found)
            self._peer = found
            on.held[found.address] = self
        self.description = f"BLE {self._address} ({found.address} {found.name!r})"

    async def _connect(self, found: Advertiser) -> BleakClient:
        from bleak import BleakClient

        backend = self._adapter.client if self._adapter else None
        for left in reversed(range(_CONNECT_TRIES)):
            client = BleakClient(
                found.device, disconnected_callback=self._on_disconnected, timeout=_CONNECT_S, backend=backend
            )
            try:
                await client.connect()
            except troubles() as trouble:
                await _release(client)
                if not left:
                    raise LinkError(
                        f"{self.description}: heard {found}, but could not connect: {trouble or 'no answer'}. "
                        "Is it connected to a phone or another program? Is it too far away?"
                    ) from trouble
            else:
                return client
        raise AssertionError("unreachable")

    def _not_found(self, heard: list[Advertiser], scan_s: float) -> LinkError:
        others = "; ".join(str(seen) for seen in heard[:12]) or "nothing at all"
        return LinkError(
            f"{self.description}: not heard within {scan_s:g} s; heard {others}. Switch it on or put it on (straps "
            "sleep off the body), bring it near, and end its connection to phones, since a connected one is silent."
        )

    # --- losing and finding again ---------------------------------------------------------------

    def _on_disconnected(self, client: BleakClient) -> None:
        at_ns = self.clock.now_ns()
        if client is not self._client:
            return
        self._client, was_up, self._up = None, self._up, False
        if was_up and self._radio is not None:
            self._deliver(
                LinkDown(at_ns, "the peripheral is gone: out of range, switched off or disconnected by itself")
            )
            self._returning = asyncio.ensure_future(self._return(self._radio, client))

    async def _return(self, on: Radio, dead: BleakClient) -> None:
        await self._let_go(on, dead)
        while self._reconnect and self._sink is not None:
            with suppress(SensorError):
                await self._reestablish(on)
                return
            await asyncio.sleep(_RETRY_S)

    async def _reestablish(self, on: Radio) -> None:
        await self._establish(on, self._is_same, _RESCAN_S)
        client = self._client
        try:
            self._held.clear()
            for uuid in self._subscribed:
                await self._notify(uuid)
            self._connected()
        except SensorError:
            self._client = None
            await self._let_go(on, client)
            raise
        self._up = True
        for item in (LinkUp(self.clock.now_ns()), *self._held):
            self._deliver(item)
        self._held.clear()

    def _is_same(self, seen: Advertiser) -> bool:
        """The peripheral that was lost, by its address, or by its name where the address changes for privacy."""
        before = self._peer
        return before is not None and (seen.address == before.address or (seen.name == before.name != ""))

    def _deliver(self, item: LinkItem) -> None:
        if self._sink is not None:
            self._sink(item)

    async def _let_go(self, on: Radio, client: BleakClient | None) -> None:
        if self._peer is not None and on.held.get(self._peer.address) is self:
            del on.held[self._peer.address]
        if client is not None:
            await _release(client)

    async def leave(self, on: Radio) -> None:
        """Disconnect and look for the peripheral no more; on the loop."""
        self._sink = None
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.gather(self._returning, return_exceptions=True)
            self._returning = None
        client, self._client, self._up = self._client, None, False
        await self._let_go(on, client)

    # --- talking, on the loop -------------------------------------------------------------------

    async def _write(self, data: bytes, uuid: str) -> None:
        client, characteristic = self._find(uuid)
        response = "write" in characteristic.properties or "write-without-response" not in characteristic.properties
        await self._ask(client.write_gatt_char(characteristic, data, response=response), f"a write to {uuid}")

    async def _subscribe(self, uuid: str) -> None:
        if uuid not in self._subscribed:
            await self._notify(uuid)
            self._subscribed[uuid] = None

    async def _notify(self, uuid: str) -> None:
        client, characteristic = self._find(uuid)

        def on_value(_: Any, data: bytearray) -> None:
            at_ns = self.clock.now_ns()
            batch = Batch.single(bytes(data), at_ns, uuid)
            if self._up:
                self._deliver(batch)
            else:
                self._held.append(batch)

        await self._ask(client.start_notify(characteristic, on_value), f"a subscription to {uuid}")

    async def _read(self, uuid: str) -> bytes | None:
        client = self._connected()
        if not _with_uuid(client, uuid):
            return None
        _, characteristic = self._find(uuid)
        return bytes(await self._ask(client.read_gatt_char(characteristic), f"reading {uuid}"))

    def _connected(self) -> BleakClient:
        if self._client is None:
            raise LinkLost(f"{self.description}: the peripheral is gone")
        return self._client

    def _find(self, uuid: str) -> tuple[BleakClient, Any]:
        client = self._connected()
        found = _with_uuid(client, uuid)
        if not found:
            there = ", ".join(sorted(c.uuid for c in client.services.characteristics.values())) or "none"
            raise HandshakeError(
                f"{self.description}: expected a characteristic {uuid}, found {there}. "
                "Is it the sensor that the rig names?"
            )
        return client, found[0]

    async def _ask(self, question: Awaitable[Any], what: str) -> Any:
        """The peripheral's answer; its refusal, silence or loss as one of our errors."""
        from bleak.exc import BleakGATTProtocolError

        try:
            async with asyncio.timeout(_ANSWER_S):
                return await question
        except BleakGATTProtocolError as refusal:
            code = int(refusal.args[0])
            advice = ". Pair with it first: `bluetoothctl pair ADDRESS`" if code in _UNPAIRED else ""
            raise AttError(code, f"{self.description} refuses {what}: {refusal.args[1]}{advice}") from refusal
        except TimeoutError as silence:
            raise HandshakeError(f"{self.description}: no answer to {what} within {_ANSWER_S:g} s") from silence
        except troubles() as trouble:
            if self._client is None or not self._client.is_connected:
                raise LinkLost(f"{self.description}: the peripheral went away during {what}") from trouble
            raise HandshakeError(f"{self.description}: {what} failed: {trouble}") from trouble


def _with_uuid(client: BleakClient, uuid: str) -> list[Any]:
    return [c for c in client.services.characteristics.values() if c.uuid.lower() == uuid]


async def _release(client: BleakClient) -> None:
    """Disconnect whatever is left of the connection; one that was lost still holds its D-Bus socket."""
    with suppress(*troubles()):
        async with asyncio.timeout(_ANSWER_S):
            await client.disconnect()
