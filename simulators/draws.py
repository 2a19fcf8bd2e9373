"""Randomness by position: the same seed, labels and index give the same draw, however it is asked for."""

from __future__ import annotations

import hashlib

import numpy as np

from drivers.types import FloatArray

_BLOCK = 1024


class Draws:
    """Counter-based draws (Philox) keyed by a seed and labels such as sensor, fault, purpose.

    Adding a fault leaves the draws of the others alone, and rendering in chunks of any size gives
    the same numbers.
    """

    def __init__(self, seed: int, *labels: str | int) -> None:
        self._labels = (seed, *labels)
        text = "\x1f".join(str(label) for label in self._labels)
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        self._key = np.frombuffer(digest, dtype=np.uint64)
        self._cache: dict[tuple[str, int], FloatArray] = {}

    def child(self, *labels: str | int) -> Draws:
        """Independent draws under further labels."""
        seed, *rest = self._labels
        return Draws(int(seed), *rest, *labels)

    def _block(self, law: str, number: int) -> FloatArray:
        found = self._cache.get((law, number))
        if found is None:
            generator = np.random.Generator(np.random.Philox(key=self._key, counter=[0, 0, number, len(law)]))
            found = generator.standard_normal(_BLOCK) if law == "normal" else generator.random(_BLOCK)
            if len(self._cache) > 16:
                self._cache.clear()
            self._cache[(law, number)] = found
        return found

    def _span(self, law: str, first: int, count: int) -> FloatArray:
        if count <= 0:
            return np.empty(0)
        blocks = range(first // _BLOCK, (first + count - 1) // _BLOCK + 1)
        joined = np.concatenate([self._block(law, number) for number in blocks])
        start = first - blocks[0] * _BLOCK
        return joined[start : start + count]

    def uniform(self, first: int, count: int) -> FloatArray:
        """Draws ``first`` .. ``first + count - 1`` from U(0, 1), (count,)."""
        return self._span("uniform", first, count)

    def normal(self, first: int, count: int) -> FloatArray:
        """Draws ``first`` .. ``first + count - 1`` from N(0, 1), (count,)."""
        return self._span("normal", first, count)
