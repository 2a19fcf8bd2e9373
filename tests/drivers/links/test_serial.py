"""Serial links over pseudo-terminals, TCP, RFC 2217 and pyserial's loop, by thread and by process."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial
import serial.rfc2217

from drivers.clock import RealClock, VirtualClock, to_ns
from drivers.errors import LinkError, LinkLost, NotConnected, SettingError
from drivers.links import make_link
from drivers.links.port import refusal
from drivers.links.serial import SerialLink
from drivers.types import Batch, LinkDown, LinkUp

posix = pytest.mark.skipif(os.name != "posix", reason="needs pseudo-terminals, which only POSIX systems have")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc or timerfd")
both = pytest.mark.parametrize("reader", ["thread", "process"])

CLOCK = RealClock()
PATIENCE_NS = to_ns(20)


class Cable:
    """A pseudo-terminal under a path that stays, as udev's links do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plug()

    def plug(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(self.slave))

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self.master)
        os.close(self.slave)

    def send(self, data: bytes) -> int:
        sent_ns = CLOCK.now_ns()
        assert os.write(self.master, data) == len(data)
        return sent_ns


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    plugged = Cable(tmp_path / "sensor")
    yield plugged
    if plugged.path.is_symlink():
        plugged.unplug()


class Ear:
    """An open serial link with its inbox."""

    def __init__(self, port: object, **options: Any) -> None:
        self.link = SerialLink(str(port), CLOCK, **options)
        self.inbox = CLOCK.inbox()
        self.link.open(lambda item: self.inbox.put("", item))

    def next(self) -> Any:
        got = self.inbox.get(CLOCK.now_ns() + PATIENCE_NS)
        assert got is not None, "nothing was delivered"
        return got[1]

    def hear(self, size: int) -> tuple[bytes, list[int]]:
        """So many bytes, and the stamps of the chunks that they came in."""
        data, stamps = b"", list[int]()
        while len(data) < size:
            batch = self.next()
            assert isinstance(batch, Batch) and batch.channel == ""
            data += batch.data
            stamps += batch.at_ns.tolist()
        return data, stamps

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()


# --- bytes and stamps ---------------------------------------------------------------------------


@posix
@both
def test_all_256_byte_values_arrive_as_they_were_sent(cable: Cable, reader: str) -> None:
    sent = bytes(range(256)) * 4
    with Ear(cable.path, reader=reader) as ear:
        cable.send(sent)
        assert ear.hear(len(sent))[0] == sent


@posix
@both
def test_a_stamp_lies_between_sending_and_delivery_and_stamps_never_go_back(cable: Cable, reader: str) -> None:
    with Ear(cable.path, reader=reader) as ear:
        last_ns = 0
        for number in range(50):
            sent_ns = cable.send(bytes([number]))
            data, stamps = ear.hear(1)
            assert data == bytes([number])
            assert max(sent_ns, last_ns) <= stamps[0] <= CLOCK.now_ns()
            last_ns = stamps[-1]


@posix
@both
def test_a_long_flood_loses_no_byte(cable: Cable, reader: str) -> None:
    sent = np.random.default_rng(3).integers(0, 256, 200_000, dtype=np.uint8).tobytes()

    def flood() -> None:
        left = memoryview(sent)
        while left:
            left = left[os.write(cable.master, left) :]

    with Ear(cable.path, reader=reader) as ear:
        writer = threading.Thread(target=flood)
        writer.start()
        assert ear.hear(len(sent))[0] == sent
        writer.join()


@posix
@both
def test_what_is_written_reaches_the_other_end(cable: Cable, reader: str) -> None:
    with Ear(cable.path, reader=reader) as ear:
        ear.link.write(b"b\x00\xff\r\n")
        assert os.read(cable.master, 64) == b"b\x00\xff\r\n"
        ear.link.subscribe("")
        assert ear.link.read("") is None


