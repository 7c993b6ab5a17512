"""The three ways to ask what a layer costs, and interactions."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from autoquant.strategies.base import Probe
from autoquant.strategies.recipes import activation_settings, compose
from autoquant.strategies.replay import Unknown, replay
from autoquant.strategies.sensitivity import interactions, known, only, sensitivities, without
from autoquant.strategies.words import CALIBRATOR
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies.simulator import Problem, make_space

MODES = ("alone", "restored", "both")


def follow(procedure, value_of):
    """Run a procedure to its end; its result and all it probed."""
    probed, answer = {}, None
    while True:
        try:
            action = procedure.send(answer)
        except StopIteration as end:
            return end.value, probed
        assert isinstance(action, Probe)
        answer = probed[action.kind, action.recipe] = value_of(action.recipe)


class Quadratic:
    """A distance of single layers and pairs: d(S) = Σ aᵢ + Σ bᵢⱼ."""

    def __init__(self, space, seed):
        rng = np.random.default_rng(seed)
        self.space, count = space, len(space.free_layers)
        self.single = rng.lognormal(size=count)
        self.pair = np.triu(rng.normal(size=(count, count)), 1) * 0.1

    def of(self, names):
        row = np.array([name in names for name in self.space.free_layers], float)
        return float(row @ self.single + row @ self.pair @ row)

    def __call__(self, recipe):
        return self.of([name for name in self.space.free_layers if recipe[name] == "int8"])

    def shapley(self):
        """By definition: the mean over all orders of what a layer adds."""
        names = self.space.free_layers
        total = dict.fromkeys(names, 0.0)
        orders = list(itertools.permutations(names))
        for order in orders:
            for place, name in enumerate(order):
                total[name] += self.of(order[: place + 1]) - self.of(order[:place])
        return {name: value / len(orders) for name, value in total.items()}


def chosen_settings(space):
    return activation_settings(space)[4]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_both_is_the_shapley_value_of_a_quadratic_distance(seed):
    space = make_space(5)
    value_of = Quadratic(space, seed)
    history, chosen = Problem(space).history(), chosen_settings(space)
    found, _ = follow(sensitivities(history, chosen, "both"), value_of)
    assert found == pytest.approx({name: max(v, 1e-12) for name, v in value_of.shapley().items()})


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_interactions_are_the_pairs(seed):
    space = make_space(6)
    value_of = Quadratic(space, seed)
    history, chosen = Problem(space).history(), chosen_settings(space)
    names = space.free_layers
    found, _ = follow(interactions(history, chosen), value_of)
    assert found == pytest.approx({(names[i], names[i + 1]): value_of.pair[i, i + 1] for i in range(5)})
    far, probed = follow(interactions(history, chosen, [(names[0], names[4])]), value_of)
    assert far == pytest.approx({(names[0], names[4]): value_of.pair[0, 4]})
    assert len(probed) == 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fixed", [False, True])
def test_modes_agree_where_distances_add_up(mode, fixed):
    space = make_space(7)
    if fixed:  # one layer is int8 in every recipe
        space = dataclasses.replace(space, offered={**space.offered, space.layers[2]: ("int8",)})
    problem = Problem(space)
    chosen = chosen_settings(space)
    found, probed = follow(sensitivities(problem.history(), chosen, mode), problem.distance)
    assert found == pytest.approx({name: problem.probe[name] for name in space.free_layers})
    layers = len(space.free_layers)
    assert len(probed) == {"alone": layers + fixed, "restored": layers + 1, "both": 2 * layers + 1 + fixed}[mode]


@pytest.mark.parametrize("mode", MODES)
def test_known_is_what_was_probed_first_of_all_under_these_settings(mode):
    space = make_space(6)
    problem = Problem(space)
    one, two = activation_settings(space)[4], activation_settings(space)[0]
    assert one[CALIBRATOR] != two[CALIBRATOR]
    assert known(problem.history(), one, mode) == {}
    first, probes = follow(sensitivities(problem.history(), two, mode), problem.distance)
    half = dict(list(probes.items())[:3])
    assert known(problem.history(probes=half), one, mode) == {}
    assert known(problem.history(probes=probes), one, mode) == first  # lent
    assert known(problem.history(probes=probes), one, mode, kind="kl") == {}
    second, more = follow(sensitivities(problem.history(), one, mode), problem.distance)
    history = problem.history(probes={**probes, **more})
    assert known(history, one, mode) == second != first
    assert replay(sensitivities(history, one, mode), history) == second


@pytest.mark.parametrize("mode", MODES)
def test_a_layer_that_cannot_run_is_the_most_sensitive_and_all_are_above_zero(mode):
    space = make_space(5)
    broken, idle = space.layers[3], space.layers[1]
    problem = Problem(space)
    problem.probe[idle] = -0.1

    def value_of(recipe):
        return math.inf if recipe[broken] == "int8" else problem.distance(recipe)

    found, _ = follow(sensitivities(problem.history(), chosen_settings(space), mode), value_of)
    assert max(found, key=found.get) == broken
    assert all(0 < value < math.inf for value in found.values())
    pairs, _ = follow(interactions(problem.history(), chosen_settings(space)), value_of)
    assert all(math.isfinite(value) for value in pairs.values())


def test_the_kind_is_the_one_asked_for():
    space = make_space(3)
    chosen = chosen_settings(space)
    with pytest.raises(Unknown) as unknown:
        replay(sensitivities(Problem(space).history(), chosen, "alone", "kl"), Problem(space).history())
    assert unknown.value.action == Probe("kl", only(space, chosen, space.layers[0]), "sensitivity")
    assert without(space, chosen, space.layers[0]) == compose(space, chosen, floats=space.layers[:1])
