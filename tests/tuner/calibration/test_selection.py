from itertools import combinations

import numpy as np
import pytest
from autoquant.tuner.calibration.selection import Features, classes, evenly, farthest, some
from hypothesis import given
from hypothesis import strategies as st


def radius(features: np.ndarray, chosen: np.ndarray) -> float:
    """The largest distance from any sample to its nearest chosen one."""
    apart = np.linalg.norm(features[:, np.newaxis] - features[np.newaxis, chosen], axis=-1)
    return float(apart.min(axis=1).max())


@given(seed=st.integers(0, 10_000), count=st.integers(1, 4))
def test_the_farthest_cover_at_most_twice_as_badly_as_the_best_choice(seed: int, count: int) -> None:
    features = np.random.default_rng(seed).standard_normal((9, 2))
    best = min(radius(features, np.array(chosen)) for chosen in combinations(range(9), count))
    chosen = farthest(features, count, seed)
    assert list(chosen) == sorted(set(chosen)), chosen
    assert len(chosen) == count
    assert radius(features, chosen) <= 2 * best + 1e-9


def test_the_farthest_find_every_cluster() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), [100, 2, 1, 30, 3])
    features = 50.0 * rng.standard_normal((5, 8))[labels] + 0.01 * rng.standard_normal((len(labels), 8))
    assert set(labels[farthest(features, 5, 0)]) == set(range(5))
    assert set(labels[some(len(labels), 5, 0)]) != set(range(5)), "a random draw does not"


def test_equal_samples_are_chosen_once_each() -> None:
    assert list(farthest(np.zeros((6, 3)), 6, 0)) == list(range(6))
    assert len(set(farthest(np.zeros((6, 3)), 4, 0))) == 4


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=40), count=st.integers(1, 40), seed=st.integers(0, 1000))
def test_classes_get_as_many_as_they_have_or_as_the_others(labels: list[int], count: int, seed: int) -> None:
    given_labels = np.array(labels)
    chosen = evenly(given_labels, count, seed)
    assert len(set(chosen)) == len(chosen) == min(count, len(labels))
    taken = {label: int(np.sum(given_labels[chosen] == label)) for label in set(labels)}
    short = [label for label in taken if taken[label] < labels.count(label)]
    for label in short:  # whoever has samples left is at most one behind whoever got the most
        assert taken[label] >= max(taken.values()) - 1


def test_a_draw_repeats_by_its_seed() -> None:
    assert list(some(100, 7, 3)) == list(some(100, 7, 3)) != list(some(100, 7, 4))
    assert list(some(5, 9, 0)) == [0, 1, 2, 3, 4]


def test_features_keep_distances_and_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((12, 1000)).astype(np.float32)
    describe = Features()
    whole = describe.of([logits], 12)
    parts = np.concatenate([describe.of([logits[i : i + 5]], len(logits[i : i + 5])) for i in range(0, 12, 5)])
    np.testing.assert_allclose(whole, parts, rtol=1e-5, atol=1e-5)
    true = np.linalg.norm(logits[:, None] - logits[None], axis=-1)[np.triu_indices(12, 1)]
    mine = np.linalg.norm(whole[:, None] - whole[None], axis=-1)[np.triu_indices(12, 1)]
    assert np.all(np.abs(mine / true - 1) < 0.4)


@pytest.mark.parametrize("shape", [(4,), (4, 7), (4, 5, 7), (4, 7, 3, 3), (9, 9), ()])
def test_features_of_any_output(shape: tuple[int, ...]) -> None:
    output = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = Features().of([output, np.arange(4), np.full((4, 2), np.nan, np.float32)], 4)
    assert found.shape == (4, 64)
    assert np.isfinite(found).all()


def test_a_classifier_is_known_by_its_first_output() -> None:
    logits = np.eye(3, 5, dtype=np.float32)
    assert list(classes([logits], 3)) == [0, 1, 2]  # type: ignore[arg-type]
    assert classes([logits[..., np.newaxis]], 3) is None
    assert classes([logits], 2) is None
    assert classes([logits.astype(np.int64)], 3) is None