@linux
def test_the_reader_process_stamps_on_while_the_session_holds_the_interpreter_lock(cable: Cable) -> None:
    with Ear(cable.path, reader="process") as ear:
        cable.send(b"x")
        ctypes.PyDLL(None).usleep(500_000)  # a PyDLL call keeps the lock: no thread of this process can run
        held_until_ns = CLOCK.now_ns()
        assert ear.hear(1)[1][0] < held_until_ns


@linux
def test_a_session_that_holds_the_interpreter_lock_shows_in_the_stamp_error(cable: Cable) -> None:
    with Ear(cable.path) as ear:
        while ear.link.stamp_error_ns()["n"] < 2:
            ear.inbox.get(CLOCK.now_ns() + to_ns(0.02))
        ctypes.PyDLL(None).usleep(500_000)
        before = ear.link.stamp_error_ns()["n"]
        while (measured := ear.link.stamp_error_ns())["n"] == before:
            ear.inbox.get(CLOCK.now_ns() + to_ns(0.02))
        # an alarm rings every 193 ms, so that one rang at least 307 ms before the lock was free
        assert measured["max"] >= to_ns(0.3)
        assert 0 <= measured["p50"] <= measured["p99"] <= measured["max"]


@linux
@both
def test_the_stamp_error_is_measured_in_silence_and_under_load(cable: Cable, reader: str) -> None:
    with Ear(cable.path, reader=reader) as ear:
        for load in (b"", b"x"):
            start = ear.link.stamp_error_ns()["n"]
            while ear.link.stamp_error_ns()["n"] < start + 2:
                if load:
                    cable.send(load)
                ear.inbox.get(CLOCK.now_ns() + to_ns(0.001))


# --- losing and finding again -------------------------------------------------------------------


@posix
@both
def test_a_port_that_comes_back_as_another_device_is_opened_again_by_its_name(cable: Cable, reader: str) -> None:
    with Ear(cable.path, reader=reader) as ear:
        for _ in range(2):
            cable.unplug()
            down = ear.next()
            assert isinstance(down, LinkDown) and down.reason and down.arrival_ns <= CLOCK.now_ns()
            with pytest.raises(LinkLost):
                ear.link.write(b"x")
            cable.plug()
            up = ear.next()
            assert isinstance(up, LinkUp) and up.arrival_ns > down.arrival_ns
            cable.send(b"back")
            assert ear.hear(4)[0] == b"back"
            ear.link.write(b"b")
            assert os.read(cable.master, 8) == b"b"


@posix
@both
def test_without_reconnect_the_port_stays_lost(cable: Cable, reader: str) -> None:
    with Ear(cable.path, reader=reader, reconnect=False) as ear:
        cable.unplug()
        assert isinstance(ear.next(), LinkDown)
        cable.plug()
        with pytest.raises(LinkLost):
            ear.link.write(b"x")
    assert ear.inbox.depth() == 0


@posix
@both
def test_a_lost_link_closes_while_it_looks_for_its_port(cable: Cable, reader: str) -> None:
    with Ear(cable.path, reader=reader) as ear:
        cable.unplug()
        assert isinstance(ear.next(), LinkDown)


@linux
def test_a_reader_process_that_is_killed_is_a_lost_link(cable: Cable) -> None:
    with Ear(cable.path, reader="process") as ear:
        for child in _children():
            if b"drivers.links.reader_process" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
        down = ear.next()
        assert isinstance(down, LinkDown) and "-9" in down.reason
        with pytest.raises(LinkLost):
            ear.link.write(b"x")


def _children() -> list[int]:
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]


