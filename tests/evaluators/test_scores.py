from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from autoquant.evaluators.scores import as_metric, as_scores
from hypothesis import given
from hypothesis import strategies as st


class Tensor:
    """As torch's: `size` is a method, `item` refuses many elements with a RuntimeError."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def size(self) -> int:
        return len(self.values)

    def item(self) -> float:
        if len(self.values) != 1:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self.values[0]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize(
    "value", [0.5, np.float32(0.5), np.array(0.5), np.array([0.5]), Decimal("0.5"), Fraction(1, 2), Tensor(0.5)]
)
def test_numbers_of_any_kind(value: object) -> None:
    assert as_metric(value) == 0.5


@pytest.mark.parametrize("value", [Tensor(1, 2), 10**400, object(), b"1", [1.0], {1.0}])
def test_no_numbers(value: object) -> None:
    with pytest.raises(ValueError, match=r"^returned "):
        as_metric(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_pass_unchanged(value: float) -> None:
    assert as_metric(value) == value
    scores, boolean = as_scores([value, 1])
    assert scores.tolist() == [value, 1.0]
    assert not boolean


@pytest.mark.parametrize(
    ("value", "expected"), [(True, [1]), (np.array([True, False]), [1, 0]), (np.array([], bool), []), ([True], [1])]
)
def test_booleans_are_told(value: object, expected: list[float]) -> None:
    scores, boolean = as_scores(value)
    assert (scores.tolist(), scores.dtype, boolean) == (expected, np.float64, True)


def test_tensors_are_scores() -> None:
    assert as_scores(Tensor(1, 2))[0].tolist() == [1, 2]
