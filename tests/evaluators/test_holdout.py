from pathlib import Path

import numpy as np
import pytest
from autoquant.errors import EvaluationError
from autoquant.evaluators.evaluation import load_evaluation
from autoquant.evaluators.holdout import Holdout, Part
from hypothesis import given
from hypothesis import strategies as st

INDEXED = """
    import numpy as np
    num_samples = 40
    score_range = (0.0, 39.0)
    seen = []
    def score(session, indices):
        seen.extend(indices.tolist())
        return indices.astype(float)
"""

STREAMED = """
    import numpy as np
    score_range = (0.0, 39.0)
    def evaluate(session):
        for start in range(0, 40, 7):
            yield np.arange(start, min(start + 7, 40)).astype(float)
"""


@given(st.integers(2, 3000), st.floats(0.001, 0.999), st.integers(0, 5))
def test_a_split_is_a_partition_of_the_asked_size(count: int, fraction: float, seed: int) -> None:
    search, held = Holdout(fraction, seed).split(count)
    assert sorted([*search, *held]) == list(range(count))
    assert len(search) >= 1
    assert abs(len(held) - fraction * count) <= 1
    assert (np.diff(search) > 0).all()
    assert (np.diff(held) > 0).all()
    again = Holdout(fraction, seed).split(count)
    np.testing.assert_array_equal(again[1], held)


def test_the_seed_decides_what_is_kept() -> None:
    one, other = (Holdout(0.3, seed).split(200)[1] for seed in (0, 1))
    assert set(one) != set(other)


def test_one_sample_cannot_be_split() -> None:
    with pytest.raises(EvaluationError, match="--holdout 20% needs at least 2 samples, but the evaluation has 1"):
        Holdout(0.2).split(1)


@pytest.mark.parametrize("source", [INDEXED, STREAMED])
def test_each_side_scores_its_samples(write, session, source: str) -> None:
    search, held = Holdout(0.25, 3).split(40)
    for side, mine in (("search", search), ("held", held)):
        part = Part(write(source), Holdout(0.25, 3), side)
        told: list[int] = []
        scored = part.score(session, progress=lambda done, total, told=told: told.append(done))
        np.testing.assert_array_equal(scored.samples, mine)
        assert scored.metric == mine.mean()
        assert part.num_samples == len(mine)
        assert told
        assert part.score_range == (0.0, 39.0)


def test_what_is_held_out_is_never_run(write, session) -> None:
    evaluation = write(INDEXED)
    part = Part(evaluation, Holdout(0.25), "search")
    part.score(session)
    part.score_some(session, np.array([0, 5, 29]))
    search, held = Holdout(0.25).split(40)
    seen = evaluation._source.seen
    assert set(seen) == set(search)
    assert not set(seen) & set(held)


def test_single_samples_are_counted_within_the_side(write, session) -> None:
    part = Part(write(INDEXED), Holdout(0.25), "held")
    held = Holdout(0.25).split(40)[1]
    np.testing.assert_array_equal(part.score_some(session, np.array([3, 0])), held[[3, 0]])


@pytest.mark.parametrize("source", [INDEXED, STREAMED])
def test_a_watch_sees_this_side_in_order_and_may_end_it(write, session, source: str) -> None:
    part = Part(write(source), Holdout(0.25), "search")
    part.score(session)  # a stream's number of samples is known from here on
    seen: list[float] = []
    part.score(session, watch=lambda scores: seen.extend(scores))
    np.testing.assert_array_equal(seen, Holdout(0.25).split(40)[0])

    class EnoughError(Exception):
        pass

    def stop(scores: np.ndarray) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        part.score(session, watch=stop)


def test_a_stream_of_unknown_length_is_not_watched(write, session) -> None:
    part = Part(write(STREAMED), Holdout(0.25), "search")
    assert part.num_samples is None
    seen: list[float] = []
    assert len(part.score(session, watch=lambda scores: seen.extend(scores)).samples) == 30
    assert not seen
    assert part.score_some(session, np.array([0])) is None


def test_one_number_has_no_samples_to_hold_out(write) -> None:
    evaluation = write("def evaluate(session):\n    return 1.0\n")
    with pytest.raises(EvaluationError, match=r"--holdout 20% needs scores of single samples, but eval.py returns"):
        Part(evaluation, Holdout(0.2), "search")


def test_arrays_are_split_too(tmp_path: Path, model: Path, session) -> None:
    x = np.random.default_rng(0).standard_normal((30, 3, 16, 16)).astype(np.float32)
    labels = session.run(None, {"x": x})[0].argmax(-1)
    labels[::3] = (labels[::3] + 1) % 10
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    whole = load_evaluation(f"accuracy:{tmp_path / 'data.npz'}", model_path=model)
    held = Holdout(0.4).split(30)[1]
    scored = Part(whole, Holdout(0.4), "held").score(session)
    np.testing.assert_array_equal(scored.samples, held % 3 != 0)
