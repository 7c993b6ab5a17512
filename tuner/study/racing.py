"""Trials raced against the study's target: what a race needs of the study."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnxruntime as ort

from ...evaluators.base import Scored
from ...evaluators.protocol import Progress
from ...evaluators.racing import Rules, Stopped, race
from .baseline import Baseline
from .inputs import Inputs


class Racer:
    """Scores candidates, in full or until they cannot hold the target.

    What it learns of earlier trials decides in which order samples are drawn, never what counts as evidence. Fed with
    the same trials it draws the same, so that a resumed run goes on as if never interrupted.
    """

    def __init__(self, inputs: Inputs, baseline: Baseline) -> None:
        self._inputs = inputs
        self._rules = _rules(inputs, baseline)
        self._known: set[int] = set()
        self._changes: np.ndarray | None = None
        self._times: np.ndarray | None = None

    @property
    def races(self) -> bool:
        """Whether anything can be stopped early: asked for, scores of single samples, one target."""
        return self._rules is not None

    def unknown(self, numbers: Iterable[int]) -> list[int]:
        """Those of these trials that were not learnt from."""
        return sorted(set(numbers) - self._known) if self.races else []

    def learn(self, number: int, samples: np.ndarray | None) -> None:
        """See which samples a trial scored otherwise than the float model.

        Args:
            number: The trial.
            samples: Its scores, float64 [N], NaN where a sample was not scored; None where they are lost.
        """
        self._known.add(number)
        if self._rules is None or samples is None or samples.shape != self._rules.baseline.shape:
            return
        if self._changes is None or self._times is None:
            self._changes, self._times = np.zeros(len(samples)), np.zeros(len(samples))
        seen = np.isfinite(samples)
        self._changes[seen] += np.abs(samples - self._rules.baseline)[seen]
        self._times += seen

    def score(self, session: ort.InferenceSession, place: int, progress: Progress) -> Scored | Stopped:
        """Race a candidate, or score it in full where nothing is raced.

        Args:
            session: The candidate.
            place: Of its trial in the study: a fresh draw for each.
            progress: Told the samples scored.

        Raises:
            EvaluationError: The user's code failed on it.
        """
        if self._rules is None:
            return self._inputs.evaluation.score(session, progress=progress)
        return race(
            self._inputs.evaluation,
            session,
            self._rules,
            seed=(abs(self._inputs.request.seed), place),
            changes=self._changes,
            times=self._times,
            progress=progress,
        )


def _rules(inputs: Inputs, baseline: Baseline) -> Rules | None:
    request = inputs.request
    if not request.race or inputs.pareto or baseline.samples is None or not len(baseline.samples):
        return None
    target = request.target_drop
    tolerated = target.value * abs(baseline.metric) if target.relative else target.value
    return Rules(baseline.samples, tolerated, inputs.evaluation.higher_is_better, request.alpha)
