"""NSGA-II, the Gaussian process and our own sampler, on the simulator."""

import dataclasses
import statistics
from importlib.util import find_spec

import numpy as np
import optuna
import pytest
from autoquant.errors import OptionError
from autoquant.strategies import base, exhaustive, gp, words
from autoquant.strategies.base import Outcome, Probe, Score
from autoquant.strategies.informed import Informed
from autoquant.strategies.linear import posterior
from autoquant.strategies.mirror import Mirror, distributions_of, frozen, pending
from autoquant.strategies.nsga2 import Nsga2
from autoquant.strategies.recipes import floats_of
from autoquant.strategies.registry import make
from autoquant.strategies.sampling import BEST, LOOKED_AT, POPULATION, Sampling, informative
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies.simulator import Problem, check_contract, make_space, run


def with_own_calibrators(space: base.Space, **offered) -> base.Space:
    own = {
        words.CALIBRATOR_OF + name.removeprefix(words.LAYER): (words.INHERIT, *words.CALIBRATORS)
        for name in space.layers
    }
    return dataclasses.replace(
        space, choices={**space.choices, **own, **offered}, offered={**space.offered, **own, **offered}
    )


# the mirror


def test_a_mirrored_trial_is_the_one_optuna_would_have_made():
    problem = Problem(make_space(4))
    told = problem.outcome(0, Score(problem.space.default(), "search"))
    distributions = distributions_of(problem.space)
    ours = frozen(told, 3, problem.target, distributions)
    theirs = optuna.trial.create_trial(
        value=told.cost,
        params={name: told.recipe[name] for name in distributions},
        distributions=dict(distributions),
        constraints={"drop": told.drop - problem.target},
    )
    assert (ours.params, ours.distributions, ours.value) == (theirs.params, theirs.distributions, theirs.value)
    assert ours.constraints == theirs.constraints
    ours._validate()


def test_the_mirror_keeps_nothing_of_what_a_sampler_notes():
    mirror = Mirror()
    mirror.held = [pending(0)]
    mirror.set_trial_system_attr(0, "note", 1)
    assert mirror.get_all_trials(0) == [pending(0)]
    assert mirror.study().trials == [pending(0)]


def test_of_a_large_history_the_best_and_the_latest_are_seen():
    problem = Problem(make_space(8), total=3.0)
    rng = np.random.default_rng(0)
    recipes = []
    while len(recipes) < LOOKED_AT + 100:
        chosen = {name: values[int(rng.integers(len(values)))] for name, values in problem.space.offered.items()}
        recipes.append(problem.space.canonical(chosen))
    trials = tuple(problem.outcome(i, Score(recipe, "x")) for i, recipe in enumerate(recipes))
    history = problem.history(trials=trials)
    seen = informative(history, list(trials))
    assert len(seen) == LOOKED_AT
    assert [trial.number for trial in seen] == sorted(trial.number for trial in seen)
    held = sorted((trial for trial in trials if history.feasible(trial)), key=lambda trial: trial.cost)
    assert set(held[:BEST]) <= set(seen)
    assert set(trials[-(LOOKED_AT - BEST) :]) <= set(seen)
    assert informative(history, list(trials[:LOOKED_AT])) == list(trials[:LOOKED_AT])
    assert Sampling().tpe(history) == Sampling().tpe(history)


# NSGA-II


def test_nsga2_breeds_from_the_second_generation_on():
    problem = Problem(make_space(20, seed=1), seed=1, total=3.0)
    done = run(problem, Nsga2(), max_trials=4 * POPULATION)
    drops = [statistics.median(trial.drop for trial in done.history.trials[i : i + POPULATION]) for i in (0, 60)]
    assert drops[1] < drops[0]
    parents = done.history.trials[:POPULATION]
    child = done.history.trials[POPULATION + 1].recipe
    shared = [sum(child[name] == parent.recipe[name] for name in child) for parent in parents]
    assert max(shared) > len(child) * 0.7  # half of it from each of two parents, where random draws share half


