import math

import numpy as np
import pytest
from autoquant.evaluators.distances import (
    KINDS,
    certainty,
    cosine,
    flips,
    hellinger,
    kl,
    margin,
    sqnr,
    worst_hellinger,
    worst_margin,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

logits = arrays.arrays(np.float32, (3, 2, 5), elements=st.floats(-9, 9, width=32))


def softmax(row: np.ndarray) -> np.ndarray:
    powers = [math.exp(value - float(row.max())) for value in row]
    return np.array([power / sum(powers) for power in powers])


def naive_kl(p: np.ndarray, q: np.ndarray) -> float:
    return sum(float(a) * math.log(a / b) for a, b in zip(p, q, strict=True))


def naive_hellinger(p: np.ndarray, q: np.ndarray) -> float:
    return sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in zip(p, q, strict=True)) / 2


def naive_margin(p: np.ndarray, q: np.ndarray) -> float:
    first = max(range(len(p)), key=lambda i: p[i])
    lead, left = (math.log(v[first]) - math.log(max(x for i, x in enumerate(v) if i != first)) for v in (p, q))
    return min(max((lead - left) / lead, 0.0), 2.0) if lead > 0 else float(left < 0)


def naive_flip(p: np.ndarray, q: np.ndarray) -> float:
    return float(list(p).index(max(p)) != list(q).index(max(q)))


ROWWISE = [
    (kl, naive_kl, np.mean),
    (hellinger, naive_hellinger, np.mean),
    (worst_hellinger, naive_hellinger, np.max),
    (margin, naive_margin, np.mean),
    (worst_margin, naive_margin, np.max),
    (flips, naive_flip, np.mean),
]


@pytest.mark.parametrize("probabilities", [False, True], ids=["logits", "probabilities"])
@pytest.mark.parametrize(("measure", "naive", "reduce"), ROWWISE, ids=lambda value: getattr(value, "__name__", ""))
def test_decisions_against_the_definition(measure, naive, reduce, probabilities):
    rng = np.random.default_rng(1)
    for classes, noise in ((2, 0.5), (7, 0.3), (7, 3.0)):
        reference = 2 * rng.standard_normal((4, 3, classes))
        found = reference + noise * rng.standard_normal(reference.shape)
        rows = [
            [(softmax(p), softmax(q)) for p, q in zip(*pair, strict=True)]
            for pair in zip(reference, found, strict=True)
        ]
        expected = np.mean([reduce([naive(p, q) for p, q in sample]) for sample in rows])
        if probabilities:
            reference, found = (np.array([[pair[side] for pair in sample] for sample in rows]) for side in (0, 1))
        single = [[array.astype("f4")] for array in (reference, found)]
        assert measure([single[0]], [single[1]]) == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert measure([[reference]], [[found]]) == pytest.approx(expected, rel=1e-9)


@given(logits, logits)
def test_cosine_and_sqnr_against_the_definition(reference, found):
    wide = [array.reshape(3, -1).astype("f8") + 0.5 for array in (reference, found)]
    if min(np.linalg.norm(array, axis=1).min() for array in wide) < 0.1:
        return
    pairs = list(zip(*wide, strict=True))
    angles = [1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs]
    assert cosine([[wide[0]]], [[wide[1]]]) == pytest.approx(np.mean(angles), abs=1e-12)
    levels = [min(10 * math.log10(a @ a / ((b - a) @ (b - a))), 120.0) if (a != b).any() else 120.0 for a, b in pairs]
    expected = 10 ** (-np.mean(levels) / 10) if min(levels) < 120 else 0.0
    assert sqnr([[wide[0]]], [[wide[1]]]) == pytest.approx(expected, rel=1e-6, abs=2e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(logits, logits)
def test_zero_to_itself_never_negative_blind_to_batches(kind, reference, found):
    measure = KINDS[kind]
    assert measure([[reference]], [[reference.copy()]]) == 0.0
    whole = measure([[reference]], [[found]])
    assert whole >= 0.0
    assert whole < math.inf or (kind in ("distance", "sqnr") and not reference.any(axis=(1, 2)).all())
    parts = measure([[reference[:1]], [reference[1:]]], [[found[:1]], [found[1:]]])
    assert parts == pytest.approx(whole, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 3), (2, 3, 2, 2), (4,)])
