"""Where even 16-bit activations miss the target: the fallback of the fallback, float."""

from __future__ import annotations

from collections.abc import Mapping

from .base import History, Outcome, Space
from .bisection import bisect
from .recipes import Settings, compose, holds
from .replay import Procedure, score
from .sensitivity import order

WIDE = "int16"
_FLOATS = ("fp16", "fp32")


def has_wide(space: Space) -> bool:
    """Whether layers fall back to 16-bit activations here, and could to float."""
    return any(WIDE in values and not set(_FLOATS).isdisjoint(values) for values in space.offered.values())


def widen(history: History, settings: Settings, sensitivity: Mapping[str, float]) -> Procedure[Outcome | None]:
    """All layers in 16 bits; where that does not hold, layers in float one after the other, by bisection.

    Args:
        history: What is known.
        settings: Global settings of all of it.
        sensitivity: Layer → distance it causes in int8.

    Returns:
        A feasible outcome, None where not even one layer can be on integers.
    """
    space = history.space
    every = compose(space, settings, floats=space.free_layers)
    start = yield from score(every, "widen")
    if holds(history, start):
        return start
    names = [name for name in space.free_layers if every[name] == WIDE]
    floats = {name: next((value for value in _FLOATS if value in space.offered[name]), WIDE) for name in names}
    ranking = order(space, sensitivity, names)
    path = [
        space.canonical(every.replace({name: floats[name] for name in ranking[:count]}))
        for count in range(len(ranking) + 1)
    ]
    remaining = [0.0]
    for name in reversed(ranking):
        remaining.append(remaining[-1] + sensitivity.get(name, 0.0))
    return (yield from bisect(history, path, remaining[::-1], start, None)).outcome
