from dataclasses import replace

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.serialize import inline, write
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.candidate import Quantization
from autoquant.tuner.quantization.kernels import optimized
from autoquant.tuner.targets.profiles import get

from tests import zoo
from tests.tuner.quantization.building import case, differences, distance, session, zoo_case
from tests.tuner.quantization.graphs import grow

QUANTIZABLE = sorted(set(zoo.ALL) - {"nothing_net"})


@pytest.mark.parametrize("name", QUANTIZABLE)
def test_layers_run_as_built(name):
    made = zoo_case(name)
    reference = made.float_outputs()
    recipes = [made.recipe(), made.recipe(glue="int8"), made.recipe("fp32", "int8")]
    for recipe in (*recipes, *map(made.random_recipe, range(4))):
        candidate = made.builder.build(recipe)
        wrong = differences(made, candidate)
        if name == "quantized_net":  # its own quantized Conv is none of our layers
            wrong = {kernel: found for kernel, found in wrong.items() if not kernel.startswith("c1")}
        assert not wrong
        assert distance(reference, made.outputs(candidate)) < 0.5


@pytest.mark.parametrize("name", QUANTIZABLE)
def test_int8_is_close_to_float(name):
    made = zoo_case(name)
    candidate = made.builder.build(made.recipe())
    assert set(candidate.layers.values()) == {"int8"}
    assert not candidate.notes
    assert distance(made.float_outputs(), made.outputs(candidate)) < 2e-3


@pytest.mark.parametrize("seed", range(12))
def test_random_graphs_run_as_built(seed, tmp_path):
    made = case(grow(seed), tmp_path)
    for recipe in (made.recipe(), made.recipe(glue="int8"), made.random_recipe(seed)):
        assert not differences(made, made.builder.build(recipe))


@pytest.mark.parametrize("name", QUANTIZABLE)
def test_model_keeps_its_face_and_passes_the_checker(name, tmp_path):
    made = zoo_case(name)
    candidate = made.builder.build(made.recipe(glue="int8"))
    assert candidate.proto.graph.input == made.model.proto.graph.input
    assert candidate.proto.graph.output == made.model.proto.graph.output
    whole = inline(candidate.proto, candidate.weights)
    onnx.checker.check_model(whole)
    names = [node.name for node in whole.graph.node]
    assert len(names) == len(set(names))
    write(candidate.proto, candidate.weights, tmp_path / "candidate.onnx")
    assert (tmp_path / "candidate.onnx").stat().st_size == candidate.size_bytes


def test_float_recipe_is_the_float_model():
    made = zoo_case("transformer")
    candidate = made.builder.build(made.recipe("fp32"))
    assert distance(made.float_outputs(), made.outputs(candidate)) == 0
    assert not any(node.op_type == "QuantizeLinear" for node in candidate.proto.graph.node)


def test_builds_are_bit_equal():
    made = zoo_case("conv_net")
    recipe = made.random_recipe(5)
    first = made.builder.build(recipe)
    made.builder.build(made.recipe(glue="int8"))
    again = made.builder.build(recipe)
    fresh = Builder(made.model, made.analysis, made.ranges, get("cpu")).build(recipe)
    for other in (again, fresh):
        assert first.skeleton() == other.skeleton()
        assert first.weights.keys() == other.weights.keys()
        assert all((first.weights[name] == other.weights[name]).all() for name in first.weights)


def test_shared_weight_is_stored_once():
    made = zoo_case("shared_weight_net")
    candidate = made.builder.build(made.recipe())
    kept = [t for t in candidate.proto.graph.initializer if t.data_type == onnx.TensorProto.INT8 and len(t.dims) > 1]
    assert len(kept) == 3


def test_float_weights_of_int8_layers_are_gone():
    made = zoo_case("conv_net")
    names = {t.name for t in made.builder.build(made.recipe()).proto.graph.initializer}
    assert not names & {layer.weight for layer in made.analysis.layers}


def test_graph_output_written_by_an_int8_conv_keeps_its_name(tmp_path):
    g = zoo.Sketch(1)
    g.conv("x", "y", 3, 8)
    g.conv("y", "z", 8, 4)
    outputs = [zoo.value("y", ["N", 8, 8, 8]), zoo.value("z", ["N", 4, 8, 8])]
    made = case(g.model([zoo.value("x", ["N", 3, 8, 8])], outputs), tmp_path)
    candidate = made.builder.build(made.recipe())
    assert not differences(made, candidate)
    assert [o.name for o in session(candidate).get_outputs()] == ["y", "z"]
    assert distance(made.float_outputs(), made.outputs(candidate)) < 1e-3


def test_passing_glue_shares_the_scale_of_its_input(tmp_path):
    g = zoo.Sketch(2)
    g.conv("x", "c1", 3, 8)
    g.add("MaxPool", ["c1"], "pool", kernel_shape=[2, 2], strides=[2, 2])
    g.conv("pool", "y", 8, 4)
    made = case(g.model([zoo.value("x", ["N", 3, 8, 8])], [zoo.value("y", ["N", 4, 4, 4])]), tmp_path)
    candidate = made.builder.build(made.recipe(glue="int8"))
    assert candidate.quantization["pool"] == candidate.quantization["c1"]
    kinds = [node.op_type for node in optimized(candidate).graph.node]
    assert kinds.count("QuantizeLinear") == 1


