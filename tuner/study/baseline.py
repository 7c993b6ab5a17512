"""The float model's own score: measured once, checked again on resume."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from ...errors import ChangedInputsError, EvaluationError
from ...evaluators.recording import Recorder
from ..calibration.identity import Met
from .inputs import Inputs

_RECHECKED = 16


@dataclass(frozen=True)
class Baseline:
    """The untouched file, scored in full.

    Attributes:
        metric: The user's number.
        samples: Per-sample scores, float64 [n]; None for eval form 1.
        seconds: Wall time of its evaluation.
        session: A live session of the file on the search's device.
        recorder: A reservoir of the evaluation's own feeds, where the baseline was scored by this run and calibration
            is still to come; else None.
        seen: The samples it was fed then; else None.
    """

    metric: float
    samples: np.ndarray | None
    seconds: float
    session: ort.InferenceSession
    recorder: Recorder | None
    seen: Met | None = None


def measure(inputs: Inputs, progress: Callable[[int, int | None], None], *, record: int) -> Baseline:
    """Score the file as given.

    Args:
        progress: Called with (samples done, samples in all or None).
        record: Samples of the evaluation to keep a reservoir of, for calibration; 0 for none.

    Raises:
        EvaluationError: The user's code failed, or its metric cannot be a baseline.
    """
    session = inputs.bench.open_file(inputs.model.path)
    inputs.evaluation.prepare(session)
    wanted = inputs.model.inputs
    seen = Met(wanted) if record else None
    recorder = Recorder(session, record, inputs.request.seed, seen.add, wanted) if seen is not None else None
    scored = inputs.evaluation.score(recorder or session, progress=progress)
    target = inputs.request.target_drop
    if target.relative and scored.metric == 0:
        raise EvaluationError(
            f"the float model's metric is 0, so a relative target of {target} means nothing.\n"
            "Give an absolute one (--target-drop 0.01), or check the evaluation."
        )
    return Baseline(scored.metric, scored.samples, scored.seconds, session, recorder, seen)


def recheck(inputs: Inputs, metric: float, samples: np.ndarray | None, seconds: float) -> Baseline:
    """The baseline of the study, a few of its samples scored again: a file's hash does not see changed data.

    Raises:
        ChangedInputsError: They score otherwise than in the study.
    """
    session = inputs.bench.open_file(inputs.model.path)
    inputs.evaluation.prepare(session)
    if samples is not None and len(samples):
        indices = np.unique(np.linspace(0, len(samples) - 1, _RECHECKED).astype(np.int64))
        again = inputs.evaluation.score_some(session, indices)
        differ = 0 if again is None else int(np.sum(~np.isclose(again, samples[indices], rtol=1e-3, atol=1e-6)))
        # One may: code that pads by batch computes a sample a little otherwise beside other neighbours.
        if differ > 1:
            raise ChangedInputsError(
                f"the evaluation data changed: {differ} of {len(indices)} baseline samples scored again differ from "
                "the study's.\nStart anew with --fresh, or restore the data."
            )
    return Baseline(metric, samples, seconds, session, None)


def save_samples(path: Path, samples: np.ndarray) -> None:
    """Keep per-sample scores beside the study (pickle-free .npy), whole or not at all."""
    buffer = io.BytesIO()
    np.save(buffer, samples, allow_pickle=False)
    partial = path.with_suffix(".partial")
    partial.write_bytes(buffer.getvalue())
    partial.replace(path)


def load_samples(path: Path) -> np.ndarray | None:
    """What `save_samples` kept, None where it is missing or unreadable."""
    try:
        samples: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return samples
