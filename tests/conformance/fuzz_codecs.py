"""Feeds a sensor's Host whatever a fuzzer thinks of: ``python tests/conformance/fuzz_codecs.py SENSOR -runs=20000``.

Needs atheris (``pip install atheris``), which watches what of ``drivers`` an input reaches and breeds inputs that reach
more; without it, ``--bytes=10000000`` draws inputs until so many bytes were fed. An input is a little program over
three kinds of bytes: arbitrary ones, true frames, and true frames with damage, with pauses and floods in between.
Whatever it is, the Host must not raise, its samples must be well formed, the cut into batches must change none of
them, and what it holds afterwards must be bounded. Options that begin with a hyphen are libFuzzer's; a file name runs
that one input, which needs no atheris.
"""

from __future__ import annotations

import copy
import gc
import sys
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np

Chunk: TypeAlias = tuple[int, bytes, str]
"""Arrival in ns, bytes, channel."""

BATCH_NS = 1_000_000
HELD_AT_MOST = 500_000
"""Bytes that a Host may hold beyond what it held when it was new."""
FLOOD = 400
_SHARED = (ModuleType, type, FunctionType, BuiltinFunctionType, MethodType)


class Tape:
    """The fuzzer's bytes, read one by one; zeros behind their end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def more(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def piece(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]


def chunks(tape: Tape, frames: list[Chunk], channels: list[str], now_ns: int) -> Iterator[Chunk]:
    """What the input says, as chunks in order of time. ``frames`` are true ones, and wrap around."""
    at = 0
    while tape.more():
        order = tape.byte()
        now_ns += BATCH_NS
        if order & 3 == 3:
            now_ns += tape.byte() * 20 * BATCH_NS
        elif order & 3 == 0 or not frames:
            piece, channel = tape.piece(tape.byte()), channels[tape.byte() % len(channels)]
            yield from cut(now_ns, piece * (FLOOD if order >= 0xFC else 1), channel, order)
        elif order & 3 == 1:
            at += tape.byte() % 4  # some are lost
            for k in range(1 + order // 16):
                before, (sent_ns, piece, channel) = frames[(at - 1) % len(frames)][0], frames[at % len(frames)]
                now_ns += max(sent_ns - before, 0)
                at += 1
                yield from cut(now_ns, piece, channel, k)
        else:
            _, piece, channel = frames[tape.byte() % len(frames)]
            damaged = bytearray(piece)
            damaged[tape.byte() % len(damaged)] ^= tape.byte()
            yield from cut(now_ns, bytes(damaged[: tape.byte() or None]), channel, order)


def cut(at_ns: int, piece: bytes, channel: str, how: int) -> Iterator[Chunk]:
    """The piece in one or two reads; a notification is never cut."""
    half = 0 if channel else (how >> 2) % 7 % (len(piece) or 1)
    yield from ((at_ns, part, channel) for part in (piece[:half], piece[half:]) if part)


def judge(new_host: Callable[[], Any], given: list[Chunk]) -> None:
    """AssertionError for what no Host may do; whatever it raises is let through."""
    from drivers.types import Batch

    one_by_one, together = new_host(), new_host()
    before = held(one_by_one)
    singly = [
        event for at_ns, piece, channel in given for event in one_by_one.feed(Batch.single(piece, at_ns, channel))
    ]
    jointly: list[Any] = []
    for channel, run in groupby(given, key=lambda chunk: chunk[2]):
        own = list(run)
        jointly += together.feed(Batch.of([c[1] for c in own], np.array([c[0] for c in own]), channel))
    for spec in one_by_one.streams:
        expected, found = table(singly, spec), table(jointly, spec)
        assert np.array_equal(expected, found, equal_nan=True), f"the cut into batches changed samples of {spec.name}"
    grown = held(one_by_one) - before
    assert grown < HELD_AT_MOST, f"{grown} bytes more are held after {sum(len(c[1]) for c in given)} came"


def table(events: list[Any], spec: Any) -> np.ndarray:
    """Every sample of a stream as a row: segment, index, arrival and device time, values; checks its shape."""
    from drivers.types import Samples

    rows = [np.empty((0, 4 + len(spec.channels)))]
    for event in events:
        if isinstance(event, Samples) and event.stream == spec.name:
            n = len(event.index)
            assert event.values.shape == (n, len(spec.channels)), f"{spec.name}: values are {event.values.shape}"
            assert event.arrival_ns.shape == (n,)
            device_ns = np.zeros(n) if event.device_ns is None else event.device_ns
            assert device_ns.shape == (n,)
            segment = np.full(n, event.segment)
            rows.append(np.column_stack([segment, event.index, event.arrival_ns, device_ns, event.values]))
    return np.concatenate(rows)


def held(thing: object) -> int:
    """Bytes of everything that can be reached from an object, code and classes left out."""
    seen: set[int] = set()
    waiting, total = [thing], 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _SHARED):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        waiting += gc.get_referents(one)
        if isinstance(one, np.ndarray) and one.base is not None:
            waiting.append(one.base)  # a view keeps all of it
    return total


class Target:
    """One sensor, connected once for each of its CONFORMANCE_SETTINGS."""

    def __init__(self, name: str) -> None:
        from conftest import START_NS, Bench

        from drivers.registry import load_sensor

        self._start_ns = START_NS
        self.fed = 0
        """Bytes given to a Host so far."""
        self._ready: list[tuple[Any, Any, list[Chunk], list[str]]] = []
        for settings in getattr(load_sensor(name), "CONFORMANCE_SETTINGS", ({},)):
            bench = Bench(name, settings)
            host, batches = bench.connect(bench.blocks(8.0))
            frames = [(at_ns, piece, batch.channel) for batch in batches for piece, at_ns in batch.chunks()]
            frames.sort(key=lambda frame: frame[0])
            self._ready.append((host, bench.host(), frames, bench.channels()))

    def __call__(self, data: bytes) -> None:
        """Run one input."""
        tape = Tape(data)
        first = tape.byte()
        connected, fresh, frames, channels = self._ready[(first >> 1) % len(self._ready)]
        prototype = fresh if first & 1 else connected
        given = list(chunks(tape, frames, channels, self._start_ns))
        self.fed += sum(len(piece) for _, piece, _ in given)
        judge(lambda: copy.deepcopy(prototype), given)


def campaign(target: Target, wanted: int, seed: int) -> int:
    """Runs drawn inputs until ``wanted`` bytes were fed; returns how many. What fails is left in ``failed-input``."""
    rng, inputs = np.random.default_rng(seed), 0
    while target.fed < wanted:
        data = rng.bytes(int(rng.integers(2, 1500)))
        inputs += 1
        try:
            target(data)
        except BaseException:
            Path("failed-input").write_bytes(data)
            raise
    return inputs


def main(arguments: list[str]) -> int:
    """0, or what libFuzzer ends with."""
    names = [word for word in arguments[1:] if not word.startswith("-")]
    if not names:
        print(f"usage: python {arguments[0]} SENSOR [libFuzzer options, folders of inputs, or one input to run again]")
        return 2
    sys.path.insert(0, str(Path(__file__).parents[2]))
    if len(names) > 1 and Path(names[1]).is_file():
        Target(names[0])(Path(names[1]).read_bytes())
        print(f"{names[1]}: {names[0]} takes it")
        return 0
    drawn = [word.partition("=")[2] for word in arguments if word.startswith("--bytes=")]
    if drawn:
        target = Target(names[0])
        print(f"{names[0]}: {campaign(target, int(drawn[0]), seed=1)} inputs, {target.fed} bytes, nothing found")
        return 0
    try:
        import atheris
    except ImportError:
        print("fuzzing needs atheris, which is not installed: pip install atheris (Linux and macOS)")
        return 2
    with atheris.instrument_imports(include=["drivers"]):
        target = Target(names[0])
    rest = [word for word in arguments[1:] if word != names[0]]
    atheris.Setup([arguments[0], *rest], target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
