"""What a record says of a candidate, against the candidate's own graph."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.serialize import inline
from autoquant.tuner.quantization import blocks
from autoquant.tuner.quantization.candidate import Candidate
from autoquant.tuner.quantization.records import jsonrecord
from autoquant.tuner.quantization.records.record import Record, TensorRecord, record_of
from autoquant.tuner.targets.profiles import get
from onnx import numpy_helper

from tests.tuner.quantization.building import Case, exported, zoo_case

MODELS = ["conv_net", "transformer", "hardswish_net", "shared_weight_net", "two_input_net", "slash_names_net"]


def record(case: Case, candidate: Candidate) -> Record:
    return record_of(candidate, case.model, case.analysis, case.ranges.shapes, {"trial": 3})


def pairs(candidate: Candidate) -> dict[str, onnx.NodeProto]:
    """Output of every DequantizeLinear → the node."""
    return {node.output[0]: node for node in candidate.proto.graph.node if node.op_type == "DequantizeLinear"}


def constants(candidate: Candidate) -> dict[str, np.ndarray]:
    full = inline(candidate.proto, candidate.weights)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in full.graph.initializer}


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("symmetry", ["asymmetric", "symmetric"])
@pytest.mark.parametrize("model", MODELS)
def test_every_layer_has_the_scales_its_node_reads(model: str, symmetry: str, granularity: str) -> None:
    case = zoo_case(model)
    candidate = case.builder.build(case.recipe(activation_symmetry=symmetry, weight_granularity=granularity))
    found, dequantized, values = record(case, candidate), pairs(candidate), constants(candidate)
    nodes = {node.name: node for node in candidate.proto.graph.node}
    assert list(found.layers) == [layer.name for layer in case.analysis.layers]
    for layer in case.analysis.layers:
        entry = found.layers[layer.name]
        assert (entry.op_type, entry.precision) == (layer.op_type, candidate.layers[layer.name])
        if entry.precision != "int8":
            assert entry.scale_d == entry.scale_w == ()
            continue
        read = [name for i, name in enumerate(nodes[layer.name].input[:2]) if i != layer.weight_input]
        for name, scale, offset in zip(read, entry.scale_d, entry.offset_d, strict=True):
            dq = dequantized[name]
            assert values[dq.input[1]] == np.float32(scale)
            assert int(values[dq.input[2]]) - 128 == offset  # uint8 here; AMCT's grid is int8
        if layer.weight_input is not None:
            dq = dequantized[nodes[layer.name].input[layer.weight_input]]
            assert values[dq.input[1]].reshape(-1).tolist() == list(entry.scale_w)
            signed = 128 if values[dq.input[0]].dtype == np.uint8 else 0
            assert (values[dq.input[2]].astype(int) - signed).reshape(-1).tolist() == list(entry.offset_w)
            assert entry.shape_w == values[dq.input[0]].shape
            many = granularity == "per_channel" and values[dq.input[1]].ndim == 1
            assert (entry.axis_w is not None) == many
            assert len(entry.scale_w) == (entry.shape_w[entry.axis_w] if entry.axis_w is not None else 1)


@pytest.mark.parametrize("model", MODELS)
def test_what_is_float_is_not_in_it(model: str) -> None:
    case = zoo_case(model)
    for seed in range(4):
        candidate = case.builder.build(case.random_recipe(seed))
        found, values = record(case, candidate), constants(candidate)
        pairs_of = {(float(values[n.input[1]]), int(values[n.input[2]])) for n in pairs(candidate).values()
                    if values[n.input[1]].ndim == 0 and n.input[0] not in values}  # fmt: skip
        read = {(tensor.scale[0], tensor.offset[0]) for tensor in found.activations.values()}
        assert pairs_of <= read
        assert all(tensor.shape for tensor in found.activations.values())
    nothing = case.builder.build(case.recipe("fp32"))
    assert record(case, nothing).tensors == {}


def test_a_bias_is_on_32_bits_at_the_product_of_scales() -> None:
    case = zoo_case("conv_net")
    found = record(case, case.builder.build(case.recipe()))
    for layer in case.analysis.layers:
        entry = found.layers[layer.name]
        if layer.bias is not None:
            assert np.float32(entry.scale_d[0]) * np.float32(entry.scale_w) == pytest.approx(entry.scale_b)
            bias = found.tensors[layer.bias]
            assert (bias.kind, bias.dtype, bias.scale) == ("bias", "int32", entry.scale_b)
    assert any(entry.scale_b for entry in found.layers.values())


def test_grids() -> None:
    signed = TensorRecord("activation", (0.5,), (0,), "int8")
    unsigned = TensorRecord("activation", (0.5,), (128,), "uint8")
    assert signed.ends == unsigned.ends == ((-64.0, 63.5),)
    assert signed.symmetric
    assert unsigned.symmetric
    assert not TensorRecord("activation", (0.5,), (0,), "uint8").symmetric
    assert TensorRecord("weight", (1.0,), (0,), "int4").ends == ((-8.0, 7.0),)
    assert TensorRecord("activation", (1.0,), (32768,), "uint16").symmetric


@pytest.mark.parametrize(("name", "op_type", "precision"), [("bilstm", "LSTM", "int8"), ("gru", "GRU", "weight8")])
def test_weights_that_no_dequantizelinear_writes(name, op_type, precision):
    """Of an integer LSTM, and of float layers whose weights the file holds on 8 bits: from the float weight, here."""
    made = exported(name)
    candidate = made.builder.build(made.recipe(precision))
    whole = record(made, candidate)
    layer = next(layer for layer in made.analysis.layers if layer.op_type == op_type)
    found = whole.layers[layer.name]
    weight = made.builder.weights.value(layer.weight)
    most = 2 ** (get("cpu").weight_bits - 1) - 1 if precision == "int8" else 127
    assert (found.precision, found.axis_w, found.shape_w) == (precision, 1, weight.shape)
    assert found.scale_w == pytest.approx(np.abs(weight).max(axis=(0, 2)) / most)
    assert set(found.offset_w) == {0}
    assert found.scale_d == ()
    assert whole.tensors[layer.weights[1]].kind == "weight"


@pytest.mark.parametrize("symmetry", ["symmetric", "asymmetric"])
def test_weights_on_4_bits_have_a_scale_per_block(symmetry: str) -> None:
    case = zoo_case("transformer")
    candidate = case.builder.build(case.recipe("int4", weight_symmetry=symmetry))
    found = record(case, candidate)
    layers = [layer for layer in case.analysis.layers if candidate.layers[layer.name] == "int4"]
    assert layers
    for layer in layers:
        entry = found.layers[layer.name]
        weight = case.builder.weights.value(layer.weight)
        expected = blocks.quantize(weight, axis=layer.weight_axis, symmetric=symmetry == "symmetric")
        assert (entry.axis_w, entry.block_w, entry.shape_w) == (layer.weight_axis, blocks.BLOCK, weight.shape)
        assert entry.scale_w == tuple(expected.scale.reshape(-1).tolist())
        assert entry.offset_w == tuple(expected.zero_point.reshape(-1).tolist())
        assert entry.scale_d == ()
    assert any(any(found.layers[layer.name].offset_w) for layer in layers) is (symmetry == "asymmetric")
    assert jsonrecord.read(json.loads(jsonrecord.write(found))).layers == found.layers
