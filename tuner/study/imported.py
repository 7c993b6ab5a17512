"""Models from ranges that another tool's file holds, without data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...strategies.base import Recipe
from ...strategies.words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    CALIBRATOR_OF,
    IMPORTED,
    INHERIT,
    LAYER,
    WEIGHT_GRANULARITY,
    WEIGHT_SYMMETRY,
)
from ..calibration.ranges import Ranges
from ..graph.load import load
from ..graph.model import Model
from ..graph.rewrite.variants import Variants
from ..graph.serialize import write
from ..graph.shapes import tensor_types
from ..graph.signs import nonnegative
from ..quantization import recipefile
from ..quantization.candidate import Candidate, Quantization
from ..quantization.records.ranges import Imported, read
from ..quantization.variants import Builders
from ..targets import profiles
from ..targets.base import Target
from .corrections import of_recipe
from .export import ranges_of, recipe_data
from .provenance import stamp
from .store import Store

IMPORTED_RANGES = "imported_ranges"
"""Study attribute: the file that ranges came from (`Imported.to_json`)."""


@dataclass(frozen=True)
class FromRanges:
    """A model made of imported ranges.

    Attributes:
        path: The file written.
        candidate: What is in it.
        imported: Where the ranges came from.
        used: Activations quantized by them.
        others: Activations quantized by other ranges: the recipe's or the study's.
    """

    path: Path
    candidate: Candidate
    imported: Imported
    used: int
    others: int


def quantize_ranges(
    model_path: Path,
    ranges_path: Path,
    out: Path,
    recipe_path: Path | None = None,
    store: Store | None = None,
    target: str = "auto",
) -> FromRanges:
    """Write the model that imported ranges make: as a recipe says, else with every layer in int8 that has its ranges.

    The tensors that the file names take its ranges, under the recipe's symmetry; all others keep the recipe's scales.
    Without a recipe a layer is float if the file lacks what it reads (on the CPU a Conv also what it writes), glue is
    float, weights are symmetric per channel, and activations symmetric if all in the file are.

    Args:
        model_path: The float model.
        ranges_path: TensorRT calibration cache, QNN/AIMET encodings or json-record.
        out: The file to write.
        recipe_path: A recipe.json.
        store: Where to find ranges that the recipe does not hold.
        target: What the model is for, without a recipe.

    Raises:
        OptionError: The ranges or the recipe cannot be used, or are of another model.
        ModelError: The float model cannot be used.
        OutputError: The file cannot be written.
    """
    imported = read(ranges_path)
    model = load(model_path)
    variants = Variants(model)
    imported.check(variants)
    imported = imported.at_sources(variants.full.derived)
    mine = imported.alone(_shapes(model), imported.spans.keys() - nonnegative(model))
    overrides: dict[str, Quantization] = {}
    source = None
    if recipe_path is None:
        profile = profiles.get(target)
        recipe, ranges = all_int8(variants, profile, symmetric=imported.symmetric), mine
    else:
        data = recipe_data(recipe_path)
        replay = recipefile.from_json(
            data,
            variants.union,
            model.fingerprint,
            ranges_of(store) if store else None,
            variants.names,
        )
        recipe, profile = replay.recipe, replay.target
        ranges = imported.over(replay.ranges) if store else _joined(replay.ranges, mine)
        overrides, source = dict(replay.overrides), of_recipe(data, recipe_path, store)
    builders = Builders(model, variants, ranges, profile, source)
    if recipe_path is not None:
        imports = recipe.replace({CALIBRATOR: IMPORTED, **{n: INHERIT for n in recipe if n.startswith(CALIBRATOR_OF)}})
        known = imported.spans.keys() & ranges.values.keys()
        overrides.update((tensor, builders.parameters(tensor, imports)) for tensor in sorted(known))
    candidate = builders.build(recipe, overrides=overrides)
    stamp(candidate.proto, model, recipe, profile)
    write(candidate.proto, candidate.weights, out)
    placed = _activations(candidate, variants)
    used = len(placed & imported.spans.keys())
    return FromRanges(out, candidate, imported, used, len(placed) - used)


def all_int8(variants: Variants, target: Target, *, symmetric: bool) -> Recipe:
    """Every layer in int8, the graph as its file has it, glue in float."""
    symmetry = "symmetric" if symmetric and "symmetric" in target.activation else target.symmetries[0]
    return Recipe(
        {
            CALIBRATOR: IMPORTED,
            ACTIVATION_SYMMETRY: symmetry,
            WEIGHT_GRANULARITY: "per_channel",
            WEIGHT_SYMMETRY: "symmetric",
            **{LAYER + group: "int8" for group in variants.analysis.groups},
        }
    )


def _joined(ranges: Ranges, mine: Ranges) -> Ranges:
    return replace(ranges, values={**ranges.values, **mine.values}, shapes={**mine.shapes, **ranges.shapes})


def _shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Shapes of a model's tensors as far as its graph tells, 1 for what is dynamic: their ranks are what counts."""
    known = tensor_types(model.proto).items()
    return {
        name: tuple(dim if isinstance(dim, int) else 1 for dim in kind.shape)
        for name, kind in known
        if kind.shape is not None
    }


def _activations(candidate: Candidate, variants: Variants) -> set[str]:
    constants: set[Any] = {tensor.name for tensor in variants.full.model.proto.graph.initializer}
    constants |= {tensor.name for tensor in variants.model.proto.graph.initializer}
    return candidate.quantization.keys() - constants
