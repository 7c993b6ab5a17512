"""Exhaustive search where it is possible, a documented grid where it is not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

from .base import Action, History, Recipe, Score, Space, Stop
from .recipes import GLOBALS, compose_anew, free_glue
from .words import REWRITE_CHOICES

LIMIT = 100_000


class Exhaustive:
    """Scores every recipe of a small space (at most 100,000 combinations), in the order of the offered choices.

    A larger space gets a grid instead: every global setting with all rewrites and with none, with the glue float and
    with the glue int8, all layers int8; then each of these with one layer in float. Layers have no calibrators of
    their own in it.
    """

    name = "exhaustive"

    def next(self, history: History) -> Action:
        """The first recipe in that order not scored yet."""
        recipe = next((recipe for recipe in recipes(history.space) if recipe not in history.scored), None)
        if recipe is not None:
            return Score(recipe, "search")
        if is_small(history.space):
            return Stop("every recipe has been scored")
        return Stop(
            f"every global setting was scored at all-int8 and with each single layer in float; "
            f"all {combinations(history.space):.0e} combinations are too many"
        )


def combinations(space: Space) -> int:
    """Number of combinations of the offered choices (some stand for the same candidate)."""
    return math.prod(len(values) for values in space.offered.values())


def is_small(space: Space) -> bool:
    """Whether every recipe can be enumerated."""
    return combinations(space) <= LIMIT


def recipes(space: Space) -> Iterator[Recipe]:
    """Every canonical recipe once, or the grid where they are too many."""
    seen: set[Recipe] = set()
    for recipe in _all(space) if is_small(space) else _grid(space):
        if recipe not in seen:
            seen.add(recipe)
            yield recipe


def _all(space: Space) -> Iterator[Recipe]:
    names = list(space.offered)
    for values in product(*space.offered.values()):
        yield space.canonical(dict(zip(names, values, strict=True)))


def _grid(space: Space) -> Iterator[Recipe]:
    names = [name for name in GLOBALS if name in space.offered]
    rewrites = [dict.fromkeys(space.rewrites, value) for value in (REWRITE_CHOICES if space.rewrites else ("off",))]
    settings = [
        {**dict(zip(names, values, strict=True)), **switched}
        for values in product(*(space.offered[name] for name in names))
        for switched in rewrites
    ]
    glues = [(), free_glue(space)] if free_glue(space) else [()]
    for floats in ((), *((name,) for name in space.free_layers)):
        for glue in glues:
            for setting in settings:
                yield compose_anew(space, setting, floats=floats, glue=glue)
