"""Which global settings to start from: calibrator and symmetry at all-int8."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .base import History, Outcome, Recipe, Space
from .recipes import Settings, activation_settings, best_of, compose, holds, settings_of
from .replay import Procedure, distance, score
from .words import CALIBRATOR, LATENCY

_SCORES = 4
_BUDGET_PART = 3
_WORTH = 4.0
_REWRITTEN = 2
"""Looks at the rewritten model alone: it is the faster one, though neither operations nor bytes show it."""


@dataclass(frozen=True, slots=True)
class Screened:
    """What screening found.

    Attributes:
        outcome: The best all-int8 trial (glue in float): feasible, or else of the smallest drop.
        ranked: All activation settings, the outcome's first, then by distance.
        tried: All that were scored.
    """

    outcome: Outcome
    ranked: tuple[Settings, ...]
    tried: tuple[Outcome, ...]

    @property
    def scores(self) -> int:
        """Number of trials it took."""
        return len(self.tried)


def screen(history: History, form: Callable[[Settings], Recipe] | None = None) -> Procedure[Screened]:
    """Rank the settings by a label-free probe, score the most promising until one holds the target.

    Without a form all layers are int8 and glue stays in float: that is the most accurate all-int8 model, and in terms
    of operations or bytes as cheap as any. A second, third and fourth calibrator are scored only where their distance
    is of the first one's order.

    A rewrite is exact in float, but it changes which tensors are rounded. So where two calibrators did not hold, the
    model without its rewrites, as cheap in these terms, is probed too, and takes part in the last two looks.
    """
    space = history.space
    plain = _plain(space) if form is None and history.objective != LATENCY else {}
    form = form or (lambda settings: compose(space, settings))
    ranked = yield from _ranked(form, activation_settings(space))
    rest, ground = list(ranked), ranked[0][0]
    limit = _SCORES if history.max_trials is None else min(_SCORES, max(1, history.max_trials // _BUDGET_PART))
    outcomes: list[Outcome] = []
    seen: set[tuple[str | None, bool]] = set()
    while len(outcomes) < limit and not (outcomes and holds(history, outcomes[-1])):
        if len(outcomes) == _REWRITTEN and plain:
            forms = [{**settings, **plain} for settings in activation_settings(space)]
            rest = sorted([*rest, *(yield from _ranked(form, forms))], key=lambda entry: _finite(entry[0]))
        rest = [entry for entry in rest if _kind(entry[1], plain) not in seen]
        if not rest or (outcomes and rest[0][0] > _WORTH * ground):
            break
        _, settings = rest.pop(0)
        seen.add(_kind(settings, plain))
        outcomes.append((yield from score(form(settings), "screen")))
    best = best_of(history, outcomes)
    chosen = settings_of(best.recipe)
    others = [settings for _, settings in ranked if not settings.items() <= chosen.items()]
    return Screened(best, (chosen, *others), tuple(outcomes))


def _ranked(
    form: Callable[[Settings], Recipe], settings: Sequence[Settings]
) -> Procedure[list[tuple[float, Settings]]]:
    """(distance, settings), the least distance first; where there is only one, nothing is probed."""
    if len(settings) == 1:
        return [(0.0, settings[0])]
    found: list[tuple[float, Settings]] = []
    for each in settings:
        found.append(((yield from distance(form(each), "screen")), each))
    return sorted(found, key=lambda entry: _finite(entry[0]))


def _plain(space: Space) -> dict[str, str]:
    """Settings with every rewrite off that is usually on; nothing where there is none to switch off."""
    return {name: "off" for name in space.rewrites if space.offered[name][0] == "on" and "off" in space.offered[name]}


def _kind(settings: Settings, plain: Settings) -> tuple[str | None, bool]:
    """Symmetries of one calibrator differ little: a second look at it is worth less than at another."""
    return settings.get(CALIBRATOR), bool(plain) and plain.items() <= settings.items()


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
