"""What the peers' strategies share: units that fall back together, and recipes that ignore rewrites and timing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..base import Action, History, Outcome, Recipe, Space, Stop
from ..recipes import Settings, compose, free_glue, holds
from ..replay import Procedure, Unknown, replay
from ..words import ACTIVATION_SYMMETRY, CALIBRATOR, LAYER, WEIGHT_GRANULARITY, WEIGHT_SYMMETRY


def units(space: Space) -> tuple[str, ...]:
    """What falls back as one: each layer or group in graph order, then each type of glue."""
    return (*space.free_layers, *free_glue(space))


def plain(space: Space, calibrator: str = "minmax", symmetry: str = "asymmetric") -> dict[str, str]:
    """Settings as the originals have them: weights per channel, no rewrite; elsewhere what is offered first."""
    wanted = {
        CALIBRATOR: calibrator,
        ACTIVATION_SYMMETRY: symmetry,
        WEIGHT_GRANULARITY: "per_channel",
        WEIGHT_SYMMETRY: "symmetric",
        **dict.fromkeys(space.rewrites, "off"),
    }
    return {name: value for name, value in wanted.items() if value in space.offered.get(name, ())}


def fallen(space: Space, settings: Settings, floats: Collection[str]) -> Recipe:
    """All units int8 but `floats`; glue that is fixed to int8 stays so."""
    layers = [name for name in floats if name.startswith(LAYER)]
    return compose(space, settings, floats=layers, glue=[name for name in space.ops if name not in floats])


def settled(procedure: Procedure[Outcome | None], history: History, found: str, missed: str) -> Action:
    """The next action of a procedure that ends with the first outcome that holds the target, or without one."""
    try:
        outcome = replay(procedure, history)
    except Unknown as missing:
        return missing.action
    return Stop(found if outcome is not None and holds(history, outcome) else missed)


def has_int8(space: Space, recipe: Recipe) -> bool:
    """Whether any layer is on integers: a model without one is no result."""
    return any(recipe[name] == "int8" for name in space.layers)


def by_drop(names: Sequence[str], drops: dict[str, float]) -> list[str]:
    """Names by drop, the smallest first, equal ones as they stand."""
    return sorted(names, key=lambda name: drops[name])
