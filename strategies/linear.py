"""Bayesian linear regression with a prior for each effect (Bishop 2006, §3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Linear:
    """The posterior of the effects.

    Attributes:
        mean: float64 [features].
        covariance: float64 [features, features].
        noise: Standard deviation of an observation beside the effects.
    """

    mean: np.ndarray
    covariance: np.ndarray
    noise: float

    def predict(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of what would be observed for rows [n, features], float64 [n] each."""
        variance = np.einsum("ij,jk,ik->i", rows, self.covariance, rows)
        return np.einsum("ij,j->i", rows, self.mean), np.sqrt(np.maximum(variance, 0.0) + self.noise**2)


def posterior(
    rows: np.ndarray, values: np.ndarray, mean: np.ndarray, spread: np.ndarray, noise: float, doubt: np.ndarray
) -> Linear:
    """Update a prior by observations.

    Args:
        rows: float64 [n, features].
        values: What was observed, float64 [n].
        mean: Prior means of the effects, float64 [features].
        spread: Their prior standard deviations, independent of each other, float64 [features].
        noise: Standard deviation of every observation.
        doubt: What each observation's standard deviation has beyond that, float64 [n].
    """
    effects, covariance = mean.copy(), np.diag(spread**2)
    # One observation after the other, and no BLAS: its threads wait for each other where the cores are taken, a
    # hundred times longer than such small sums take.
    for row, value, variance in zip(rows, values, noise**2 + doubt**2, strict=True):
        along = np.einsum("ij,j->i", covariance, row)
        expected = float((row * along).sum()) + variance
        effects += along * ((value - float((row * effects).sum())) / expected)
        covariance -= np.outer(along, along / expected)
    return Linear(effects, covariance, noise)
