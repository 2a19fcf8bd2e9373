"""How every sensor's start-up exchange must go, with its own device, with another one and with none."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.codec import Expect
from drivers.errors import HandshakeError
from drivers.exchange import Exchange
from drivers.types import Batch, Lost


class NoAnswer:
    """A link on which nobody, or somebody else, is at the other end."""

    def __init__(self, answer: bytes) -> None:
        self.description, self.answer, self.clock = "a wire to nobody", answer, None

    def write(self, data: bytes, channel: str = "") -> None: ...
    def subscribe(self, channel: str) -> None: ...
    def open(self, sink: object) -> None: ...
    def close(self) -> None: ...
    def read(self, channel: str) -> bytes | None:
        return None


def run_against(bench, answer: bytes) -> None:
    awaited = {"channel": ""}

    def watched(steps):
        result = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration:
                return
            if isinstance(step, Expect):
                awaited["channel"] = step.channel
            result = yield step

    exchange = Exchange(watched(bench.host().start()), NoAnswer(answer), 0)
    if exchange.done:
        pytest.skip("this sensor's exchange expects no answer")
    for step in range(1, 2000):
        if exchange.done:
            return
        if answer:
            exchange.feed(Batch.single(answer, step * 50_000_000, awaited["channel"]))
        exchange.tick(step * 50_000_000)


def test_a_silent_device_is_a_handshake_error(bench) -> None:
    with pytest.raises(HandshakeError, match="expected"):
        run_against(bench, b"")


def test_another_device_is_a_handshake_error(bench) -> None:
    with pytest.raises(HandshakeError):
        run_against(bench, b"Thermostat X100 ready\r\n")


def test_stopping_never_raises_and_starting_again_streams_again(bench) -> None:
    blocks = bench.blocks(2.0)
    host, batches = bench.connect(blocks)
    first = bench.decode(host, batches)
    bench.finish(host)
    bench.reconnect(host)
    device = bench.connected_device()
    again = bench.decode(host, [b for b in device.encode(blocks) if len(b)])
    for spec in host.streams:
        assert np.array_equal(first.values[spec.name], again.values[spec.name]), spec.name
        if spec.counted:
            assert again.total(Lost, spec.name) == 0
            assert again.segment[spec.name][0] > first.segment[spec.name][-1], "a new start is a new segment"
