import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import table
from benchmarks.sensitivity import MODES, Sensitivities, correlation, spearman, subsets

values = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


@given(values)
def test_spearman_against_the_definition(pairs):
    ranks = []
    for side in zip(*pairs, strict=True):
        ranks.append([sum(y < x for y in side) + (sum(y == x for y in side) - 1) / 2 for x in side])
    found = spearman(*(np.array(side, float) for side in zip(*pairs, strict=True)))
    if len(set(ranks[0])) == 1 or len(set(ranks[1])) == 1:
        assert found == 0.0
    else:
        assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_the_interval_holds_the_value_and_infinities_are_only_large():
    rng = np.random.default_rng(0)
    one = rng.normal(size=30)
    found = correlation([*one[:-1], float("inf")], one + 0.3 * rng.normal(size=30))
    assert -1 <= found["low"] <= found["rho"] <= found["high"] <= 1
    assert correlation(one, one) == {"rho": 1.0, "low": 1.0, "high": 1.0}


def test_subsets_are_of_many_sizes_and_always_the_same():
    names = tuple(f"layer/{i}" for i in range(20))
    found = subsets(names, 16, 3)
    assert found == subsets(names, 16, 3) != subsets(names, 16, 4)
    assert [len(int8) for int8 in found[1::2]] == [10] * 8
    assert len({len(int8) for int8 in found}) > 4
    assert all(list(int8) == sorted(int8, key=names.index) for int8 in found)


def sensitivities_of(single, pair, ground):
    """As a Bed would have probed a distance of single layers and pairs, one kind."""
    names = list(single)

    def distance(int8):
        return {"x": ground + sum(single[n] for n in int8) + sum(pair.get(p, 0) for p in itertools.pairwise(int8))}

    made = object.__new__(Sensitivities)
    made.ground, made.whole = distance([]), distance(names)
    made.alone = {name: distance([name]) for name in names}
    made.without = {name: distance([other for other in names if other != name]) for name in names}
    made.pairs = {two: distance(two) for two in itertools.pairwise(names)}
    return made, distance


def test_predictions_add_up():
    single = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0}
    plain, distance = sensitivities_of(single, {}, ground=0.5)
    for mode in MODES[:-1]:
        low, high = (plain.predict(mode, "x", int8) for int8 in (["a", "b"], ["a", "b", "d"]))
        assert high - low == pytest.approx(8.0)
    paired, distance = sensitivities_of(single, {("a", "b"): -0.5, ("c", "d"): 3.0}, ground=0.5)
    for int8 in (["a", "b"], ["b", "c"], ["a", "c", "d"]):
        assert paired.predict("interactions", "x", int8) == pytest.approx(distance(int8)["x"] - 0.5)
    assert paired.predict("restored", "x", list(single)) == pytest.approx(distance(list(single))["x"])
    assert paired.each("both", "x")["d"] == pytest.approx(8.0 + 1.5)


def test_the_tables_of_what_was_measured():
    def rho(value):
        return {name: {"rho": v, "low": v - 0.1, "high": v + 0.1} for name, v in (("drop", value), ("changed", 0.9))}

    kinds = {"distance": 0.5, "kl": 0.7}
    task = {
        "samples": 150,
        "settings": {"kinds": {kind: {**rho(value), "regret": 0.0} for kind, value in kinds.items()}},
        "fallback": {"alone": {"distance": None, "kl": 0.25}},
        "cost": {"layers": 51, "probe_s": 0.3, "full_evaluation_s": 10.0, "pass_over_evaluation": 1.53},
    }
    for part in ("recipes", "transferred"):
        modes = {mode: {kind: rho(value) for kind, value in kinds.items()} for mode in MODES}
        task[part] = {"count": rho(0.3), "modes": modes, "samples": {"2": 0.41, "16": 0.61}}
    text = table.sensitivity({"default": {"mode": "alone", "kind": "kl"}, "tasks": {"ocr_v4": task}})
    assert "| settings | 0.50 / 0.90 | 0.70 / 0.90 |" in text
    assert "| recipes: count | 0.30 / 0.90 |" in text
    assert "| fallback: alone |  | 0.25 |" in text
    assert "0.41 with 2, 0.61 with 16" in text
    assert "0.90 (0.80 to 1.00)" in text
    assert "51 × 0.30 s | 1.53 |" in text
