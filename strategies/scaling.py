"""Channels made alike before anything is rounded, where label-free probes say that it lowers the distance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from .base import Recipe, Space
from .replay import WORTH, Procedure, closeness
from .words import ACTIVATION_SYMMETRY, EQUALIZATION, EQUALIZATIONS, SMOOTH, SMOOTHS

SCALINGS = ({SMOOTH: SMOOTHS[-1]}, {SMOOTH: SMOOTHS[-1], EQUALIZATION: EQUALIZATIONS[1]})
"""Together the two can do what neither does alone."""


def scaled(space: Space, recipe: Recipe) -> Procedure[Recipe]:
    """The recipe with the channels scaled so that its distance is the least; itself where nothing is on offer.

    That distance may be no less than the recipe's own: scaled channels also make other corrections worth more.
    """
    return (yield from _least(space, recipe, (found for found in SCALINGS if _adds(space, recipe, found)), math.inf))


def turned(space: Space, recipe: Recipe) -> Procedure[Recipe]:
    """The recipe, or with activations of another symmetry, whose distance is the least.

    Other channels had the say when its symmetry was chosen.
    """
    others = (choice for choice in space.offered[ACTIVATION_SYMMETRY] if choice != recipe[ACTIVATION_SYMMETRY])
    own: float = yield from closeness(recipe, "correct")
    return (yield from _least(space, recipe, ({ACTIVATION_SYMMETRY: choice} for choice in others), own))


def _adds(space: Space, recipe: Recipe, scaling: Mapping[str, str]) -> bool:
    """Whether a scaling is on offer and not the recipe's own."""
    offered = all(choice in space.offered.get(name, ()) for name, choice in scaling.items())
    return offered and any(recipe[name] != choice for name, choice in scaling.items())


def _least(space: Space, recipe: Recipe, changes: Iterable[Mapping[str, str]], own: float) -> Procedure[Recipe]:
    """The recipe with the one change of the least distance, where that is 1 % below its own."""
    best, least = recipe, own * (1.0 - WORTH)
    for change in changes:
        changed = space.canonical(recipe.replace(change))
        found: float = yield from closeness(changed, "correct")
        if found < least:
            best, least = changed, found
    return best
