"""From the fastest recipe to float, by the most speed for the least sensitivity.

Each point of the path minimises predicted latency + λ · Σ sensitivity of what is int8, for some λ ≥ 0: the Lagrangian
of "the fastest recipe of at most this sensitivity" (Everett 1963), with the borders' conversions inside. Since every
such minimum is a minimum cut whose prices all grow with λ, the points are nested (Gallo, Grigoriadis & Tarjan 1989):
what has fallen back stays float.
"""

from __future__ import annotations

from collections.abc import Mapping

from .base import Recipe
from .recipes import Settings
from .speed import with_int8
from .timemodel import TimeModel

_DEPTH = 7
_TINY = 1e-12

Chosen = frozenset[str]


def path(
    model: TimeModel, start: Chosen, sensitivity: Mapping[str, float], settings: Settings
) -> tuple[list[Recipe], list[float]]:
    """Recipes from `start` to nothing in int8, and the summed sensitivity of what each has in int8.

    Between two neighbouring minima, what they differ in falls back one by one, the most sensitive for what it gains
    first.

    Args:
        model: Of the latency.
        start: The layers and glue types in int8 at the beginning.
        sensitivity: Layer or glue type → what it costs in accuracy.
        settings: All but the precisions, of every recipe.
    """
    ends = [start, model.required]
    points = sorted({*_between(model, start, ends[1], sensitivity, _DEPTH), *ends}, key=lambda on: -len(on))
    chain = [points[0]]
    for point in points[1:]:
        left = chain[-1] - point
        # Without the free ones first: leaving what gains nothing costs nothing.
        for name in sorted(left, key=lambda name: (_gain(model, chain[-1], name) / _of(sensitivity, name), name))[:-1]:
            chain.append(chain[-1] - {name})
        chain.append(chain[-1] & point)
    recipes: list[Recipe] = []
    remaining: list[float] = []
    for on in chain:
        recipe = with_int8(model.space, settings, on)
        if recipe not in recipes:
            recipes.append(recipe)
            remaining.append(sum(_of(sensitivity, name) for name in on))
    return recipes, remaining


def _between(
    model: TimeModel, more: Chosen, less: Chosen, sensitivity: Mapping[str, float], depth: int
) -> list[Chosen]:
    """The minima between two of them: at the λ where both cost the same a third one costs less, or none does."""
    difference = sum(_of(sensitivity, name) for name in more - less)
    if depth == 0 or difference <= _TINY or len(more - less) < 2:
        return []
    rate = (model.predicted(less) - model.predicted(more)) / difference
    if rate <= 0:
        return []
    penalty = {name: rate * _of(sensitivity, name) for name in model.variables}
    middle = (model.fastest(penalty) & more) | less
    if middle in (more, less):
        return []
    upper = _between(model, more, middle, sensitivity, depth - 1)
    return [*upper, middle, *_between(model, middle, less, sensitivity, depth - 1)]


def _gain(model: TimeModel, on: Chosen, name: str) -> float:
    """What one of them in int8 saves, all else equal."""
    return model.predicted(on - {name}) - model.predicted(on)


def _of(sensitivity: Mapping[str, float], name: str) -> float:
    return max(sensitivity.get(name, 0.0), _TINY)
