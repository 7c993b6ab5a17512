"""An eval file (or function, or object) in one of its three forms."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ..errors import CalibrationError, EvaluationError
from .base import Feed, Scored
from .feeds import Input, describe, inputs_of, inputs_of_file, problem, single
from .protocol import Form, Progress, Watch
from .scores import as_metric, as_scores, chunks
from .usercode import UserCode

_FORMS = "It needs evaluate(session), or num_samples with score(session, indices); `autoquant init` writes a skeleton."
_END = object()


class UserEvaluation:
    """The user's code as an Evaluation (see protocol.py)."""

    def __init__(
        self, source: Any, code: UserCode, fingerprint: str, model_path: Path, *, function: str = "evaluate"
    ) -> None:
        """Read the declarations of `source`; `function` is what messages call its `evaluate`.

        Raises:
            EvaluationError: None of the three forms, or a declaration with an impossible value.
        """
        self.name = code.name
        self.fingerprint = fingerprint
        self._source = source
        self._code = code
        self._model_path = model_path
        self._inputs: tuple[Input, ...] | None = None
        self._function = f"{function}()"
        self._evaluate = self._callable("evaluate", 1)
        self._score = self._callable("score", 2)
        self.num_samples = self._num_samples()
        self.form = self._form()
        self.higher_is_better = self._flag("higher_is_better", True)
        self.shuffled = self._flag("shuffled", False)
        self.score_range = self._range()

    # --- declarations

    def _callable(self, name: str, arguments: int) -> Callable[..., Any] | None:
        found = getattr(self._source, name, None)
        if found is None:
            return None
        if not callable(found):
            raise EvaluationError(f"{self.name}: {name} must be a function, but is {_kind(found)}.")
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):  # some builtins have none
            return found  # type: ignore[no-any-return]
        try:
            signature.bind(*[None] * arguments)
        except TypeError:
            wanted = "(session)" if arguments == 1 else "(session, indices)"
            raise EvaluationError(
                f"{self.name}: {name} is called as {name}{wanted}, but is defined as {name}{signature}."
            ) from None
        return found  # type: ignore[no-any-return]

    def _num_samples(self) -> int | None:
        value = getattr(self._source, "num_samples", None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise EvaluationError(f"{self.name}: num_samples must be a whole number, but is {_kind(value)}.")
        if value < 1:
            raise EvaluationError(f"{self.name}: num_samples must be at least 1, but is {value}.")
        return int(value)

    def _form(self) -> Form:
        if self._score is not None and self.num_samples is not None:
            return "random_access"
        if self._evaluate is not None:
            self.num_samples = None  # known only where score() goes with it
            return "generator" if inspect.isgeneratorfunction(self._evaluate) else "function"
        if self._score is not None:
            raise EvaluationError(f"{self.name} defines score(session, indices), but not num_samples.")
        if self.num_samples is not None:
            raise EvaluationError(f"{self.name} defines num_samples, but not score(session, indices).")
        raise EvaluationError(f"{self.name} has none of the three forms of an eval file.\n{_FORMS}")

    def _flag(self, name: str, default: bool) -> bool:
        value = getattr(self._source, name, default)
        if not isinstance(value, bool | np.bool_):
            raise EvaluationError(f"{self.name}: {name} must be True or False, but is {_kind(value)}.")
        return bool(value)

    def _range(self) -> tuple[float, float] | None:
        value = getattr(self._source, "score_range", None)
        if value is None:
            return None
        try:
            low, high = (float(bound) for bound in value)
        except (TypeError, ValueError):
            low = high = math.nan
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise EvaluationError(f"{self.name}: score_range must be (low, high) with low < high, but is {value!r}.")
        return low, high

    # --- scoring

    def prepare(self, float_session: ort.InferenceSession) -> None:
        """Nothing to see: the user's code compares with its own labels."""

    def score(
        self, session: ort.InferenceSession, *, progress: Progress | None = None, watch: Watch | None = None
    ) -> Scored:
        """Evaluate in full; see Evaluation.score."""
        start = time.perf_counter()
        if self.form == "random_access":
            parts = self._by_index(session, progress, watch)
        else:
            parts_or_metric = self._by_call(session, progress, watch)
            if isinstance(parts_or_metric, float):
                return Scored(parts_or_metric, None, time.perf_counter() - start)
            parts = parts_or_metric
        seconds = time.perf_counter() - start
        samples = np.concatenate(parts) if parts else np.empty(0)
        if not samples.size:
            raise EvaluationError(f"{self.name}: {self._function} yielded no scores; its metric is their mean.")
        if self.num_samples is not None and samples.size != self.num_samples:
            raise EvaluationError(
                f"{self.name}: {self._function} yielded {samples.size} scores, but {self.num_samples} the first time.\n"
                "Scores are compared sample by sample: yield the same samples at every call."
            )
        self.num_samples = samples.size
        return Scored(float(samples.mean()), samples, seconds)

    def score_some(self, session: ort.InferenceSession, indices: np.ndarray) -> np.ndarray | None:
        """Scores of these samples; None unless the file has form 3."""
        return self._call_score(session, np.asarray(indices, np.int64)) if self.form == "random_access" else None

    def _by_index(
        self, session: ort.InferenceSession, progress: Progress | None, watch: Watch | None
    ) -> list[np.ndarray]:
        total = self.num_samples
        assert total is not None
        parts = []
        for indices in chunks(np.arange(total)):
            parts.append(self._call_score(session, indices))
            if progress is not None:
                progress(int(indices[-1]) + 1, total)
            if watch is not None:
                watch(parts[-1])
        return parts

    def _call_score(self, session: ort.InferenceSession, indices: np.ndarray) -> np.ndarray:
        assert self._score is not None
        with self._code.running("score()", describe(inputs_of(session))):
            value = self._score(session, indices)
            if isinstance(value, Iterator):  # score() written as a generator
                value = list(value)
        scores = self._checked(value, "score() returned")
        if scores.size != indices.size:
            raise EvaluationError(
                f"{self.name}: score() returned {scores.size} scores for {indices.size} indices; return one for each."
            )
        return scores

    def _by_call(
        self, session: ort.InferenceSession, progress: Progress | None, watch: Watch | None
    ) -> list[np.ndarray] | float:
        assert self._evaluate is not None
        inputs = describe(inputs_of(session))
        with self._code.running(self._function, inputs):
            value = self._evaluate(session)
        if not isinstance(value, Iterator):
            try:
                return as_metric(value)
            except ValueError as error:
                raise EvaluationError(
                    f"{self.name}: {self._function} {error}.\n"
                    "It must return the metric as one finite number, or yield per-sample scores."
                ) from None
        self.form = "generator"
        parts: list[np.ndarray] = []
        done = 0
        try:
            while True:
                with self._code.running(self._function, inputs):
                    item = next(value, _END)
                if item is _END:
                    return parts
                parts.append(self._checked(item, f"{self._function} yielded"))
                done += parts[-1].size
                if progress is not None:
                    progress(done, self.num_samples)
                if watch is not None:
                    watch(parts[-1])
        finally:
            close = getattr(value, "close", None)
            if close is not None:
                with self._code.running(self._function, inputs):
                    close()

    def _checked(self, value: Any, said: str) -> np.ndarray:
        """Scores as float64 [n], inside the declared range."""
        try:
            scores, boolean = as_scores(value)
        except ValueError as error:
            raise EvaluationError(
                f"{self.name}: {said} {error}.\nScores are finite numbers, one for each sample, in one dimension."
            ) from None
        if boolean and self.score_range is None:
            self.score_range = (0.0, 1.0)
        if self.score_range is not None and scores.size:
            low, high = self.score_range
            worst = scores[np.argmax(np.maximum(low - scores, scores - high))]
            if not low <= worst <= high:
                raise EvaluationError(
                    f"{self.name}: {said} the score {worst:g}, outside score_range ({low:g}, {high:g})."
                )
        return scores

    # --- inputs

    def calibration(self) -> Iterator[Feed] | None:
        """Feeds from the function of that name in the file; None where it has none."""
        found = getattr(self._source, "calibration", None)
        return None if found is None else self._calibration(found)

    def _calibration(self, found: Any) -> Iterator[Feed]:
        with self._code.running("calibration()"):
            given = found() if callable(found) else found
        if isinstance(given, Mapping):
            given = [given]
        if not isinstance(given, Iterable):
            raise EvaluationError(
                f"{self.name}: calibration() must yield {{input name: array}}, but returned {_kind(given)}."
            )
        iterator = iter(given)
        count = 0
        while True:
            with self._code.running("calibration()"):
                item = next(iterator, _END)
            if item is _END:
                break
            count += 1
            yield self._feed(item, "calibration() must yield")
        if not count:
            raise CalibrationError(
                f"{self.name}: calibration() yielded nothing; yield 100 to 200 representative samples, "
                "or remove it to calibrate on the evaluation's own inputs."
            )

    def latency_feed(self) -> Feed | None:
        """What latency_inputs() returns, else the first calibration feed at batch 1, else None."""
        found = getattr(self._source, "latency_inputs", None)
        if found is not None:
            with self._code.running("latency_inputs()"):
                given = found() if callable(found) else found
                if isinstance(given, Iterator):
                    given = next(given, None)
            feed = self._feed(given, "latency_inputs() must return")
            wrong = problem(feed, self._model_inputs())
            if wrong:
                raise EvaluationError(
                    f"{self.name}: latency_inputs(): {wrong}.\nThe model's inputs: {describe(self._model_inputs())}."
                )
            return feed
        feeds = self.calibration()
        if feeds is None:
            return None
        return single(next(feeds), self._model_inputs())

    def _feed(self, item: Any, rule: str) -> Feed:
        if not isinstance(item, Mapping) or not item:
            raise EvaluationError(f"{self.name}: {rule} {{input name: array}}, but got {_kind(item)}.")
        feed = {}
        for name, value in item.items():
            array = np.asarray(value)
            if not isinstance(name, str) or (array.dtype.kind == "O" and not isinstance(value, np.ndarray)):
                raise EvaluationError(f"{self.name}: {rule} {{input name: array}}, but {name!r} is {_kind(value)}.")
            feed[name] = array
        return feed

    def _model_inputs(self) -> tuple[Input, ...]:
        if self._inputs is None:
            self._inputs = inputs_of_file(self._model_path)
        return self._inputs


def _kind(value: Any) -> str:
    """For a message: `None`, or the type with a short value."""
    if value is None:
        return "None"
    text = repr(value)
    return type(value).__name__ if len(text) > 60 or "\n" in text else f"{type(value).__name__} {text}"