@linux
def test_a_reader_process_ends_when_its_session_is_killed(cable: Cable) -> None:
    program = (
        "import sys\n"
        "from drivers.clock import RealClock\n"
        "from drivers.links.serial import SerialLink\n"
        "SerialLink(sys.argv[1], RealClock(), reader='process').open(print)\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(cable.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdout is not None and session.stdout.readline() == b"open\n"
        session.kill()
        assert session.stdout.read() == b""
    # the dead session's reader lets go of the port, so that it can be had for oneself again
    for _ in range(400):
        try:
            with Ear(cable.path) as ear:
                cable.send(b"free")
                assert ear.hear(4)[0] == b"free"
            return
        except LinkError:
            CLOCK.inbox().get(CLOCK.now_ns() + to_ns(0.02))
    raise AssertionError("the reader process outlived its session")


# --- closing --------------------------------------------------------------------------------------


@posix
@both
def test_closing_twice_from_several_threads_is_closing_once_and_the_port_is_free(cable: Cable, reader: str) -> None:
    ear = Ear(cable.path, reader=reader)
    closers = [threading.Thread(target=ear.link.close) for _ in range(4)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    ear.link.close()
    with pytest.raises(NotConnected):
        ear.link.write(b"x")
    with Ear(cable.path, reader=reader) as again:
        cable.send(b"hello")
        assert again.hear(5)[0] == b"hello"
    assert ear.inbox.depth() == 0


@posix
@both
def test_a_sink_may_close_its_link(cable: Cable, reader: str) -> None:
    link = SerialLink(str(cable.path), CLOCK, reader=reader)
    closed = threading.Event()

    def sink(item: object) -> None:
        link.close()
        closed.set()

    link.open(sink)
    cable.send(b"x")
    assert closed.wait(20)


@posix
@both
def test_a_link_can_be_opened_again_after_closing_but_not_twice_at_once(cable: Cable, reader: str) -> None:
    with Ear(cable.path, reader=reader) as ear:
        with pytest.raises(LinkError, match="open already"):
            ear.link.open(print)
        ear.link.close()
        ear.link.open(lambda item: ear.inbox.put("", item))
        cable.send(b"anew")
        assert ear.hear(4)[0] == b"anew"


@linux
def test_no_descriptor_thread_or_child_is_left_behind(cable: Cable) -> None:
    def held() -> tuple[int, int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(_children())

    before = held()
    for reader in ("thread", "process"):
        with Ear(cable.path, reader=reader) as ear:
            cable.unplug()
            assert isinstance(ear.next(), LinkDown)
            cable.plug()
            assert isinstance(ear.next(), LinkUp)
        for bad in ("/dev/absent", "socket://127.0.0.1:1"):
            with pytest.raises(LinkError):
                Ear(bad, reader=reader)
    assert held() == before


# --- refusals --------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("port", "said"),
    [
        ("/dev/absent", "/dev/absent: there is no such port; there is "),
        (__file__, "cannot be opened as a serial port"),
        ("socket://127.0.0.1:1", "Check that the server listens"),
        ("hwgrep://no such thing", "no ports found"),
        ("carrier://pigeon", "Known are socket://"),
    ],
)
def test_a_port_that_cannot_be_opened_says_why_and_what_to_try(port: str, said: str, reader: str) -> None:
    with pytest.raises(LinkError) as refused:
        Ear(port, reader=reader)
    assert said in str(refused.value)


@linux
@both
def test_a_busy_port_names_the_process_that_has_it(cable: Cable, reader: str) -> None:
    with Ear(cable.path), pytest.raises(LinkError, match=rf"busy: .*process {os.getpid()} \("):
        Ear(cable.path, reader=reader)


@posix
def test_a_port_without_permission_names_the_group_to_join(tmp_path: Path) -> None:
    import grp

    port = tmp_path / "ttyUSB0"
    port.touch()
    group = grp.getgrgid(port.stat().st_gid).gr_name
    said = str(refusal(str(port), PermissionError(13, "Permission denied")))
    assert f"usermod -aG {group} " in said


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(SettingError, match="virtual clock"):
        SerialLink("/dev/ttyUSB0", VirtualClock())
    with pytest.raises(SettingError, match="'thread' or 'process'"):
        SerialLink("/dev/ttyUSB0", CLOCK, reader="fork")
    with pytest.raises(SettingError, match="baud"):
        SerialLink("/dev/ttyUSB0", CLOCK, baud=0)
    with pytest.raises(SettingError, match="no channel '2a37'"):
        SerialLink("/dev/ttyUSB0", CLOCK).subscribe("2a37")


def test_a_serial_sensor_gets_its_own_baud_rate_unless_the_rig_says_another() -> None:
    class Sensor:
        NAME, LINK, BAUD = "cyton", "serial", 230400

    made = make_link(Sensor, port="/dev/ttyUSB0", address=None, clock=CLOCK)  # type: ignore[arg-type]
    assert made.description == "/dev/ttyUSB0 at 230400 baud"
    made = make_link(Sensor, port="COM3", address=None, clock=CLOCK, baud=9600, reconnect=False)  # type: ignore[arg-type]
    assert made.description == "COM3 at 9600 baud"
    with pytest.raises(SettingError, match="give its port"):
        make_link(Sensor, port=None, address="180d", clock=CLOCK)  # type: ignore[arg-type]


# --- URLs -------------------------------------------------------------------------------------------


class Server:
    """Serves one TCP client after the other on 127.0.0.1; ``answer(client, data)`` gives what it sends back."""

    def __init__(self, answer: Callable[[socket.socket, bytes], bytes]) -> None:
        self._answer, self._client = answer, None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    _client: socket.socket | None

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._client = client
            with client:
                while data := _receive(client):
                    if reply := self._answer(client, data):
                        client.sendall(reply)

    def hang_up(self) -> None:
        if self._client is not None:
            self._client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


def _receive(client: socket.socket) -> bytes:
    try:
        return client.recv(4096)
    except OSError:
        return b""


def _reversed(client: socket.socket, data: bytes) -> bytes:
    return data[::-1]


class Rfc2217:
    """pyserial's RFC 2217 server side, which sends back reversed what it gets."""

    def __init__(self) -> None:
        self.port = serial.serial_for_url("loop://")
        self._managers: dict[int, serial.rfc2217.PortManager] = {}

    def __call__(self, client: socket.socket, data: bytes) -> bytes:
        manager = self._managers.get(id(client))
        if manager is None:
            connection = type("Connection", (), {"write": staticmethod(client.sendall)})
            manager = self._managers[id(client)] = serial.rfc2217.PortManager(self.port, connection)
        payload = b"".join(manager.filter(data))
        return b"".join(manager.escape(payload[::-1]))


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Callable[[socket.socket, bytes], bytes]) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@both
def test_a_tcp_socket_carries_both_ways_and_is_connected_again(serve: Callable[..., Server], reader: str) -> None:
    server = serve(_reversed)
    with Ear(f"socket://{server.place}", reader=reader) as ear:
        ear.link.write(b"abc")
        assert ear.hear(3)[0] == b"cba"
        server.hang_up()
        assert isinstance(ear.next(), LinkDown)
        assert isinstance(ear.next(), LinkUp)
        ear.link.write(b"def")
        assert ear.hear(3)[0] == b"fed"


def test_rfc2217_sets_the_remote_baud_rate_escapes_and_is_connected_again(serve: Callable[..., Server]) -> None:
    remote = Rfc2217()
    server = serve(remote)
    with Ear(f"rfc2217://{server.place}", baud=57600) as ear:
        assert remote.port.baudrate == 57600
        ear.link.write(b"\xff\x00\xff\xf0")
        assert ear.hear(4)[0] == b"\xf0\xff\x00\xff"
        server.hang_up()
        assert isinstance(ear.next(), LinkDown)
        assert isinstance(ear.next(), LinkUp)
        ear.link.write(b"def")
        assert ear.hear(3)[0] == b"fed"
    remote.port.close()


@both
def test_the_loop_url_gives_back_what_is_written(reader: str) -> None:
    with Ear("loop://", reader=reader) as ear:
        sent_ns = CLOCK.now_ns()
        ear.link.write(b"round trip")
        data, stamps = ear.hear(10)
        assert data == b"round trip"
        assert sent_ns < stamps[0] <= stamps[-1] <= CLOCK.now_ns()
