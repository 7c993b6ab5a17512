"""The parts: replay, recipes, bisection, pruning, the drop model, samplers, enumeration, names."""

import dataclasses
import itertools
from statistics import NormalDist

import numpy as np
import pytest
from autoquant.errors import OptionError
from autoquant.strategies import exhaustive, registry, words
from autoquant.strategies.base import Outcome, Probe, Recipe, Score
from autoquant.strategies.bisection import bisect, prefixes
from autoquant.strategies.dropmodel import fit
from autoquant.strategies.recipes import activation_settings, compose, floats_of, glue_of, price, settings_of
from autoquant.strategies.replay import Unknown, distance, replay, score
from autoquant.strategies.sampling import Sampling, random
from autoquant.strategies.sensitivity import sensitivities
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies.simulator import Problem, follow, make_space, run


def test_replay_returns_the_result_or_the_first_unknown():
    problem = Problem(make_space(3))
    first, second = compose(problem.space, {}), compose(problem.space, {}, floats=problem.space.layers)

    def procedure():
        value = yield from distance(first, "a")
        outcome = yield from score(second, "b")
        return value, outcome.number

    with pytest.raises(Unknown) as unknown:
        replay(procedure(), problem.history())
    assert unknown.value.action == Probe("distance", first, "a")
    probes = {("distance", first): 0.0}  # zero is an answer
    with pytest.raises(Unknown) as unknown:
        replay(procedure(), problem.history(probes=probes))
    assert unknown.value.action == Score(second, "b")
    told = problem.outcome(7, Score(second, "b"))
    assert replay(procedure(), problem.history(probes=probes, trials=(told,))) == (0.0, 7)


def test_compose_and_its_inverses():
    space = make_space(4)
    chosen = activation_settings(space)[5]
    recipe = compose(space, chosen, floats=space.layers[1:3], glue=["op/Add"])
    assert floats_of(space, recipe) == space.layers[1:3]
    assert glue_of(space, recipe) == ("op/Add",)
    assert settings_of(recipe) == chosen
    assert len(activation_settings(space)) == 12
    assert sum(price(space, name) for name in space.layers) == pytest.approx(2.0)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 70),
    seed=st.integers(0, 10_000),
    total=st.floats(1.2, 30.0),
    mismatch=st.floats(0.0, 2.0),
    spread=st.floats(0.1, 3.0),
)
def test_bisection_is_tight_and_logarithmic(count, seed, total, mismatch, spread):
    problem = Problem(make_space(count, seed=seed), seed=seed, total=total, mismatch=mismatch, spread=spread)
    chosen = activation_settings(problem.space)[4]
    assert chosen[words.CALIBRATOR] == "percentile_99.99"
    history = problem.history()
    found, _ = follow(sensitivities(history, chosen), problem)
    ranking = sorted(found, key=lambda name: -found[name])
    start = problem.outcome(0, Score(compose(problem.space, chosen), "screen"))
    result, scored = follow(bisect(history, *prefixes(problem.space, chosen, ranking, found), start, None), problem)
    assert len(scored) <= 3 * np.log2(count) + 3
    needed = next(
        k for k in range(count + 1) if problem.drop(compose(problem.space, chosen, floats=ranking[:k])) <= 0.01
    )
    if needed == count:
        assert result.outcome is None
    else:
        assert floats_of(problem.space, result.outcome.recipe) == tuple(sorted(ranking[:needed]))
    assert len(set(scored)) == len(scored)


def test_the_drop_model_learns_a_layer_that_the_probes_miss():
    problem = Problem(make_space(20, seed=2), total=1.5, needed=("layer/node_004",))
    chosen = activation_settings(problem.space)[4]
    found, _ = follow(sensitivities(problem.history(), chosen), problem)
    everything = compose(problem.space, chosen)
    subsets = [everything, *(compose(problem.space, chosen, floats=[name]) for name in problem.space.layers)]
    trials = tuple(problem.outcome(i, Score(recipe, "x")) for i, recipe in enumerate(subsets))
    history = problem.history(trials=trials, probes={("distance", everything): problem.distance(everything)})
    model = fit(history, chosen, found)
    rate = trials[0].drop / problem.distance(everything)
    learned = {name: model.mean[model.place[name]] / (rate * found[name]) for name in problem.space.layers}
    assert max(learned, key=learned.get) == "layer/node_004"
    assert np.all(np.linalg.eigvalsh(model.covariance) > -1e-12)
    harmless = compose(problem.space, chosen, floats=problem.space.layers[:5])
    assert model.chance(harmless) > 4 * model.chance(everything)
    assert fit(problem.history(), chosen, found) is None


