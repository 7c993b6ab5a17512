"""The certificate of 1-minimality: no float layer of a recipe can be int8 for a gain without breaking the target."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .base import History, Outcome, Recipe
from .front import cheaper
from .recipes import floats_of
from .words import LAYER, WEIGHT_ONLY

How = Literal["scored", "raced", "slower", "failed", "open"]


@dataclass(frozen=True, slots=True)
class Refutation:
    """What is known of a recipe with one float layer in int8, all else equal.

    Attributes:
        layer: The layer or group.
        how: `scored` (in full, beyond the target), `raced` (stopped early: its drop is a lower bound beyond it),
            `slower` (not faster beyond noise, by a trial or a latency probe), `failed` (the runtime or the evaluation
            does not take it), or `open`: not tried, or it holds and is cheaper.
        drop: In the target's unit; a lower bound where `raced`; None where unknown.
        cost: Relative to float; None where unknown.
        trial: The trial that says so, None for a probe or for nothing.
    """

    layer: str
    how: How
    drop: float | None = None
    cost: float | None = None
    trial: int | None = None

    @property
    def refuted(self) -> bool:
        """Whether it is known not to be worth having."""
        return self.how != "open"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A refutation, or the lack of one, for every float layer of a recipe that could be int8, in graph order."""

    layers: tuple[Refutation, ...]

    @property
    def refuted(self) -> int:
        """Layers refuted."""
        return sum(layer.refuted for layer in self.layers)

    @property
    def complete(self) -> bool:
        """Whether all are."""
        return self.refuted == len(self.layers)

    def __str__(self) -> str:
        return "complete" if self.complete else f"{self.refuted} of {len(self.layers)}"

    def to_json(self) -> dict[str, Any]:
        """The `certificate` of result.json."""
        layers = [{**asdict(layer), "refuted": layer.refuted} for layer in self.layers]
        return {"status": str(self), "refuted": self.refuted, "of": len(self.layers), "layers": layers}


def certificate(history: History, recipe: Recipe) -> Certificate:
    """What the history knows of the recipes that have one float layer of this one in int8.

    Only a measurement refutes: a score, a race lost at its confidence, a timing. Nothing is concluded from layers that
    were tried in other company, for drops are not additive nor even monotone.
    """
    floats = floats_of(history.space, recipe)
    if history.objective == "size":  # what has its weights on integers is no larger than in int8
        floats = tuple(name for name in floats if recipe[name] not in WEIGHT_ONLY)
    return Certificate(tuple(_refutation(history, recipe, name) for name in floats))


def _refutation(history: History, recipe: Recipe, name: str) -> Refutation:
    other = history.space.canonical(recipe.replace({name: "int8"}))
    layer = name.removeprefix(LAYER)
    own, trial = history.scored.get(recipe), history.scored.get(other)
    probed = history.probes.get(("latency", other)) if history.objective == "latency" else None
    if trial is not None and trial.state == "pruned":
        return Refutation(layer, "raced", trial.drop, None, trial.number)
    if trial is not None and trial.state == "complete":
        if not history.feasible(trial):
            return Refutation(layer, "scored", trial.drop, trial.cost, trial.number)
        slower = own is not None and own.cost is not None and not cheaper(trial, own)
        return Refutation(layer, "slower" if slower else "open", trial.drop, trial.cost, trial.number)
    if probed is not None and own is not None and own.cost is not None:
        if not math.isfinite(probed):
            return Refutation(layer, "failed")
        measured = Outcome(-1, other, "complete", None, None, probed, cost_noise=own.cost_noise)
        if not cheaper(measured, own):
            return Refutation(layer, "slower", None, probed)
    if trial is not None:
        return Refutation(layer, "failed", trial=trial.number)
    return Refutation(layer, "open", cost=probed)
