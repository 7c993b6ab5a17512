"""Times candidates against one baseline, and again where the machine was busy with something else."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import onnxruntime as ort

from .base import Feed, Latency
from .latency import compare

BUSY = 1.25
"""How much slower than at its calmest the baseline may run before a timing is taken again."""
_WARMUP = 3
_ATTEMPTS = 3
_PAUSE = 0.5
_TIMINGS = 6
_AGREES = 0.05
_LONGER_PAUSE = 1.0
# Disturbances by other tenants of a machine come in windows of seconds: worth waiting for, but not again and again.
_MORE_ATTEMPTS = 8
_MOST_PAUSES = 20


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
        self._pauses = 0

    def compare(
        self, candidate: ort.InferenceSession, *, pairs: int, precision: float = 0.0, beat: float = 0.0
    ) -> Latency:
        """Time a session (`latency.compare`), again while the machine is busy, which shows after a few pairs.

        Where it stays busy, the speedup is at most the baseline's calmest time over the candidate's own: what slows
        the baseline more than the candidate must not make a candidate look fast.

        Raises:
            EvaluationError: A model fails on the feed.
        """
        for attempt in range(_MORE_ATTEMPTS):
            if attempt >= _ATTEMPTS and self._pauses >= _MOST_PAUSES:
                break
            if attempt:
                time.sleep(_PAUSE)
                self._pauses += 1
            latency = self._timed(candidate, pairs, precision, beat, busy_ms=BUSY * self._calm_ms)
            if self.slowdown(latency) <= BUSY:
                return latency
        return self._cautious(self._timed(candidate, pairs, precision, beat, busy_ms=math.inf))

    def settled(self, candidate: ort.InferenceSession, *, pairs: int, expected: float | None) -> Latency:
        """Time a session until a timing agrees with an earlier one: what is delivered must not rest on a disturbance.

        Args:
            candidate: The session.
            pairs: Of each timing.
            expected: The speedup found before, None where there is none.

        Raises:
            EvaluationError: A model fails on the feed.
        """
        seen = [] if expected is None else [expected]
        for _ in range(_TIMINGS):
            latency = self.compare(candidate, pairs=pairs)
            if not seen or any(abs(latency.speedup / speedup - 1.0) < _AGREES for speedup in seen):
                break
            seen.append(latency.speedup)
            time.sleep(_LONGER_PAUSE)
        return latency

    def _timed(
        self, candidate: ort.InferenceSession, pairs: int, precision: float, beat: float, busy_ms: float
    ) -> Latency:
        latency = compare(
            self._baseline,
            candidate,
            self._feed,
            pairs=pairs,
            warmup=_WARMUP,
            precision=precision,
            beat=beat,
            busy_ms=busy_ms,
        )
        self._calm_ms = min(self._calm_ms, latency.baseline_ms)
        return latency

    def _cautious(self, latency: Latency) -> Latency:
        """A timing on a busy machine, flattered no further than the candidate's own time allows."""
        factor = min(1.0, self._calm_ms / latency.candidate_ms / latency.speedup)
        low, high = latency.speedup_ci
        return replace(latency, speedup=latency.speedup * factor, speedup_ci=(low * factor, high * factor))

    def slowdown(self, latency: Latency) -> float:
        """How much slower the baseline ran in a timing than at its calmest; 1 on a quiet machine."""
        return latency.baseline_ms / self._calm_ms if self._calm_ms > 0 else 1.0
