"""Evaluations without code: `accuracy:data.npz` and `fidelity:inputs.npz`."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from ..errors import EvaluationError
from .agreement import agreement, predictions
from .base import Feed, Scored
from .feeds import Input, describe, inputs_of_file, problem
from .protocol import Progress, Watch
from .session import explain

_LABELS = ("labels", "label", "y")
_BATCH = 32
_CALIBRATION_SAMPLES, _CALIBRATION_BATCH = 200, 8

# Float outputs kept for `fidelity`; beyond it they are computed anew at every scoring.
_KEPT_BYTES = 1 << 30


class ArrayEvaluation:
    """Samples in an .npz file, scored without the user's code (see protocol.py).

    The file holds one array for each input of the model, with the samples along the first axis, [N, …]. Where an
    array has one dimension more than the model's input, each sample is a whole feed. A fixed batch is respected: the
    last one is filled up with repetitions, whose results do not count.

    `accuracy` compares with an array `labels` (or `label`, `y`), [N] or [N, …]: the argmax over the last axis of the
    first output, or the first output itself where it is integer, must equal it; a sample's score is the fraction that
    does. `fidelity` compares every output with the float model's (agreement.py).
    """

    higher_is_better = True
    score_range = (0.0, 1.0)
    shuffled = False

    def __init__(self, kind: Literal["accuracy", "fidelity"], path: Path, model_path: Path) -> None:
        """Read the file.

        Raises:
            EvaluationError: It cannot be read, or its arrays do not fit the model.
            ModelError: The model cannot be read.
        """
        self.form: Literal["accuracy", "fidelity"] = kind
        self.name = f"{kind}:{path.name}"
        self._inputs = inputs_of_file(model_path)
        arrays = self._read(path)
        names = {item.name for item in self._inputs}
        self._labels = self._find_labels(arrays, names) if kind == "accuracy" else None
        self._arrays = {item.name: self._typed(arrays, item) for item in self._inputs}
        counts = {name: array.shape[0] for name, array in self._arrays.items()}
        if self._labels is not None:
            counts["labels"] = self._labels.shape[0]
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise EvaluationError(f"{self.name}: the arrays differ in their number of samples (first axis): {told}.")
        self.num_samples = next(iter(counts.values()), 0)
        if not self.num_samples:
            raise EvaluationError(f"{self.name} holds no samples.")
        self._single_feeds = any(
            item.shape is not None and self._arrays[item.name].ndim == len(item.shape) + 1 for item in self._inputs
        )
        fixed = [item.shape[0] for item in self._inputs if item.shape and isinstance(item.shape[0], int)]
        self._fixed = max(fixed) if fixed and not self._single_feeds else None
        self._batch = 1 if self._single_feeds else self._fixed or _BATCH
        first, _ = next(self._batches(np.arange(1), self._batch))
        wrong = problem(first, self._inputs)
        if wrong:
            raise EvaluationError(f"{self.name}: {wrong}.\nThe model's inputs: {describe(self._inputs)}.")
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        self.fingerprint = hashlib.sha256(f"{kind}:{content}".encode()).hexdigest()
        self._float: ort.InferenceSession | None = None
        self._references: dict[int, list[np.ndarray]] = {}
        self._kept_bytes = 0

    # --- the file

    def _read(self, path: Path) -> dict[str, np.ndarray]:
        try:
            archive = np.load(path, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise EvaluationError(f"{self.name} is a single array; save the inputs by name with numpy.savez.")
            with archive:
                return {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            raise EvaluationError(f"No such file: {path} (from --eval {self.form}:…).") from None
        except OSError as error:
            raise EvaluationError(f"Cannot read {path}: {error.strerror or error}.") from error
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            clause = "holds no plain arrays" if "allow_pickle" in str(error) else f"cannot be read ({error})"
            raise EvaluationError(f"{path} {clause}; write it with numpy.savez(path, **arrays).") from error

    def _find_labels(self, arrays: dict[str, np.ndarray], inputs: set[str]) -> np.ndarray:
        name = next((name for name in _LABELS if name in arrays and name not in inputs), None)
        if name is None:
            raise EvaluationError(
                f"{self.name} needs an array `labels` beside the inputs, but holds {_names(arrays)}.\n"
                "Without labels, use fidelity: it compares with the float model."
            )
        labels = arrays[name]
        if labels.ndim == 0 or labels.dtype.kind not in "biuf" or (labels != np.trunc(labels)).any():
            raise EvaluationError(
                f"{self.name}: {name} must be class numbers, [N], but is {labels.dtype} {list(labels.shape)}."
            )
        if labels.ndim > 1 and labels.shape[-1] == 1:
            labels = labels[..., 0]
        return labels.astype(np.int64)

    def _typed(self, arrays: dict[str, np.ndarray], item: Input) -> np.ndarray:
        if item.name not in arrays:
            raise EvaluationError(
                f"{self.name} has no array {item.name!r}, only {_names(arrays)}.\n"
                f"The model's inputs: {describe(self._inputs)}."
            )
        array = arrays[item.name]
        if array.ndim == 0:
            raise EvaluationError(f"{self.name}: {item.name!r} must hold samples along its first axis, not a scalar.")
        if array.dtype.name == item.dtype:
            return array
        wanted = np.dtype(item.dtype) if item.dtype != "str" else array.dtype
        # Widening or narrowing within floats or within integers is a matter of storage; pixels as uint8 for a float
        # input are not: they still want the preprocessing that the model expects.
        alike = array.dtype.kind == wanted.kind or {array.dtype.kind, wanted.kind} <= set("iu")
        converted = array.astype(wanted) if alike else array
        if not alike or (wanted.kind in "iu" and (converted != array).any()):
            raise EvaluationError(
                f"{self.name}: {item.name!r} is {array.dtype}, but the model wants {item.dtype}; "
                "store the samples as the model takes them."
            )
        return converted

    # --- feeds

    def _batches(self, indices: np.ndarray, size: int) -> Iterator[tuple[Feed, np.ndarray]]:
        """Feeds of `size` samples (less at the end, unless the batch is fixed) and the samples that count in them."""
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            if self._single_feeds:
                yield {name: array[part[0]] for name, array in self._arrays.items()}, part
                continue
            padded = part
            if self._fixed and len(part) < self._fixed:
                padded = np.concatenate([part, np.repeat(part[-1:], self._fixed - len(part))])
            yield {name: array[padded] for name, array in self._arrays.items()}, part

    def calibration(self) -> Iterator[Feed]:
        """At most 200 of the samples, evenly spread, in small batches."""
        count = min(self.num_samples, _CALIBRATION_SAMPLES)
        indices = np.linspace(0, self.num_samples - 1, count).round().astype(np.int64)
        size = self._fixed or (1 if self._single_feeds else _CALIBRATION_BATCH)
        return (feed for feed, _ in self._batches(indices, size))

    def latency_feed(self) -> Feed:
        """The first sample, at batch 1 where the model allows it."""
        return next(self._batches(np.arange(1), self._fixed or 1))[0]

    # --- scoring

    def prepare(self, float_session: ort.InferenceSession) -> None:
        """Compare with this model from now on. Its outputs are computed when first needed; `accuracy` needs none."""
        if self.form == "fidelity":
            self._float, self._references, self._kept_bytes = float_session, {}, 0

    def score(
        self, session: ort.InferenceSession, *, progress: Progress | None = None, watch: Watch | None = None
    ) -> Scored:
        """Evaluate in full; see Evaluation.score."""
        start = time.perf_counter()
        samples = self._score(session, np.arange(self.num_samples), progress, watch)
        return Scored(float(samples.mean()), samples, time.perf_counter() - start)

    def score_some(self, session: ort.InferenceSession, indices: np.ndarray) -> np.ndarray:
        """Scores of these samples, float64 [len(indices)]."""
        return self._score(session, np.asarray(indices, np.int64))

    def _score(
        self,
        session: ort.InferenceSession,
        indices: np.ndarray,
        progress: Progress | None = None,
        watch: Watch | None = None,
    ) -> np.ndarray:
        scores: list[np.ndarray] = []
        done = 0
        for part, outputs in self._run(session, indices):
            if self._labels is not None:
                scores.append(self._accuracy(outputs[0], self._labels[part]))
            else:
                scores.append(self._fidelity(session, part, outputs))
            done += len(part)
            if progress is not None:
                progress(done, len(indices))
            if watch is not None:
                watch(scores[-1])
        return np.concatenate(scores) if scores else np.empty(0)

    def _accuracy(self, output: np.ndarray, labels: np.ndarray) -> np.ndarray:
        try:
            predicted = predictions(output, labels)
        except ValueError as error:
            raise EvaluationError(f"{self.name}: {error}.\nFor another metric write an eval file.") from None
        right: np.ndarray = (predicted == labels).reshape(len(labels), -1).mean(axis=1)
        return right

    def _fidelity(self, session: ort.InferenceSession, part: np.ndarray, outputs: list[np.ndarray]) -> np.ndarray:
        references = self._reference(session, part, outputs)
        scores = [
            np.mean([agreement(whole, output[position]) for whole, output in zip(reference, outputs, strict=True)])
            for position, reference in enumerate(references)
        ]
        return np.asarray(scores, np.float64)

    def _reference(
        self, session: ort.InferenceSession, part: np.ndarray, outputs: list[np.ndarray]
    ) -> list[list[np.ndarray]]:
        """The float model's outputs of these samples, kept where there is room."""
        if all(int(index) in self._references for index in part):
            return [self._references[int(index)] for index in part]
        if self._float is None:
            raise RuntimeError("prepare(float_session) must come before the first score")
        again = [(part, outputs)]
        if session._sess is not self._float._sess:  # else these are its own: a Recorder shares its session's _sess
            again = list(self._run(self._float, part))
        references = [[output[row] for output in found] for rows, found in again for row in range(len(rows))]
        for index, reference in zip(part, references, strict=True):
            size = sum(output.nbytes for output in reference)
            if int(index) not in self._references and self._kept_bytes + size <= _KEPT_BYTES:
                self._references[int(index)] = [output.copy() for output in reference]
                self._kept_bytes += size
        return references

    def _run(self, session: ort.InferenceSession, indices: np.ndarray) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Samples and their outputs, each with the samples along the first axis."""
        start = 0
        names = [output.name for output in session.get_outputs()][: 1 if self.form == "accuracy" else None]
        while start < len(indices):
            feed, part = next(self._batches(indices[start:], self._batch))
            try:
                outputs = session.run(names, feed)
            except Exception as error:  # ONNX Runtime's errors share no base class
                raise EvaluationError(f"{self.name}: the model fails on these inputs: {explain(error)}") from error
            for name, output in zip(names, outputs, strict=True):
                if not isinstance(output, np.ndarray):
                    raise EvaluationError(f"{self.name}: output {name!r} is no tensor; write an eval file instead.")
            rows = len(next(iter(feed.values())))
            if self._single_feeds:
                outputs = [output[None] for output in outputs]
            elif any(output.shape[:1] != (rows,) for output in outputs):
                if self._fixed is not None and self._fixed > 1:
                    raise EvaluationError(f"{self.name}: the outputs of a batch cannot be told apart by sample.")
                if self._batch > 1:
                    self._batch = 1  # outputs without a batch axis: one sample at a time
                    continue
                outputs = [output[None] for output in outputs]
            yield part, [output[: len(part)] for output in outputs]
            start += len(part)


def _names(arrays: dict[str, np.ndarray]) -> str:
    return ", ".join(arrays) if arrays else "nothing"
