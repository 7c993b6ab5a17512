"""Hold-out: samples kept away from a search for one last confirmation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnxruntime as ort

from ..errors import EvaluationError
from .base import Feed, Scored
from .protocol import Evaluation, Form, Progress, Watch
from .scores import chunks

_STREAM = 0x686F6C64  # apart from whatever else is seeded with the user's number


@dataclass(frozen=True, slots=True)
class Holdout:
    """Which samples are kept: a seeded random part, the same at every call.

    Attributes:
        fraction: Of all samples, above 0 and below 1.
    """

    fraction: float
    seed: int = 0

    def split(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(samples to search on, samples held out): int64, ascending, both of at least one sample.

        Raises:
            EvaluationError: Fewer than two samples.
        """
        if count < 2:
            raise EvaluationError(f"--holdout {self} needs at least 2 samples, but the evaluation has {count}.")
        held = min(max(1, round(self.fraction * count)), count - 1)
        order = np.random.default_rng([abs(self.seed), _STREAM]).permutation(count)
        return np.sort(order[held:]), np.sort(order[:held])

    @property
    def kept(self) -> str:
        """What the search sees, in words: scores over different samples are not comparable."""
        return f"{100 * (1.0 - self.fraction):g} %, seed {self.seed}"

    def __str__(self) -> str:
        return f"{100 * self.fraction:g}%"


class Part:
    """One side of a hold-out, as an evaluation of its own (see protocol.py).

    With random access only its samples are scored, and they are counted from 0. A generator yields all samples; those
    of the other side are dropped. Calibration inputs are the whole's: they carry no labels, and the ranges of a model
    do not depend on what is held out.
    """

    def __init__(self, whole: Evaluation, holdout: Holdout, side: Literal["search", "held"]) -> None:
        """Take a side of `whole`.

        Raises:
            EvaluationError: The metric is one number, or there are fewer than two samples.
        """
        if whole.form == "function":
            raise EvaluationError(
                f"--holdout {holdout} needs scores of single samples, but {whole.name} returns one number.\n"
                "Yield per-sample scores, or define num_samples and score(session, indices)."
            )
        self._whole = whole
        self._holdout = holdout
        self._side = 0 if side == "search" else 1
        self._found: tuple[int, np.ndarray] | None = None
        if whole.num_samples is not None:
            holdout.split(whole.num_samples)

    @property
    def name(self) -> str:
        """The whole's."""
        return self._whole.name

    @property
    def form(self) -> Form:
        """The whole's."""
        return self._whole.form

    @property
    def higher_is_better(self) -> bool:
        """The whole's."""
        return self._whole.higher_is_better

    @property
    def score_range(self) -> tuple[float, float] | None:
        """The whole's."""
        return self._whole.score_range

    @property
    def fingerprint(self) -> str:
        """The whole's: the same file, whatever is held out of it."""
        return self._whole.fingerprint

    @property
    def shuffled(self) -> bool:
        """The whole's: a random part of what comes in random order does so too."""
        return self._whole.shuffled

    @property
    def num_samples(self) -> int | None:
        """Samples on this side; None before a generator's first call."""
        count = self._whole.num_samples
        return None if count is None else len(self.indices(count))

    @property
    def apart(self) -> str:
        """What the search sees of the whole, in words."""
        return self._holdout.kept

    @property
    def tag(self) -> str:
        """The same for a file's name."""
        return f"without-{100 * self._holdout.fraction:g}-{self._holdout.seed}"

    @property
    def fraction(self) -> float:
        """The part that is held out."""
        return self._holdout.fraction

    @property
    def held(self) -> str:
        """The same in words."""
        return str(self._holdout)

    @property
    def random_access(self) -> bool:
        """Whether single samples can be scored."""
        return self._whole.form != "generator"

    def indices(self, count: int) -> np.ndarray:
        """This side of `count` samples, ascending."""
        if self._found is None or self._found[0] != count:
            self._found = count, self._holdout.split(count)[self._side]
        return self._found[1]

    def prepare(self, float_session: ort.InferenceSession) -> None:
        """As the whole."""
        self._whole.prepare(float_session)

    def score(
        self, session: ort.InferenceSession, *, progress: Progress | None = None, watch: Watch | None = None
    ) -> Scored:
        """Evaluate this side in full; see Evaluation.score."""
        began = time.perf_counter()
        if not self.random_access:
            everything = self._whole.score(session, progress=progress, watch=self._watched(watch)).samples
            assert everything is not None
            samples = everything[self.indices(len(everything))]
            return Scored(float(samples.mean()), samples, time.perf_counter() - began)
        count = self._whole.num_samples
        assert count is not None
        wanted, parts, done = self.indices(count), [], 0
        for some in chunks(wanted):
            scores = self._whole.score_some(session, some)
            assert scores is not None
            parts.append(scores)
            done += len(some)
            if progress is not None:
                progress(done, len(wanted))
            if watch is not None:
                watch(scores)
        samples = np.concatenate(parts)
        return Scored(float(samples.mean()), samples, time.perf_counter() - began)

    def _watched(self, watch: Watch | None) -> Watch | None:
        """What watches the whole's scores for whoever watches this side's; nobody before the count is known."""
        count = self._whole.num_samples
        if watch is None or count is None:
            return None
        mine = np.zeros(count, bool)
        mine[self.indices(count)] = True
        done = 0

        def watched(scores: np.ndarray) -> None:
            nonlocal done
            inside = mine[done : done + len(scores)]
            done += len(scores)
            if inside.any():
                watch(scores[: len(inside)][inside])

        return watched

    def score_some(self, session: ort.InferenceSession, indices: np.ndarray) -> np.ndarray | None:
        """Scores of these samples, counted within this side; None where the form has no random access."""
        count = self._whole.num_samples
        if not self.random_access or count is None:
            return None
        return self._whole.score_some(session, self.indices(count)[np.asarray(indices, np.int64)])

    def calibration(self) -> Iterator[Feed] | None:
        """The whole's."""
        return self._whole.calibration()

    def latency_feed(self) -> Feed | None:
        """The whole's."""
        return self._whole.latency_feed()
