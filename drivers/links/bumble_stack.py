"""bumble's Bluetooth stack on an event loop in a thread of its own, with or without a radio.

Without one, bumble's virtual controllers hear each other on a link in this process. With one, a transport
(``usb:0``, ``hci-socket:0``, ``tcp-client:127.0.0.1:9001``, ...) leads to a controller: a dongle, or another
program's virtual one. See https://google.github.io/bumble/transports/.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from drivers.errors import LinkError

T = TypeVar("T")
_POWER_ON_S = 10.0
_END_S = 2.0
_UNKNOWN_CONNECTION = 0x02
POWER_OFF = 0x15
"""Remote Device Terminated Connection due to Power Off (Core Specification, vol. 1, part F, 2.21)."""


def require_bumble() -> None:
    """LinkError where bumble is not installed."""
    try:
        import bumble.device  # noqa: F401
    except ImportError as missing:
        raise LinkError(
            f"Bluetooth LE through bumble: expected the package bumble, found none ({missing}). "
            "Try `pip install 'spiral-hil[bumble]'`."
        ) from missing


def _virtual_controller() -> Any:
    from bumble.controller import Controller
    from bumble.hci import HCI_LE_Connection_Complete_Event, Role

    class CancellingController(Controller):  # type: ignore[misc]
        """bumble's own goes on waiting for the peripheral when connecting to it is cancelled."""

        pending_le_connection: Any

        def on_hci_le_create_connection_cancel_command(self, command: Any) -> Any:
            """See Core Specification, vol. 4, part E, 7.8.13: a Connection Complete event with an error follows."""
            pending: Any = self.pending_le_connection
            self.pending_le_connection = None
            if pending is not None:
                ended = HCI_LE_Connection_Complete_Event(
                    status=_UNKNOWN_CONNECTION, connection_handle=0, role=Role.CENTRAL,
                    peer_address_type=pending.peer_address.address_type, peer_address=pending.peer_address,
                    connection_interval=0, peripheral_latency=0, supervision_timeout=0, central_clock_accuracy=0,
                )  # fmt: skip
                asyncio.get_running_loop().call_soon(self.send_hci_packet, ended)
            return super().on_hci_le_create_connection_cancel_command(command)

    return CancellingController


class Ether:
    """An event loop in a thread, and on it any number of bumble devices.

    Those without a transport hear each other, and nobody else. Everything of bumble runs on ``loop``.
    """

    def __init__(self) -> None:
        require_bumble()
        from bumble.link import LocalLink

        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="bumble", daemon=True)
        self._devices: list[Any] = []
        self._transports: list[Any] = []
        self._captures: list[BinaryIO] = []
        self.link: Any = LocalLink()
        """Of bumble's virtual controllers, for further ones within range."""
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop and wait for the result; from any thread but the loop's own."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def soon(self, call: Callable[..., object], *arguments: Any) -> None:
        """Run ``call(*arguments)`` on the loop, soon and in order; without effect once it is closed."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(call, *arguments)

    def free_address(self) -> str:
        """A static random address that no device here has, if all take theirs from here or at random."""
        return f"C0:00:5E:00:53:{len(self._devices) % 256:02X}"

    async def device(self, name: str, address: str, transport: str = "", snoop: str = "") -> Any:
        """A bumble Device with a static random address, not powered on yet; on the loop.

        What passes between it and its controller is captured in the file ``snoop``, if given, in the btsnoop
        format. LinkError says why a transport or a file cannot be opened.
        """
        from bumble.device import Device
        from bumble.hci import Address
        from bumble.host import Host
        from bumble.transport.common import AsyncPipeSink

        at = Address(address, Address.RANDOM_DEVICE_ADDRESS)
        if transport:
            opened = await self._open(transport)
            device = Device.with_hci(name, at, opened.source, opened.sink)
        else:
            controller = _virtual_controller()(name, link=self.link)
            device = Device(name, at, host=Host(controller, AsyncPipeSink(controller)))
        if snoop:
            device.host.snooper = self._capture(snoop)
        self._devices.append(device)
        return device

    async def _open(self, transport: str) -> Any:
        from bumble.transport import open_transport

        try:
            async with asyncio.timeout(_POWER_ON_S):
                opened = await open_transport(transport)
        except Exception as trouble:  # each transport raises what its library raises
            raise LinkError(
                f"Bluetooth controller {transport}: it could not be opened: {trouble or type(trouble).__name__}. "
                "Expected a bumble transport such as usb:0, hci-socket:0 or tcp-client:HOST:PORT. Is the dongle "
                "plugged in, may you open it, and does bluetoothd leave it alone (`sudo hciconfig hci0 down`)?"
            ) from trouble
        self._transports.append(opened)
        return opened

    def _capture(self, path: str) -> Any:
        from bumble.snoop import BtSnooper

        try:
            self._captures.append(Path(path).open("wb"))  # noqa: SIM115 - until close()
        except OSError as trouble:
            raise LinkError(f"btsnoop capture: {path} cannot be written: {trouble}") from trouble
        return BtSnooper(self._captures[-1])

    async def power_on(self, device: Any, what: str) -> None:
        """Initialise the device's controller; LinkError if it does not answer. On the loop."""
        try:
            async with asyncio.timeout(_POWER_ON_S):
                await device.power_on()
        except Exception as trouble:  # a controller may refuse any of a dozen commands
            raise LinkError(
                f"Bluetooth controller {what}: expected an answer to its initialisation within {_POWER_ON_S:g} s, "
                f"found {trouble or 'none'}. Is it a Bluetooth LE controller, and does no other program hold it?"
            ) from trouble

    def close(self) -> None:
        """End every connection, release transports and captures, end the thread; safe to call twice."""
        if self.loop.is_closed():
            return
        self.call(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        for capture in self._captures:
            capture.close()

    async def _end(self) -> None:
        for device in self._devices:
            with suppress(Exception):  # a controller that is gone cannot say goodbye
                async with asyncio.timeout(_END_S):
                    for connection in list(device.connections.values()):
                        await connection.disconnect(POWER_OFF)
                    await device.stop_advertising()
                    await device.power_off()
        for transport in self._transports:
            with suppress(Exception):
                await transport.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
