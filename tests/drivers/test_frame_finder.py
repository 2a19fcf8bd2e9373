from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.frame_finder import Checked, FrameFinder, delimited, marked
from drivers.types import Batch


def summed(rows: np.ndarray) -> np.ndarray:
    return rows[:, :3].sum(axis=1, dtype=np.uint8) == rows[:, 3]


RULES = {
    "marked": lambda: marked({0x80: 3, 0x81: 2}, bit7=True),
    "unmarked": lambda: marked({0x01: 3}, bit7=False),
    "delimited": lambda: delimited(b"\x0a\xfa", 6, b"\x0b"),
    "counted": lambda: delimited(b"\x0a\xfa", 6, b"\x0b", counter_at=2),
    "checked": lambda: Checked(4, summed),
}
INTERESTING = st.lists(st.sampled_from([0x00, 0x01, 0x0A, 0xFA, 0x0B, 0x80, 0x81]), max_size=80).map(bytes)


def find(rule: str, *parts: bytes) -> tuple[list[bytes], list[int], list[int]]:
    """Frames, their arrivals, and the sizes of what was given up."""
    finder = FrameFinder(RULES[rule](), "no frame")
    frames, arrivals, sizes = [], [], []
    for at_ns, part in enumerate(parts):
        found = finder.feed(Batch.single(part, at_ns))
        text = found.data.tobytes()
        frames += [text[a : a + n] for a, n in zip(found.starts.tolist(), found.sizes.tolist(), strict=True)]
        arrivals += found.arrival_ns.tolist()
        sizes += [e.size for e in found.malformed]
    return frames, arrivals, sizes


def test_a_first_byte_with_bit_7_begins_a_frame_of_its_own_length() -> None:
    assert find("marked", b"\x05\x80\x01\x02\x81\x03\x80\x01")[0] == [b"\x80\x01\x02", b"\x81\x03"]


def test_an_interrupted_frame_and_bytes_behind_a_frame_are_given_up() -> None:
    frames, _, sizes = find("marked", b"\x80\x01" + b"\x80\x01\x02\x07\x07" + b"\x81\x03")
    assert frames == [b"\x80\x01\x02", b"\x81\x03"]
    assert sizes == [2, 2]


def test_an_unknown_first_byte_is_given_up_with_what_follows_it() -> None:
    assert find("marked", b"\x99\x01\x01\x81\x03") == ([b"\x81\x03"], [0], [3])


def test_a_prefix_inside_a_frame_means_that_it_was_cut_short() -> None:
    frame = b"\x0a\xfa\x01\x02\x03\x0b"
    assert find("delimited", frame[:3] + frame) == ([frame], [0], [3])
    inside = b"\x0a\xfa\x0a\xfa\x0b\x0b"
    assert find("delimited", inside + frame)[0] == [frame]


def test_with_a_counter_only_a_prefix_whose_counter_follows_cuts_a_frame_short() -> None:
    looks = b"\x0a\xfa\x05\x0a\xfa\x0b"  # the byte behind the inner prefix is 0x0b, not 6
    assert find("counted", looks)[0] == [looks]
    cut = b"\x0a\xfa\x05"
    whole = b"\x0a\xfa\x06\x01\x02\x0b"
    assert find("counted", cut + whole) == ([whole], [0], [3])


def test_a_frame_that_is_known_by_its_sum_alone_needs_a_second_one_after_damage() -> None:
    good = b"\x01\x02\x03\x06"
    assert find("checked", good)[0] == [good]
    assert find("checked", b"\x09" + good)[0] == []
    assert find("checked", b"\x09" + good * 2) == ([good] * 2, [0, 0], [1])


def test_a_frame_arrives_with_its_last_byte() -> None:
    assert find("checked", b"\x01\x02", b"\x03", b"\x06\x01")[1] == [2]


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_how_bytes_are_cut_changes_no_frame(rule: str, data) -> None:
    text = data.draw(INTERESTING | st.binary(max_size=80))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    parts = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    whole, cut = find(rule, text), find(rule, *[p for p in parts if p])
    assert whole[0] == cut[0]


@pytest.mark.parametrize("rule", RULES)
def test_what_is_kept_is_less_than_two_frames(rule: str) -> None:
    rng = np.random.default_rng(3)
    made = RULES[rule]()
    for _ in range(50):
        data = rng.choice(np.array([0, 1, 10, 250, 11, 128], dtype=np.uint8), 400)
        assert len(data) - made(data)[2] < 12
