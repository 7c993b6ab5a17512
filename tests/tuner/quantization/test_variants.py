"""Builders of rewritten models."""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from autoquant.errors import OptionError
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import CALIBRATORS, OP, REWRITE, SYMMETRIES
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.rewrite.patch import Image
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.quantization import recipefile
from autoquant.tuner.quantization.kernels import optimized
from autoquant.tuner.quantization.variants import Builders, extended, switched_on
from autoquant.tuner.targets.profiles import get
from hypothesis import given
from hypothesis import strategies as st

from tests import zoo
from tests.tuner.quantization.building import Case, differences, distance, quick_ranges, zoo_case

NAMES = ("hardswish_net", "transformer", "conv_net", "if_net", "slash_names_net")


@dataclass(frozen=True)
class Rewritable:
    """A model of the zoo with its variants."""

    case: Case
    builders: Builders

    def recipe(self, seed: int | None = None, rewrites: str = "on", glue: str = "fp32", layers: str = "int8") -> Recipe:
        """A random recipe, or one of all layers and glue alike, with all rewrites on or off."""
        base = self.case.recipe(layers, glue) if seed is None else self.case.random_recipe(seed)
        new = {OP + g.op_type: glue for g in self.builders.variants.union.glue if OP + g.op_type not in base}
        return base.replace(new | {REWRITE + name: rewrites for name in self.builders.variants.names})


@functools.cache
def rewritable(name: str) -> Rewritable:
    made = zoo_case(name)
    variants = Variants(made.model)
    ranges = quick_ranges(made.model, replace(made.analysis, tensors=variants.collected), made.feeds)
    return Rewritable(made, Builders(made.model, variants, ranges, get("cpu")))


@pytest.mark.parametrize("name", NAMES)
def test_without_rewrites_it_is_the_plain_builder(name):
    made = rewritable(name)
    for recipe in (made.case.recipe(), made.recipe(rewrites="off"), made.recipe(3, rewrites="off")):
        plain, ours = made.case.builder.build(recipe), made.builders.build(recipe)
        assert plain.proto.SerializeToString(deterministic=True) == ours.proto.SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_built_is_what_runs(name):
    made = rewritable(name)
    recipes = [made.recipe(), made.recipe(glue="int8"), *(made.recipe(seed) for seed in range(8))]
    for recipe in recipes:
        candidate = made.builders.build(recipe)
        assert not differences(made.case, candidate), recipe
        assert candidate.layers.keys() == made.case.builder.build(made.case.recipe()).layers.keys()


@pytest.mark.parametrize("name", NAMES)
def test_the_rewritten_float_model_is_a_candidate(name):
    made = rewritable(name)
    candidate = made.builders.build(made.recipe(layers="fp32"))
    assert set(candidate.layers.values()) <= {"fp32"}
    assert distance(made.case.float_outputs(), made.case.outputs(candidate)) < 1e-9


@pytest.mark.parametrize("name", ["hardswish_net", "transformer"])
def test_integers_stay_as_close_to_float(name):
    made = rewritable(name)
    reference = made.case.float_outputs()
    off = distance(reference, made.case.outputs(made.builders.build(made.recipe(rewrites="off"))))
    on = distance(reference, made.case.outputs(made.builders.build(made.recipe())))
    assert on < 2 * off + 1e-4


def test_an_activation_stays_one_kernel_between_integers():
    made = rewritable("transformer")
    before = Counter(
        node.op_type for node in optimized(made.builders.build(made.recipe(rewrites="off", glue="int8"))).graph.node
    )
    after = Counter(node.op_type for node in optimized(made.builders.build(made.recipe(glue="int8"))).graph.node)
    assert before["Erf"] > 0
    assert after["Erf"] == after["Sqrt"] == after["Pow"] == 0
    assert after["Gelu"] + after["BiasGelu"] == made.builders.variants.sites["gelu"]
    assert after["LayerNormalization"] + after["SkipLayerNormalization"] == made.builders.variants.sites["layernorm"]


@pytest.mark.parametrize("name", ["hardswish_net", "transformer"])
def test_faults_and_ranges_are_those_of_all_variants(name):
    made = rewritable(name)
    assert dict(made.builders.faults) == dict(made.case.builder.faults)
    assert set(made.case.ranges.values) <= made.builders.calibrated
    assert set(made.builders.variants.full.derived) <= made.builders.calibrated
    for tensor in made.builders.variants.full.derived:
        assert made.builders.parameters(tensor, made.recipe()).dtype == "uint8"


