"""The default strategy on synthetic problems."""

import dataclasses

import numpy as np
import pytest
from autoquant.strategies import refinement, words
from autoquant.strategies.auto import Auto
from autoquant.strategies.base import Probe, Score
from autoquant.strategies.recipes import floats_of

from tests.strategies.simulator import Problem, make_space, run

KINDS = {
    "few layers matter": {"total": 4.0, "spread": 2.5, "mismatch": 0.5},
    "just short": {"total": 1.8, "mismatch": 0.7, "jitter": 0.2},
    "far off": {"total": 4.0, "mismatch": 0.7},
    "probes mislead": {"total": 3.0, "mismatch": 1.2, "jitter": 0.2},
    "interactions": {"total": 3.0, "mismatch": 0.5, "interaction": 0.2, "jitter": 0.1},
    "culprits the probes do not see": {"total": 0.5, "needed": ("layer/node_010", "layer/node_020"), "mismatch": 1.0},
}


def bound(problem):
    """A lower bound of the cost without noise: the fractional knapsack under the best settings."""
    names = problem.space.layers
    drops = np.array([problem.true[name] for name in names])
    shares = np.array([problem.space.shares[name] for name in names])
    excess, cost = drops.sum() - problem.target, shares.sum() / 16
    for index in np.argsort(-drops / shares):
        part = min(1.0, max(0.0, excess / drops[index]))
        excess, cost = excess - part * drops[index], cost + part * shares[index] * 15 / 16
    return cost


@pytest.mark.parametrize("seed", [0])
@pytest.mark.parametrize("kind", KINDS)
def test_holds_the_target_soon_and_ends_one_minimal(kind, seed):
    problem = Problem(make_space(25, seed=seed), seed=seed, **KINDS[kind])
    done = run(problem, Auto())
    assert done.first_feasible is not None
    assert done.first_feasible <= 10
    assert len(done.history.trials) <= 120
    for name in floats_of(problem.space, done.best.recipe):
        requantized = problem.space.canonical(done.best.recipe.replace({name: "int8"}))
        assert problem.drop(requantized) > problem.target, f"{name} is needlessly in float"


@pytest.mark.parametrize("kind", ["few layers matter", "just short", "far off"])
def test_twenty_trials_are_near_the_optimum(kind):
    ratios = []
    for seed in range(2):
        problem = Problem(make_space(50, seed=seed), seed=seed, **{**KINDS[kind], "jitter": 0.0})
        done = run(problem, Auto(), max_trials=20)
        ratios.append(done.best.cost / bound(problem))
    assert float(np.mean(ratios)) < 1.35


def test_beats_tpe_and_random_at_the_same_budget():
    from autoquant.strategies.registry import make

    problem = Problem(make_space(40, seed=0), seed=0, total=3.0, mismatch=0.5)
    auto, tpe, random = (run(problem, make(name), max_trials=30).best for name in ("auto", "tpe", "random"))
    assert all(other is None or auto.cost < other.cost for other in (tpe, random))


def test_one_trial_suffices_where_the_right_calibrator_holds():
    problem = Problem(make_space(50), total=0.9, best_calibrator="mse")
    done = run(problem, Auto())
    assert len(done.history.trials) == 1
    assert done.best.recipe[words.CALIBRATOR] == "mse"
    assert not floats_of(problem.space, done.best.recipe)
    assert "every layer that may be int8 is" in done.reason


def test_misleading_distances_of_calibrators_are_corrected_by_scores():
    class Misled(Problem):
        def distance(self, recipe):
            return super().distance(recipe) * (0.7 if recipe[words.CALIBRATOR] == "minmax" else 1.0) ** 4

    problem = Misled(make_space(30), total=0.9)
    done = run(problem, Auto())
    assert done.best.recipe[words.CALIBRATOR] == "percentile_99.99"
    assert len(done.history.trials) <= 3


def test_int8_glue_is_taken_for_latency_alone():
    gain = {"Add": 0.1, "Concat": -0.05, "Mul": 0.03}
    for objective, expected in (("latency", {"Add", "Mul"}), ("ops", set())):
        problem = Problem(make_space(20), total=0.5, objective=objective, glue_gain=gain, glue_drop=0.05)
        assert set(run(problem, Auto()).best.recipe.glue("int8")) == expected


def test_glue_that_loses_the_target_is_left_in_float_or_paid_for_with_layers():
    problem = Problem(
        make_space(20), total=0.5, objective="latency", glue_gain=dict.fromkeys(("Add", "Concat", "Mul"), 0.1),
        glue_drop=0.2,
    )  # fmt: skip
    best = run(problem, Auto()).best
    assert best.drop <= problem.target
    two = problem.space.canonical({**problem.space.default(), "op/Concat": "fp32"})
    assert best.cost <= problem.cost(two) + 1e-9


def test_glue_that_ruins_the_outputs_is_left_in_float():
    class Softmaxed(Problem):
        def distance(self, recipe):
            return super().distance(recipe) + (1.0 if recipe["op/Concat"] == "int8" else 0.0)

        def drop(self, recipe):
            return super().drop(recipe) + (1.0 if recipe["op/Concat"] == "int8" else 0.0)

    problem = Softmaxed(make_space(20), total=0.5, objective="latency", glue_gain={"Add": 0.1, "Mul": 0.1})
    done = run(problem, Auto())
    assert set(done.best.recipe.glue("int8")) == {"Add", "Mul"}


