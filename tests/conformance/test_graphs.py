"""Random small graphs under random recipes: what is built is valid, runs as the recipe says, and answers alike."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import (
    ACTIVATION_SYMMETRY,
    BIAS,
    BIASES,
    CALIBRATOR,
    EQUALIZATION,
    EQUALIZATIONS,
    GRANULARITIES,
    LAYER,
    OP,
    REWRITE,
    ROUNDING,
    ROUNDINGS,
    SMOOTH,
    SMOOTHS,
    SYMMETRIES,
    WEIGHT_GRANULARITY,
    WEIGHT_RANGE,
    WEIGHT_RANGES,
    WEIGHT_SYMMETRY,
)
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.graph.serialize import inline, size, write
from autoquant.tuner.quantization.kernels import integer_kernels
from autoquant.tuner.quantization.passes import Passes
from autoquant.tuner.quantization.variants import Builders
from autoquant.tuner.targets.profiles import get
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests import zoo
from tests.conformance.pipeline import FLOAT_ERROR, Outputs, distance, opened, run
from tests.graphs import Drawn, graphs

ERROR = 0.3
"""Relative error of the outputs at most: up to seven operators, some of which (a LayerNormalization) amplify."""


def random_recipe(builders: Builders, seed: int) -> Recipe:
    """Each parameter drawn."""
    draw = random.Random(seed)
    analysis = builders.variants.union
    chosen = {
        CALIBRATOR: "minmax",
        ACTIVATION_SYMMETRY: draw.choice(SYMMETRIES),
        WEIGHT_GRANULARITY: draw.choice(GRANULARITIES),
        WEIGHT_SYMMETRY: draw.choice(SYMMETRIES),
        WEIGHT_RANGE: draw.choice(WEIGHT_RANGES),
        ROUNDING: draw.choice(ROUNDINGS),
        BIAS: draw.choice(BIASES),
        EQUALIZATION: draw.choice(EQUALIZATIONS),
        SMOOTH: draw.choice(SMOOTHS),
    }
    share = draw.choice([0.3, 0.7, 1.0])
    for group in analysis.groups:
        chosen[LAYER + group] = "int8" if draw.random() < share else "fp32"
    for op_type in dict.fromkeys(glue.op_type for glue in analysis.glue):
        chosen[OP + op_type] = draw.choice(["int8", "fp32"])
    for name in builders.variants.names:
        chosen[REWRITE + name] = draw.choice(["on", "off"])
    return Recipe(chosen)


def prepared(drawn: Drawn, folder: Path) -> tuple[Builders, Outputs]:
    """A drawn graph calibrated on its feeds, and what it answers; not one that ONNX Runtime itself does not run."""
    path = zoo.save(drawn.proto, folder / "model.onnx")
    try:
        wanted = run(path.read_bytes(), None, drawn.feeds)
    except Exception:
        assume(False)
        raise
    model = load(path)
    variants = Variants(model)
    ranges = Ranges({}, {}, 0)
    if variants.collected:
        ranges = compute_ranges(collect(model, variants.collected, drawn.feeds, open_session=opened))
    source = Passes(lambda: drawn.feeds, opened, len(drawn.feeds))
    return Builders(model, variants, ranges, get("cpu"), source), wanted


def check_float(builders: Builders, drawn: Drawn, wanted: Outputs) -> None:
    """Loading, each rewrite and all of them change no answer."""
    variants = builders.variants
    for names in ((), *((name,) for name in variants.names), variants.names):
        model = variants.get(names).model
        got = run(inline(model.proto, model.weights).SerializeToString(), None, drawn.feeds)
        for before, after in zip(wanted, got, strict=True):
            for a, b in zip(before, after, strict=True):
                assert a.shape == b.shape
                assert np.abs(a - b).max(initial=0.0) <= FLOAT_ERROR * max(1.0, np.abs(a).max(initial=0.0)), names


def check_recipe(builders: Builders, drawn: Drawn, wanted: Outputs, recipe: Recipe, folder: Path) -> None:
    """One candidate."""
    candidate = builders.build(recipe)
    analysis = builders.builder(recipe).analysis
    integer = {kernel.layer for kernel in integer_kernels(candidate, analysis)}
    assert integer == {name for name, precision in candidate.layers.items() if precision == "int8"}
    faults = builders.builder(recipe).faults
    for layer in analysis.layers:
        if layer.name not in faults:
            assert candidate.layers[layer.name] == recipe[LAYER + layer.group]
    got = run(candidate.skeleton(), candidate.weights, drawn.feeds)
    assert distance(wanted, got) <= ERROR
    source = Passes(lambda: drawn.feeds, opened, len(drawn.feeds))
    again = Builders(builders.variants.model, builders.variants, builders.ranges, builders.target, source).build(recipe)
    assert again.skeleton() == candidate.skeleton()
    assert again.weights.keys() == candidate.weights.keys()
    assert all(np.array_equal(again.weights[name], array) for name, array in candidate.weights.items())
    path = folder / "candidate.onnx"
    write(candidate.proto, candidate.weights, path)
    assert path.stat().st_size == size(candidate.proto, candidate.weights) == candidate.size_bytes
    assert distance(got, run(path.read_bytes(), None, drawn.feeds)) == 0.0


def check(drawn: Drawn, seed: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        builders, wanted = prepared(drawn, folder)
        check_float(builders, drawn, wanted)
        if builders.variants.analysis.layers or builders.variants.analysis.glue:
            check_recipe(builders, drawn, wanted, random_recipe(builders, seed), folder)


@settings(max_examples=40)
@given(drawn=graphs(), seed=st.integers(0, 1000))
def test_random_graphs(drawn: Drawn, seed: int) -> None:
    check(drawn, seed)


@pytest.mark.slow
@settings(max_examples=1000)
@given(drawn=graphs(steps=12), seed=st.integers(0, 1000))
def test_many_random_graphs(drawn: Drawn, seed: int) -> None:
    check(drawn, seed)
