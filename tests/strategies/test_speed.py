"""The search for speed, its model and the trade-off, on simulated clocks."""

from __future__ import annotations

import dataclasses
from itertools import pairwise, product

import numpy as np
import pytest
from autoquant.strategies import words
from autoquant.strategies.auto import Auto
from autoquant.strategies.base import Border, Probe, Profile, Score
from autoquant.strategies.certificate import certificate
from autoquant.strategies.recipes import floats_of, int8_in
from autoquant.strategies.speed import with_int8
from autoquant.strategies.timemodel import fit
from autoquant.strategies.tradeoff import path

from tests.strategies.simulator import Problem, make_space, noise, run


class Machine(Problem):
    """Some layers are slower in int8, and every border between int8 and float costs."""

    slower: frozenset[str] = frozenset()
    border = 0.004

    def cost(self, recipe):
        if self.objective != "latency":
            return super().cost(recipe)
        factor = {True: 0.5, False: 1.6}
        cost = sum(
            share * (factor[name not in self.slower] if recipe[name] == "int8" else 1.0)
            for name, share in self.space.shares.items()
        )
        cost += self.border * sum(
            (recipe[a] == "int8") != (recipe[b] == "int8") for a, b in pairwise(self.space.layers)
        )
        return cost * (1.0 + self.clock * noise(recipe, self.seed + 1))

    def profile(self, recipe):
        factor = {True: 0.5, False: 1.6}
        layers = {
            name: share * (factor[name not in self.slower] if recipe[name] == "int8" else 1.0)
            for name, share in self.space.shares.items()
        }
        return Profile(layers, {}, 0.0, sum(layers.values()))


