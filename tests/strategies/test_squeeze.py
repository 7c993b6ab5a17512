"""Weights on fewer bits: bisection with the metric, and what `auto` makes of it."""

from dataclasses import replace

import pytest
from autoquant.strategies.auto import Auto
from autoquant.strategies.base import Outcome
from autoquant.strategies.squeeze import squeezable, squeeze
from autoquant.strategies.words import CALIBRATOR, LAYER, ROUNDING, ROUNDINGS, WEIGHT_RANGE, WEIGHT_RANGES

from tests.strategies.simulator import Problem, check_contract, follow, make_space, run

EVERY = ("int8", "weight8", "int4", "fp32")


class Stored(Problem):
    """4 bits cost twice what int8 does in a layer, 8-bit weights nothing; the size is that of the weights."""

    def _int8(self, recipe):
        fours = [name for name in self.space.layers if recipe[name] == "int4"]
        return [*super()._int8(recipe), *fours, *fours]

    def _scale(self, recipe):
        better = 0.8 if recipe.get(ROUNDING) == "gptq" else 1.0
        return super()._scale(recipe) * (better if "int4" in recipe.values() else 1.0)

    def cost(self, recipe):
        bits = {"int8": 8, "weight8": 8, "int4": 5, "fp32": 32}
        return sum(share * bits[recipe[name]] / 32 for name, share in self.space.shares.items())


def stored(layers=16, **how):
    space = make_space(layers, seed=4, precisions=EVERY)
    extra = {WEIGHT_RANGE: WEIGHT_RANGES, ROUNDING: ROUNDINGS}
    space = replace(space, choices={**extra, **space.choices}, offered={**extra, **space.offered})
    return Stored(space, seed=4, objective="size", **how)


@pytest.mark.parametrize("total", [0.2, 1.2, 4.0, 300.0])
def test_auto_keeps_the_contract_with_weights_alone_on_offer(total):
    done = check_contract(Auto, stored(total=total, mismatch=0.5), max_trials=40)
    assert done.best is not None
    assert all(done.best.recipe[name] != "fp32" for name in done.history.space.layers)


def test_every_layer_goes_to_4_bits_where_that_holds():
    done = run(stored(total=0.2), Auto())
    assert set(done.best.recipe.layers("int4")) == {name[len(LAYER) :] for name in done.history.space.layers}
    assert done.best.cost == pytest.approx(5 / 32)
    assert len(done.history.trials) == 2


def test_no_layer_stays_float_where_its_weights_can_be_stored():
    """What int8 activations cost too much is as small with float ones."""
    done = run(stored(total=4.0), Auto())
    assert done.best.recipe.layers("weight8")
    assert done.best.cost <= 8 / 32 + 1e-9


def test_the_furthest_prefix_that_holds_is_found():
    """Against every prefix of the same order tried out: nothing of it is left to gain."""
    problem = stored(total=0.8)
    chosen = {CALIBRATOR: problem.best_calibrator, **dict.fromkeys(problem.space.layers, "int8")}
    start = problem.space.canonical(chosen)
    outcome = Outcome(0, start, "complete", 1.0, problem.drop(start), problem.cost(start))
    found, scored = follow(squeeze(problem.history(), outcome), problem)
    assert problem.history().feasible(found)
    assert found.recipe.layers("int4")
    fours = [frozenset(recipe.layers("int4")) for recipe in scored]
    assert all(one <= other or other <= one for one in fours for other in fours)  # prefixes of one order
    refused = [names for names, recipe in zip(fours, scored, strict=True) if problem.drop(recipe) > problem.target]
    least = min(refused, key=len)
    assert len(least) == len(found.recipe.layers("int4")) + 1
    assert found.recipe[ROUNDING] == "gptq"  # the probe of all layers said that it helps
    assert len(scored) <= 6


def test_nothing_to_squeeze_asks_nothing():
    problem = stored(total=0.2)
    least = problem.space.canonical(dict.fromkeys(problem.space.layers, "int4"))
    outcome = Outcome(0, least, "complete", 1.0, 0.0, problem.cost(least))
    found, scored = follow(squeeze(problem.history(), outcome), problem)
    assert (found, scored) == (outcome, [])
    assert not squeezable(make_space(4))
