"""Screening: which settings are looked at, and in which order."""

import dataclasses

import pytest
from autoquant.strategies import base, words
from autoquant.strategies.base import History, Recipe, Space
from autoquant.strategies.recipes import compose, int8_in
from autoquant.strategies.screening import screen

from tests.strategies.simulator import Problem, follow, make_space

REWRITES = (words.REWRITE + "one", words.REWRITE + "two")


def rewritable(**offered: tuple[str, ...]) -> Space:
    """One rewrite that is on unless it is switched off, and one the other way."""
    space = make_space(6)
    usual = dict(zip(REWRITES, (("on", "off"), ("off", "on")), strict=True)) | offered
    choices = space.choices | dict.fromkeys(REWRITES, words.REWRITE_CHOICES)
    return dataclasses.replace(space, choices=choices, offered={**usual, **space.offered})


@dataclasses.dataclass
class Rewritten(Problem):
    """A rewrite makes all-int8 lose more, or less."""

    harm: float = 3.0

    def _scale(self, recipe: Recipe) -> float:
        return super()._scale(recipe) * (self.harm if recipe[REWRITES[0]] == "on" else 1.0)


def forms(scored: list[Recipe]) -> list[tuple[str, str]]:
    return [(recipe[words.CALIBRATOR], recipe[REWRITES[0]]) for recipe in scored]


def test_the_rewritten_model_is_all_that_is_looked_at_while_it_holds() -> None:
    problem = Rewritten(rewritable(), total=0.3)
    found, scored = follow(screen(problem.history()), problem)
    assert forms(scored) == [("percentile_99.99", "on")]
    assert found.outcome.drop <= problem.target


def test_where_it_does_not_the_model_without_its_rewrites_is_looked_at_too() -> None:
    problem = Rewritten(rewritable(), total=0.5)
    found, scored = follow(screen(problem.history()), problem)
    assert [on for _, on in forms(scored)] == ["on", "on", "off"]
    assert len({calibrator for calibrator, _ in forms(scored)[:2]}) == 2
    assert found.outcome.recipe[REWRITES[0]] == "off"
    assert found.outcome.recipe[REWRITES[1]] == "off"
    assert found.outcome.recipe[words.CALIBRATOR] == "percentile_99.99"
    assert found.scores == 3
    assert set(problem.space.layers) <= int8_in(found.outcome.recipe)
    assert len(found.ranked) == 12, "the settings of the rewritten model, those of the outcome in place of their like"


def test_of_the_last_two_looks_the_probes_decide() -> None:
    problem = Rewritten(rewritable(), total=2.0, harm=0.2, best_calibrator="mse")
    problem.factor = {name: 40.0 + place for place, name in enumerate(words.CALIBRATORS)}
    _, scored = follow(screen(problem.history()), problem)
    assert [on for _, on in forms(scored)] == ["on"] * 4
    assert len({calibrator for calibrator, _ in forms(scored)}) == 4


@pytest.mark.parametrize(
    ("space", "objective"),
    [(rewritable(**{REWRITES[0]: ("on",)}), "ops"), (make_space(6), "size"), (rewritable(), words.LATENCY)],
)
def test_nothing_to_switch_off(space: Space, objective: str) -> None:
    kind = Rewritten if REWRITES[0] in space.choices else Problem
    problem = kind(space, total=40.0, objective=objective)
    _, scored = follow(screen(problem.history()), problem)
    assert len(scored) == 4
    assert all(recipe.get(REWRITES[0], "on") == "on" for recipe in scored)


def test_a_small_budget_is_not_spent_on_screening() -> None:
    problem = Rewritten(rewritable(), total=40.0)
    for trials, looks in ((2, 1), (6, 2), (9, 3), (100, 4)):
        _, scored = follow(screen(problem.history(max_trials=trials)), problem)
        assert len(scored) == looks


def test_with_one_setting_nothing_is_probed_but_the_form() -> None:
    space = rewritable(**{words.CALIBRATOR: ("mse",), words.ACTIVATION_SYMMETRY: ("symmetric",)})
    problem = Rewritten(
        dataclasses.replace(
            space, offered={**space.offered, words.CALIBRATOR: ("mse",), words.ACTIVATION_SYMMETRY: ("symmetric",)}
        ),
        total=40.0,
    )
    history: History = problem.history()
    procedure = screen(history)
    first = next(procedure)
    assert first == base.Score(compose(problem.space, {words.CALIBRATOR: "mse"}), "screen")
