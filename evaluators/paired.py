"""The interval of a drop, from scores of the same samples under both models."""

from __future__ import annotations

import numpy as np

# Right-or-wrong scores have four distinct pairs; up to this many they are resampled by counts.
_FEW = 100
# Numbers drawn at once otherwise; bounds the memory.
_AT_ONCE = 1_000_000


def drop_interval(
    baseline_samples: np.ndarray,
    samples: np.ndarray,
    *,
    relative: bool,
    higher_is_better: bool,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Paired percentile bootstrap of the drop (Efron & Tibshirani 1993, chapter 13).

    Samples are drawn with replacement, the float model's and the candidate's score of a sample always together, so
    that what is hard for both does not widen the interval.

    Args:
        baseline_samples: The float model's scores, [n].
        samples: The candidate's scores of the same samples, [n].
        relative: Whether the drop is a fraction of the baseline's mean. Resamples where that mean is 0 are left out.
        higher_is_better: Direction of the metric.
        seed: Of the resampling; equal arguments give equal intervals.
        resamples: Number of resamples.
        level: Coverage.

    Returns:
        (low, high); (nan, nan) where the baseline's mean is 0 in every resample of a relative drop.

    Raises:
        ValueError: No samples, or unequal numbers of them.
    """
    base = np.asarray(baseline_samples, np.float64)
    mine = np.asarray(samples, np.float64)
    if base.ndim != 1 or base.shape != mine.shape or not base.size:
        raise ValueError(f"scores must be two equally long vectors, but got shapes {base.shape} and {mine.shape}")
    means = _resampled_means(np.stack([base, mine], axis=1), np.random.default_rng(seed), resamples)
    drops = means[:, 0] - means[:, 1] if higher_is_better else means[:, 1] - means[:, 0]
    if relative:
        drops = drops[means[:, 0] != 0] / np.abs(means[means[:, 0] != 0, 0])
        if not drops.size:
            return float("nan"), float("nan")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drops, [tail, 1.0 - tail])
    return float(low), float(high)


def _resampled_means(pairs: np.ndarray, random: np.random.Generator, resamples: int) -> np.ndarray:
    """Column means of bootstrap resamples of the rows, [resamples, 2]."""
    count = len(pairs)
    distinct, times = np.unique(pairs, axis=0, return_counts=True)
    if len(distinct) <= _FEW:
        # How often each distinct row is drawn is multinomial: the same bootstrap, far cheaper.
        drawn = random.multinomial(count, times / count, size=resamples)
        return np.asarray(drawn @ distinct / count)
    means = np.empty((resamples, 2))
    step = max(1, _AT_ONCE // count)
    for start in range(0, resamples, step):
        rows = random.integers(0, count, size=(min(step, resamples - start), count), dtype=np.uint32)
        for column in (0, 1):
            means[start : start + step, column] = pairs[:, column][rows].mean(axis=1)
    return means
