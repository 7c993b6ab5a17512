"""Recurrent layers, tables and ConvTransposes: what the file holds, what runs, what it answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.evaluators.session import open_session
from autoquant.strategies.words import LAYER, TABLE
from autoquant.tuner.quantization.candidate import Candidate
from autoquant.tuner.quantization.kernels import integer_kernels, optimized
from autoquant.tuner.targets.profiles import get
from onnx import numpy_helper

from tests import exports, zoo
from tests.tuner.quantization.building import Case, case, distance, exported


def built(net: Case, precision: str, *ops: str, tables: str = "fp32", **other: str) -> Candidate:
    """Layers of some operators in a precision, the rest in float."""
    chosen = {LAYER + layer.group: precision for layer in net.analysis.layers if layer.op_type in ops}
    chosen |= {TABLE + table.name: tables for table in net.analysis.tables}
    return net.builder.build(net.recipe("fp32", **other).replace(chosen))


def kinds(candidate: Candidate) -> list[str]:
    return [node.op_type for node in optimized(candidate).graph.node]


def error(net: Case, candidate: Candidate) -> float:
    return distance(net.float_outputs(), net.outputs(candidate)) ** 0.5


RECURRENT = pytest.mark.parametrize(("name", "ops"), [("bilstm", ("LSTM",)), ("gru", ("GRU", "RNN"))])


@RECURRENT
def test_recurrent_weights_alone_on_8_bits(name: str, ops: tuple[str, ...]) -> None:
    net = exported(name)
    candidate = built(net, "weight8", *ops)
    assert {p for layer, p in candidate.layers.items() if "MatMul" not in layer} == {"weight8"}
    assert candidate.size_bytes < 0.5 * net.builder.build(net.recipe("fp32")).size_bytes
    assert 0 < error(net, candidate) < 0.02
    # the runtime has made float constants of them: it runs what it runs in float
    assert kinds(candidate) == kinds(net.builder.build(net.recipe("fp32")))
    for layer in (layer for layer in net.analysis.layers if layer.op_type in ops):
        for weight in layer.weights:
            assert candidate.quantization[weight].axis == 1
            assert candidate.quantization[weight].dtype == "int8"


@RECURRENT
def test_simulated_they_are_rounded_alike(name: str, ops: tuple[str, ...]) -> None:
    net = exported(name)
    chosen = {LAYER + layer.group: "weight8" for layer in net.analysis.layers if layer.op_type in ops}
    recipe = net.recipe("fp32").replace(chosen)
    simulated = net.outputs(net.builder.build(recipe, simulate=True))
    assert distance(net.outputs(net.builder.build(recipe)), simulated) < 1e-10


def test_an_integer_lstm_runs_and_is_near() -> None:
    net = exported("bilstm")
    candidate = built(net, "int8", "LSTM")
    found = [(kernel.op_type, kernel.layer) for kernel in integer_kernels(candidate, net.analysis)]
    lstms = [layer.name for layer in net.analysis.layers if layer.op_type == "LSTM"]
    assert found == [("DynamicQuantizeLSTM", name) for name in lstms]
    assert [candidate.layers[name] for name in lstms] == ["int8", "int8"]
    assert error(net, candidate) < 0.03
    assert candidate.skeleton() == built(net, "int8", "LSTM").skeleton()


def test_the_integer_lstm_s_weights_are_the_rounded_ones() -> None:
    """Its own values, turned back, against the float weights rounded here."""
    net = exported("bilstm")
    candidate = built(net, "int8", "LSTM")
    held = {t.name: t for t in candidate.proto.graph.initializer}
    node = next(node for node in candidate.proto.graph.node if node.op_type == "DynamicQuantizeLSTM")

    def value(name: str) -> np.ndarray:
        return candidate.weights[name] if name in candidate.weights else numpy_helper.to_array(held[name])

    for name, at, scale_at in (("W0", 1, 8), ("R0", 2, 10)):
        weight = net.builder.weights.value(name)
        scale = np.abs(weight).max(axis=(0, 2)) / (2 ** (get("cpu").weight_bits - 1) - 1)
        integers, scales = value(node.input[at]), value(node.input[scale_at])
        assert integers.shape == (2, weight.shape[2], weight.shape[1])
        assert np.allclose(scales, scale[np.newaxis])
        back = integers.transpose(0, 2, 1) * scales[:, :, np.newaxis]
        assert np.abs(back - weight).max() <= 0.5001 * scale.max()
        assert not value(node.input[scale_at + 1]).any()


def test_states_lengths_and_peepholes_reach_the_integer_lstm(tmp_path: Path) -> None:
    g = exports.Export(5)
    g.put("w", g.rng.standard_normal((1, 64, 8)) * 0.3)
    g.put("r", g.rng.standard_normal((1, 64, 16)) * 0.2)
    g.put("p", g.rng.standard_normal((1, 48)) * 0.1)
    g.put("lengths", [3, 6], np.int32)
    inputs = ["x", "w", "r", "", "lengths", "h", "c", "p"]
    g.call("LSTM", inputs, ["states", "y"], hidden_size=16, clip=3.0, direction="reverse")
    states = [zoo.value(name, [1, "N", 16]) for name in ("h", "c")]
    proto = g.finished([zoo.value("x", ["T", "N", 8]), *states], 17)
    found = case(proto, tmp_path, list(exports.feeds(proto)))
    candidate = built(found, "int8", "LSTM")
    assert kinds(candidate) == ["DynamicQuantizeLSTM"]
    assert error(found, candidate) < 0.03


def test_convtranspose_weights() -> None:
    net = exported("decoder")
    candidate = built(net, "weight8", "ConvTranspose")
    assert list(candidate.layers.values()).count("weight8") == 2
    assert kinds(candidate) == kinds(net.builder.build(net.recipe("fp32")))
    assert 0 < error(net, candidate) < 0.01


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_tables_pass_integers(granularity: str) -> None:
    net = exported("words")
    candidate = built(net, "fp32", tables="weight8", weight_granularity=granularity)
    floats = net.builder.build(net.recipe("fp32"))
    stored = {t.name: t.data_type for t in candidate.proto.graph.initializer}
    assert not {"words.weight", "positions.weight"} & stored.keys()
    assert list(stored.values()).count(onnx.TensorProto.INT8) == 2
    assert candidate.size_bytes < 0.5 * floats.size_bytes
    per_row = granularity == "per_channel"
    assert candidate.quantization["words.weight"].axis == (0 if per_row else None)
    assert 0 < error(net, candidate) < (0.01 if per_row else 0.1)
    assert candidate.layers == floats.layers  # tables are no layers


def test_a_row_of_a_table_is_what_its_integers_stand_for() -> None:
    """Against rounding done here."""
    net = exported("words")
    candidate = built(net, "fp32", tables="weight8")
    weight = net.builder.weights.value("words.weight")
    scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
    wanted = (np.rint(weight / scale) * scale)[net.feeds[0]["ids"]]
    proto = onnx.ModelProto()
    proto.CopyFrom(candidate.proto)
    proto.graph.output.append(onnx.ValueInfoProto(name="word"))
    opened = open_session(proto.SerializeToString(), weights=candidate.weights, threads=1)
    (found,) = opened.run(["word"], dict(net.feeds[0]))
    assert np.allclose(found, wanted, rtol=1e-6)


def test_simulated_tables_are_rounded_alike() -> None:
    net = exported("words")
    recipe = net.recipe("fp32").replace({TABLE + table.name: "weight8" for table in net.analysis.tables})
    simulated = net.outputs(net.builder.build(recipe, simulate=True))
    assert distance(net.outputs(net.builder.build(recipe)), simulated) < 1e-10
