"""Cross-layer equalization against the papers' closed forms, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from autoquant.tuner.quantization.equalization import Reach, absorbed, equalized, spread


def test_one_pair_as_in_the_paper() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(5, 3)), rng.normal(size=(4, 5))
    (found,) = equalized({"a": Reach.of(first, 0), "b": Reach.of(second, 0)}, [("a", ["b"])])
    r1, r2 = np.abs(first).max(axis=1), np.abs(second).max(axis=0)
    expected = np.sqrt(r1 * r2) / r2  # equation 11
    assert found / found[0] == pytest.approx(expected / expected[0])
    assert np.exp(np.log(found).mean()) == pytest.approx(1.0)


def test_a_depthwise_triple_converges_to_its_closed_form() -> None:
    rng = np.random.default_rng(1)
    first, depthwise, last = rng.normal(size=(6, 3, 1, 1)), rng.normal(size=(6, 1, 3, 3)), rng.normal(size=(2, 6, 1, 1))
    reaches = {"a": Reach.of(first, 0), "d": Reach.of(depthwise, 0, groups=6), "z": Reach.of(last, 0)}
    s1, s2 = equalized(reaches, [("a", ["d"]), ("d", ["z"])])
    r1, r2, r3 = (np.abs(first).max((1, 2, 3)), np.abs(depthwise).max((1, 2, 3)), np.abs(last).max((0, 2, 3)))
    each = np.cbrt(r1 * r2 * r3)
    for scale, expected in ((s1, r1 / each), (s2, each / r3)):  # all three ranges become the geometric mean
        assert scale / scale[0] == pytest.approx(expected / expected[0], rel=1e-3)


def test_several_readers_count_by_the_largest() -> None:
    weights = {"a": np.array([[1.0], [4.0]]), "b": np.array([[1.0, 1.0]]), "c": np.array([[4.0, 0.5]])}
    reaches = {name: Reach.of(weight, 0) for name, weight in weights.items()}
    (found,) = equalized(reaches, [("a", ["b", "c"])])
    assert found[1] / found[0] == pytest.approx(np.sqrt(4.0 / 1.0) / np.sqrt(1.0 / 4.0))


def test_a_dead_channel_keeps_its_scale() -> None:
    reaches = {"a": Reach.of(np.array([[0.0], [2.0]]), 0), "b": Reach.of(np.array([[3.0, 0.0]]), 0)}
    (found,) = equalized(reaches, [("a", ["b"])])
    assert found == pytest.approx([1.0, 1.0])


def test_absorption_takes_three_deviations_and_never_more_than_was_seen() -> None:
    low, mean, square = np.array([2.0, 0.0, 0.5]), np.array([5.0, 1.0, 5.0]), np.array([26.0, 2.0, 26.0])
    assert absorbed(low, mean, square) == pytest.approx([2.0, 0.0, 0.5])  # 5 − 3·1 = 2; below 0; seen at 0.5


def test_what_a_conv_writes_is_spread_by_its_own_range_where_channels_have_scales() -> None:
    found = spread(None, np.array([-1.0, 0.0]), np.array([0.5, 8.0]), np.ones(2))
    assert found[1] / found[0] == pytest.approx(8.0)


def test_a_weight_of_one_scale_is_evened_out_where_its_outputs_allow() -> None:
    rows, low, high = np.array([0.01, 1.0]), np.array([-0.02, -2.0]), np.array([0.02, 2.0])
    found = spread(rows, low, high, np.ones(2))
    assert found[1] / found[0] == pytest.approx(100.0)


def test_a_spread_errs_less_than_none() -> None:
    rng = np.random.default_rng(3)
    rows, high = np.exp(rng.normal(size=16) * 2), np.exp(rng.normal(size=16) * 2)
    energy = np.full(16, 10.0)

    def error(scale: np.ndarray) -> float:
        steps = ((rows / scale).max() / 127) ** 2 * energy + ((high / scale).max() * 2 / 255) ** 2
        return float((scale**2 * steps / high**2).sum())

    assert error(spread(rows, -high, high, energy)) < 0.5 * error(np.ones(16))
