"""Ports that any program opens: raw, at the same place after unplugging, and never blocking the pace."""

from __future__ import annotations

import os
import select
import socket
import termios
import threading
from pathlib import Path

import pytest
import serial

from drivers.clock import RealClock
from drivers.errors import SettingError
from drivers.types import Batch, LinkDown, LinkUp
from simulators.serve.pacer import Pacer, Served
from simulators.serve.pty import PtyOutlet
from simulators.serve.tcp import TcpOutlet

ALL_BYTES = bytes(range(256))


class Echo:
    """Sends back what it is told, at once, and takes part in nothing else."""

    description = "echo"

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.answers: list[bytes] = []

    def advance(self, until_ns: int) -> list[Batch | LinkDown | LinkUp]:
        items, self.answers = [Batch.single(data, until_ns) for data in self.answers], []
        return items

    def receive(self, data: bytes, at_ns: int, channel: str = "") -> None:
        self.told.append(data)
        self.answers.append(data)

    def read(self, channel: str) -> bytes | None:
        return None

    def subscribe(self, channel: str, at_ns: int, on: bool = True) -> None:
        raise AssertionError("a serial sensor has no subscriptions")

    def plugged(self, at_ns: int) -> bool:
        return True


def chunk(data: bytes) -> list[tuple[int, bytes, str]]:
    return [(RealClock().now_ns(), data, "")]


def opened(outlet: PtyOutlet | TcpOutlet) -> Served:
    served = Served("echo", Echo(), outlet, 0)
    outlet.open(served)
    return served


def read_until(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count and select.select([fd], [], [], 5.0)[0]:
        data += os.read(fd, 65536)
    return data


@pytest.fixture
def pty_at(tmp_path: Path):
    outlet = PtyOutlet(tmp_path / "sensor", RealClock())
    opened(outlet)
    yield outlet
    outlet.close()


def test_every_byte_value_gets_through_a_pty_unchanged_both_ways(pty_at: PtyOutlet) -> None:
    client = os.open(pty_at.place, os.O_RDWR | os.O_NOCTTY)
    pty_at.send(chunk(ALL_BYTES))
    assert read_until(client, 256) == ALL_BYTES
    os.write(client, ALL_BYTES)
    assert select.select(pty_at.readers(), [], [], 5.0)[0]
    assert b"".join(pty_at.attend()) == ALL_BYTES
    os.close(client)


def test_a_pty_stays_raw_for_the_next_client_after_one_has_closed_it(pty_at: PtyOutlet) -> None:
    for _ in range(2):
        client = os.open(pty_at.place, os.O_RDWR | os.O_NOCTTY)
        local_flags = termios.tcgetattr(client)[3]
        assert not local_flags & (termios.ECHO | termios.ICANON)
        pty_at.send(chunk(b"\x03\x04\r\n\x11\x13"))
        assert read_until(client, 6) == b"\x03\x04\r\n\x11\x13"
        os.close(client)


def test_what_is_sent_while_nobody_has_the_port_open_is_lost_as_on_a_real_port(pty_at: PtyOutlet) -> None:
    pty_at.send(chunk(b"into the void"))
    client = os.open(pty_at.place, os.O_RDWR | os.O_NOCTTY)
    pty_at.send(chunk(b"heard"))
    assert read_until(client, 5) == b"heard"
    assert (pty_at.unheard_bytes, pty_at.sent_bytes) == (13, 5)
    os.close(client)


def test_what_one_client_left_unread_is_not_for_the_next(pty_at: PtyOutlet) -> None:
    client = os.open(pty_at.place, os.O_RDWR | os.O_NOCTTY)
    pty_at.send(chunk(b"old"))
    os.close(client)
    pty_at.send(chunk(b"nobody hears"))
    client = os.open(pty_at.place, os.O_RDWR | os.O_NOCTTY)
    pty_at.send(chunk(b"new"))
    assert read_until(client, 3) == b"new"
    os.close(client)


def test_a_client_that_does_not_read_loses_whole_chunks_and_blocks_nothing(pty_at: PtyOutlet) -> None:
    client = os.open(pty_at.place, os.O_RDWR | os.O_NOCTTY)
    frames = [bytes([number & 255]) * 100 for number in range(1000)]
    for frame in frames:
        pty_at.send(chunk(frame))
    assert pty_at.dropped_bytes > 0
    assert pty_at.sent_bytes + pty_at.dropped_bytes == 100_000
    received = b""
    while len(received) < pty_at.sent_bytes:
        received += read_until(client, 1)
        pty_at.attend()
    got = [received[at : at + 100] for at in range(0, len(received), 100)]
    left = iter(frames)  # the system may make room in between, so that frames get through behind lost ones
    assert all(frame in left for frame in got), "what got through is whole frames, in order"
    os.close(client)


def test_unplugging_ends_the_clients_reading_and_removes_the_path(pty_at: PtyOutlet) -> None:
    with serial.Serial(pty_at.place, timeout=5) as port:
        pty_at.unplug()
        with pytest.raises(serial.SerialException):
            port.read(1)
            port.read(1)
    assert not os.path.lexists(pty_at.place)
    pty_at.send(chunk(b"gone"))
    assert pty_at.unheard_bytes == 4


def test_plugging_in_again_gives_a_working_port_at_the_same_path(pty_at: PtyOutlet) -> None:
    pty_at.unplug()
    pty_at.replug()
    with serial.Serial(pty_at.place, timeout=5) as port:
        pty_at.send(chunk(b"back"))
        assert port.read(4) == b"back"


def test_a_file_at_the_ports_path_is_refused_and_kept(tmp_path: Path) -> None:
    precious = tmp_path / "notes.txt"
    precious.write_text("keep me")
    with pytest.raises(SettingError, match="no symbolic link"):
        opened(PtyOutlet(precious, RealClock()))
    assert precious.read_text() == "keep me"


def test_a_link_that_a_killed_simulator_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sensor"
    path.symlink_to("/dev/pts/does-not-exist")
    outlet = PtyOutlet(path, RealClock())
    opened(outlet)
    with serial.Serial(str(path), timeout=5) as port:
        outlet.send(chunk(b"x"))
        assert port.read(1) == b"x"
    outlet.close()
    assert not os.path.lexists(path)


# --- TCP --------------------------------------------------------------------------------------


@pytest.fixture
def tcp():
    outlet = TcpOutlet(0, RealClock())
    opened(outlet)
    yield outlet
    outlet.close()


def address_of(outlet: TcpOutlet) -> tuple[str, int]:
    host, port = outlet.place.rpartition("/")[2].split(":")
    return host, int(port)


def attend(outlet: TcpOutlet) -> bytes:
    assert select.select(outlet.readers(), [], [], 5.0)[0]
    return b"".join(outlet.attend())


def test_pyserial_opens_the_socket_url_and_both_directions_work(tcp: TcpOutlet) -> None:
    with serial.serial_for_url(tcp.place, timeout=5) as port:
        attend(tcp)
        tcp.send(chunk(ALL_BYTES))
        assert port.read(256) == ALL_BYTES
        port.write(b"b")
        assert attend(tcp) == b"b"


def test_a_second_tcp_client_is_turned_away_and_the_first_stays(tcp: TcpOutlet) -> None:
    with socket.create_connection(address_of(tcp), 5) as first:
        attend(tcp)
        with socket.create_connection(address_of(tcp), 5) as second:
            attend(tcp)
            assert second.recv(1) == b""
        tcp.send(chunk(b"still here"))
        assert first.recv(64) == b"still here"


def test_the_next_tcp_client_is_served_once_the_first_has_gone(tcp: TcpOutlet) -> None:
    with socket.create_connection(address_of(tcp), 5):
        attend(tcp)
    attend(tcp)
    with socket.create_connection(address_of(tcp), 5) as second:
        attend(tcp)
        tcp.send(chunk(b"hello"))
        assert second.recv(64) == b"hello"


def test_an_unplugged_tcp_sensor_hangs_up_refuses_and_comes_back_on_the_same_port(tcp: TcpOutlet) -> None:
    place = tcp.place
    with socket.create_connection(address_of(tcp), 5) as client:
        attend(tcp)
        tcp.unplug()
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address_of(tcp), 5)
    tcp.replug()
    assert tcp.place == place
    with socket.create_connection(address_of(tcp), 5) as client:
        attend(tcp)
        tcp.send(chunk(b"again"))
        assert client.recv(64) == b"again"