def test_nsga2_seeks_the_front_where_it_is_asked_for():
    problem = Problem(make_space(15, seed=2), seed=2, total=20.0)

    def costs(pareto):
        class Asked(Problem):
            def history(self, **known):
                return dataclasses.replace(super().history(**known), pareto=pareto)

        return [
            trial.cost
            for trial in run(Asked(problem.space, seed=2, total=20.0), Nsga2(), max_trials=100).history.trials
        ]

    late = {pareto: min(costs(pareto)[40:]) for pareto in (False, True)}
    assert late[True] < late[False]  # cheap recipes that lose too much are of the front too


# the Gaussian process


def test_gp_without_torch_says_what_to_install(monkeypatch):
    monkeypatch.setattr(gp, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"needs PyTorch, which is not installed\.\npip install 'autoquant\[gp\]'"):
        make("gp")


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
def test_gp_keeps_the_contract_and_holds_the_target_more_often_than_chance():
    problem = Problem(make_space(6, seed=1, ops=()), seed=1, total=2.0)
    done = check_contract(lambda: make("gp"), problem, max_trials=22)
    late = [done.history.feasible(trial) for trial in done.history.trials[12:]]
    chance = [done.history.feasible(trial) for trial in run(problem, make("random"), max_trials=60).history.trials]
    assert np.mean(late) > np.mean(chance)


# our own


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 12), features=st.integers(1, 6))
def test_the_posterior_is_that_of_the_normal_equations(seed, count, features):
    rng = np.random.default_rng(seed)
    rows, values = rng.normal(size=(count, features)), rng.normal(size=count)
    mean, spread, doubt = rng.normal(size=features), rng.uniform(0.1, 2.0, features), rng.uniform(0.0, 1.0, count)
    found = posterior(rows, values, mean, spread, 0.3, doubt)
    noise = np.diag(1.0 / (0.3**2 + doubt**2))
    covariance = np.linalg.inv(np.diag(spread**-2.0) + rows.T @ noise @ rows)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-8)
    np.testing.assert_allclose(found.mean, covariance @ (mean / spread**2 + rows.T @ noise @ values), atol=1e-8)


@pytest.mark.parametrize("objective", ["ops", "latency"])
def test_informed_is_there_in_few_trials(objective):
    ahead = 0
    for seed in range(3):
        problem = Problem(
            make_space(40, seed=seed), seed=seed, total=4.0, mismatch=0.5, jitter=0.1, objective=objective, clock=0.005
        )
        done = run(problem, Informed(), max_trials=20)
        assert done.first_feasible <= 6
        others = [run(problem, make(name), max_trials=60).best for name in ("tpe", "random", "nsga2")]
        ahead += all(other is None or done.best.cost < other.cost for other in others)
    assert ahead == 3  # 20 trials against 60


def test_informed_probes_before_it_scores():
    done = run(Problem(make_space(20, seed=1), seed=1, total=3.0), Informed(), max_trials=3)
    kinds = ["probe" if isinstance(action, Probe) else "score" for action in done.actions]
    assert kinds == ["probe"] * (12 + 1) + ["score"] + ["probe"] * 20 + ["score"] * 2


def test_informed_follows_the_frontier():
    problem = Problem(make_space(30, seed=3), seed=3, total=5.0, mismatch=1.0)
    done = run(problem, Informed(), max_trials=40)
    late = [trial.drop / problem.target for trial in done.history.trials[20:]]
    assert 0.5 < statistics.median(late) < 1.5


def test_informed_leaves_settings_that_the_trials_refute():
    class Misled(Problem):
        """The probes prefer entropy, the metric does not."""

        def distance(self, recipe):
            return super().distance(recipe) * (0.2 if recipe[words.CALIBRATOR] == "entropy" else 1.0)

    problem = Misled(make_space(20, seed=5), seed=5, total=2.0, best_calibrator="mse")
    done = run(problem, Informed(), max_trials=60)
    chosen = [trial.recipe[words.CALIBRATOR] for trial in done.history.trials]
    assert chosen[0] == "entropy"
    assert chosen[40:].count("entropy") < 10


