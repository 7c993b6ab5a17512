"""A quantized model for whoever has neither data nor a metric."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import OptionError
from ...evaluators.session import open_session
from ...strategies.recipes import compose
from ...strategies.words import CALIBRATOR
from ..calibration import batchnorm
from ..calibration.collect import collect
from ..calibration.compute import compute_ranges
from ..calibration.synthetic import assumed, synthesised
from ..graph.load import load
from ..graph.model import Model
from ..graph.rewrite.variants import Variants
from ..graph.serialize import write
from ..quantization import recipefile
from ..quantization.candidate import Candidate
from ..quantization.variants import Builders
from ..targets import profiles
from .calibrationoptions import MADE
from .provenance import stamp
from .space import build_space

CALIBRATED_BY = "mse"
"""The calibrator of a model without data: no worse than the others on the public tasks, and far better on ocr_v4."""


@dataclass(frozen=True)
class Options:
    """What is asked.

    Attributes:
        samples: To make up.
        seed: Of what is made up.
        input_range: Smallest and largest value of the float inputs, None for standardised ones.
        shapes: Of inputs whose sizes the model leaves open, the batch included.
        fix: Parameter → choice, as for `tune`.
        keep_float: Regular expressions of layers that stay float.
        only: Regular expressions of the only layers that do not.
    """

    samples: int = MADE
    seed: int = 0
    input_range: tuple[float, float] | None = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    fix: Mapping[str, str] = field(default_factory=dict)
    keep_float: tuple[str, ...] = ()
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataFree:
    """What was made.

    Attributes:
        path: The model.
        recipe: Its recipe.json.
        candidate: What is in it.
        source: Where its ranges come from, for a person.
        assumed: Sizes of inputs that neither the model nor the options settle.
    """

    path: Path
    recipe: Path
    candidate: Candidate
    source: str
    assumed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def quantize_data_free(model_path: Path, out: Path, options: Options, target: str = "auto") -> DataFree:
    """Write a model with every layer in int8 whose ranges come from made-up inputs, and its recipe beside it.

    Where the file still has BatchNormalizations, what these remember of the training data is imposed on what the
    inputs make of the model's tensors (`calibration/batchnorm.py`). Glue stays float; parameters can be fixed.

    Args:
        model_path: The float model.
        out: The file to write; the recipe is `<stem>.recipe.json` beside it.
        options: What is asked.
        target: What the model is for.

    Raises:
        ModelError: The float model cannot be used.
        OptionError: An option that does not fit the model.
        CalibrationError: An input for which nothing can be made up.
        OutputError: A file cannot be written.
    """
    model = load(model_path)
    profile = profiles.get(target)
    variants = Variants(model)
    _check_shapes(model, options.shapes)
    known = batchnorm.statistics_of(model)
    feeds = synthesised(
        model, count=options.samples, seed=options.seed, shapes=options.shapes, bounds=options.input_range
    )
    measured = batchnorm.imposed(model, known)
    ranges = compute_ranges(collect(measured, variants.collected, feeds, open_session=open_session))
    builders = Builders(model, variants, ranges, profile)
    space = build_space(
        variants.union,
        profile,
        rewrites=variants.names,
        calibrated=builders.calibrated,
        faulty=builders.faults,
        keep_float=options.keep_float,
        only=options.only,
        fix=options.fix,
    )
    recipe = compose(space, {CALIBRATOR: CALIBRATED_BY, **options.fix})
    candidate = builders.build(recipe)
    stamp(candidate.proto, model, recipe, profile)
    write(candidate.proto, candidate.weights, out)
    source = f"made-up inputs (data-free, {options.samples} samples{batchnorm.told(len(known))})"
    analysis, listed = builders.listed(recipe)
    data = recipefile.to_json(recipe, candidate, analysis, listed, profile, model.fingerprint)
    beside = out.with_name(f"{out.stem}.recipe.json")
    beside.write_text(json.dumps({**data, "data_free": source}, indent=1) + "\n")
    return DataFree(out, beside, candidate, source, assumed(model, options.shapes))


def _check_shapes(model: Model, shapes: Mapping[str, Sequence[int]]) -> None:
    """Refuse shapes of inputs that the model does not have, or of another rank."""
    inputs = {item.name: item for item in model.inputs}
    for name, shape in shapes.items():
        if name not in inputs:
            raise OptionError(f"--input-shape names {name!r}, but the model's inputs are {', '.join(inputs)}.")
        declared = inputs[name].shape
        if declared is not None and len(declared) != len(shape):
            raise OptionError(f"--input-shape of {name!r} must have {len(declared)} sizes, but got {list(shape)}.")