@pytest.mark.parametrize("name", ["hardswish_net", "transformer"])
@pytest.mark.parametrize("glue", ["fp32", "int8"])
def test_recipe_json_rebuilds_it(name, glue):
    made = rewritable(name)
    variants, recipe = made.builders.variants, made.recipe(glue=glue)
    candidate = made.builders.build(recipe)
    analysis, ranges = made.builders.listed(recipe)
    data = recipefile.to_json(recipe, candidate, analysis, ranges, get("cpu"), "f")
    replay = recipefile.from_json(data, variants.union, "f", None, variants.names)
    again = Builders(made.case.model, variants, replay.ranges, replay.target)
    rebuilt = again.build(replay.recipe, overrides=replay.overrides)
    assert rebuilt.proto.SerializeToString(deterministic=True) == candidate.proto.SerializeToString(deterministic=True)
    switched = replay.recipe.replace({REWRITE + rewrite: "off" for rewrite in variants.names})
    assert not differences(made.case, again.build(switched, overrides=replay.overrides))


def test_recipe_json_of_another_models_rewrites_is_refused():
    made = rewritable("hardswish_net")
    recipe = made.recipe()
    data = recipefile.to_json(recipe, made.builders.build(recipe), *made.builders.listed(recipe), get("cpu"), "f")
    with pytest.raises(OptionError, match="rewrite/"):
        recipefile.from_json(data, made.case.analysis, "f")


def test_a_provider_without_integers_is_simulated():
    made = rewritable("hardswish_net")
    candidate = made.builders.build(made.recipe(), simulate=True)
    assert "HardSigmoid" in {node.op_type for node in candidate.proto.graph.node}
    assert distance(made.case.float_outputs(), made.case.outputs(candidate, ["WeightBiasQuantization"])) < 1e-3


def test_switched_on():
    assert switched_on({"rewrite/gelu": "on", "rewrite/scales": "off", "op/Add": "int8"}) == {"gelu"}
    assert switched_on({}) == frozenset()


@given(
    low=st.floats(-8, 0, width=32),
    high=st.floats(0, 8, width=32),
    factor=st.floats(-4, 4).filter(lambda f: abs(f) > 0.01),
    offset=st.floats(-2, 2),
    gate=st.booleans(),
)
def test_extended_ranges_hold_what_the_tensor_takes(low, high, factor, offset, gate):
    most = max(-low, high)
    both = {"asymmetric": (low, high), "symmetric": (-most, most) if low < 0 else (0.0, high)}
    ranges = Ranges({"x": dict.fromkeys(CALIBRATORS, both)}, {"x": (1, 2)})
    image = Image("x", factor, offset, *((0.0, 1.0) if gate else ()))
    found = extended(ranges, {"y": image, "z": Image("unknown")})
    assert set(found.values) == {"x", "y"}
    assert found.shapes["y"] == (1, 2)
    values = np.clip(factor * np.linspace(low, high, 9) + offset, image.low, image.high)
    for symmetry in SYMMETRIES:
        a, b = found.get("y", "mse", symmetry)
        assert a <= 0.0 <= b
        assert a <= values.min() + 1e-5
        assert values.max() - 1e-5 <= b
        if symmetry == "symmetric":
            assert a == -b or a == 0.0


def test_extended_keeps_what_is_known():
    known = Ranges({"x": {}, "y": {}}, {})
    assert extended(known, {"y": Image("x"), "z": Image("x")}).values == {"x": {}, "y": {}}


def test_an_old_study_without_the_sources():
    made = rewritable("hardswish_net")
    known = made.case.ranges
    short = Ranges({t: v for t, v in known.values.items() if "clip" not in t.lower()}, known.shapes)
    builders = Builders(made.case.model, made.builders.variants, short, get("cpu"))
    assert not differences(made.case, builders.build(made.recipe(glue="int8")))


def test_it_takes_a_plain_analysis_too():
    with tempfile.TemporaryDirectory() as folder:
        model = load(zoo.save(zoo.hardswish_net(), Path(folder) / "m.onnx"))
    made = rewritable("hardswish_net")
    builders = Builders(model, made.case.analysis, made.builders.ranges, get("cpu"))
    assert builders.variants.names == made.builders.variants.names
