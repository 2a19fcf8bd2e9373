import numpy as np
import pytest

from drivers.bitalino_frame import check, pack
from drivers.chained_frames import Chain, ChainedFrames
from drivers.types import Batch

LENGTH = 4
CHAIN = Chain(LENGTH, check, 16, step=1, slack=0, check_bits=4, next_bits=4)
"""The hardest case there is: a check that garbage passes one time in sixteen."""


def frames(count: int, seed: int = 0, first: int = 0) -> list[bytes]:
    rng = np.random.default_rng(seed)
    return [row.tobytes() for row in pack(rng.integers(0, 1024, (count, 2)), (first + np.arange(count)) % 16, 0)]


def find(pieces: list[bytes], finder: ChainedFrames | None = None) -> tuple[list[bytes], int]:
    """Frames found and bytes given up, of pieces that arrive one by one."""
    finder = finder or ChainedFrames(CHAIN, "no frame")
    found, given_up = [], 0
    for number, piece in enumerate(pieces):
        rows, arrival_ns, malformed, _ = finder.feed(Batch.single(piece, number))
        assert len(rows) == len(arrival_ns)
        found += [row.tobytes() for row in rows]
        given_up += sum(event.size for event in malformed)
    return found, given_up


def test_whole_frames_are_found_at_once() -> None:
    sent = frames(40)
    finder = ChainedFrames(CHAIN, "no frame")
    for piece in sent:
        assert find([piece], finder) == ([piece], 0)


@pytest.mark.parametrize("lost", [1, 2, 7, 14])
def test_frames_behind_a_loss_wait_for_two_more_and_none_is_given_up(lost: int) -> None:
    sent = frames(40)
    kept = sent[:10] + sent[10 + lost :]
    finder = ChainedFrames(CHAIN, "no frame")
    find(kept[:10], finder)
    assert [len(find([piece], finder)[0]) for piece in kept[10:14]] == [0, 0, 3, 1]


def test_a_loss_behind_every_third_frame_costs_no_frame() -> None:
    sent = [frame for number, frame in enumerate(frames(120)) if number % 4 != 3]
    found, given_up = find([*sent, *frames(3, first=120 % 16)])
    assert found[: len(sent)] == sent
    assert given_up == 0


def test_garbage_costs_no_frame_and_adds_hardly_any() -> None:
    """The check and the number of a piece of garbage that goes on hold by chance once in 256."""
    rng, added = np.random.default_rng(3), 0
    for seed in range(200):
        sent = frames(20, seed)
        garbage = rng.integers(0, 256, int(rng.integers(1, 60)), dtype=np.uint8).tobytes()
        found, _ = find([b"".join(sent[:10]) + garbage + b"".join(sent[10:])])
        behind = found[10:]
        assert [frame for frame in sent[11:] if frame not in behind] == []
        added += len(found) - len(sent)
    assert added <= 10


def test_a_damaged_frame_costs_itself() -> None:
    sent = frames(30)
    broken = bytes([sent[12][0] ^ 4, *sent[12][1:]])
    found, given_up = find([*sent[:12], broken, *sent[13:]])
    assert found == sent[:12] + sent[13:]
    assert given_up == LENGTH


def test_a_frame_that_comes_twice_is_found_twice() -> None:
    sent = frames(30)
    twice = [*sent[:12], sent[11], *sent[12:]]
    assert find(twice) == (twice, 0)


def test_a_constant_that_passes_the_check_is_no_frame() -> None:
    finder = ChainedFrames(CHAIN, "no frame")
    find(frames(10), finder)
    found, given_up = find([bytes(4000)], finder)
    assert len(found) <= 1
    assert given_up > 3800


def test_with_a_known_beginning_another_number_is_not_believed_alone() -> None:
    finder = ChainedFrames(CHAIN, "no frame")
    finder.restart(last=15)
    assert find(frames(1, first=0), finder)[0]
    finder.restart(last=15)
    assert not find(frames(1, first=5), finder)[0]


def test_what_is_said_between_two_frames_is_handed_out_and_breaks_no_chain() -> None:
    aside = b"\xff\xff\xff"
    chain = Chain(LENGTH, check, 16, 1, 0, 4, 4, aside=lambda data, at: 3 if data[at : at + 3] == aside else 0)
    finder = ChainedFrames(chain, "no frame")
    sent = frames(4)
    rows, _, malformed, asides = finder.feed(Batch.single(b"".join(sent[:2]) + aside + b"".join(sent[2:]), 7))
    assert [row.tobytes() for row in rows] == sent
    assert asides == [(aside, 7)]
    assert malformed == []
