"""The values that evaluating a model yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Feed = Mapping[str, np.ndarray]
"""Inputs of one `session.run`: input name → array."""


@dataclass(frozen=True)
class Scored:
    """The outcome of one full evaluation.

    Attributes:
        metric: The user's number, finite.
        samples: Per-sample scores in dataset order, float64, shape [n]; None for form 1.
        seconds: Wall time of the evaluation alone.
    """

    metric: float
    samples: np.ndarray | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Candidate against baseline, timed in alternation.

    Attributes:
        baseline_ms: Median of the baseline's runs, milliseconds.
        candidate_ms: Median of the candidate's.
        speedup: Median over the pairs of baseline ÷ candidate; above 1 the candidate is faster.
        speedup_ci: 95 % interval of that median (order statistics, distribution-free).
        pairs: Number of pairs counted.
    """

    baseline_ms: float
    candidate_ms: float
    speedup: float
    speedup_ci: tuple[float, float]
    pairs: int
