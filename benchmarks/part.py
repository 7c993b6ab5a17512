"""What a benchmark compares models with the float one on: samples of the evaluation to score, a few to probe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime as ort
from autoquant.evaluators.base import Feed
from autoquant.evaluators.distance import distance, outputs
from autoquant.evaluators.evaluation import Evaluation, load_evaluation
from autoquant.evaluators.feeds import inputs_of_file
from autoquant.evaluators.session import open_session
from autoquant.tuner.study import feeds as kept


class Part:
    """A part of a task; what the float model makes of it is computed when first asked for.

    Attributes:
        evaluation: The task's.
        session: The float model's.
        indices: The samples that are scored, int64 [n].
        probes: The samples that are probed, the first `PROBE_SAMPLES` of them for the distance.
    """

    def __init__(
        self, evaluation: Evaluation, session: ort.InferenceSession, indices: np.ndarray, probes: Sequence[Feed]
    ) -> None:
        self.evaluation = evaluation
        self.session = session
        self.indices = indices
        self.probes = probes

    @cached_property
    def baseline(self) -> np.ndarray:
        """The float model's scores, float64 [n]."""
        return self.scores(self.session)

    @cached_property
    def reference(self) -> list[list[np.ndarray]]:
        """The float model's outputs of the samples that distances are measured on."""
        return outputs(self.session, self.probes[: kept.PROBE_SAMPLES])

    def scores(self, session: ort.InferenceSession) -> np.ndarray:
        """A model's scores, float64 [n]."""
        scores = self.evaluation.score_some(session, self.indices)
        assert scores is not None
        return scores

    def drop(self, session: ort.InferenceSession) -> float:
        """How much worse a model scores, absolute."""
        return float(np.mean(self.baseline - self.scores(session)))

    def distance(self, session: ort.InferenceSession) -> float:
        """How far a model's outputs lie from the float model's."""
        return distance(self.reference, outputs(session, self.probes[: kept.PROBE_SAMPLES]))


def evaluation_of(folder: Path) -> Evaluation:
    """A task's evaluation."""
    return load_evaluation(str(folder / "eval.py"), model_path=folder / "model.onnx")


def opened(folder: Path, samples: int, threads: int) -> tuple[Part, list[Feed]]:
    """A part of a task, and its calibration samples.

    Args:
        folder: The task's.
        samples: How many to score, drawn at random; 0 for all. The probes are those that a study would choose.
        threads: Of the float model's session.
    """
    path, evaluation = folder / "model.onnx", evaluation_of(folder)
    given, total = evaluation.calibration(), evaluation.num_samples
    assert given is not None
    assert total is not None
    sampler = kept.Sampler(inputs_of_file(path), 0)
    feeds = list(sampler.watch(given))
    session = open_session(path, threads=threads)
    indices = np.sort(np.random.default_rng(0).permutation(total)[: min(samples or total, total)])
    return Part(evaluation, session, indices, kept.telling(sampler.kept, session)), feeds
