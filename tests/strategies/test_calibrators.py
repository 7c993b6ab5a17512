"""Layers' own calibrators, chosen by probes."""

import dataclasses

import pytest
from autoquant.strategies import words
from autoquant.strategies.base import Score
from autoquant.strategies.calibrators import recalibrate
from autoquant.strategies.recipes import activation_settings, compose

from tests.strategies.simulator import Problem, follow, make_space
from tests.strategies.test_samplers import OwnRanges, with_own_calibrators


@pytest.fixture
def problem() -> OwnRanges:
    return OwnRanges(with_own_calibrators(make_space(12, seed=4)), seed=4, total=0.8)


def start(problem: Problem):
    settings = activation_settings(problem.space)[4]
    assert settings[words.CALIBRATOR] == "percentile_99.99"
    return problem.outcome(0, Score(compose(problem.space, settings), "screen"))


def test_the_layer_that_needs_it_gets_another_calibrator_in_one_trial(problem):
    first = start(problem)
    assert first.drop > problem.target
    found, scored = follow(recalibrate(problem.history(trials=(first,)), first), problem)
    assert len(scored) == 1
    assert found.recipe == first.recipe.replace({"calibrator/node_002": "entropy"})
    assert found.drop < problem.target


def test_nothing_is_asked_where_the_target_holds_or_nothing_is_on_offer(problem):
    first = start(problem)
    good = dataclasses.replace(first, drop=0.5 * problem.target)
    assert follow(recalibrate(problem.history(), good), problem) == (good, [])
    usual = Problem(make_space(12, seed=4), seed=4, total=3.0)
    missed = start(usual)
    assert follow(recalibrate(usual.history(), missed), usual) == (missed, [])


def test_nothing_is_scored_where_no_probe_is_better():
    plain = Problem(with_own_calibrators(make_space(12, seed=4)), seed=4, total=3.0)
    first = start(plain)
    assert follow(recalibrate(plain.history(), first), plain) == (first, [])


def test_the_first_recipe_stays_where_the_metric_disagrees(problem):
    class Contrary(OwnRanges):
        def drop(self, recipe):
            return super().drop(recipe) + (0.1 if recipe["calibrator/node_002"] == "entropy" else 0.0)

    contrary = Contrary(problem.space, seed=4, total=0.8)
    first = start(contrary)
    found, scored = follow(recalibrate(contrary.history(), first), contrary)
    assert len(scored) == 1
    assert found is first


def test_only_the_most_sensitive_layers_are_tried(problem):
    first = start(problem)
    history = problem.history(trials=(first,))
    asked = []

    class Watched(OwnRanges):
        def distance(self, recipe):
            asked.append(
                {name for name in recipe if name.startswith(words.CALIBRATOR_OF) and recipe[name] != "inherit"}
            )
            return super().distance(recipe)

    follow(recalibrate(history, first, layers=3), Watched(problem.space, seed=4, total=0.8))
    assert len(set().union(*asked)) == 3
    assert "calibrator/node_002" in set().union(*asked)