def test_nan_and_other_shapes_are_infinitely_far(kind, shape):
    reference = np.linspace(0.1, 1.0, math.prod(shape), dtype="f4").reshape(shape)
    found = reference.copy()
    found.flat[1] = np.nan
    assert KINDS[kind]([[reference]], [[found]]) == math.inf
    assert KINDS[kind]([[found]], [[reference]]) == pytest.approx(0.0)  # no reference there: it does not count
    assert KINDS[kind]([[reference]], [[reference[:1]]]) == math.inf
    assert KINDS[kind]([], []) == 0.0


def test_small_differences_survive_float32():
    rng = np.random.default_rng(2)
    reference = rng.standard_normal((2, 1000))
    found = reference + 1e-4 * rng.standard_normal(reference.shape)
    probabilities = [np.stack([softmax(row) for row in rows]) for rows in (reference, found)]
    expected = np.mean([naive_kl(p, q) for p, q in zip(*probabilities, strict=True)])
    single = [[[array.astype("f4")]] for array in probabilities]
    assert kl(*single) == pytest.approx(expected, rel=0.02)
    assert hellinger(*single) == pytest.approx(expected / 4, rel=0.02)


def test_what_has_no_classes_counts_by_its_error():
    expected, got = [np.array([[3.0], [4.0]])], [np.array([[3.0], [6.0]])]
    for measure in (kl, hellinger, margin, flips):
        assert measure([expected], [got]) == pytest.approx((0 + 4 / (4 + 16)) / 2)
        assert measure([[np.array([[1, 2, 3, 4]])]], [[np.array([[1, 2, 3, 5]])]]) == 0.25


def test_maps_have_their_classes_on_axis_1():
    rng = np.random.default_rng(3)
    maps, noise = rng.standard_normal((2, 3, 4, 5)), 0.3 * rng.standard_normal((2, 3, 4, 5))
    flat = [array.transpose(0, 2, 3, 1).reshape(2, 20, 3) for array in (maps, maps + noise)]
    for measure in (kl, worst_hellinger, margin, flips):
        assert measure([[maps]], [[maps + noise]]) == pytest.approx(measure([[flat[0]]], [[flat[1]]]))


def test_masked_logits_are_no_fault():
    reference = np.array([[1.0, 2.0, -np.inf]])
    assert kl([[reference]], [[reference]]) == 0.0
    assert margin([[reference]], [[np.array([[2.0, 1.0, -np.inf]])]]) == 2.0


def test_zeros():
    zero, one = np.zeros((1, 2)), np.ones((1, 2))
    assert cosine([[zero]], [[zero]]) == 0.0
    assert cosine([[zero]], [[one]]) == cosine([[one]], [[zero]]) == 1.0
    assert sqnr([[zero]], [[zero]]) == 0.0
    assert sqnr([[zero]], [[one]]) == math.inf


def test_one_outlier_outweighs_the_mean_but_not_the_bounded_kinds():
    rng = np.random.default_rng(4)
    reference = 3 * rng.standard_normal((10, 5))
    slightly = reference + 0.1 * rng.standard_normal(reference.shape)
    once = reference.copy()
    once[0] = -30 * reference[0]
    assert kl([[reference]], [[once]]) > kl([[reference]], [[slightly]])
    assert sqnr([[reference]], [[once]]) < sqnr([[reference]], [[slightly]])
    assert hellinger([[reference]], [[once]]) <= 0.1


def test_certain_and_wrong_is_far_but_not_infinitely():
    reference, found = np.array([[1.0, 0.0]], "f4"), np.array([[0.0, 1.0]], "f4")
    assert kl([[reference]], [[found]]) == pytest.approx(math.log(1e8), rel=1e-5)
    assert hellinger([[reference]], [[found]]) == pytest.approx(1.0)
    assert margin([[reference]], [[found]]) == 2.0


def test_certainty_is_the_least_lead_of_all_decisions():
    rng = np.random.default_rng(5)
    rows = 2 * rng.standard_normal((1, 4, 6))
    leads = [np.log(two[1]) - np.log(two[0]) for two in (np.sort(softmax(row))[-2:] for row in rows[0])]
    assert certainty([rows]) == pytest.approx(min(leads))
    probabilities = np.stack([softmax(row) for row in rows[0]])[None]
    assert certainty([probabilities, np.ones((1, 1))]) == pytest.approx(min(leads))
    assert certainty([np.ones((1, 1)), np.ones(3), np.array([[1, 2]])]) == math.inf
    assert certainty([np.full((1, 3), np.nan)]) == math.inf
