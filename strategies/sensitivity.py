"""What each layer costs in accuracy, by label-free probes.

With d(S) the distance of the outputs with the free layers S in int8, a layer i can be asked in three ways:

- `alone`: d({i}) − d(∅), its error in an otherwise exact model (AIMET's AMP ranks so). One probe a layer.
- `restored`: d(all) − d(all but i), what putting it back in float would mend (NNCF ranks so). One probe a layer.
- `both`: the mean of the two, the first and the last step of every way from float to all-int8. Where distances are of
  pairs of layers, d(S) = Σ aᵢ + Σ bᵢⱼ, that is the Shapley value: each layer with half of its interactions.

`interactions` gives bᵢⱼ = d({i, j}) − d({i}) − d({j}) of neighbours. benchmarks/sensitivity.py measures on real models
which of them, and which kind of distance, predicts the drop of the user's metric: `alone` with the relative squared
error is best or within the noise of the best on each. `restored` breaks down where all-int8 is far off: there outputs
saturate, errors compensate, and a layer put back can make things worse (rank correlations −0.4 and −0.6 on the two text
recognisers under poor ranges, against 0.5 and 0.8 alone). KL, Hellinger and cosine distances rank layers as the squared
error does; margins and flips are coarser on the few samples of a probe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .base import History, Probe, Recipe, Space
from .recipes import Settings, compose, floats_of, price, remembered, settings_of
from .replay import Procedure
from .words import BIAS, BIASES, EMPIRICAL

Mode = Literal["alone", "restored", "both"]
MODE: Mode = "alone"
KIND = "distance"

_LARGE = 1e6
_TINY = 1e-12
_PHASE = "sensitivity"


def only(space: Space, settings: Settings, *names: str) -> Recipe:
    """The recipe with these free layers int8 and the others in float."""
    return compose(space, settings, floats=[other for other in space.free_layers if other not in names])


def without(space: Space, settings: Settings, name: str) -> Recipe:
    """The recipe with one free layer in float and the others int8."""
    return compose(space, settings, floats=[name])


def sensitivities(
    history: History, settings: Settings, mode: Mode = MODE, kind: str = KIND
) -> Procedure[dict[str, float]]:
    """Probe what each free layer costs under these settings; at least a tiny value each."""
    values = {}
    for recipe in _asked(history.space, settings, mode).recipes:
        values[recipe] = yield Probe(kind, recipe, _PHASE)
    return _read(history.space, settings, mode, values) or {}


def known(history: History, settings: Settings, mode: Mode = MODE, kind: str = KIND) -> dict[str, float]:
    """The sensitivities already probed under these settings, or, where there are none, under any others."""
    values = {recipe: value for (probed, recipe), value in history.probes.items() if probed == kind}
    for candidate in (settings, *_probed_settings(history.space, values)):
        found = _read(history.space, candidate, mode, values)
        if found is not None:
            return found
    return {}


def interactions(
    history: History, settings: Settings, pairs: Sequence[tuple[str, str]] | None = None, kind: str = KIND
) -> Procedure[dict[tuple[str, str], float]]:
    """Probe what two free layers cost beyond the sum of their own; by default neighbours in graph order.

    Negative where the two errors cancel, or where int8 spares a conversion between them. 0 where a probe failed.
    """
    space = history.space
    ground: float = yield Probe(kind, only(space, settings), _PHASE)
    found = {}
    for one, two in itertools.pairwise(space.free_layers) if pairs is None else pairs:
        values: list[float] = []
        for names in ((one,), (two,), (one, two)):
            values.append((yield Probe(kind, only(space, settings, *names), _PHASE)))
        known_all = all(map(math.isfinite, (*values, ground)))
        found[one, two] = values[2] - values[0] - values[1] + ground if known_all else 0.0
    return found


def order(space: Space, sensitivity: Mapping[str, float], names: Collection[str]) -> list[str]:
    """Names by sensitivity per price, the first to fall back first (the greedy knapsack order)."""
    place = {name: index for index, name in enumerate(space.free_layers)}
    return sorted(names, key=lambda name: (-sensitivity.get(name, _TINY) / price(space, name), place[name]))


@dataclass(frozen=True, slots=True)
class _Asked:
    """All that a mode has to probe. `alone` and `without` are of the free layers, in their order, or empty.

    Attributes:
        ground: Every free layer in float; None where that is the float model, or not asked.
    """

    ground: Recipe | None
    alone: tuple[Recipe, ...]
    whole: Recipe | None
    without: tuple[Recipe, ...]

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        return tuple(recipe for recipe in (self.ground, *self.alone, self.whole, *self.without) if recipe is not None)


def _asked(space: Space, settings: Settings, mode: Mode) -> _Asked:
    """Remembered: a replay asks for it at every step. Biases measured for each recipe anew are too dear for probes."""
    if settings.get(BIAS) == EMPIRICAL and BIASES[1] in space.offered[BIAS]:
        settings = {**settings, BIAS: BIASES[1]}
    return remembered(space, (mode, tuple(settings.items())), lambda: _asked_anew(space, settings, mode))


def _asked_anew(space: Space, settings: Settings, mode: Mode) -> _Asked:
    names = space.free_layers
    single, restored = mode != "restored", mode != "alone"
    fixed = len(space.layers) > len(names)  # what is fixed to int8 is in every probe
    return _Asked(
        ground=only(space, settings) if single and fixed else None,
        alone=tuple(only(space, settings, name) for name in names) if single else (),
        whole=compose(space, settings) if restored else None,
        without=tuple(without(space, settings, name) for name in names) if restored else (),
    )


def _read(space: Space, settings: Settings, mode: Mode, values: Mapping[Recipe, float]) -> dict[str, float] | None:
    """The sensitivities by these probes, None where one is missing."""
    asked = _asked(space, settings, mode)
    if not all(recipe in values for recipe in asked.recipes):
        return None
    ground = values[asked.ground] if asked.ground is not None else values.get(only(space, settings), 0.0)
    parts = []
    if asked.alone:
        parts.append([_rise(ground, values[recipe]) for recipe in asked.alone])
    if asked.whole is not None:
        whole = values[asked.whole]
        parts.append([_rise(values[recipe], whole) for recipe in asked.without])
    names = space.free_layers
    return {name: max(sum(each) / len(each), _TINY) for name, each in zip(names, zip(*parts, strict=True), strict=True)}


def _rise(before: float, after: float) -> float:
    """From one distance to another; large where only the second is infinite, nothing where there is nothing to see."""
    if math.isfinite(before):
        return after - before if math.isfinite(after) else _LARGE
    return 0.0


def _probed_settings(space: Space, values: Collection[Recipe]) -> list[Settings]:
    """Settings of the probes in which a single free layer is int8, or a single one float, in alphabetical order."""
    count = len(space.free_layers)
    found = {
        tuple(sorted(settings_of(recipe).items()))
        for recipe in values
        if len(floats_of(space, recipe)) in (1, count - 1)
    }
    return [dict(settings) for settings in sorted(found)]
