"""recipe.json: a recipe with every scale and zero point, to be read, edited by hand and replayed without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import numpy as np

from ...errors import OptionError
from ...strategies.base import Recipe
from ...strategies.words import (
    ACTIVATION_SYMMETRY,
    CALIBRATOR,
    CALIBRATOR_OF,
    CALIBRATORS,
    GLOBAL_CHOICES,
    GLUE_PRECISIONS,
    IMPORTED,
    INHERIT,
    LAYER,
    OP,
    PRECISIONS,
    REWRITE,
    REWRITE_CHOICES,
    TABLE,
    TABLE_PRECISIONS,
)
from ..calibration.ranges import Ranges
from ..graph.analysis import Analysis
from ..targets import profiles
from ..targets.base import Target
from . import scales
from .calibrators import Calibrators, own
from .candidate import Candidate, Quantization
from .wide import TYPES, parameters

FORMAT = "autoquant recipe 1"
WIDE = frozenset(TYPES.values())


@dataclass(frozen=True, slots=True)
class Replay:
    """A recipe read back.

    Attributes:
        recipe: Its parameters.
        overrides: Activation → scale and zero point as the file says, for `Builder.build`.
        wide: Likewise on 16 bits.
        ranges: For the builder: a study's, else the tensors the file has scales for and their shapes.
        target: The profile it was made for, with the file's weight bits.
    """

    recipe: Recipe
    overrides: Mapping[str, Quantization]
    ranges: Ranges
    target: Target
    wide: Mapping[str, Quantization] = field(default_factory=dict)


def to_json(
    recipe: Recipe,
    candidate: Candidate,
    analysis: Analysis,
    ranges: Ranges,
    target: Target,
    fingerprint: str,
) -> dict[str, Any]:
    """The content of recipe.json.

    Args:
        recipe: What was chosen.
        candidate: What was built from it.
        analysis: The model's layers and tensors.
        ranges: What calibration found.
        target: The profile it was built for.
        fingerprint: Of the float model.
    """
    symmetry, calibrator = _made_with(recipe, target)
    dtype = target.activation[symmetry]
    calibrators = Calibrators(analysis)
    activations: dict[str, Any] = {}
    for tensor in analysis.tensors:
        if tensor not in ranges.values:
            continue
        made = candidate.quantization.get(tensor)
        if made is None or made.dtype in WIDE:
            low, high = ranges.get(tensor, calibrators.of(tensor, recipe), symmetry)
            scale, zero_point = scales.activation(low, high, symmetric=symmetry == "symmetric", dtype=dtype)
            made = Quantization(np.asarray(scale), np.asarray(zero_point), dtype)
        activations[tensor] = {
            **_shown(made),
            "shape": list(ranges.shapes.get(tensor, ())),
        }
        if "int16" in target.precisions:
            activations[tensor]["wide"] = _shown(
                candidate.wide.get(tensor) or parameters(tensor, recipe, ranges, symmetry)
            )
    found = {
        "format": FORMAT,
        "autoquant": metadata.version("autoquant"),
        "model": fingerprint,
        "target": target.name,
        "weight_bits": target.weight_bits,
        "parameters": dict(recipe),
        "calibrated": {CALIBRATOR: calibrator, ACTIVATION_SYMMETRY: symmetry, **own(recipe)},
        "activations": activations,
        "constants": {
            name: {
                "scale": made.scale.tolist(),
                "zero_point": made.zero_point.tolist(),
                "dtype": made.dtype,
                "axis": made.axis,
            }
            for name, made in candidate.quantization.items()
            if name not in activations
        },
    }
    if candidate.corrections:  # files in the folder `corrections` beside the recipe
        found["corrections"] = dict(candidate.corrections)
    return found


def from_json(
    data: Any,
    analysis: Analysis,
    fingerprint: str,
    ranges: Ranges | None = None,
    rewrites: Sequence[str] = (),
) -> Replay:
    """Read recipe.json, also one edited by hand.

    Layers and glue may be switched and activation scales changed: the file's scales are used as they stand. Another
    calibrator or activation symmetry than the one they were made with needs the study's ranges and takes its scales
    from there. Scales of constants are for information: they follow from the float model.

    Args:
        data: The parsed JSON.
        analysis: Layers of the float model it is to be applied to.
        fingerprint: Of that model.
        ranges: A study's ranges, None without a study.
        rewrites: Those that change the model; `analysis` is then `Variants.union`.

    Raises:
        OptionError: Not a recipe, of another model, or with impossible values.
    """
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise OptionError(f"this is no recipe: its `format` must be {FORMAT!r}, but got {found!r}.")
    if data.get("model") != fingerprint:
        raise OptionError(
            f"the recipe was made for another model (fingerprint {str(data.get('model'))[:12]}…; this one has "
            f"{fingerprint[:12]}…).\nGive the float model it was made from."
        )
    recipe = _recipe(_mapping(data, "parameters"), analysis, rewrites)
    target = _target(data, recipe)
    activations = _mapping(data, "activations")
    made_with = _mapping(data, "calibrated")
    symmetry, calibrator = _made_with(recipe, target)
    if dict(made_with) != {CALIBRATOR: calibrator, ACTIVATION_SYMMETRY: symmetry, **own(recipe)}:
        if ranges is None:
            _require_global(made_with, symmetry, calibrator)
            layers = sorted(set(own(recipe).items()) ^ set(own(made_with).items()))
            raise OptionError(
                f"the recipe's {layers[0][0]} is not what its scales were made with, and it holds no others.\n"
                "Name the study it came from with --study, or edit the scales themselves."
            )
        _require_imported(recipe, calibrator, ranges)
        return Replay(recipe, {}, ranges, target)
    dtype = target.activation[symmetry]
    overrides = {name: _activation(name, made, dtype) for name, made in activations.items()}
    wide_dtype = TYPES[symmetry]
    wide = {name: _activation(name, made["wide"], wide_dtype) for name, made in activations.items() if "wide" in made}
    if ranges is None:
        _require_wide(recipe, analysis, wide)
    shapes = {name: tuple(int(n) for n in made.get("shape", ())) for name, made in activations.items()}
    known = Ranges(values={name: {} for name in overrides}, shapes=shapes)
    return Replay(recipe, overrides, ranges or known, target, wide)


def _require_imported(recipe: Recipe, calibrator: str, ranges: Ranges) -> None:
    """Imported ranges that a recipe asks for must be in the study."""
    wanted = {CALIBRATOR: calibrator, **own(recipe)}
    if any(IMPORTED not in by for by in ranges.values.values()):
        for name, value in wanted.items():
            if value == IMPORTED:
                raise OptionError(
                    f"the recipe's {name} is {IMPORTED}, but the study holds no imported ranges.\n"
                    "Give their file with --ranges, or set another calibrator."
                )


def _require_wide(recipe: Recipe, analysis: Analysis, wide: Mapping[str, Quantization]) -> None:
    """Layers of 16-bit activations need scales on 16 bits."""
    for layer in analysis.layers:
        missing = next((name for name in layer.inputs if name not in wide), None)
        if recipe.get(LAYER + layer.group) == "int16" and missing is not None:
            raise OptionError(
                f"the recipe puts {layer.name!r} in int16, but holds no 16-bit scale of {missing!r}.\n"
                "Name the study it came from with --study."
            )


def _shown(made: Quantization) -> dict[str, Any]:
    return {"scale": float(made.scale), "zero_point": int(made.zero_point), "dtype": made.dtype}


def _require_global(made_with: Mapping[str, Any], symmetry: str, calibrator: str) -> None:
    """The scales must be of the recipe's own global calibrator and symmetry."""
    if (made_with.get(ACTIVATION_SYMMETRY), made_with.get(CALIBRATOR)) != (symmetry, calibrator):
        raise OptionError(
            f"the recipe asks for {calibrator} {symmetry} ranges, but its scales are "
            f"{made_with.get(CALIBRATOR)} {made_with.get(ACTIVATION_SYMMETRY)} and it holds no others.\n"
            "Name the study it came from with --study, or edit the scales themselves."
        )


