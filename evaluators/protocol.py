"""What every way of evaluating a model offers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import numpy as np
import onnxruntime as ort

from .base import Feed, Scored

Form = Literal["function", "generator", "random_access", "accuracy", "fidelity"]
Progress = Callable[[int, int | None], None]
"""Called with the samples scored so far and their total, None where that is unknown."""
Watch = Callable[[np.ndarray], None]
"""Called with the scores of the next samples, in their order, float64 [n]. What it raises ends the evaluation."""


class Evaluation(Protocol):
    """The user's metric, however it is written."""

    @property
    def name(self) -> str:
        """What messages call it: the file's name, or the function's."""
        ...

    @property
    def form(self) -> Form:
        """How it is written. A `function` whose first call returns an iterator becomes a `generator`."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Direction of the metric."""
        ...

    @property
    def score_range(self) -> tuple[float, float] | None:
        """Bounds of a sample's score, None where unknown. Boolean scores make it (0, 1) when they are first met."""
        ...

    @property
    def fingerprint(self) -> str:
        """The sha256 (hex) of the file's content; of the source where there is no file."""
        ...

    @property
    def num_samples(self) -> int | None:
        """Samples of a full evaluation; None where unknown (before a generator's first call, always for a function)."""
        ...

    @property
    def shuffled(self) -> bool:
        """Whether the file says that a generator's samples come in random order."""
        ...

    def prepare(self, float_session: ort.InferenceSession) -> None:
        """See the float model, before anything is scored. Only `fidelity` needs it."""
        ...

    def score(
        self, session: ort.InferenceSession, *, progress: Progress | None = None, watch: Watch | None = None
    ) -> Scored:
        """Evaluate in full.

        Raises:
            EvaluationError: The user's code failed, or what it returned is no metric.
        """
        ...

    def score_some(self, session: ort.InferenceSession, indices: np.ndarray) -> np.ndarray | None:
        """Scores of these samples alone, float64 [len(indices)]; None where the form has no random access."""
        ...

    def calibration(self) -> Iterator[Feed] | None:
        """Representative inputs, a fresh iterator each time; None where the file has none."""
        ...

    def latency_feed(self) -> Feed | None:
        """The feed to time; None where neither the file nor its calibration gives one."""
        ...
