"""Activations of 16 bits: what is written, against the operators' definition in numpy."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from autoquant.errors import OptionError
from autoquant.strategies.words import LAYER
from autoquant.tuner.graph.draft import opset
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.kernels import ran
from autoquant.tuner.quantization.recipefile import from_json, to_json
from autoquant.tuner.quantization.scales import activation, dequantize
from autoquant.tuner.quantization.weights import Scheme
from autoquant.tuner.quantization.wide import parameters
from autoquant.tuner.targets.profiles import get
from hypothesis import given
from hypothesis import strategies as st

from tests import zoo
from tests.tuner.quantization.building import Case, case, distance, zoo_case

NPU = get("qnn")
FLOAT_KERNELS = ("WeightBiasQuantization",)


def on_npu(made: Case) -> Builder:
    return Builder(made.model, made.analysis, made.ranges, NPU)


def rounded(x: np.ndarray, scale: float, zero_point: int, dtype: str) -> np.ndarray:
    """QuantizeLinear and DequantizeLinear of opset 21, per tensor."""
    limits = np.iinfo(dtype)
    integers = np.clip(np.rint(x / np.float32(scale)).astype(np.int64) + zero_point, limits.min, limits.max)
    return ((integers - zero_point) * np.float32(scale)).astype(np.float32)


@given(st.floats(-1e4, 0, width=32), st.floats(0, 1e4, width=32), st.sampled_from(["uint8", "int8", "uint16", "int16"]))
def test_ranges_fill_their_type(low: float, high: float, dtype: str) -> None:
    limits = np.iinfo(dtype)
    steps = int(limits.max) - int(limits.min)
    scale, zero = activation(low, high, symmetric=False, dtype=dtype)
    assert limits.min <= zero <= limits.max
    ends = np.float32(scale) * (np.array([limits.min, limits.max]) - zero)
    assert abs(ends[0] - low) <= scale * 1.01 + 1e-14
    assert abs(ends[1] - high) <= scale * 1.01 + 1e-14
    scale, zero = activation(low, high, symmetric=True, dtype=dtype)
    if limits.min < 0 or low < 0:
        assert zero == limits.min + (steps + 1) // 2
        assert scale * (steps // 2) >= max(-low, high) * 0.9999


@pytest.mark.parametrize(("symmetry", "dtype"), [("asymmetric", "uint16"), ("symmetric", "int16")])
def test_one_layer_against_its_definition(symmetry: str, dtype: str, tmp_path) -> None:
    sketch = zoo.Sketch()
    sketch.add("MatMul", ["x", sketch.weight("w", 16, 8)], "y", name="layer")
    made = case(sketch.model([zoo.value("x", [None, 16])], [zoo.value("y", [None, 8])]), tmp_path)
    recipe = made.recipe("int16", activation_symmetry=symmetry)
    builder = on_npu(made)
    candidate = builder.build(recipe)
    assert opset(candidate.proto) == 21
    assert {candidate.wide["x"].dtype, candidate.wide["y"].dtype, candidate.quantization["x"].dtype} == {dtype}
    weight = dequantize(builder.weights.of("w", Scheme(1, True)))
    for feed, found in zip(made.feeds, made.outputs(candidate), strict=True):
        x = rounded(feed["x"], candidate.wide["x"].scale, int(candidate.wide["x"].zero_point), dtype)
        expected = rounded(x @ weight, candidate.wide["y"].scale, int(candidate.wide["y"].zero_point), dtype)
        np.testing.assert_allclose(found[0], expected, atol=1.01 * float(candidate.wide["y"].scale))
        assert np.mean(found[0] == expected) > 0.95


@pytest.mark.parametrize("net", ["conv_net", "transformer", "half_net", "constant_weight_net", "if_net"])
@pytest.mark.parametrize("simulate", [False, True])
def test_it_is_nearer_to_float_than_8_bits(net: str, simulate: bool) -> None:
    made = zoo_case(net)
    builder = on_npu(made)
    off = {}
    for precision in ("int8", "int16"):
        candidate = builder.build(made.recipe(precision), simulate=simulate)
        off[precision] = distance(made.float_outputs(), made.outputs(candidate, FLOAT_KERNELS))
        assert opset(candidate.proto) == (21 if precision == "int16" else opset(made.model.proto))
        if precision == "int16":
            found = ran(candidate, made.analysis)
            assert {name: found[name] for name, value in candidate.layers.items() if value == "int16"} == {
                name: "int16" for name, value in candidate.layers.items() if value == "int16"
            }
    assert off["int16"] < off["int8"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("net", ["conv_net", "transformer"])
def test_where_8_and_16_bits_meet_they_are_converted(net: str, seed: int) -> None:
    made = zoo_case(net)
    draw = random.Random(seed)
    chosen = {LAYER + group: draw.choice(["int8", "int16", "fp32"]) for group in made.analysis.groups}
    recipe = made.recipe(glue="int8" if net == "conv_net" and seed % 2 else "fp32").replace(chosen)
    candidate = on_npu(made).build(recipe)
    assert distance(made.float_outputs(), made.outputs(candidate, FLOAT_KERNELS)) < 0.05
    producer = {name: node for node in candidate.proto.graph.node for name in node.output}
    types = {tensor.name: tensor.data_type for tensor in candidate.proto.graph.initializer}
    by_node = {node.name: node for node in candidate.proto.graph.node}
    for layer in made.analysis.layers:
        if candidate.layers[layer.name] == "fp32":
            continue
        read = producer[by_node[layer.name].input[0 if layer.weight_input != 0 else 1]]
        assert read.op_type == "DequantizeLinear"
        wide = types[read.input[2]] in (4, 5)  # uint16, int16
        assert wide == (candidate.layers[layer.name] == "int16")


def test_16_bits_take_the_whole_range() -> None:
    made = zoo_case("conv_net")
    recipe = made.recipe("int16").replace({"activation/calibrator": "percentile_99.9"})
    low, high = made.ranges.get("x", "minmax", "asymmetric")
    found = parameters("x", recipe, made.ranges, "asymmetric")
    assert float(found.scale) == pytest.approx((high - low) / 65535, rel=1e-6)


def test_a_target_without_them_keeps_the_layer_in_float() -> None:
    made = zoo_case("conv_net")
    candidate = made.builder.build(made.recipe("int16"))
    assert set(candidate.layers.values()) == {"fp32"}
    assert "stem stays in float: the target cpu has no int16." in candidate.notes


def test_a_recipe_is_replayed_bit_by_bit_without_data() -> None:
    made = zoo_case("transformer")
    groups = list(made.analysis.groups)
    mixed = {LAYER + group: ("int16", "int8", "fp32")[i % 3] for i, group in enumerate(groups)}
    recipe = made.recipe("int16").replace(mixed)
    builder = on_npu(made)
    candidate = builder.build(recipe)
    data = json.loads(json.dumps(to_json(recipe, candidate, made.analysis, made.ranges, NPU, made.model.fingerprint)))
    replay = from_json(data, made.analysis, made.model.fingerprint)
    again = Builder(made.model, made.analysis, replay.ranges, replay.target).build(
        replay.recipe, overrides=replay.overrides, wide=replay.wide
    )
    assert again.skeleton() == candidate.skeleton()
    # a layer switched to 16 bits by hand: the file holds what that takes
    data["parameters"][LAYER + groups[2]] = "int16"
    replay = from_json(data, made.analysis, made.model.fingerprint)
    switched = Builder(made.model, made.analysis, replay.ranges, replay.target).build(
        replay.recipe, overrides=replay.overrides, wide=replay.wide
    )
    assert switched.layers[made.analysis.groups[groups[2]][0].name] == "int16"
    for entry in data["activations"].values():
        entry.pop("wide")
    with pytest.raises(OptionError, match=r"no 16-bit scale of .*\n.*--study"):
        from_json(data, made.analysis, made.model.fingerprint)