def test_where_int8_glue_is_slower_the_clock_alone_says_so():
    problem = Problem(make_space(20), total=0.5, objective="latency")
    done = run(problem, Auto())
    assert not any(trial.recipe.glue("int8") for trial in done.history.trials)


def test_latency_noise_does_not_keep_the_search_going():
    problem = Problem(make_space(30), total=0.5, objective="latency", clock=0.01)
    done = run(problem, Auto())
    assert len(done.history.trials) <= 80


@pytest.mark.parametrize("max_trials", [1, 2, 3, 5, 8])
def test_small_budgets_are_spent_on_getting_there(max_trials):
    problem = Problem(make_space(40, seed=1), seed=1, total=2.5)
    done = run(problem, Auto(), max_trials=max_trials)
    assert len(done.history.trials) == max_trials
    assert (done.best is not None) == (max_trials > 1)


def test_where_nothing_holds_it_says_so():
    problem = Problem(make_space(20), total=5000.0, spread=0.1)
    done = run(problem, Auto())
    assert done.best is None
    assert "no recipe with an int8 layer" in done.reason
    assert len(done.history.trials) <= 40


def test_fixed_choices_are_kept():
    space = make_space(20)
    offered = {**space.offered, "layer/node_003": ("fp32",), "op/Add": ("int8",), words.CALIBRATOR: ("minmax",)}
    problem = Problem(dataclasses.replace(space, offered=offered), total=0.5)
    done = run(problem, Auto())
    for trial in done.history.trials:
        assert trial.recipe["layer/node_003"] == "fp32"
        assert trial.recipe["op/Add"] == "int8"
        assert trial.recipe[words.CALIBRATOR] == "minmax"


def test_fallbacks_are_fp16_where_offered():
    problem = Problem(make_space(20, precisions=("int8", "fp16", "fp32")), total=3.0)
    best = run(problem, Auto()).best
    assert best.recipe.layers("fp16")
    assert not best.recipe.layers("fp32")


def test_layers_fixed_to_int8_do_not_hide_the_others_sensitivity():
    space = make_space(20)
    offered = {**space.offered, "layer/node_002": ("int8",)}
    problem = Problem(dataclasses.replace(space, offered=offered), total=2.0)
    done = run(problem, Auto())
    assert done.best is not None
    assert done.best.recipe["layer/node_002"] == "int8"


def test_failed_probes_do_not_stop_the_search():
    class Broken(Problem):
        def distance(self, recipe):
            return float("inf")

    problem = Broken(make_space(20), total=2.0)
    done = run(problem, Auto())
    assert done.best is not None


def test_no_layer_free_to_fall_back():
    space = make_space(5)
    offered = {name: ("int8",) if name.startswith(words.LAYER) else v for name, v in space.offered.items()}
    problem = Problem(dataclasses.replace(space, offered=offered), total=3.0)
    done = run(problem, Auto(), max_trials=40)
    assert done.reason or len(done.history.trials) == 40


def test_probes_come_before_the_dear_trials():
    done = run(Problem(make_space(30), total=2.0), Auto())
    kinds = [type(action) for action in done.actions]
    assert kinds[:12] == [Probe] * 12
    assert sum(kind is Score for kind in kinds[:16]) == 4
    assert all(kind is Probe for kind in kinds[16:46])


def test_the_search_ends_where_hardly_anything_is_left_to_gain():
    space = make_space(40, seed=1)
    least = min(space.layers, key=lambda name: space.shares[name])
    problem = Problem(space, seed=1, total=0.3, needed=(least,))
    problem.probe[least] = 0.5  # the probes see it too
    done = run(problem, Auto())
    assert floats_of(space, done.best.recipe) == (least,)
    assert "within 2 %" in done.reason
    assert len(done.history.trials) <= 10


def test_a_failed_best_guess_of_settings_is_retried_elsewhere():
    problem = Problem(make_space(15, seed=4), seed=4, total=0.9)
    done = run(problem, Auto(), fail=lambda number: number == 0)
    assert done.history.trials[0].state == "failed"
    assert done.best is not None


def test_where_little_is_expected_it_ends_sooner_at_no_loss(monkeypatch):
    ended, costs, trials = [], [], []
    for patient in (False, True):
        if patient:
            monkeypatch.setattr(refinement, "_little", lambda *known: False)
        runs = []
        for seed in range(6):
            problem = Problem(make_space(30, seed=seed), seed=seed, mismatch=1.0, jitter=0.1)
            runs.append(run(problem, Auto()))
        ended.append([done.reason for done in runs])
        costs.append(np.mean([done.best.cost for done in runs]))
        trials.append(sum(len(done.history.trials) for done in runs))
    assert any("little is expected" in reason for reason in ended[0])
    assert not any("little is expected" in reason for reason in ended[1])
    assert trials[0] < 0.95 * trials[1]
    assert costs[0] < 1.01 * costs[1]
