"""How fast a Cyton's bytes are decoded: offline, and from a pty beside BrainFlow in the same run.

A child process plays the board: it answers the start-up exchange and then writes ten minutes of packets
(150 000, 4.95 MB) as fast as the reader takes them. BrainFlow and spiral-hil read the same bytes from the same
pty, one after the other; offline the bytes are in memory.

    python tests/benchmarks/cyton_throughput.py
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tty

import numpy as np

from drivers.clock import RealClock, to_ns
from drivers.codec import Block
from drivers.registry import load_sensor, make_settings, open_driver
from drivers.types import Batch, Samples

CLOCK = RealClock()
MINUTES = 10
PACKETS = MINUTES * 60 * 250
BANNER = (
    b"OpenBCI V3 8-16 channel\r\nOn Board ADS1299 Device ID: 0x3E\r\nLIS3DH Device ID: 0x33\r\nFirmware: v3.1.2\r\n$$$"
)


def packets():
    """Ten minutes of a Cyton, as its device end encodes them."""
    sensor = load_sensor("openbci-cyton")
    device = sensor.device(make_settings(sensor, {}))
    device.receive(b"b")
    rng, blocks = np.random.default_rng(1), {}
    for spec in device.streams:
        n = int(MINUTES * 60 * spec.rate_hz)
        due_ns = np.rint(np.arange(n) * (1e9 / spec.rate_hz)).astype(np.int64)
        values = np.rint(rng.normal(0, 3000, (n, len(spec.channels)))) * spec.lsb
        blocks[spec.name] = Block(np.arange(n), due_ns, due_ns, np.clip(values, spec.low, spec.high))
    return device.encode(blocks)


def play_board():
    """The child: a board that sends ``PACKETS`` packets after each ``b``."""
    data = b"".join(batch.data for batch in packets())
    master, slave = os.openpty()
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    while True:
        for command in os.read(master, 256):
            if command == ord("v"):
                os.write(master, BANNER)
            elif command == ord("d"):
                os.write(master, b"updating channel settings to default$$$")
            elif command == ord("b"):
                done = 0
                while done < len(data):
                    select.select([], [master], [])
                    done += os.write(master, data[done : done + 4096])


def by_us(port):
    """Seconds for all packets through the Driver, reader thread and all."""
    driver = open_driver("openbci-cyton", port=port)
    driver.open()
    began = CLOCK.now_ns()
    count = 0
    for event in driver.events(began + to_ns(120)):
        if isinstance(event, Samples) and event.stream == "exg":
            count += len(event.index)
            if count >= PACKETS:
                break
    ended = CLOCK.now_ns()
    driver.close()
    return (ended - began) / 1e9, count


def by_brainflow(port):
    """Seconds for all packets through BrainFlow, polled every millisecond."""
    from brainflow.board_shim import BoardIds, BoardShim, BrainFlowInputParams

    BoardShim.disable_board_logger()
    params = BrainFlowInputParams()
    params.serial_port = port
    board = BoardShim(BoardIds.CYTON_BOARD.value, params)
    board.prepare_session()
    board.start_stream(2 * PACKETS)
    began = CLOCK.now_ns()
    while board.get_board_data_count() < PACKETS and CLOCK.now_ns() < began + to_ns(120):
        CLOCK.sleep_until(CLOCK.now_ns() + to_ns(0.001))
    ended = CLOCK.now_ns()
    count = board.get_board_data_count()
    board.stop_stream()
    board.release_session()
    return (ended - began) / 1e9, count


def offline():
    """Seconds to decode all bytes at once, and in reads of 4096 bytes."""
    sensor, batches = load_sensor("openbci-cyton"), packets()
    data, last_ns = b"".join(b.data for b in batches), int(batches[-1].at_ns[-1])
    results = []
    for size in (len(data), 4096):
        ends = np.minimum(np.arange(size, len(data) + size, size), len(data))
        at_ns = (ends * (last_ns / len(data))).astype(np.int64)
        starts = np.concatenate([[0], ends[:-1]])
        cuts = zip(starts.tolist(), ends.tolist(), at_ns.tolist(), strict=True)
        reads = [Batch.single(data[start:end], now_ns) for start, end, now_ns in cuts]
        host = sensor.host(make_settings(sensor, {}))
        began = CLOCK.now_ns()
        count = sum(len(e.index) for r in reads for e in host.feed(r) if isinstance(e, Samples) and e.stream == "exg")
        results.append(((CLOCK.now_ns() - began) / 1e9, count))
    return results


def show(name, seconds, count):
    speed = count / seconds
    print(
        f"{name:34} {count:7} packets in {seconds:6.3f} s: {speed:10.0f} packets/s, {speed * 33 / 1e6:6.1f} MB/s, "
        f"{speed / 250:7.0f} times real time"
    )
    return speed


def main():
    if sys.argv[1:] == ["--board"]:
        play_board()
    child = subprocess.Popen([sys.executable, __file__, "--board"], stdout=subprocess.PIPE, text=True)
    try:
        port = child.stdout.readline().strip()
        theirs = show("BrainFlow, from the pty", *by_brainflow(port))
        ours = show("spiral-hil Driver, from the pty", *by_us(port))
    finally:
        child.kill()
        child.communicate()
    whole, reads = offline()
    show("spiral-hil, offline, one batch", *whole)
    show("spiral-hil, offline, 4096-byte reads", *reads)
    print(f"from the pty, spiral-hil / BrainFlow: {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
