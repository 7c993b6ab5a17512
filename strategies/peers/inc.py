"""Intel Neural Compressor's `basic` strategy (neural_compressor/strategy/basic.py, versions 2.0 to 3.x)."""

from __future__ import annotations

from itertools import product

from ..base import Action, History, Outcome, Space
from ..recipes import Settings, drop_of, holds
from ..replay import Procedure, score
from ..words import ACTIVATION_SYMMETRY, CALIBRATOR, WEIGHT_GRANULARITY
from .units import by_drop, fallen, has_int8, plain, settled, units

_CALIBRATORS = ("minmax", "percentile_99.999", "entropy")
_TUNED = "op-type-wise"
_SINGLE = "one by one"
_ACCUMULATED = "accumulated"


class Inc:
    """Default, op-type-wise tuning, fallback one by one, accumulated fallback; the end is the first that holds.

    As in the source:

    1. Everything in int8, glue included, with the default configuration: min-max, asymmetric activations, symmetric
       weights per channel.
    2. Op-type-wise tuning: the other combinations of calibration algorithm, activation scheme and weight granularity.
       The best configuration so far is what falls back.
    3. Each operator alone in float, from the bottom of the graph to its top, by the real metric.
    4. Operators in float accumulated, the one that helped most by itself first.

    Every candidate is scored in full, and the first one that holds the target ends it (timeout 0). Neither latency
    nor size counts for anything, and there are no rewrites.

    Where it differs: the source varies the configuration for each operator type apart; here it is one for all, as
    our activation settings are. Its fallback units are operators; ours are layers (or groups that share a weight) and
    types of glue. Its blocks of transformers, weight-only and SmoothQuant stages are left out. It repeats candidates
    (the first of stage 4 is the best of stage 3); here none is scored twice. It takes a model without any int8
    operator for a success; here that is not proposed. A candidate that fails ranks last.
    """

    name = "inc-basic"

    def next(self, history: History) -> Action:
        """The next action."""
        return settled(
            _basic(history),
            history,
            "the first recipe that holds the target was found",
            "no fallback of the basic strategy holds the target",
        )


def configurations(space: Space) -> list[Settings]:
    """What op-type-wise tuning tries, the default first."""
    default = plain(space)
    found: list[Settings] = [default]
    known = {
        CALIBRATOR: _CALIBRATORS,
        ACTIVATION_SYMMETRY: ("asymmetric", "symmetric"),
        WEIGHT_GRANULARITY: ("per_channel", "per_tensor"),
    }
    varied = {
        name: [value for value in values if value in space.offered[name]] or [space.offered[name][0]]
        for name, values in known.items()
        if name in space.offered
    }
    for values in product(*varied.values()):
        settings = {**default, **dict(zip(varied, values, strict=True))}
        if settings not in found:
            found.append(settings)
    return found


def _basic(history: History) -> Procedure[Outcome | None]:
    space = history.space
    best: tuple[float, Settings] | None = None
    for settings in configurations(space):
        outcome = yield from score(fallen(space, settings, ()), _TUNED)
        if holds(history, outcome):
            return outcome
        if best is None or drop_of(outcome) < best[0]:
            best = drop_of(outcome), settings
    assert best is not None  # there is always the default
    settings = best[1]
    names = units(space)[::-1]
    drops: dict[str, float] = {}
    for name in names:
        recipe = fallen(space, settings, [name])
        if not has_int8(space, recipe):
            continue
        outcome = yield from score(recipe, _SINGLE)
        if holds(history, outcome):
            return outcome
        drops[name] = drop_of(outcome)
    ranking = by_drop([name for name in names if name in drops], drops)
    for count in range(2, len(ranking) + 1):
        recipe = fallen(space, settings, ranking[:count])
        if not has_int8(space, recipe):
            break
        outcome = yield from score(recipe, _ACCUMULATED)
        if holds(history, outcome):
            return outcome
    return None
