from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.shapes import TensorType, element_types, tensor_types
from onnx import TensorProto, helper

from tests import zoo
from tests.tuner.graph.running import full, load_proto, session


@pytest.mark.parametrize("name", zoo.ALL)
def test_every_tensor_s_type_is_known_and_is_onnxruntime_s(name: str, tmp_path: Path) -> None:
    proto = zoo.ALL[name]()
    model = load_proto(proto, tmp_path)
    types = tensor_types(model.proto)
    names = [name for node in model.proto.graph.node for name in node.output if name]
    exposed = onnx.ModelProto.FromString(full(model))
    shown = {value.name for value in exposed.graph.output}
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in shown)
    opened = session(exposed.SerializeToString())
    for feed in zoo.feeds(proto, 1):
        for output, array in zip(opened.get_outputs(), opened.run(None, feed), strict=True):
            known = types[output.name]
            assert helper.tensor_dtype_to_np_dtype(known.element) == array.dtype
            if known.shape is not None:
                fixed = [(a, b) for a, b in zip(known.shape, array.shape, strict=True) if isinstance(a, int)]
                assert all(a == b for a, b in fixed), output.name


def test_declared_shapes_of_inner_tensors_are_not_believed(tmp_path: Path) -> None:
    proto = zoo.conv_net()
    proto.graph.value_info.append(zoo.value("pool", ["N", 5, 5]))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 99
    types = tensor_types(proto)
    assert types["pool"] == TensorType(TensorProto.FLOAT, ("N", 16, 1, 1))
    assert types["y"].shape == ("N", 10)


def test_a_custom_operator_s_declared_type_counts_then_its_input_s() -> None:
    g = zoo.Sketch()
    g.nodes.append(helper.make_node("Mystery", ["x"], ["a"], domain="custom"))
    g.nodes.append(helper.make_node("Mystery", ["a"], ["b"], domain="custom"))
    g.nodes.append(helper.make_node("Mystery", ["b"], ["y"], domain="custom"))
    graph = helper.make_graph(g.nodes, "g", [zoo.value("x", [2])], [onnx.ValueInfoProto(name="y")])
    graph.value_info.append(zoo.value("a", [3], TensorProto.INT32))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)])
    types = tensor_types(proto)
    assert types["a"] == TensorType(TensorProto.INT32, (3,))
    assert element_types(proto)["y"] == TensorProto.INT32


def test_a_graph_inference_cannot_digest_still_has_types() -> None:
    g = zoo.Sketch()
    g.add("Reshape", ["x", g.put("s", [7], np.int64)], "r")  # 8 elements do not fit
    g.add("Shape", ["r"], "n")
    g.add("Cast", ["n"], "f", to=TensorProto.FLOAT)
    g.add("MatMul", ["r", "r"], "y", transposed=1)
    graph = helper.make_graph(g.nodes, "g", [zoo.value("x", [8])], [onnx.ValueInfoProto(name="y")], g.initializers)
    types = element_types(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert (types["r"], types["n"], types["f"], types["y"]) == (1, TensorProto.INT64, 1, 1)
