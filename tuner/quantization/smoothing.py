"""SmoothQuant: magnitude of an activation's channels moved into the weights that read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .equalization import centred

GRID = tuple(round(0.1 * step, 1) for step in range(11))
"""Migration strengths that are tried."""
_LEAST = 1e-5


@dataclass(frozen=True, slots=True)
class Reading:
    """A layer that reads the activation.

    Attributes:
        weight: float32 [groups, outputs / groups, inputs / groups, positions of the kernel].
        per_row: Whether each output has a scale of its own.
        reach: Range of each output, float64 [outputs]: errors count relative to it. None where it is not known.
    """

    weight: np.ndarray
    per_row: bool
    reach: np.ndarray | None = None

    @property
    def columns(self) -> np.ndarray:
        """The largest magnitude that each input channel meets, float64 [inputs]."""
        return np.asarray(np.abs(self.weight).max(axis=(1, 3)).reshape(-1), np.float64)


def smoothed(largest: np.ndarray, columns: np.ndarray, alpha: float) -> np.ndarray:
    """The scales s = max|x|^α / max|w|^(1−α) (Xiao et al. 2023, "SmoothQuant", equation 4), of geometric mean 1.

    Args:
        largest: max|x| of each channel, float64 [channels].
        columns: max|w| of what it meets.
        alpha: Migration strength, 0 to 1.
    """
    floors = [np.maximum(values, _LEAST * values.max(initial=0.0)) for values in (largest, columns)]
    inputs, weights = (np.where(values > 0, values, 1.0) for values in floors)
    return centred(inputs**alpha / weights ** (1.0 - alpha))


def local_error(
    readings: Sequence[Reading], scale: np.ndarray, low: np.ndarray, high: np.ndarray, square: np.ndarray
) -> float:
    """The squared error that rounding brings to the outputs of the layers that read an activation divided by s.

    Channels taken as uncorrelated: Σ (ΔW·s)²·E[x²]/s² + Σ (W·s)²·Δx²/12, at min-max ranges.

    Args:
        readings: The layers.
        scale: s, float64 [channels].
        low: Least value of each channel, float64 [channels].
        high: The largest.
        square: E[x²].
    """
    step = (np.maximum(high / scale, 0.0).max() - np.minimum(low / scale, 0.0).min()) / 255.0
    total = 0.0
    for reading in readings:
        groups = reading.weight.shape[0]
        weight = reading.weight * scale.astype(np.float32).reshape(groups, 1, -1, 1)
        grid = np.abs(weight).max(axis=(2, 3) if reading.per_row else None, keepdims=True) / 127.0
        grid = np.where(grid > 0, grid, 1.0).astype(np.float32)
        off = weight - np.rint(weight / grid) * grid
        power = (square / scale**2).reshape(groups, 1, -1)
        errors = (np.square(off).sum(axis=3, dtype=np.float64) * power).sum(axis=2)
        errors += np.square(weight).sum(axis=(2, 3), dtype=np.float64) * (step**2 / 12.0)
        flat = errors.reshape(-1)
        if reading.reach is None:
            total += float(flat.sum())
        else:
            wide = np.maximum(reading.reach, 1e-3 * reading.reach.max(initial=0.0)) ** 2
            total += float((flat / np.where(wide > 0, wide, 1.0)).sum())
    return total


def searched(readings: Sequence[Reading], low: np.ndarray, high: np.ndarray, square: np.ndarray) -> np.ndarray:
    """The scales of the strength with the least local error; ones where that of none is less than theirs.

    Args:
        readings: The layers that read the activation.
        low: As for `local_error`.
        high: As for `local_error`.
        square: As for `local_error`.
    """
    largest = np.maximum(np.abs(low), np.abs(high))
    columns = np.max([reading.columns for reading in readings], axis=0)
    best: np.ndarray = np.ones_like(largest)
    least = local_error(readings, best, low, high, square)
    for alpha in GRID:
        scale = smoothed(largest, columns, alpha)
        error = local_error(readings, scale, low, high, square)
        if error < least:
            best, least = scale, error
    return best