@pytest.mark.parametrize("seed", range(4))
def test_the_drop_model_is_the_textbook_s(seed):
    """Evidence and posterior by dense solves (Bishop 2006, eq. 3.50 to 3.54 and 2.43), the best of the same grid."""
    problem = Problem(make_space(12, seed=seed), seed=seed, total=2.0)
    chosen = activation_settings(problem.space)[4]
    rng = np.random.default_rng(seed)
    found = {name: float(value) for name, value in zip(problem.space.layers, rng.lognormal(size=12), strict=True)}
    subsets = [compose(problem.space, chosen)]
    while len(subsets) < 40:
        floats = [name for name in problem.space.layers if rng.random() < 0.3]
        subsets = list(dict.fromkeys([*subsets, compose(problem.space, chosen, floats=floats)]))
    history = problem.history(trials=tuple(problem.outcome(i, Score(recipe, "x")) for i, recipe in enumerate(subsets)))
    rate, target = 0.01, history.target
    model = fit(history, chosen, found, rate)
    names = list(model.place)
    prior = np.array([rate * found.get(name, 0.0) for name in names])
    rows = np.array([[float(recipe[name] == "int8") for name in names] for recipe in subsets])
    drops = np.minimum([trial.drop for trial in history.trials], 4.0 * target)
    known = []
    for scale, noise in itertools.product((0.25, 0.5, 1.0, 2.0), (0.03, 0.1, 0.2, 0.4)):
        before = np.diag(scale**2 * (prior**2 + (0.1 * target) ** 2))
        errors = np.diag((noise * target + 0.3 * np.maximum(drops - target, 0.0)) ** 2)
        total = rows @ before @ rows.T + errors
        residual = drops - rows @ prior
        evidence = -residual @ np.linalg.solve(total, residual) - np.linalg.slogdet(total)[1]
        covariance = np.linalg.inv(np.linalg.inv(before) + rows.T @ np.linalg.inv(errors) @ rows)
        mean = covariance @ (np.linalg.inv(before) @ prior + rows.T @ np.linalg.inv(errors) @ drops)
        known.append((evidence, noise * target, mean, covariance))
    _, noise, mean, covariance = max(known, key=lambda entry: entry[0])
    assert model.noise == pytest.approx(noise)
    assert model.mean == pytest.approx(mean, rel=1e-6, abs=1e-12)
    assert np.allclose(model.covariance, covariance, rtol=1e-6, atol=1e-14)
    row = rows[5]
    beyond = (row @ mean - target) / np.sqrt(row @ covariance @ row + noise**2)
    assert model.chance(subsets[5]) == pytest.approx(NormalDist().cdf(-beyond), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("propose", [lambda history: Sampling().tpe(history), random], ids=["tpe", "random"])
def test_proposals_follow_from_seed_and_count(propose):
    problem = Problem(make_space(10), total=2.0)
    history = run(problem, registry.make("random"), max_trials=15).history
    assert propose(history) == propose(history)
    assert propose(history) not in history.scored
    shorter = problem.history(trials=history.trials[:-1])
    assert propose(shorter) != propose(history)
    assert propose(dataclasses.replace(history, seed=9)) != propose(history)


def test_the_mirror_follows_any_history():
    problem = Problem(make_space(10), total=2.0)
    history = run(problem, registry.make("random"), max_trials=20).history
    sampling = Sampling()
    for count in (12, 20, 11, 0, 15):
        part = problem.history(trials=history.trials[:count])
        assert sampling.tpe(part) == Sampling().tpe(part)
        assert sampling.tpe(part, salt=1) != sampling.tpe(part)
    tighter = dataclasses.replace(history, target=history.target / 10)
    assert sampling.tpe(tighter) == Sampling().tpe(tighter)


def test_tpe_respects_the_constraint():
    problem = Problem(make_space(12, ops=()), total=3.0, spread=2.0)
    done = run(problem, registry.make("tpe"), max_trials=50)
    early, late = done.history.trials[:10], done.history.trials[30:]
    assert sum(map(done.history.feasible, late)) / len(late) > sum(map(done.history.feasible, early)) / len(early)


def test_the_mirror_is_silent(capfd):
    assert Sampling().tpe(Problem(make_space(5)).history()) is not None
    assert capfd.readouterr() == ("", "")


def test_trials_outside_the_space_do_not_disturb_the_samplers():
    problem = Problem(make_space(5), total=2.0)
    stranger = Outcome(0, Recipe({"layer/other": "int8"}), "complete", 0.9, 0.1, 0.5)
    assert Sampling().tpe(problem.history(trials=(stranger,) * 12)) is not None


def test_exhaustive_enumerates_a_small_space_once_in_order():
    space = make_space(3, ops=("Add",))
    found = list(exhaustive.recipes(space))
    assert len(found) == len(set(found))
    assert found[0] == space.canonical(space.default())
    brute = {
        space.canonical(dict(zip(space.offered, values, strict=True)))
        for values in itertools.product(*space.offered.values())
    }
    assert set(found) == brute


def test_exhaustive_takes_the_grid_of_a_large_space_and_says_so():
    space = make_space(30)
    found = list(exhaustive.recipes(space))
    settings_count = 6 * 2 * 2
    assert len(found) == settings_count * 2 * 31
    assert {len(floats_of(space, recipe)) for recipe in found} == {0, 1}
    problem = Problem(space)
    trials = tuple(problem.outcome(i, Score(recipe, "search")) for i, recipe in enumerate(found))
    stop = registry.make("exhaustive").next(problem.history(trials=trials))
    assert "too many" in stop.reason


def test_make_names_what_there_is():
    assert set(registry.NAMES) >= {"auto", "tpe", "random", "exhaustive", "pareto"}
    with pytest.raises(OptionError, match=r"--strategy must be one of auto, .* but got 'tpee'"):
        registry.make("tpee")
