import numpy as np
import pytest
from autoquant.evaluators.agreement import agreement, predictions
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

finite = st.floats(-1e6, 1e6, width=32)


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=3), elements=finite))
def test_everything_agrees_with_itself(array: np.ndarray) -> None:
    assert agreement(array, array) == 1.0


@given(arrays.arrays(np.float32, (3, 2), elements=finite), arrays.arrays(np.float32, (3, 2), elements=finite))
def test_between_zero_and_one(first: np.ndarray, second: np.ndarray) -> None:
    assert 0.0 <= agreement(first, second) <= 1.0


@pytest.mark.parametrize(
    ("reference", "output", "expected"),
    [
        (np.array([1.0, 3.0]), np.array([-5.0, 0.0]), 1.0),  # the same class
        (np.array([1.0, 3.0]), np.array([2.0, 0.0]), 0.0),
        (np.array([4.0]), np.array([3.0]), 1 - 1 / 16),
        (np.array([[3.0, 4.0]]), np.array([[3.0, 3.0]]), 1 - 1 / 25),
        (np.array([[1.0]]), np.array([[9.0]]), 0.0),  # not below zero
        (np.array([1, 2, 3, 4]), np.array([1, 2, 0, 0]), 0.5),
        (np.array([True, False]), np.array([True, True]), 0.5),
        (np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0]), 0.0),
        (np.array([1.0, 2.0]), np.array([1.0, np.nan]), 0.0),
        (np.array([[1.0, np.inf]]), np.array([[1.0, 7.0]]), 1.0),  # no finite reference, no verdict
        (np.array([[0.0]]), np.array([[0.0]]), 1.0),
        (np.array([[0.0]]), np.array([[0.1]]), 0.0),
        (np.empty((0,), int), np.empty((0,), int), 1.0),
    ],
)
def test_agreement(reference: np.ndarray, output: np.ndarray, expected: float) -> None:
    assert agreement(reference, output) == pytest.approx(expected)


def test_predictions_drop_trailing_ones() -> None:
    assert predictions(np.array([[[1]], [[2]]]), np.array([1, 2])).tolist() == [1, 2]
