"""16-bit activations as the fallback, and float behind them."""

import pytest
from autoquant.strategies.auto import Auto
from autoquant.strategies.widening import has_wide, widen

from tests.strategies.simulator import Problem, check_contract, follow, make_space

NPU = ("int8", "int16", "fp32")


class Wide(Problem):
    """16-bit activations cost a part of what 8-bit ones do."""

    part = 0.01

    def drop(self, recipe):
        wide = sum(self.true[name] for name in self.space.layers if recipe[name] == "int16")
        return super().drop(recipe) + self.part * wide

    def cost(self, recipe):
        bits = {"int8": 64, "int16": 128, "fp32": 1024}
        return sum(share * bits[recipe[name]] / 1024 for name, share in self.space.shares.items())


class Worse(Wide):
    """So much that some layers must be float."""

    part = 0.5


@pytest.mark.parametrize("kind", [Wide, Worse])
@pytest.mark.parametrize("total", [0.5, 3.0, 20.0])
def test_auto_keeps_the_contract(kind, total):
    problem = kind(make_space(12, seed=2, precisions=NPU), seed=2, total=total, mismatch=0.5)
    done = check_contract(Auto, problem, max_trials=40)
    assert done.best is not None


def test_layers_fall_back_to_16_bits():
    problem = Wide(make_space(12, seed=2, precisions=NPU), seed=2, total=3.0)
    done = check_contract(Auto, problem, max_trials=40)
    assert done.best.recipe.layers("int16")
    assert not done.best.recipe.layers("fp32")
    assert done.best.cost < 128 / 1024


def test_where_16_bits_do_not_hold_the_worst_layers_are_float():
    problem = Worse(make_space(12, seed=2, precisions=NPU), seed=2, total=8.0, spread=2.0)
    settings = problem.space.default()
    found, scored = follow(
        widen(problem.history(), {"activation/calibrator": settings["activation/calibrator"]}, problem.probe), problem
    )
    assert problem.history().feasible(found)
    floats = found.recipe.layers("fp32")
    worst = max(problem.true, key=problem.true.__getitem__).removeprefix("layer/")
    assert worst in floats
    assert found.recipe.layers("int16")
    assert scored[0].layers("fp32") == ()


def test_a_target_without_16_bits_has_nothing_to_widen():
    assert has_wide(make_space(4, precisions=NPU))
    assert not has_wide(make_space(4))
    assert not has_wide(make_space(4, precisions=("int8", "int16")))