def machine(layers=24, seed=0, **other):
    space = make_space(layers, seed=seed, ops=())
    borders = tuple(Border(a, b, 10_000) for a, b in pairwise(space.layers))
    made = Machine(dataclasses.replace(space, borders=borders), seed=seed, objective="latency", **other)
    made.slower = frozenset(space.layers[: layers // 3])
    return made


def brute_force(problem):
    """The least cost there is, by dynamic programming along the chain."""
    costs = {False: 0.0, True: problem.border}
    for place, name in enumerate(problem.space.layers):
        share = problem.space.shares[name]
        own = {False: share, True: share * (1.6 if name in problem.slower else 0.5)}
        along = {x: min(costs[x], costs[not x] + problem.border) for x in (False, True)}
        costs = {x: own[x] + (along[x] if place else 0.0) for x in (False, True)}
    return min(costs.values())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("clock", [0.0, 0.004])
def test_the_fastest_recipe_is_delivered_where_it_holds(seed, clock):
    problem = machine(seed=seed, total=0.1, clock=clock)
    done = run(problem, Auto())
    quiet = dataclasses.replace(problem, clock=0.0)
    quiet.slower = problem.slower
    assert quiet.cost(done.best.recipe) <= brute_force(problem) * 1.02
    assert len(done.history.trials) <= 3, "what is faster is found by the clock, not by the metric"


def test_layers_slower_in_int8_stay_float_though_accuracy_would_allow_them():
    problem = machine(total=0.1)
    best = run(problem, Auto()).best
    heavy = {name for name in problem.slower if problem.space.shares[name] > 2 * problem.border}
    assert heavy <= set(floats_of(problem.space, best.recipe))


@pytest.mark.parametrize("seed", range(4))
def test_the_certificate_of_the_delivered_recipe_is_complete(seed):
    problem = machine(seed=seed, total=2.0)
    done = run(problem, Auto())
    assert done.best.drop <= problem.target
    found = certificate(done.history, done.best.recipe)
    assert found.layers
    assert found.complete


@pytest.mark.parametrize("seed", range(6))
def test_what_is_given_up_is_little(seed):
    """Against the best of all recipes, by enumeration."""
    problem = machine(12, seed=seed, total=2.0)
    best = run(problem, Auto()).best
    every = (
        problem.space.canonical({**best.recipe, **dict(zip(problem.space.layers, chosen, strict=True))})
        for chosen in product(("int8", "fp32"), repeat=12)
    )
    optimum = min(problem.cost(recipe) for recipe in every if problem.drop(recipe) <= problem.target)
    assert best.cost <= optimum * 1.03


def test_nothing_is_scored_before_the_clock_has_spoken():
    done = run(machine(total=0.1), Auto())
    first = next(i for i, action in enumerate(done.actions) if isinstance(action, Score))
    kinds = {action.kind for action in done.actions[:first] if isinstance(action, Probe)}
    assert {words.LATENCY, words.PROFILE, "distance"} <= kinds


def test_a_rewrite_that_slows_the_model_down_is_left_out():
    space = make_space(8, ops=())
    switches = {"rewrite/good": words.REWRITE_CHOICES, "rewrite/bad": words.REWRITE_CHOICES}

    class Rewritten(Problem):
        def cost(self, recipe):
            factor = {"rewrite/good": 0.8, "rewrite/bad": 1.2}
            return super().cost(recipe) * np.prod([f for name, f in factor.items() if recipe[name] == "on"])

    space = dataclasses.replace(space, choices={**space.choices, **switches}, offered={**space.offered, **switches})
    best = run(Rewritten(space, total=0.1, objective="latency"), Auto()).best
    assert best.recipe["rewrite/good"] == "on"
    assert best.recipe["rewrite/bad"] == "off"


def test_where_int8_is_slower_throughout_the_float_form_is_scored():
    problem = machine(total=0.1)
    problem.slower = frozenset(problem.space.layers)
    best = run(problem, Auto()).best
    assert not int8_in(best.recipe)


def test_the_model_learns_what_the_profile_hides():
    problem = machine(10)
    settings = {name: values[0] for name, values in problem.space.offered.items() if not name.startswith("layer/")}
    layers = problem.space.layers
    corners = [with_int8(problem.space, settings, on) for on in ((), layers)]
    empty = Profile({}, {}, 0.0, 1.0)
    known = {recipe: problem.cost(recipe) for recipe in corners}
    known |= {
        (recipe := with_int8(problem.space, settings, layers[:count])): problem.cost(recipe) for count in range(1, 10)
    }
    model = fit(problem.space, (corners[0], empty, 1.0), [(corners[1], empty, problem.cost(corners[1]))], known)
    other = with_int8(problem.space, settings, layers[2:7])
    assert model.cost(other) == pytest.approx(problem.cost(other), rel=0.05)


def test_the_chance_to_be_faster_is_the_posterior_s():
    """Against draws of it."""
    machine = Machine(make_space(12, seed=1))
    floated = with_int8(machine.space, {}, ())
    whole = with_int8(machine.space, {}, machine.space.layers)
    known = {recipe: machine.cost(recipe) for recipe in (floated, whole)}
    corners = [(recipe, machine.profile(recipe), known[recipe]) for recipe in (floated, whole)]
    model = fit(machine.space, corners[0], corners[1:], known)
    on = frozenset(machine.space.layers[:6])
    rng = np.random.default_rng(0)
    for name in machine.space.layers[6:]:
        other = on | {name}
        draws = [dataclasses.replace(model, mean=model.prior.drawn(model.gain, rng)) for _ in range(400)]
        changes = [drawn.predicted(other) - drawn.predicted(on) + 0.01 * rng.standard_normal() for drawn in draws]
        assert model.faster(on, other, 0.005) == pytest.approx(np.mean(np.array(changes) < -0.005), abs=0.08)


def test_the_path_is_nested_and_ends_in_float():
    problem = machine(20)
    settings = {name: values[0] for name, values in problem.space.offered.items() if not name.startswith("layer/")}
    corners = [with_int8(problem.space, settings, on) for on in ((), problem.space.layers)]
    profiles = [(recipe, problem.profile(recipe), problem.cost(recipe)) for recipe in corners]
    model = fit(problem.space, profiles[0], profiles[1:], {recipe: cost for recipe, _, cost in profiles})
    start = model.fastest()
    recipes, remaining = path(model, start, problem.probe, settings)
    sets = [int8_in(recipe) for recipe in recipes]
    assert sets[0] == start
    assert not sets[-1]
    assert all(more > less for more, less in pairwise(sets))
    assert all(more > less for more, less in pairwise(remaining))
