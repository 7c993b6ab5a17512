from dataclasses import replace

import numpy as np
import onnx
import pytest
from autoquant.strategies.words import LAYER
from autoquant.tuner.graph.serialize import inline
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.targets.profiles import get

from tests import zoo
from tests.tuner.quantization.building import case, differences, distance, zoo_case
from tests.tuner.quantization.graphs import grow

MODELS = ["conv_net", "transformer", "hardswish_net", "shared_weight_net", "if_net", "two_input_net"]


def halved(made):
    """The case with a builder for the cpu profile plus fp16."""
    target = replace(get("cpu"), precisions=("int8", "fp16", "fp32"))
    return replace(made, builder=Builder(made.model, made.analysis, made.ranges, target))


def casts(candidate):
    return [node for node in candidate.proto.graph.node if node.op_type == "Cast" and node.name.endswith("/Cast")]


@pytest.mark.parametrize("name", MODELS)
def test_all_layers_in_fp16(name):
    made = halved(zoo_case(name))
    candidate = made.builder.build(made.recipe("fp16"))
    assert set(candidate.layers.values()) == {"fp16"}
    onnx.checker.check_model(inline(candidate.proto, candidate.weights), full_check=True)
    assert candidate.proto.graph.output == made.model.proto.graph.output
    assert distance(made.float_outputs(), made.outputs(candidate)) < 1e-4
    half = {t.name for t in candidate.proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    assert {f"{layer.weight}/fp16" for layer in made.analysis.layers if layer.weight} <= half


def test_neighbours_share_a_region():
    made = halved(zoo_case("conv_net"))
    candidate = made.builder.build(made.recipe("fp16"))
    assert len(casts(candidate)) == 2  # x on its way in, y on its way out
    made = halved(zoo_case("names_net"))
    assert len(casts(made.builder.build(made.recipe("fp16")))) == 2


def test_one_layer_has_two_casts():
    made = halved(zoo_case("conv_net"))
    candidate = made.builder.build(made.recipe("fp32").replace({LAYER + "pointwise": "fp16"}))
    assert len(casts(candidate)) == 2
    float_weights = [t.name for t in candidate.proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert "pointwise.w" not in float_weights


@pytest.mark.parametrize("seed", range(6))
def test_mixtures_of_all_precisions(seed, tmp_path):
    for made in (halved(zoo_case(MODELS[seed])), halved(case(grow(100 + seed), tmp_path))):
        groups = list(made.analysis.groups)
        chosen = np.random.default_rng(seed).choice(["int8", "fp16", "fp32"], len(groups))
        recipe = made.random_recipe(seed).replace({LAYER + g: str(p) for g, p in zip(groups, chosen, strict=True)})
        candidate = made.builder.build(recipe)
        for group, precision in zip(groups, chosen, strict=True):
            for layer in made.analysis.groups[group]:
                runs = layer.op_type in made.builder.target.layers or precision != "int8"
                assert candidate.layers[layer.name] == (precision if runs else "fp32")
        onnx.checker.check_model(inline(candidate.proto, candidate.weights), full_check=True)
        assert not differences(made, candidate)
        made.outputs(candidate)


def test_values_beyond_float16_keep_a_layer_in_float32(tmp_path):
    g = zoo.Sketch(1)
    g.add("Mul", ["x", g.put("huge", 1e6)], "large")
    g.add("MatMul", ["large", g.weight("w", 8, 8)], "y")
    made = halved(case(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])]), tmp_path))
    candidate = made.builder.build(made.recipe("fp16"))
    assert set(candidate.layers.values()) == {"fp32"}
    assert "float16" in candidate.notes[0]


def test_a_target_without_fp16_takes_float32():
    made = zoo_case("conv_net")
    candidate = made.builder.build(made.recipe("fp16"))
    assert set(candidate.layers.values()) == {"fp32"}
