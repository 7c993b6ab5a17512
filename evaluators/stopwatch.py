"""Times candidates against one baseline, and again where the machine was busy with something else."""

from __future__ import annotations

import math
import time

import onnxruntime as ort

from .base import Feed, Latency
from .latency import compare

BUSY = 1.25
"""How much slower than at its calmest the baseline may run before a timing is taken again."""
_ATTEMPTS = 3
_PAUSE = 0.5


class Stopwatch:
    """Compares sessions with one baseline on one feed.

    Interleaving cancels what slows both halves of a pair alike. Another program on the same cores does not: it costs
    the model with more parallel work more, for as long as it runs, and every pair agrees. The baseline's own time
    gives it away.
    """

    def __init__(self, baseline: ort.InferenceSession, feed: Feed) -> None:
        self._baseline = baseline
        self._feed = feed
        self._calm_ms = math.inf

    def compare(self, candidate: ort.InferenceSession, *, pairs: int, precision: float = 0.0) -> Latency:
        """Time a session (`latency.compare`); up to three times while the machine is busy, the calmest counts.

        Raises:
            EvaluationError: A model fails on the feed.
        """
        calmest: Latency | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE)
            latency = compare(self._baseline, candidate, self._feed, pairs=pairs, precision=precision)
            if calmest is None or latency.baseline_ms < calmest.baseline_ms:
                calmest = latency
            self._calm_ms = min(self._calm_ms, latency.baseline_ms)
            if self.slowdown(calmest) <= BUSY:
                break
        assert calmest is not None
        return calmest

    def slowdown(self, latency: Latency) -> float:
        """How much slower the baseline ran in a timing than at its calmest; 1 on a quiet machine."""
        return latency.baseline_ms / self._calm_ms if self._calm_ms > 0 else 1.0
