"""Whether two sets of samples differ in the mean or spread of their inputs, beyond what chance does to random draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluators.base import Feed
from ...evaluators.feeds import Input, batch_of

_CHANNELS = 16
_FEWEST = 4
_DRAWS = 200
_RATIO, _DISTANCE = 1.5, 1.8
_RIDGE = 1e-6


@dataclass(frozen=True, slots=True)
class Shift:
    """How far apart the inputs of two sets lie.

    Attributes:
        distance: Mahalanobis distance of the means, in deviations between samples of one set.
        ratio: Hotelling's T² over the largest one of 200 random divisions of all samples.
    """

    distance: float
    ratio: float

    @property
    def notable(self) -> bool:
        """Whether it is no chance, and large.

        On the public tasks two random draws of 16 samples or more never exceed 0.7 and 1.5; pixels in 0…1 where -1…1
        is meant, or 255 times too large or small, exceed 2.3 and 2.4. Swapped colours move inputs less than one
        photographer's pictures differ from another's, and are not told.
        """
        return self.ratio > _RATIO and self.distance > _DISTANCE


class Profile:
    """Mean and deviation of every sample's float inputs, by channel where these are few and on axis 1."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        self._inputs = inputs
        self._rows: list[np.ndarray] = []

    def add(self, feed: Feed) -> None:
        """Take the samples of a feed in."""
        rows = batch_of(feed, self._inputs)
        found = []
        for name in sorted(feed):
            array = np.asarray(feed[name])
            if array.dtype.kind != "f" or not array.size:
                continue
            whole = array if rows is not None else array[np.newaxis]
            channels = whole.shape[1] if whole.ndim >= 3 and whole.shape[1] <= _CHANNELS else 1
            parts = whole.reshape(len(whole), channels, -1).astype(np.float32, copy=False)
            found += [parts.mean(axis=2, dtype=np.float64), parts.std(axis=2, dtype=np.float64)]
        if found:
            self._rows.append(np.concatenate(found, axis=1))

    @property
    def values(self) -> np.ndarray:
        """float64 [samples, features]; feeds of another number of channels than the first are left out."""
        if not self._rows:
            return np.zeros((0, 0))
        return np.concatenate([rows for rows in self._rows if rows.shape[1] == self._rows[0].shape[1]])


def shift(one: np.ndarray, other: np.ndarray, seed: int = 0) -> Shift | None:
    """Compare two sets by Hotelling's T² (1931, "The generalization of Student's ratio"), judged by permutations.

    Args:
        one: float64 [samples, features].
        other: Likewise, of the same features.
        seed: Of the permutations.

    Returns:
        None with fewer than 4 samples on a side, or nothing in common.
    """
    if min(len(one), len(other)) < _FEWEST or one.shape[1] != other.shape[1] or not one.shape[1]:
        return None
    joined = np.concatenate([one, other])
    if not np.isfinite(joined).all():
        return None
    spread = joined.std(axis=0)
    joined = (joined - joined.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    statistic, distance = _hotelling(joined, len(one))
    random = np.random.default_rng(seed)
    chance = max(_hotelling(random.permutation(joined), len(one))[0] for _ in range(_DRAWS))
    return Shift(distance, statistic / chance if chance > 0 else 0.0)


def _hotelling(joined: np.ndarray, first: int) -> tuple[float, float]:
    """T² of the first rows against the others, and the distance of their means."""
    one, other = joined[:first], joined[first:]
    apart = one.mean(axis=0) - other.mean(axis=0)
    inside = np.concatenate([one - one.mean(axis=0), other - other.mean(axis=0)])
    covariance = inside.T @ inside / max(1, len(joined) - 2) + _RIDGE * np.eye(len(apart))
    squared = float(apart @ np.linalg.solve(covariance, apart))
    return squared * len(one) * len(other) / len(joined), squared**0.5
