"""What quantization does to each layer of the delivered model, and what each correction did for it; in the study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...errors import AutoquantError, StudyError
from ...strategies.base import Recipe
from ...strategies.words import EMPIRICAL, UNCORRECTED
from ..quantization.errors import LayerError
from ..quantization.variants import Builders
from .confirm import Confirmed
from .corrections import stored
from .run import Run
from .store import Store

ERRORS = "errors"


def analysed(run: Run, found: Confirmed | None) -> tuple[dict[str, Any], ...]:
    """The errors of each int8 layer of the delivered recipe, also kept in the study.

    As `quantization.errors.LayerError` has them, and:

    - `uncorrected`: `local` without the recipe's corrections; None where it has none.
    - `corrections`: parameter → `local` and `propagated` with that correction alone, and `gain`, the decibels by which
      that is better than without any: of the output alone, and in the model for biases that were measured, which make
      up for the layers before. A correction is left out where it takes results that the search never computed.
    """
    if found is None or "int8" not in found.layers.values():
        return ()
    recipe = found.record.recipe
    used = {name: recipe[name] for name, off in UNCORRECTED.items() if recipe.get(name, off) != off}
    plain = recipe.replace({name: UNCORRECTED[name] for name in used})
    # as at hand: nothing is computed for an analysis
    builders = Builders(run.inputs.model, run.inputs.variants, run.ranges, run.inputs.target, stored(run.store))
    without = _of(run, plain, builders) if used else None
    alone = {name: _of(run, plain.replace({name: choice}), builders) for name, choice in used.items()}
    layers = [
        {
            **asdict(error),
            "uncorrected": without[error.layer].local if without and error.layer in without else None,
            "corrections": {
                name: _gained(errors[error.layer], without[error.layer], used[name])
                for name, errors in alone.items()
                if errors and without and error.layer in errors and error.layer in without
            },
        }
        for error in run.executor.errors(recipe)
    ]
    run.store.put({ERRORS: {"trial": found.record.number, "layers": layers}})
    return tuple(layers)


def _of(run: Run, recipe: Recipe, builders: Builders) -> Mapping[str, LayerError] | None:
    """Layer → its errors; None where the recipe takes what is not there."""
    try:
        return {error.layer: error for error in run.executor.errors(recipe, builders)}
    except AutoquantError:
        return None


def _gained(error: LayerError, without: LayerError, choice: str) -> dict[str, float | None]:
    after, before = error.local, without.local
    if choice == EMPIRICAL:
        after, before = error.propagated, without.propagated
    gain = None if after is None or before is None else after - before
    return {"local": error.local, "propagated": error.propagated, "gain": gain}


def of_study(store: Store) -> dict[str, Any]:
    """What `analysed` kept: the trial, and its layers' errors.

    Raises:
        StudyError: Nothing was delivered yet, or nothing in int8.
    """
    held: dict[str, Any] | None = store.get(ERRORS)
    if held is None:
        raise StudyError(
            f"the study {store.name!r} has delivered no model in int8, so no layer's errors are known.\n"
            "Run its `autoquant tune` command to the end; it measures them when it delivers."
        )
    return held
