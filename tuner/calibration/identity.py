"""Telling samples apart: a digest of each, so that those met twice are known without keeping any."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from ...evaluators.base import Feed
from ...evaluators.feeds import Input, batch_of

_BYTES = 16
_WHOLE = 1 << 13
"""Bytes up to which an array is hashed whole. Every sample of an evaluation comes by here while it is timed."""


def digests(feed: Feed, inputs: Sequence[Input]) -> list[bytes]:
    """One digest for each sample of a feed; one for the whole feed where it cannot be divided.

    A sample is the same however it is batched, as long as it is padded alike.
    """
    arrays = {name: np.asarray(array) for name, array in feed.items()}
    rows = batch_of(arrays, inputs)
    if rows is None:
        return [_digest(arrays)]
    return [_digest({name: np.asarray(array[row]) for name, array in arrays.items()}) for row in range(rows)]


class Met:
    """The samples that went by. Threads may share it.

    Attributes:
        digests: Those met, each once.
        total: How many went by, each time counted.
        constant: How many had nothing but one value in every float input.
    """

    def __init__(self, inputs: Sequence[Input], *, constants: bool = False) -> None:
        """Constants: whether to look for constant samples too."""
        self._inputs = inputs
        self._constants = constants
        self._lock = threading.Lock()
        self.digests: set[bytes] = set()
        self.total = 0
        self.constant = 0

    def add(self, feed: Feed) -> None:
        """Take the samples of a feed in."""
        found = digests(feed, self._inputs)
        constant = _constant(feed, len(found)) if self._constants else 0
        with self._lock:
            self.total += len(found)
            self.digests.update(found)
            self.constant += constant

    @property
    def repeated(self) -> int:
        """Samples that had been there before."""
        return self.total - len(self.digests)


def _digest(arrays: Mapping[str, np.ndarray]) -> bytes:
    found = hashlib.blake2b(digest_size=_BYTES)
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        if array.dtype.hasobject:  # strings: no buffer to hash
            found.update("\0".join(map(str, array.ravel().tolist())).encode())
        elif array.size:
            found.update(_content(np.ascontiguousarray(array)))
    return found.digest()


def _content(array: np.ndarray) -> bytes:
    """The bytes of a small array; of a large one every so-manieth word, and a weighted sum of all modulo 2⁶⁴."""
    data = array.reshape(-1).view(np.uint8)
    if data.size <= _WHOLE:
        return data.tobytes()
    words = data[: data.size // 8 * 8].view(np.uint64)
    step = -(-words.size // (_WHOLE // 8))
    weighted = np.dot(words, _weights(words.size))
    return words[::step].tobytes() + np.uint64(weighted).tobytes() + data[words.size * 8 :].tobytes()


@lru_cache(maxsize=4)
def _weights(size: int) -> np.ndarray:
    """Odd random numbers, uint64 [size]: a multilinear hash (Carter and Wegman 1979)."""
    return np.random.default_rng(size).integers(0, 1 << 63, size, np.uint64) * np.uint64(2) + np.uint64(1)


def _constant(feed: Feed, rows: int) -> int:
    """Samples whose float inputs hold one value each; 0 where there are none of more than one value."""
    constant = np.ones(rows, bool)
    looked = False
    for array in map(np.asarray, feed.values()):
        parts = array.reshape(rows, -1) if rows > 1 else array.reshape(1, -1)
        if array.dtype.kind == "f" and parts.shape[1] > 1:
            looked = True
            constant &= parts.min(axis=1) == parts.max(axis=1)
    return int(constant.sum()) if looked else 0
