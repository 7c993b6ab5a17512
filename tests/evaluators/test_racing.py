"""Races over evaluations of all forms, scored by a session that is none: the scores are made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from autoquant.errors import EvaluationError
from autoquant.evaluators.base import Scored
from autoquant.evaluators.bounds import draw
from autoquant.evaluators.evaluation import Evaluation, load_evaluation
from autoquant.evaluators.holdout import Holdout, Part
from autoquant.evaluators.racing import Race, Rules, Stopped, race, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import zoo


class Session:
    """Stands for a model: its scores, and which of them were asked for."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores
        self.calls: list[np.ndarray] = []

    def get_inputs(self) -> list[Any]:
        return []


class ByIndex:
    """Form 3."""

    def __init__(self, count: int, **declared: Any) -> None:
        self.num_samples = count
        self.__dict__.update(declared)

    def score(self, session: Session, indices: np.ndarray) -> np.ndarray:
        session.calls.append(indices)
        return session.scores[indices]


class Stream:
    """Form 2."""

    def __init__(self, step: int = 10, **declared: Any) -> None:
        self.step = step
        self.__dict__.update(declared)

    def evaluate(self, session: Session):
        for start in range(0, len(session.scores), self.step):
            session.calls.append(np.arange(start, min(start + self.step, len(session.scores))))
            yield session.scores[session.calls[-1]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zoo.save(zoo.conv_net(), tmp_path_factory.mktemp("model") / "model.onnx")


RIGHT = np.arange(600) % 10 != 0
"""What the float model gets right: 540 of 600."""


def spoilt(lost: int, gained: int = 0, seed: int = 0) -> np.ndarray:
    """The float model's scores with so many lost and gained."""
    rng = np.random.default_rng(seed)
    scores = RIGHT.copy()
    scores[rng.choice(np.flatnonzero(RIGHT), lost, replace=False)] = False
    scores[rng.choice(np.flatnonzero(~RIGHT), gained, replace=False)] = True
    return scores


def run(evaluation: Evaluation, scores: np.ndarray, drop: float = 0.01, **options: Any) -> tuple[Any, Session]:
    """Race these scores against the float model's."""
    baseline = evaluation.score(Session(RIGHT))  # type: ignore[arg-type]
    assert baseline.samples is not None
    rules = Rules(baseline.samples, drop * baseline.metric, evaluation.higher_is_better, 0.01)
    session = Session(scores)
    return race(evaluation, session, rules, **({"seed": (0, 1)} | options)), session  # type: ignore[arg-type]


def test_a_hopeless_candidate_is_stopped_early(model: Path) -> None:
    evaluation = load_evaluation(ByIndex(600), model_path=model)
    stopped, session = run(evaluation, spoilt(120))
    assert isinstance(stopped, Stopped)
    assert stopped.seen == sum(map(len, session.calls)) < 150
    assert np.isfinite(stopped.samples).sum() == stopped.seen
    assert 0.01 * 0.9 < stopped.bound <= 120 / 600
    assert stopped.bound <= stopped.estimate == pytest.approx(120 / 600, abs=0.1)
    asked = np.concatenate(session.calls)
    assert len(set(asked.tolist())) == len(asked)
    assert all((np.diff(call) > 0).all() for call in session.calls)


@pytest.mark.parametrize("scores", [RIGHT, spoilt(5), spoilt(25, 20), ~RIGHT | RIGHT])
def test_a_candidate_that_holds_is_scored_in_full_in_the_order_of_the_data(model: Path, scores: np.ndarray) -> None:
    """5 of 540 lost is within 1 %, and so is 25 lost and 20 gained."""
    told: list[tuple[int, int | None]] = []
    evaluation = load_evaluation(ByIndex(600), model_path=model)
    scored, session = run(evaluation, scores, progress=lambda done, total: told.append((done, total)))
    assert isinstance(scored, Scored)
    assert scored.samples is not None
    assert (scored.samples == scores).all()
    assert scored.metric == pytest.approx(scores.mean())
    assert told[-1] == (600, 600)
    assert [done for done, _ in told] == np.cumsum([len(call) for call in session.calls]).tolist()


def test_a_fresh_order_for_every_trial_and_the_same_for_the_same(model: Path) -> None:
    evaluation = load_evaluation(ByIndex(600), model_path=model)
    orders = [
        np.concatenate(run(evaluation, spoilt(120), seed=seed)[1].calls).tolist() for seed in ((0, 1), (0, 1), (0, 2))
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_lower_may_be_better(model: Path) -> None:
    evaluation = load_evaluation(ByIndex(600, higher_is_better=False, score_range=(0.0, 1.0)), model_path=model)
    assert isinstance(run(evaluation, ~RIGHT, drop=0.5)[0], Scored), "fewer errors than the float model"
    worse, _ = run(evaluation, RIGHT | (np.arange(600) % 10 < 1), drop=0.01)
    assert isinstance(worse, Stopped)
    assert worse.bound > 0.009


def test_continuous_scores_are_raced_within_their_range(model: Path) -> None:
    rng = np.random.default_rng(0)
    source = ByIndex(600, score_range=(0.0, 1.0))
    evaluation = load_evaluation(source, model_path=model)
    base = rng.beta(8, 2, 600)
    rules = Rules(base, 0.01, True, 0.01)
    for factor, kind in ((0.8, Stopped), (0.99, Scored)):
        found = race(evaluation, Session(base * factor), rules, seed=(0, 0))  # type: ignore[arg-type]
        assert isinstance(found, kind)
        if isinstance(found, Stopped):
            assert found.seen < 500
            assert 0.01 < found.bound <= base.mean() * 0.2 <= 1.2 * found.estimate


def test_without_bounds_nothing_is_raced(model: Path) -> None:
    evaluation = load_evaluation(ByIndex(600), model_path=model)
    rules = Rules(RIGHT.astype(float), 0.001, True, 0.01)
    scored = race(evaluation, Session(np.zeros(600)), rules, seed=(0, 0))  # type: ignore[arg-type]
    assert isinstance(scored, Scored)
    assert evaluation.score_range is None


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_stream_is_stopped_by_certainty_or_where_it_is_shuffled(model: Path, shuffled: bool) -> None:
    """200 of 540 lost. Of what is left to come at most 60 can be gained."""
    stopped, session = run(load_evaluation(Stream(shuffled=shuffled), model_path=model), spoilt(200))
    assert isinstance(stopped, Stopped)
    lost = RIGHT.astype(float) - spoilt(200)
    certain = np.cumsum(lost) - np.append(np.cumsum(~RIGHT[::-1])[::-1][1:], 0) > 0.01 * RIGHT.sum()
    first = int(np.argmax(certain)) + 1
    if shuffled:
        assert stopped.seen < first / 2
    else:
        assert stopped.seen == -(-first // 10) * 10
        certain_of = lost[: stopped.seen].sum() - (~RIGHT[stopped.seen :]).sum()
        assert stopped.bound == pytest.approx(certain_of / 600, abs=1e-5)
    assert stopped.seen == sum(map(len, session.calls))


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_stream_that_holds_is_scored_in_full(model: Path, shuffled: bool) -> None:
    scored, _ = run(load_evaluation(Stream(shuffled=shuffled), model_path=model), spoilt(5))
    assert isinstance(scored, Scored)
    assert scored.samples is not None
    assert (scored.samples == spoilt(5)).all()


def test_a_stream_of_another_length_is_an_error_as_ever(model: Path) -> None:
    evaluation = load_evaluation(Stream(), model_path=model)
    with pytest.raises(EvaluationError, match="yielded 610 scores, but 600 the first time"):
        run(evaluation, np.concatenate([RIGHT, RIGHT[:10]]))


def test_one_number_is_never_raced(model: Path) -> None:
    evaluation = load_evaluation(lambda session: float(session.scores.mean()), model_path=model)
    rules = Rules(RIGHT.astype(float), 0.001, True, 0.01)
    scored = race(evaluation, Session(np.zeros(600)), rules, seed=(0, 0))  # type: ignore[arg-type]
    assert scored == Scored(0.0, None, scored.seconds)


@pytest.mark.parametrize("source", [ByIndex(600), Stream(shuffled=True)])
def test_a_part_of_the_samples_is_raced_like_the_whole(model: Path, source: Any) -> None:
    whole = load_evaluation(source, model_path=model)
    whole.score(Session(RIGHT))  # type: ignore[arg-type]
    part = Part(whole, Holdout(0.2), "search")
    stopped, _ = run(part, spoilt(200))
    assert isinstance(stopped, Stopped)
    assert stopped.samples.shape == (480,)
    scored, _ = run(part, spoilt(2))
    assert isinstance(scored, Scored)
    assert scored.samples is not None
    assert (scored.samples == spoilt(2)[part.indices(600)]).all()


def test_what_was_learnt_saves_samples(model: Path) -> None:
    """Candidates fail on the same samples: 12 lost of a set of 30, where 5.4 are tolerated."""
    rng = np.random.default_rng(0)
    fragile = rng.choice(np.flatnonzero(RIGHT), 30, replace=False)
    changes, times = np.zeros(600), np.zeros(600)
    evaluation = load_evaluation(ByIndex(600), model_path=model)
    seen: dict[bool, list[int]] = {False: [], True: []}
    for trial in range(12):
        scores = RIGHT.copy()
        scores[rng.choice(fragile, 12, replace=False)] = False
        for learnt in (False, True):
            found, _ = run(
                evaluation, scores, seed=(trial,), **({"changes": changes, "times": times} if learnt else {})
            )
            seen[learnt].append(found.seen if isinstance(found, Stopped) else 600)
        changes += scores != RIGHT
        times += 1
    assert np.mean(seen[True][4:]) < 0.6 * np.mean(seen[False][4:])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32), st.booleans(), st.booleans())
def test_who_loses_nothing_is_never_stopped_and_nothing_is_scored_twice(
    count: int, seed: int, higher: bool, learnt: bool
) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 2, count).astype(float)
    rules = Rules(base, 1e-6, higher, 0.01)
    lows, highs = rules.bounds((0.0, 1.0))
    assert (lows <= 0.0).all()
    assert (highs - lows == 1.0).all()
    changes = rng.integers(0, 3, count).astype(float) if learnt else None
    wanted = weights(lows, highs, changes, np.full(count, 3.0) if learnt else None)
    assert wanted.shape == (count,)
    assert (np.isfinite(wanted) & (wanted > 0.0)).all()
    contest = Race(rules, lows, highs, draw(lows, wanted, rng))
    scores = base.copy()
    scores[rng.integers(count)] = 1.0 if higher else 0.0
    asked = []
    while contest.seen < count:
        asked.append(contest.next())
        contest.add(scores[asked[-1]])
    assert sorted(np.concatenate(asked).tolist()) == list(range(count))
    assert not contest.lost
