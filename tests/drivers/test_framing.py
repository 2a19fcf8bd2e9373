from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.framing import StampedBuffer, SyncedFrames, int24_be, to_int24_be
from drivers.types import Batch

LENGTH = 33


def cyton_like(count: int, seed: int, first: int = 0) -> list[bytes]:
    payloads = np.random.default_rng(seed).integers(0, 256, (count, 30), dtype=np.uint8)
    return [bytes([0xA0, (first + k) % 256]) + payloads[k].tobytes() + b"\xc0" for k in range(count)]


def framer() -> SyncedFrames:
    return SyncedFrames(0xA0, LENGTH, range(0xC0, 0xC7), counter_at=1)


def feed_in_pieces(data: bytes, cuts: list[int]) -> tuple[list[bytes], list[int], int]:
    """Frames, arrivals and bytes given up; byte i arrives at time i, so an arrival names a position."""
    scanner, frames, arrivals, given_up = framer(), [], [], 0
    edges = [0, *sorted(set(cuts)), len(data)]
    for a, b in pairwise(edges):
        chunk = Batch(data[a:b], np.arange(1, b - a + 1), np.arange(a, b))
        got, at_ns, events = scanner.feed(chunk)
        frames += [row.tobytes() for row in got]
        arrivals += at_ns.tolist()
        given_up += sum(e.size for e in events)
    return frames, arrivals, given_up


@pytest.mark.parametrize(
    ("text", "number"), [("000690", 1680), ("02C001", 180225), ("FFFFFF", -1), ("81A101", -8281855)]
)
def test_24_bit_numbers_of_the_openbci_node_tests_decode_and_encode(text: str, number: int) -> None:
    columns = np.frombuffer(bytes.fromhex(text), np.uint8)[None]
    assert int24_be(columns).tolist() == [[number]]
    assert to_int24_be(np.array([[number]], dtype=np.int32)).tobytes().hex().upper() == text


@given(st.lists(st.integers(-(2**23), 2**23 - 1), min_size=1, max_size=24))
def test_24_bit_numbers_agree_with_python_integers(numbers: list[int]) -> None:
    data = b"".join(n.to_bytes(3, "big", signed=True) for n in numbers)
    columns = np.frombuffer(data, np.uint8)[None]
    assert int24_be(columns)[0].tolist() == numbers
    assert to_int24_be(np.array([numbers], dtype=np.int32)).tobytes() == data


def test_kept_bytes_keep_the_stamp_of_their_own_chunk() -> None:
    buffer = StampedBuffer()
    first = buffer.join(Batch.of([b"ab", b"cd"], np.array([10, 20])))
    buffer.keep(first, 1)
    joined = buffer.join(Batch.of([b"ef"], np.array([30])))
    assert joined.data == b"bcdef"
    assert joined.time_of(np.arange(5)).tolist() == [10, 20, 20, 30, 30]


def test_a_clean_stream_is_cut_into_exactly_its_frames() -> None:
    sent = cyton_like(300, seed=1)
    frames, arrivals, given_up = feed_in_pieces(b"".join(sent), [])
    assert frames == sent
    assert arrivals == [LENGTH * (k + 1) - 1 for k in range(300)]
    assert given_up == 0


def test_a_frame_cut_short_costs_that_frame_alone_whatever_the_length_left() -> None:
    for length in range(1, LENGTH):
        for seed in range(30):
            sent = cyton_like(12, seed=1000 * length + seed, first=seed * 7)
            data = b"".join([*sent[:5], sent[5][:length], *sent[6:]])
            frames, _, given_up = feed_in_pieces(data, [])
            assert frames == sent[:5] + sent[6:], (length, seed)
            assert given_up == length


def test_a_byte_lost_inside_a_frame_costs_that_frame_alone() -> None:
    for lost in range(LENGTH):
        sent = cyton_like(12, seed=lost)
        data = b"".join([*sent[:5], sent[5][:lost] + sent[5][lost + 1 :], *sent[6:]])
        frames, _, given_up = feed_in_pieces(data, [])
        assert frames == sent[:5] + sent[6:], lost
        assert given_up == LENGTH - 1


def test_a_stream_joined_in_the_middle_of_a_frame_begins_with_the_next() -> None:
    for skip in range(1, LENGTH):
        sent = cyton_like(10, seed=skip)
        frames, _, given_up = feed_in_pieces(b"".join(sent)[skip:], [])
        assert frames == sent[1:]
        assert given_up == LENGTH - skip


def test_a_payload_full_of_start_and_stop_bytes_does_not_confuse_an_aligned_stream() -> None:
    sent = [bytes([0xA0, k]) + b"\xa0\xc0" * 15 + b"\xc0" for k in range(200)]
    assert feed_in_pieces(b"".join(sent), [])[0] == sent


@settings(max_examples=150)
@given(st.data())
def test_where_the_bytes_are_cut_changes_no_frame_and_no_stamp(data: st.DataObject) -> None:
    sent = cyton_like(12, seed=data.draw(st.integers(0, 10**6)))
    pieces = list(sent)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(pieces) - 1))
        piece = pieces[at]
        cut = data.draw(st.integers(0, len(piece)))
        damaged = [piece[:cut], piece[cut:], piece + b"\xa0\x05", b"", piece + piece[:cut]]
        pieces[at] = data.draw(st.sampled_from(damaged))
    stream = b"".join(pieces) + data.draw(st.binary(max_size=40))
    whole = feed_in_pieces(stream, [])
    cuts = data.draw(st.lists(st.integers(1, max(len(stream) - 1, 1)), max_size=20))
    parts = feed_in_pieces(stream, [c for c in cuts if c < len(stream)])
    bytewise = feed_in_pieces(stream, list(range(1, len(stream))))
    assert whole[:2] == parts[:2] == bytewise[:2]


def test_endless_garbage_is_told_in_pieces_and_not_kept() -> None:
    garbage = np.random.default_rng(3).integers(0, 160, 50_000, dtype=np.uint8).tobytes()  # no start byte in it
    scanner = framer()
    told = sum(e.size for k in range(0, 50_000, 100) for e in scanner.feed(Batch.single(garbage[k : k + 100], k))[2])
    assert 50_000 - 1200 < told <= 50_000