def test_weight_with_nan_keeps_its_layer_in_float():
    made = zoo_case("conv_net")
    weights = {name: array.copy() for name, array in made.model.weights.items()}
    name = next(layer.weight for layer in made.analysis.layers if layer.weight in weights)
    weights[name].flat[0] = np.nan
    broken = type(made.model)(
        made.model.proto, weights, made.model.path, made.model.fingerprint, made.model.opset, (), 0
    )
    candidate = Builder(broken, made.analysis, made.ranges, get("cpu")).build(made.recipe())
    layer = next(layer for layer in made.analysis.layers if layer.weight == name)
    assert candidate.layers[layer.name] == "fp32"
    assert any(layer.name in note and "NaN" in note for note in candidate.notes)


def test_tensor_never_seen_keeps_its_layer_in_float():
    made = zoo_case("conv_net")
    layer = made.analysis.layers[1]
    values = {name: ranges for name, ranges in made.ranges.values.items() if name != layer.inputs[0]}
    ranges = type(made.ranges)(values, made.ranges.shapes, made.ranges.samples)
    candidate = Builder(made.model, made.analysis, ranges, get("cpu")).build(made.recipe())
    assert candidate.layers[layer.name] == "fp32"
    assert any("never seen in calibration" in note for note in candidate.notes)
    session(candidate)


def test_overrides_are_used_as_they_stand():
    made = zoo_case("transformer")
    tensor = made.analysis.layers[0].inputs[0]
    own = Quantization(np.asarray(0.125, np.float32), np.asarray(100, np.uint8), "uint8")
    candidate = made.builder.build(made.recipe(), overrides={tensor: own})
    assert candidate.quantization[tensor] == own
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in candidate.proto.graph.initializer if t.dims == []}
    assert stored[f"{tensor}/scale"] == np.float32(0.125)
    assert stored[f"{tensor}/zero"] == 100


@pytest.mark.parametrize("name", ["conv_net", "transformer", "hardswish_net"])
def test_simulation_computes_nearly_the_same_in_float(name):
    made = zoo_case(name)
    recipe = made.recipe()
    real, simulated = made.builder.build(recipe), made.builder.build(recipe, simulate=True)
    assert not any(tensor.data_type == onnx.TensorProto.INT8 for tensor in simulated.proto.graph.initializer)
    assert not any(tensor.data_type == onnx.TensorProto.INT32 for tensor in simulated.proto.graph.initializer)
    count = [sum(n.op_type == "QuantizeLinear" for n in c.proto.graph.node) for c in (real, simulated)]
    assert count[0] == count[1]
    error = distance(made.float_outputs(), made.outputs(real))
    assert distance(made.outputs(real), made.outputs(simulated, ["WeightBiasQuantization"])) < error


@pytest.mark.parametrize("bits", [7, 8])
def test_weight_bits_bound_the_weights(bits):
    made = zoo_case("conv_net")
    builder = Builder(made.model, made.analysis, made.ranges, replace(get("cpu"), weight_bits=bits))
    candidate = builder.build(made.recipe())
    largest = max(
        int(np.abs(values.astype(np.int32)).max())
        for name, values in candidate.weights.items()
        if values.dtype == np.int8
    )
    assert largest == 2 ** (bits - 1) - 1
    assert not differences(made, candidate)


@pytest.mark.parametrize("target", ["cuda", "tensorrt"])
@pytest.mark.parametrize("name", ["conv_net", "transformer", "shared_weight_net", "half_net", "hardswish_net"])
def test_other_targets_get_plain_pairs(name, target):
    made = zoo_case(name)
    builder = Builder(made.model, made.analysis, made.ranges, get(target))
    glue = "fp32" if name == "transformer" else "int8"  # its mask ruins an Add
    recipe = made.recipe(activation_symmetry="symmetric", glue=glue)
    for simulate in (False, True):
        candidate = builder.build(recipe, simulate=simulate)
        assert set(candidate.layers.values()) == {"int8"}
        dtypes = {tensor.data_type for tensor in candidate.proto.graph.initializer}
        assert onnx.TensorProto.INT32 not in dtypes
        constants = {tensor.name: tensor for tensor in candidate.proto.graph.initializer}
        for node in candidate.proto.graph.node:
            if node.op_type == "QuantizeLinear":
                scale, zero_point = (constants[k] for k in node.input[1:])
                assert not scale.dims
                assert zero_point.data_type == onnx.TensorProto.INT8
                assert not onnx.numpy_helper.to_array(zero_point).any()
        onnx.checker.check_model(inline(candidate.proto, candidate.weights))
        assert distance(made.float_outputs(), made.outputs(candidate, ["WeightBiasQuantization"])) < 0.05
