"""Which samples to calibrate on, where there are more than wanted: functions of what the float model says of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SELECTIONS = ("first", "random", "diverse", "balanced")
"""The first ones as they come; a seeded draw; the most different ones; equally many of each predicted class."""

_DIMENSIONS = 64
_LONGEST = 1 << 16
_STREAM = 0x63616C  # apart from whatever else is seeded with the user's number


class Features:
    """A short vector for each sample: its pooled outputs in a random projection (Johnson and Lindenstrauss 1984).

    64 dimensions keep distances to about a tenth, whatever the number of classes or characters.
    """

    def __init__(self) -> None:
        self._projection = np.zeros((0, _DIMENSIONS), np.float32)

    def of(self, outputs: Sequence[np.ndarray], rows: int) -> np.ndarray:
        """float32 [rows, 64].

        Args:
            outputs: Of one run of the float model.
            rows: Samples in it; outputs without them along the first axis are told of as a whole.
        """
        pooled = [_pooled(output, rows) for output in outputs if output.dtype.kind == "f" and output.size]
        if not pooled:
            return np.zeros((rows, _DIMENSIONS), np.float32)
        joined = np.nan_to_num(np.concatenate(pooled, axis=1), posinf=0.0, neginf=0.0)[:, :_LONGEST]
        size = joined.shape[1]
        if len(self._projection) < size:  # a longer draw begins as a shorter one
            drawn = np.random.default_rng(_STREAM).standard_normal((size, _DIMENSIONS), np.float32)
            self._projection = drawn / np.float32(np.sqrt(_DIMENSIONS))
        return np.asarray(joined @ self._projection[:size], np.float32)


def classes(outputs: Sequence[np.ndarray], rows: int) -> np.ndarray | None:
    """The predicted class of each sample, int64 [rows]; None where the first output is not [rows, classes]."""
    first = outputs[0]
    if first.ndim != 2 or first.shape[0] != rows or first.shape[1] < 2 or first.dtype.kind != "f":
        return None
    return np.asarray(first.argmax(axis=1), np.int64)


def some(total: int, count: int, seed: int) -> np.ndarray:
    """`count` of `total` places, drawn without replacement: int64, ascending."""
    if count >= total:
        return np.arange(total)
    return np.sort(np.random.default_rng([seed, _STREAM]).choice(total, count, replace=False)).astype(np.int64)


def farthest(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The places of `count` samples, each the farthest from those before it: greedy k-center (Gonzalez 1985).

    The largest distance from any sample to a chosen one is at most twice the least possible. It begins with the sample
    nearest to the mean, so that the seed matters only among equals, of which a random one is taken.

    Args:
        features: float [samples, dimensions].
        count: How many.
        seed: Of the choice among equals.

    Returns:
        int64, ascending.
    """
    total = len(features)
    if count >= total:
        return np.arange(total)
    order = np.random.default_rng([seed, _STREAM]).permutation(total)
    shuffled = features[order].astype(np.float64)
    chosen = [int(np.argmin(np.square(shuffled - shuffled.mean(axis=0)).sum(axis=1)))]
    nearest = np.square(shuffled - shuffled[chosen[0]]).sum(axis=1)
    while len(chosen) < count:
        nearest[chosen[-1]] = -1.0
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.square(shuffled - shuffled[chosen[-1]]).sum(axis=1))
    return np.sort(order[chosen]).astype(np.int64)


def evenly(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The places of `count` samples, of every class as many as it has or as the others get: int64, ascending.

    Args:
        labels: int64 [samples].
        count: How many.
        seed: Of the draw within a class.
    """
    total = len(labels)
    if count >= total:
        return np.arange(total)
    order = np.random.default_rng([seed, _STREAM]).permutation(total)
    shuffled = labels[order]
    turn = np.empty(total, np.int64)  # of each sample within its class
    for label in np.unique(shuffled):
        members = np.flatnonzero(shuffled == label)
        turn[members] = np.arange(len(members))
    return np.sort(order[np.argsort(turn, kind="stable")[:count]]).astype(np.int64)


def _pooled(output: np.ndarray, rows: int) -> np.ndarray:
    """[rows, channels]: the mean over all axes but the samples' and the channels' (1 of images, the last one else)."""
    if output.ndim == 0 or output.shape[0] != rows:
        return np.broadcast_to(output.reshape(-1).astype(np.float32)[:_LONGEST], (rows, min(output.size, _LONGEST)))
    if output.ndim == 1:
        return output.astype(np.float32)[:, np.newaxis]
    channels = 1 if output.ndim >= 4 else output.ndim - 1
    axes = tuple(axis for axis in range(1, output.ndim) if axis != channels)
    return np.asarray(output.mean(axis=axes, dtype=np.float32) if axes else output, np.float32)
