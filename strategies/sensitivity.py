"""What each layer costs in accuracy, by label-free probes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from .base import History, Recipe, Space
from .recipes import Settings, compose, floats_of, price, settings_of
from .replay import Procedure, distance

_LARGE = 1e6
_TINY = 1e-12


def alone(space: Space, settings: Settings, name: str) -> Recipe:
    """The recipe with one free layer int8 and the others in float."""
    return compose(space, settings, floats=[other for other in space.free_layers if other != name])


def sensitivities(history: History, settings: Settings) -> Procedure[dict[str, float]]:
    """Probe the distance that each free layer causes when it alone is int8."""
    space = history.space
    ground = 0.0
    if len(space.layers) > len(space.free_layers):  # what is fixed to int8 is in every probe
        ground = yield from distance(compose(space, settings, floats=space.free_layers), "sensitivity")
    found = {}
    for name in space.free_layers:
        value = yield from distance(alone(space, settings, name), "sensitivity")
        found[name] = _above(value, ground)
    return found


def known(history: History, settings: Settings) -> dict[str, float]:
    """The sensitivities already probed under these settings, or, where there are none, under any others."""
    space = history.space
    for candidate in (settings, *_probed_settings(history)):
        ground = history.probes.get(("distance", compose(space, candidate, floats=space.free_layers)), 0.0)
        values = {name: history.probes.get(("distance", alone(space, candidate, name))) for name in space.free_layers}
        found = {name: _above(value, ground) for name, value in values.items() if value is not None}
        if len(found) == len(space.free_layers):
            return found
    return {}


def _probed_settings(history: History) -> list[Settings]:
    """Settings of the probes in which a single free layer is int8, in alphabetical order."""
    space = history.space
    found = {
        tuple(sorted(settings_of(recipe).items()))
        for _, recipe in history.probes
        if len(floats_of(space, recipe)) == len(space.free_layers) - 1
    }
    return [dict(settings) for settings in sorted(found)]


def _above(value: float, ground: float) -> float:
    return max(value - ground, _TINY) if math.isfinite(value) and math.isfinite(ground) else _LARGE


def order(space: Space, sensitivity: Mapping[str, float], names: Collection[str]) -> list[str]:
    """Names by sensitivity per price, the first to fall back first (the greedy knapsack order)."""
    place = {name: index for index, name in enumerate(space.free_layers)}
    return sorted(names, key=lambda name: (-sensitivity.get(name, _TINY) / price(space, name), place[name]))
