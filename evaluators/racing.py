"""Racing: a candidate that cannot hold the target is not scored to the end.

Scores are paired with the float model's, sample by sample: a *loss* is how much worse the candidate scores. The float
model's scores b_i are known for every sample, so each loss has its own bounds: with scores in [low, high] and higher
better, it lies between b_i − high and b_i − low. What the float model gets right can only be lost, what it gets wrong
can only be gained. A race is lost when the losses rule out, at confidence 1 − α and whenever one looks, that the mean
loss over the whole finite set is within the target (bounds.py), or when even the best remaining scores could not make
up for them.

The order is random, but not uniform: samples on which there is something to gain come early, because what they could
still bring is what a doomed candidate lives on, and so do samples whose score earlier candidates of the study changed,
because models quantized otherwise mostly fail on the same ones. Both are weights of a weighted draw without
replacement, fixed before the first score is seen, for which the bound is exact; a hardest-first order that is not drawn
would leave certainty alone. On the public tasks (benchmarks/racing.py) uniform order takes about twice the samples.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from .base import Scored
from .bounds import Evidence, Order, draw, given, lower_bound
from .protocol import Evaluation, Progress

# Chunks: at least so many samples, then a third of what was seen, in whole batches of the usual size.
_LEAST, _GROWTH, _BATCH = 32, 3, 16

_SLACK = 1e-9

# Weights. They decide how soon a race ends, not whether its verdict holds: tried on the public tasks, where half or
# twice of any of them changes the samples seen by a few per cent.
_LITTLE = 0.01  # of the range: what gains less counts as gaining nothing
_MOST = 30.0  # how much earlier than others the gainful may come, where they are few
_UNSEEN = 0.3  # earlier races that the usual change of a sample counts for
_RARE = 0.005  # of the range: the least usual change
_POWER = 0.75
_LIGHTEST = 0.1


@dataclass(frozen=True)
class Rules:
    """What a race is about.

    Attributes:
        baseline: The float model's scores of all samples, float64 [N].
        tolerated: The mean loss that is still within the target, in the metric's unit.
        higher_is_better: Direction of the scores.
        alpha: Chance to stop a candidate that holds the target.
    """

    baseline: np.ndarray
    tolerated: float
    higher_is_better: bool
    alpha: float

    def losses(self, scores: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """How much worse these scores are than the float model's of the same samples."""
        worse: np.ndarray = self.baseline[indices] - scores
        return worse if self.higher_is_better else -worse

    def bounds(self, score_range: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest loss of every sample, float64 [N] each."""
        low, high = score_range
        best, worst = (high, low) if self.higher_is_better else (low, high)
        everything = np.arange(len(self.baseline))
        return (
            np.minimum(self.losses(np.full(len(everything), best), everything), 0.0),
            self.losses(np.full(len(everything), worst), everything),
        )


@dataclass(frozen=True)
class Stopped:
    """A candidate that cannot hold the target.

    Attributes:
        samples: Its scores, float64 [N], NaN where a sample was not scored.
        seen: Number of samples scored.
        bound: Lower bound of the mean loss over all samples at 1 − α; above the tolerated one.
        estimate: Estimate of that mean loss, unbiased but for the stopping; at least `bound`.
        seconds: Wall time of the scoring.
    """

    samples: np.ndarray
    seen: int
    bound: float
    estimate: float
    seconds: float


class Race:
    """One candidate's race, fed chunk by chunk.

    Args:
        rules: What it is about.
        lows: The least loss of every sample.
        highs: The greatest.
        order: How the samples are drawn.
    """

    def __init__(self, rules: Rules, lows: np.ndarray, highs: np.ndarray, order: Order) -> None:
        self._rules = rules
        self._order = order
        self._highs = highs
        count = len(rules.baseline)
        # Rounding must never turn a drop of exactly the target into more than it.
        slack = _SLACK * max(1e-3, float((highs - lows).max()), abs(float(rules.baseline.mean())))
        self._total = count * (rules.tolerated + slack)
        self._evidence = Evidence(order, self._total)
        self._losses: list[np.ndarray] = []
        self._scores = np.full(count, np.nan)
        self.lost = False
        """Whether the candidate cannot hold the target."""

    @property
    def seen(self) -> int:
        """Samples scored so far."""
        return self._evidence.seen

    def next(self) -> np.ndarray:
        """Indices of the next chunk, a third of what was seen: what is scored too much stays below that."""
        size = max(_LEAST, self.seen // _GROWTH // _BATCH * _BATCH)
        return self._order.indices[self.seen : self.seen + size]

    def add(self, scores: np.ndarray) -> bool:
        """Take in the scores of the next samples, in the order's order; whether the race is lost."""
        indices = self._order.indices[self.seen : self.seen + len(scores)]
        self._scores[indices] = scores
        losses = self._rules.losses(scores, indices)
        self._losses.append(losses)
        path = self._evidence.add(losses)
        self.lost = self.lost or bool((path >= -np.log(self._rules.alpha)).any())
        return self.lost

    def stopped(self, seconds: float) -> Stopped:
        """What is known of the loser."""
        losses, count = np.concatenate(self._losses), len(self._scores)
        unseen = self._order.indices[self.seen :]
        most = float(losses.sum() + self._highs[unseen].sum())
        bound = lower_bound(self._order, losses, self._rules.alpha, self._total, most) / count
        # Every draw estimates the total without bias: the sum before it and the loss over its probability.
        totals = np.cumsum(losses) - losses + losses * self._order.inverse[: self.seen]
        estimate = float(np.clip(totals.mean(), bound * count, max(most, bound * count))) / count
        return Stopped(self._scores, self.seen, bound, estimate, seconds)


def weights(
    lows: np.ndarray, highs: np.ndarray, changes: np.ndarray | None = None, times: np.ndarray | None = None
) -> np.ndarray:
    """How early each sample is wanted, float64 [N], all above 0.

    Args:
        lows: The least loss of every sample: minus what could be gained on it.
        highs: The greatest.
        changes: Summed |loss| of every sample in earlier races, float64 [N]; None before the first.
        times: In how many races it was seen, [N].
    """
    width = float((highs - lows).max())
    gains = -lows / width
    most = float(gains.max())
    gainful = gains > max(0.5 * most, _LITTLE)
    wanted = np.ones(len(lows))
    for group in (gainful, ~gainful):
        if not group.any():
            continue
        if changes is not None and times is not None:
            usual = max(_RARE * width, float(changes[group].sum() / max(1.0, times[group].sum())))
            wanted[group] = ((changes[group] + _UNSEEN * usual) / (times[group] + _UNSEEN)) ** _POWER
        wanted[group] = np.maximum(wanted[group] / wanted[group].mean(), _LIGHTEST)
    if gainful.any():
        # The gainful together then weigh as much as the others. A light one among them would cap every bet.
        share = gains / most
        share *= np.clip((~gainful).sum() / share.sum(), 1.0, _MOST)
        wanted = np.where(gainful, np.maximum(wanted, 0.5) * share, np.maximum(wanted, share))
    return wanted


def race(
    evaluation: Evaluation,
    session: ort.InferenceSession,
    rules: Rules,
    *,
    seed: tuple[int, ...],
    changes: np.ndarray | None = None,
    times: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Scored | Stopped:
    """Score a candidate, in full or until it cannot hold the target.

    With random access the samples are drawn anew for every candidate. Otherwise they come as they come: where the file
    says `shuffled` that counts as one random order (the same for all candidates, so that α holds for each that was
    chosen without regard to it), else only certainty stops a candidate. Scores without known bounds are not raced.

    Args:
        evaluation: The user's metric.
        session: The candidate.
        rules: What the race is about.
        seed: What the draw follows from.
        changes: As of `weights`.
        times: As of `weights`.
        progress: Told the samples scored.
    """
    if evaluation.form == "generator":
        return _stream(evaluation, session, rules, progress)
    bounds, count = evaluation.score_range, len(rules.baseline)
    if bounds is None or evaluation.num_samples != count or evaluation.form == "function":
        return evaluation.score(session, progress=progress)
    began = time.perf_counter()
    lows, highs = rules.bounds(bounds)
    order = draw(lows, weights(lows, highs, changes, times), np.random.default_rng(seed))
    contest = Race(rules, lows, highs, order)
    while contest.seen < count:
        chunk = contest.next()
        inside = np.argsort(chunk)  # the user's code may read its samples from a file, in its order
        some = evaluation.score_some(session, chunk[inside])
        assert some is not None
        scores = np.empty(len(chunk))
        scores[inside] = some
        contest.add(scores)
        if progress is not None:
            progress(contest.seen, count)
        if contest.lost and contest.seen < count:
            return contest.stopped(time.perf_counter() - began)
    samples = contest.stopped(0.0).samples
    return Scored(float(samples.mean()), samples, time.perf_counter() - began)


class _Lost(Exception):  # noqa: N818 - no error: the candidate has lost
    """Ends a stream of scores whose candidate cannot hold the target."""


def _stream(
    evaluation: Evaluation, session: ort.InferenceSession, rules: Rules, progress: Progress | None
) -> Scored | Stopped:
    began = time.perf_counter()
    count = len(rules.baseline)
    contest: Race | None = None
    done = 0

    def watch(scores: np.ndarray) -> None:
        nonlocal contest, done
        # Boolean scores have bounds from the first of them on.
        if done == 0 and evaluation.score_range is not None:
            lows, highs = rules.bounds(evaluation.score_range)
            contest = Race(rules, lows, highs, given(lows, random=evaluation.shuffled))
        done += len(scores)
        # More scores than the float model had is an error, which the evaluation itself reports.
        if contest is not None and done < count and contest.add(scores):
            raise _Lost

    try:
        return evaluation.score(session, progress=progress, watch=watch)
    except _Lost:
        assert contest is not None
        return contest.stopped(time.perf_counter() - began)