def test_informed_turns_rewrites_and_glue_as_the_clock_says():
    class Rewritten(Problem):
        """One rewrite pays, the other costs."""

        def cost(self, recipe):
            good, bad = recipe["rewrite/good"] == "on", recipe["rewrite/bad"] == "on"
            return super().cost(recipe) - 0.1 * good + 0.1 * bad

    rewrites = {"rewrite/good": ("on", "off"), "rewrite/bad": ("on", "off")}
    space = make_space(15, seed=2)
    space = dataclasses.replace(space, choices={**space.choices, **rewrites}, offered={**space.offered, **rewrites})
    problem = Rewritten(space, seed=2, total=2.0, objective="latency", glue_gain={"Add": 0.05}, clock=0.003)
    best = run(problem, Informed(), max_trials=40).best.recipe
    assert (best["rewrite/good"], best["rewrite/bad"]) == ("on", "off")
    assert best["op/Add"] == "int8"
    assert best["op/Mul"] == best["op/Concat"] == "fp32"


def test_informed_ends_where_nothing_can_be_gained():
    easy = run(Problem(make_space(10), total=0.3), Informed())
    assert len(easy.history.trials) == 1
    assert "every layer" in easy.reason
    idle = run(Problem(make_space(12, seed=2), seed=2, total=3.0), Informed())
    assert "no better recipe in the last 30 trials" in idle.reason


class OwnRanges(Problem):
    """The third layer's ranges are right under another calibrator than everyone else's."""

    layer = "layer/node_002"

    def _mended(self, recipe):
        return recipe["calibrator/node_002"] == "entropy" or recipe[self.layer] != "int8"

    def drop(self, recipe):
        return super().drop(recipe) + (0.0 if self._mended(recipe) else 2.0 * self.target)

    def distance(self, recipe):
        return super().distance(recipe) + (0.0 if self._mended(recipe) else 1.0)


def test_informed_gives_a_layer_its_own_calibrator():
    problem = OwnRanges(with_own_calibrators(make_space(12, seed=4)), seed=4, total=0.8)
    done = run(problem, Informed(), max_trials=20)
    assert done.best is not None
    assert not floats_of(problem.space, done.best.recipe)
    assert done.best.recipe["calibrator/node_002"] == "entropy"
    assert done.first_feasible <= 2


def test_pruned_trials_teach_too():
    problem = Problem(make_space(10, seed=2), seed=2, total=4.0)
    whole = run(problem, Informed(), max_trials=1).history
    first = whole.trials[0]
    pruned = Outcome(0, first.recipe, "pruned", None, 1.1 * problem.target, None, "screen", estimate=first.drop)
    asked = [
        run(
            problem,
            Informed(),
            max_trials=2,
            start=problem.history(trials=(trial,), probes=dict(whole.probes), max_trials=2),
        )
        for trial in (first, pruned)
    ]
    counts = [len(floats_of(problem.space, done.history.trials[1].recipe)) for done in asked]
    assert abs(counts[0] - counts[1]) <= 3


def test_the_grid_leaves_calibrators_global_and_switches_rewrites_together():
    rewrites = {"rewrite/one": ("on", "off"), "rewrite/two": ("on", "off")}
    space = with_own_calibrators(make_space(10), **rewrites)
    found = list(exhaustive.recipes(space))
    assert len(found) == 6 * 2 * 2 * 2 * 2 * 11
    assert {(recipe["rewrite/one"], recipe["rewrite/two"]) for recipe in found} == {("on", "on"), ("off", "off")}
    assert {recipe[name] for recipe in found for name in space.calibrators} == {words.INHERIT}