def test_a_tcp_client_that_does_not_read_loses_whole_chunks_and_blocks_nothing(tcp: TcpOutlet) -> None:
    with socket.create_connection(address_of(tcp), 5) as client:
        attend(tcp)
        block = bytes(65536)
        for _ in range(400):
            tcp.send(chunk(block))
        assert tcp.dropped_bytes > 0
        assert tcp.sent_bytes + tcp.dropped_bytes == 400 * 65536
        assert tcp.dropped_bytes % 65536 == 0
        client.close()


def test_a_taken_tcp_port_is_named_in_the_error(tcp: TcpOutlet) -> None:
    port = address_of(tcp)[1]
    with pytest.raises(SettingError, match=f"127.0.0.1:{port}.*another port"):
        opened(TcpOutlet(port, RealClock()))


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning:serial")
def test_an_unmodified_rfc2217_client_opens_the_port_sets_its_baud_rate_and_echoes_every_byte() -> None:
    """pyserial's own RFC 2217 client is the judge: it negotiates in a thread while the pacer serves."""
    outlet = TcpOutlet(0, RealClock(), rfc2217=True)
    echo = Served("echo", Echo(), outlet, RealClock().now_ns())
    outlet.open(echo)
    pacer = Pacer([echo], RealClock())
    thread = threading.Thread(target=pacer.run)
    thread.start()
    try:
        with serial.serial_for_url(outlet.place, baudrate=115200, timeout=5) as port:
            port.write(ALL_BYTES)
            assert port.read(256) == ALL_BYTES
    finally:
        pacer.stop()
        thread.join()
        pacer.close()
        outlet.close()
