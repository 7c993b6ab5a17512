import math

import numpy as np
import pytest
from autoquant.evaluators.distance import distance, outputs
from autoquant.evaluators.session import open_session
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests import zoo

floats = arrays.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))


def brute(reference: list[list[np.ndarray]], found: list[list[np.ndarray]]) -> float:
    """The definition, sample by sample."""
    rows = [
        np.linalg.norm(mine - whole) ** 2 / np.linalg.norm(whole) ** 2
        for wholes, mines in zip(reference, found, strict=True)
        for expected, got in zip(wholes, mines, strict=True)
        for whole, mine in zip(expected.astype("f8"), got.astype("f8"), strict=True)
    ]
    return float(np.mean(rows))


def test_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    shapes = [(5, 3), (5, 2, 4)]
    reference = [[rng.standard_normal(s).astype("f4") for s in shapes] for _ in range(3)]
    found = [[a + 0.1 * rng.standard_normal(a.shape).astype("f4") for a in feed] for feed in reference]
    assert distance(reference, found) == pytest.approx(brute(reference, found), rel=1e-6)


@given(floats)
def test_zero_to_itself(array: np.ndarray) -> None:
    assert distance([[array]], [[array.copy()]]) == 0.0


@given(floats, floats)
def test_never_negative_and_blind_to_batches(reference: np.ndarray, found: np.ndarray) -> None:
    whole = distance([[reference]], [[found]])
    assert whole >= 0
    parts = distance([[reference[:1]], [reference[1:]]], [[found[:1]], [found[1:]]])
    assert parts == whole or parts == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_infinitely_far(bad: float) -> None:
    reference = np.ones((2, 3), "f4")
    found = reference.copy()
    found[1, 1] = bad
    assert distance([[reference]], [[found]]) == math.inf
    assert distance([[found]], [[reference]]) == 0.0  # no finite reference there: it does not count


def test_a_sample_of_zeros_is_measured_against_the_others() -> None:
    reference = np.array([[0.0, 0.0], [1.0, 1.0]])
    found = np.array([[1e-4, 0.0], [1.0, 1.0]])
    assert distance([[reference]], [[found]]) == pytest.approx(0.5 * 1e-8 / 1e-6)
    assert distance([[reference[:1]]], [[reference[:1]]]) == 0.0
    assert distance([[reference[:1]]], [[reference[:1] + 1]]) == math.inf


def test_outputs_that_share_no_batch_are_one_sample() -> None:
    reference = [[np.array([3.0, 4.0]), np.array([[2.0]])]]
    found = [[np.array([3.0, 3.0]), np.array([[2.0]])]]
    assert distance(reference, found) == pytest.approx((1 / 25 + 0) / 2)


def test_shapes_and_integers() -> None:
    assert distance([[np.ones((1, 3))]], [[np.ones((1, 4))]]) == math.inf
    assert distance([[np.array([[1, 2, 3, 4]])]], [[np.array([[1, 2, 3, 5]])]]) == 0.25
    assert distance([[np.ones(0)]], [[np.ones(0)]]) == 0.0
    assert distance([], []) == 0.0


def test_half_precision_does_not_overflow() -> None:
    reference = np.full((1, 4), 6e4, "f2")
    assert distance([[reference]], [[-reference]]) == pytest.approx(4.0)


def test_outputs_of_a_session() -> None:
    proto = zoo.two_input_net()
    session = open_session(proto.SerializeToString(), threads=1)
    found = outputs(session, zoo.feeds(proto, 3))
    assert [[a.shape for a in feed] for feed in found] == [[(2, 5), (2, 12)]] * 3
    assert distance(found, outputs(session, zoo.feeds(proto, 3))) == 0.0
