"""Inputs that begin with time: never divided along it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.evaluators.feeds import batch_of, inputs_of_file, inputs_of_graph
from autoquant.evaluators.session import open_session
from autoquant.evaluators.timefirst import time_first
from onnx import TensorProto, helper, numpy_helper

from tests import exports, zoo


def test_recurrent_layers_run_along_the_first_axis() -> None:
    for proto in (exports.bilstm(), exports.gru()):
        assert time_first(proto.graph) == {"x"}
    for proto in (zoo.conv_net(), zoo.transformer(), exports.words()):
        assert time_first(proto.graph) == set()


def lstm(*before: onnx.NodeProto, kind: str = "f", **attributes: int) -> onnx.ModelProto:
    """An LSTM over "h", which the given nodes make of "x" [a, b, 4] (indices [a, b] of kind "i")."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((1, 32, 4)),
        "r": rng.standard_normal((1, 32, 8)),
        "table": rng.standard_normal((9, 4)),
        "square": rng.standard_normal((4, 4)),
    }
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a", "b", 4])
    if kind == "i":
        x = helper.make_tensor_value_info("x", TensorProto.INT64, ["a", "b"])
    layer = helper.make_node("LSTM", ["h", "w", "r"], ["y"], hidden_size=8, **attributes)
    graph = helper.make_graph(
        [*before, layer],
        "g",
        [x],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array.astype("f4"), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("nodes", "kind", "first"),
    [
        ([helper.make_node("Identity", ["x"], ["h"])], "f", True),
        ([helper.make_node("MatMul", ["x", "square"], ["p"]), helper.make_node("Tanh", ["p"], ["h"])], "f", True),
        ([helper.make_node("Add", ["x", "x"], ["h"])], "f", True),
        ([helper.make_node("Gather", ["table", "x"], ["h"])], "i", True),
        ([helper.make_node("Transpose", ["x"], ["h"], perm=[1, 0, 2])], "f", False),
    ],
)
def test_what_stands_before_the_layer(nodes: list[onnx.NodeProto], kind: str, first: bool, tmp_path: Path) -> None:
    proto = lstm(*nodes, kind=kind)
    path = zoo.save(proto, tmp_path / "m.onnx")
    session = open_session(path, threads=1)
    (item,) = inputs_of_file(path)
    assert inputs_of_graph(proto.graph) == (item,)
    assert item.time_first is first
    x = np.random.default_rng(1)
    feed = {"x": x.integers(0, 9, (6, 3)) if kind == "i" else x.standard_normal((6, 3, 4)).astype("f4")}
    assert batch_of(feed, [item]) == (None if first else 6)
    whole = session.run(None, feed)[0]
    half = session.run(None, {"x": feed["x"][3:]})[0]
    same = whole[3:] if first else whole[:, :, 3:]
    assert np.allclose(half, same, atol=1e-6) is not first, "the halves of a batch are its samples, those of time not"


def test_batch_first_layers() -> None:
    assert time_first(lstm(helper.make_node("Identity", ["x"], ["h"]), layout=1).graph) == set()
