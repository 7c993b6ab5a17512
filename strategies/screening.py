"""Which global settings to start from: calibrator and symmetry at all-int8."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .base import History, Outcome, Recipe
from .recipes import Settings, activation_settings, compose, drop_of, holds, settings_of
from .replay import Procedure, distance, score

_SCORES = 4
_BUDGET_PART = 3
_WORTH = 4.0


@dataclass(frozen=True, slots=True)
class Screened:
    """What screening found.

    Attributes:
        outcome: The best all-int8 trial (glue in float): feasible, or else of the smallest drop.
        ranked: All activation settings, the outcome's first, then by distance.
        scores: Number of trials it took.
    """

    outcome: Outcome
    ranked: tuple[Settings, ...]
    scores: int


def screen(history: History, form: Callable[[Settings], Recipe] | None = None) -> Procedure[Screened]:
    """Rank the settings by a label-free probe, score the most promising until one holds the target.

    Without a form all layers are int8 and glue stays in float: that is the most accurate all-int8 model, and in terms
    of operations or bytes as cheap as any. A second, third and fourth calibrator are scored only where their distance
    is of the first one's order.
    """
    space = history.space
    form = form or (lambda settings: compose(space, settings))
    ranked = activation_settings(space)
    if len(ranked) > 1:
        distances = []
        for settings in ranked:
            distances.append((yield from distance(form(settings), "screen")))
        places = sorted(range(len(ranked)), key=lambda place: (_finite(distances[place]), place))
        ranked, distances = [ranked[place] for place in places], [distances[place] for place in places]
    else:
        distances = [0.0]
    limit = _SCORES if history.max_trials is None else min(_SCORES, max(1, history.max_trials // _BUDGET_PART))
    outcomes: list[Outcome] = []
    seen: set[str | None] = set()
    for settings, value in zip(ranked, distances, strict=True):
        # Symmetries of one calibrator differ little: a second look at it is worth less than at another.
        calibrator = settings.get("activation/calibrator")
        if calibrator in seen or (outcomes and value > _WORTH * distances[0]):
            continue
        seen.add(calibrator)
        outcome = yield from score(form(settings), "screen")
        outcomes.append(outcome)
        if holds(history, outcome) or len(outcomes) >= limit:
            break
    best = min(outcomes, key=lambda found: (not holds(history, found), found.state == "failed", drop_of(found)))
    chosen = settings_of(best.recipe)
    rest = [settings for settings in ranked if not settings.items() <= chosen.items()]
    return Screened(best, (chosen, *rest), len(outcomes))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf
