"""Against onnxruntime.quantization: the same graph, the same scales of activations, every layer int8."""

import logging
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.evaluators.session import open_session
from autoquant.tuner.graph.serialize import inline, write
from autoquant.tuner.quantization.candidate import Quantization
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.tuner.quantization.building import Case, distance, zoo_case
from tests.tuner.quantization.test_real import NAMES, task


class Reader(CalibrationDataReader):
    def __init__(self, made: Case) -> None:
        self.feeds = iter(made.feeds)

    def get_next(self):
        feed = next(self.feeds, None)
        return None if feed is None else dict(feed)


def theirs(made: Case, folder: Path) -> onnx.ModelProto:
    """onnxruntime.quantization's model, its float operators put back on float tensors except behind a Conv."""
    plain, path = folder / "plain.onnx", folder / "theirs.onnx"
    write(made.model.proto, made.model.weights, plain)
    logging.disable(logging.WARNING)  # it recommends a preprocessing
    try:
        quantize_static(
            plain,
            path,
            Reader(made),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm", "Relu", "Clip"],  # the last two: no Q before them
            per_channel=True,
            reduce_range=made.builder.target.weight_bits == 7,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"], "WeightSymmetric": True},
        )
    finally:
        logging.disable(logging.NOTSET)
    proto = onnx.load(path)
    convs = {layer.output for layer in made.analysis.layers if layer.op_type == "Conv"}
    producers = {name: node for node in proto.graph.node for name in node.output}
    floats = {}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in producers:
            tensor = producers[node.input[0]].input[0]
            if tensor not in convs:
                floats[node.output[0]] = tensor
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm", "QuantizeLinear"):
            node.input[:] = [floats.get(name, name) for name in node.input]
    return proto


def compare(made: Case, folder: Path, bound: float) -> None:
    other = theirs(made, folder)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in other.graph.initializer}
    scales = {
        node.input[0]: Quantization(stored[node.input[1]].reshape(()), stored[node.input[2]].reshape(()), "uint8")
        for node in other.graph.node
        if node.op_type == "QuantizeLinear"
    }
    candidate = made.builder.build(made.recipe(), overrides=scales)
    agreed = np.zeros(2)
    for layer in made.analysis.layers:
        if layer.weight is None or f"{layer.weight}_scale" not in stored:
            continue
        ours, expected = candidate.quantization[layer.weight].scale, stored[f"{layer.weight}_scale"]
        fits = np.abs(ours / expected - 1) < 0.5  # others: each tool makes room for an int32 bias in its own way
        agreed += [int(fits.sum()), fits.size]
        np.testing.assert_array_max_ulp(ours[fits], expected[fits].reshape(ours[fits].shape), maxulp=1)
    assert agreed[0] > 0.98 * agreed[1] > 0
    opened = open_session(other.SerializeToString(), threads=1)
    reference = [opened.run(None, dict(feed)) for feed in made.feeds]
    error = distance(made.float_outputs(), reference)
    assert error > 0
    assert distance(reference, made.outputs(candidate)) <= bound**2 * error


@pytest.mark.parametrize("name", ["slash_names_net", "input_weight_net", "conv_net", "hardswish_net", "transformer"])
def test_small_models(name, tmp_path):
    compare(zoo_case(name), tmp_path, 0.5)


@pytest.mark.slow
@pytest.mark.skipif("AUTOQUANT_TASKS" not in os.environ, reason="AUTOQUANT_TASKS names no folder with the public tasks")
@pytest.mark.parametrize("name", NAMES)
def test_real_models(name, tmp_path):
    compare(task(name), tmp_path, 0.01)


def test_inlined_candidate_computes_the_same(tmp_path):
    """The skeleton with weights beside it and the whole model are one model."""
    made = zoo_case("transformer")
    candidate = made.builder.build(made.recipe())
    whole = open_session(inline(candidate.proto, candidate.weights).SerializeToString(), threads=1)
    for feed, expected in zip(made.feeds, made.outputs(candidate), strict=True):
        for one, other in zip(whole.run(None, dict(feed)), expected, strict=True):
            assert (one == other).all()