def _made_with(recipe: Mapping[str, str], target: Target) -> tuple[str, str]:
    """Symmetry and calibrator of a recipe's activations."""
    return recipe.get(ACTIVATION_SYMMETRY, target.symmetries[0]), recipe.get(CALIBRATOR, CALIBRATORS[0])


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    if not isinstance(found, dict):
        raise OptionError(f"the recipe's {key!r} must be an object, but got {found!r:.60}.")
    return found


def _recipe(parameters: Mapping[str, Any], analysis: Analysis, rewrites: Sequence[str]) -> Recipe:
    """The recipe, each parameter known to the model and each choice possible."""
    known: dict[str, tuple[str, ...]] = {**GLOBAL_CHOICES, CALIBRATOR: (*CALIBRATORS, IMPORTED)}
    known.update((REWRITE + name, REWRITE_CHOICES) for name in rewrites)
    known.update((OP + glue.op_type, GLUE_PRECISIONS) for glue in analysis.glue)
    known.update((LAYER + group, PRECISIONS) for group in analysis.groups)
    known.update((TABLE + table.name, TABLE_PRECISIONS) for table in analysis.tables)
    known.update((CALIBRATOR_OF + group, (INHERIT, *CALIBRATORS, IMPORTED)) for group in analysis.groups)
    for name, value in parameters.items():
        if name not in known:
            raise OptionError(
                f"the recipe sets {name!r}, which this model does not have; `autoquant inspect` lists them."
            )
        if value not in known[name]:
            raise OptionError(f"{name} must be one of {', '.join(known[name])}, but the recipe has {value!r}.")
    return Recipe(parameters)


def _target(data: Mapping[str, Any], recipe: Recipe) -> Target:
    """The profile a recipe was made for, with its weight bits."""
    target = profiles.get(str(data.get("target")))
    bits = data.get("weight_bits")
    if not isinstance(bits, int) or not 2 <= bits <= 8:
        raise OptionError(f"the recipe's weight_bits must be 2 to 8, but got {bits!r}.")
    symmetry = recipe.get(ACTIVATION_SYMMETRY, target.symmetries[0])
    if symmetry not in target.activation:
        raise OptionError(
            f"the target {target.name} has no {symmetry} activations; set {ACTIVATION_SYMMETRY} otherwise."
        )
    return replace(target, weight_bits=bits)


def _activation(tensor: str, made: Any, dtype: str) -> Quantization:
    """An activation's scale and zero point as the file says."""
    limits = np.iinfo(dtype)
    scale, zero_point = (made.get("scale"), made.get("zero_point")) if isinstance(made, dict) else (None, None)
    if not isinstance(scale, int | float) or not np.isfinite(np.float32(scale)) or np.float32(scale) <= 0:
        raise OptionError(f"the scale of {tensor!r} must be a number above 0, but the recipe has {scale!r}.")
    if not isinstance(zero_point, int) or not limits.min <= zero_point <= limits.max:
        raise OptionError(
            f"the zero point of {tensor!r} must be {limits.min} to {limits.max}, but the recipe has {zero_point!r}."
        )
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, dtype), dtype)
