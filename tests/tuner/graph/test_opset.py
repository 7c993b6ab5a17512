from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.errors import ModelError
from autoquant.tuner.graph.draft import opset
from autoquant.tuner.graph.opset import lift
from autoquant.tuner.graph.serialize import inline
from onnx import TensorProto, helper

from tests import zoo
from tests.tuner.graph.running import check, load_proto, ops, run


def test_a_model_below_13_is_lifted_to_17(tmp_path: Path) -> None:
    model = check(zoo.constant_weight_net(), tmp_path)
    assert model.opset == 17
    assert model.proto.ir_version >= 8
    assert "Opset lifted from 11 to 17." in model.notes


@pytest.mark.parametrize("version", [13, 15, 18, 21])
def test_a_model_from_13_on_is_kept(version: int, tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.linear("x", "y", 8, 8)
    proto = g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])], opset=version, ir_version=7)
    model = check(proto, tmp_path)
    assert model.opset == version
    assert not model.notes


def test_operators_whose_meaning_changed(tmp_path: Path) -> None:
    g = zoo.Sketch(1)
    g.conv("x", "c", 3, 8)
    g.add("Upsample", ["c", g.put("scales", [1, 1, 2, 2])], "u", mode="nearest")
    g.add("Slice", ["u"], "s", starts=[1], ends=[15], axes=[2])
    g.add("Pad", ["s"], "p", pads=[0, 0, 1, 0, 0, 0, 1, 0], mode="constant", value=0.0)
    g.add("Dropout", ["p"], "d", ratio=0.5)
    g.add("ReduceSum", ["d"], "r", axes=[3], keepdims=0)
    g.add("Clip", ["r"], "k", min=-100.0, max=100.0)
    g.add("Softmax", ["k"], "y", axis=1)  # over axes 1 and 2 together before opset 13
    proto = g.model([zoo.value("x", ["N", 3, 8, 8])], [zoo.value("y", ["N", 8, 16])], opset=9, ir_version=4)
    model = check(proto, tmp_path)
    assert model.opset == 17
    assert "Dropout" not in ops(model)
    assert "Constant" not in ops(model)


def test_bodies_are_lifted(tmp_path: Path) -> None:
    g = zoo.Sketch(2)
    then = [helper.make_node("Unsqueeze", ["x"], ["u"], axes=[0]), helper.make_node("Squeeze", ["u"], ["t"], axes=[0])]
    other = [helper.make_node("Relu", ["x"], ["e"])]
    branches = {
        "then_branch": helper.make_graph(then, "then", [], [zoo.value("t", ["N", 8])]),
        "else_branch": helper.make_graph(other, "else", [], [zoo.value("e", ["N", 8])]),
    }
    g.add("If", ["flag"], "h", **branches)
    g.linear("h", "y", 8, 4)
    inputs = [zoo.value("x", ["N", 8]), zoo.value("flag", [], TensorProto.BOOL)]
    check(g.model(inputs, [zoo.value("y", ["N", 4])], opset=11, ir_version=6), tmp_path)


def test_other_domains_come_through_a_lift(tmp_path: Path) -> None:
    g = zoo.Sketch(3)
    g.linear("x", "h", 8, 8)
    g.nodes.append(helper.make_node("Gelu", ["h"], ["y"], domain="com.microsoft", name="gelu"))
    graph = helper.make_graph(g.nodes, "g", [zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])], g.initializers)
    opsets = [helper.make_opsetid("", 11), helper.make_opsetid("com.microsoft", 1)]
    model = check(helper.make_model(graph, opset_imports=opsets, ir_version=6), tmp_path)
    assert model.proto.graph.node[-1].domain == "com.microsoft"


def test_a_model_of_other_domains_alone(tmp_path: Path) -> None:
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", scale=[2.0], offset=[1.0])
    graph = helper.make_graph([node], "g", [zoo.value("x", ["N", 4])], [zoo.value("y", ["N", 4])])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8)
    assert check(proto, tmp_path, tolerance=0.0).opset == 17


def one_node(op: str, version: int) -> onnx.ModelProto:
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "g", [zoo.value("x", [4])], [zoo.value("y", [4])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=4)


def test_an_operator_that_cannot_be_lifted(tmp_path: Path) -> None:
    words = r"opset 1 cannot be lifted to 17: there is no operator GRUUnit in ONNX. Export it again with opset 17"
    with pytest.raises(ModelError, match=words):
        load_proto(one_node("GRUUnit", 1), tmp_path)


def test_an_operator_its_opset_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not valid ONNX: No Op registered for ThresholdedRelu with domain_version"):
        load_proto(one_node("ThresholdedRelu", 9), tmp_path)


def test_attributes_an_operator_does_not_have(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    proto.graph.node[0].attribute.append(helper.make_attribute("colour", "blue"))
    with pytest.raises(ModelError, match=r"not valid ONNX: Unrecognized attribute: colour for operator Conv"):
        load_proto(proto, tmp_path)


@pytest.mark.parametrize("version", [19, 21])
@pytest.mark.parametrize("name", ["conv_net", "transformer", "quantized_net"])
def test_a_loaded_model_can_be_lifted_further(name: str, version: int, tmp_path: Path) -> None:
    proto = zoo.ALL[name]()
    model = load_proto(proto, tmp_path)
    before = model.proto.SerializeToString()
    lifted = lift(model.proto, version)
    assert opset(lifted) == version
    assert lifted.ir_version >= {19: 9, 21: 10}[version]
    assert model.proto.SerializeToString() == before
    again = inline(lifted, model.weights)
    onnx.checker.check_model(again)
    feeds = zoo.feeds(proto)
    expected = run(inline(model.proto, model.weights).SerializeToString(), feeds)
    np.testing.assert_allclose(run(again.SerializeToString(), feeds), expected, atol=1e-6)


def test_lifting_to_what_it_is_copies(tmp_path: Path) -> None:
    model = load_proto(zoo.conv_net(), tmp_path)
    lifted = lift(model.proto, 13)
    assert lifted == model.proto
    assert lifted is not model.proto


def test_a_scan_of_old_is_refused(tmp_path: Path) -> None:
    """Before opset 9 it had a batch dimension; onnx's converter leaves such a node as it is, which then is invalid."""
    state, element = zoo.value("s", [2]), zoo.value("e", [2])
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "e"], ["next"]), helper.make_node("Identity", ["next"], ["out"])],
        "body",
        [state, element],
        [zoo.value("next", [2]), zoo.value("out", [2])],
    )
    scan = helper.make_node("Scan", ["", "start", "x"], ["end", "y"], num_scan_inputs=1, body=body)
    graph = helper.make_graph(
        [scan],
        "g",
        [zoo.value("start", [1, 2]), zoo.value("x", [1, 3, 2])],
        [zoo.value("end", [1, 2]), zoo.value("y", [1, 3, 2])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=8)
    with pytest.raises(ModelError, match="cannot be lifted to 17: its Scan has a batch dimension"):
        load_proto(proto, tmp_path)
