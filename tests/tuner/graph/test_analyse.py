from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.analysis import Analysis
from autoquant.tuner.graph.names import LONGEST
from onnx import TensorProto, helper

from tests import zoo
from tests.tuner.graph.running import load_proto


def analysed(proto: onnx.ModelProto, folder: Path) -> Analysis:
    return analyse(load_proto(proto, folder))


def one(
    op: str, inputs: dict[str, tuple[Any, ...]], constants: dict[str, Any], *, domain: str = "", **attributes: Any
) -> onnx.ModelProto:
    """A model of one node `node` reading float32 inputs and constants in the order given, writing `y`."""
    g = zoo.Sketch()
    for name, array in constants.items():
        g.put(name, array, np.asarray(array).dtype if not isinstance(array, float | list) else np.float32)
    order = attributes.pop("order", [*inputs, *constants])
    g.add(op, order, "y", name="node", **({"domain": domain} if domain else {}), **attributes)
    values = [zoo.value(name, shape) for name, shape in inputs.items()]
    graph = helper.make_graph(g.nodes, "one", values, [onnx.ValueInfoProto(name="y")], g.initializers)
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


COUNTS = {
    "conv_net": {"Conv": 4, "Gemm": 1},
    "transformer": {"MatMul": 8, "Gemm": 1},
    "hardswish_net": {"Conv": 3, "MatMul": 1},
    "shared_weight_net": {"Conv": 2, "MatMul": 3},
    "constant_weight_net": {"Conv": 2, "MatMul": 1},
    "input_weight_net": {"Conv": 1, "Gemm": 1},
    "if_net": {"MatMul": 2},
    "loop_net": {"MatMul": 1},
    "half_net": {"Conv": 2, "Gemm": 1},
    "quantized_net": {"Conv": 1, "Gemm": 1},
    "two_input_net": {"Conv": 1, "MatMul": 1},
    "slash_names_net": {"Conv": 2, "Gemm": 1},
    "nothing_net": {},
    "names_net": {"MatMul": 4},
}


@pytest.mark.parametrize("name", zoo.ALL)
def test_layers_of_the_zoo(name: str, tmp_path: Path) -> None:
    assert Counter(layer.op_type for layer in analysed(zoo.ALL[name](), tmp_path).layers) == COUNTS[name]


@pytest.mark.parametrize("name", zoo.ALL)
def test_what_holds_of_every_analysis(name: str, tmp_path: Path) -> None:
    model = load_proto(zoo.ALL[name](), tmp_path)
    found = analyse(model)
    graph = model.proto.graph
    constants = {tensor.name for tensor in graph.initializer}
    for items in (found.layers, found.glue, found.refusals):
        assert [item.node for item in items] == sorted(item.node for item in items)
        assert all(0 < len(item.name) <= LONGEST for item in items)
    names = [item.name for item in (*found.layers, *found.glue)]
    assert len(set(names)) == len(names)
    roles = [layer.node for layer in found.layers] + [i for layer in found.layers for i in layer.tail]
    roles += [glue.node for glue in found.glue]
    assert len(set(roles)) == len(roles), "a node has one role"
    for layer in found.layers:
        last = graph.node[layer.tail[-1] if layer.tail else layer.node]
        assert layer.output == last.output[0]
        assert layer.op_type == graph.node[layer.node].op_type
        assert constants.isdisjoint(layer.inputs)
        assert layer.group in {other.name for other in found.layers}
        if layer.weight is not None:
            assert layer.weight in constants
            assert layer.weight_input is not None
            assert graph.node[layer.node].input[layer.weight_input] == layer.weight
    for glue in found.glue:
        assert constants.isdisjoint(glue.inputs)
        assert constants.issuperset(glue.constants)
    tensors = set(found.tensors)
    assert len(tensors) == len(found.tensors)
    assert tensors == {
        *(name for layer in found.layers for name in (*layer.inputs, layer.output)),
        *(name for glue in found.glue for name in (*glue.inputs, *glue.outputs)),
    }


def test_conv_net(tmp_path: Path) -> None:
    found = analysed(zoo.conv_net(), tmp_path)
    stem, depthwise, pointwise, down, fc = found.layers
    assert (stem.name, stem.inputs, stem.output) == ("stem", ("x",), "relu")
    assert (stem.weight, stem.weight_input, stem.weight_axis, stem.bias) == ("stem.w", 1, 0, "bn/bias")
    assert (stem.reduction, depthwise.reduction, pointwise.reduction, fc.reduction) == (27, 9, 8, 16)
    assert depthwise.output == "relu6"
    assert pointwise.output == "pointwise"
    assert down.tail == ()
    assert (fc.weight_axis, fc.bias, fc.inputs, fc.output) == (0, "fc.b", ("flat",), "y")
    assert [(glue.op_type, glue.passes) for glue in found.glue] == [
        ("Add", False),
        ("Relu", False),
        ("GlobalAveragePool", False),
        ("Flatten", True),
    ]
    assert found.refusals == ()
    assert found.tensors == (
        "x",
        "relu",
        "relu6",
        "pointwise",
        "residual",
        "residual_relu",
        "down",
        "pool",
        "flat",
        "y",
    )


def test_transformer(tmp_path: Path) -> None:
    found = analysed(zoo.transformer(), tmp_path)
    layers = {layer.name: layer for layer in found.layers}
    assert layers["q.mm"].output == "q"
    assert len(layers["q.mm"].tail) == 1
    assert layers["q.mm"].weight_axis == 1
    assert layers["q.mm"].bias is None
    assert layers["scores"].inputs == ("q.heads", "k.heads")
    assert (layers["scores"].weight, layers["scores"].weight_axis, layers["scores"].tail) == (None, None, ())
    assert layers["logits"].weight_axis == 1
    assert {layer.reduction for layer in found.layers if layer.weight} == {16, 64}
    assert {refusal.op_type for refusal in found.refusals} == {"ReduceMean", "Sub", "Pow", "Sqrt", "Div", "Erf"}
    assert {refusal.reason for refusal in found.refusals if refusal.op_type == "Erf"} == {"Erf has no integer kernel"}
    glue = {glue.name for glue in found.glue}
    assert glue.isdisjoint({"shape.0", "shape.1", "shape.split", "shape.merged"}), "shape arithmetic is no glue"
    assert {"attention", "q.split", "k.heads", "scores.masked", "gelu", "embedded"} <= glue
    table = next(glue for glue in found.glue if glue.name == "embedded")
    assert (table.inputs, table.constants, table.outputs) == ((), ("embedding",), ("embedded",))


def test_layers_that_share_a_weight_are_one_group(tmp_path: Path) -> None:
    found = analysed(zoo.shared_weight_net(), tmp_path)
    assert {name: tuple(layer.name for layer in layers) for name, layers in found.groups.items()} == {
        "a": ("a", "b"),
        "m1": ("m1", "m2"),
        "y": ("y",),
    }


def test_bodies_are_refused_by_name(tmp_path: Path) -> None:
    (refusal,) = analysed(zoo.if_net(), tmp_path).refusals
    assert (refusal.name, refusal.reason) == ("then.mm", "inside the body of If 'chosen'")
    (refusal,) = analysed(zoo.loop_net(), tmp_path).refusals
    assert (refusal.name, refusal.reason) == ("body.mm", "inside the body of Loop 'state.last'")


def test_a_quantized_layer_is_refused_and_the_rest_is_not(tmp_path: Path) -> None:
    found = analysed(zoo.quantized_net(), tmp_path)
    assert [(refusal.name, refusal.reason) for refusal in found.refusals] == [("c1", "already quantized")]
    assert [layer.name for layer in found.layers] == ["c2", "y"]


def test_operators_already_on_integers(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.put("s", 0.1), g.put("z", 0, np.uint8)
    g.add("QuantizeLinear", ["x", "s", "z"], "q")
    g.put("w", np.ones((8, 8)), np.int8), g.put("wz", 0, np.int8)
    g.add("QLinearMatMul", ["q", "s", "z", "w", "s", "wz", "s", "z"], "m")
    g.add("DequantizeLinear", ["m", "s", "z"], "y")
    proto = g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])])
    found = analysed(proto, tmp_path)
    assert found.layers == ()
    assert [(r.op_type, r.reason) for r in found.refusals] == [("QLinearMatMul", "already quantized")]


def test_a_long_name_is_cut_and_stays_unique(tmp_path: Path) -> None:
    names = [layer.name for layer in analysed(zoo.names_net(), tmp_path).layers]
    assert names[0] == "MatMul:a"
    assert len(names[2]) == LONGEST
    assert len(set(names)) == 4


def test_the_analysis_of_the_same_file_is_the_same(tmp_path: Path) -> None:
    for build in zoo.ALL.values():
        assert analysed(build(), tmp_path) == analysed(build(), tmp_path)


X4, X2 = ("N", 3, 8, 8), ("N", 8)


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (one("Conv", {"x": X4, "w": (4, 3, 3, 3)}, {}), "its weight is not constant"),
        (
            one("Conv", {"x": X4, "b": (4,)}, {"w": floats(4, 3, 3, 3)}, order=["x", "w", "b"]),
            "its bias is not constant",
        ),
        (one("MatMul", {"x": X2}, {"w": floats(8)}), "its weight is a vector"),
        (one("MatMul", {}, {"v": floats(8, 8), "w": floats(8, 8)}), "both operands are constant"),
        (one("MatMul", {"x": X2}, {"w": floats(0, 8)}), "its weight is empty"),
        (one("MatMul", {"x": X2}, {"w": np.ones((8, 8))}), "its weight is double, not float32"),
    ],
)
def test_compute_layers_that_cannot_be(proto: onnx.ModelProto, reason: str, tmp_path: Path) -> None:
    found = analysed(proto, tmp_path)
    assert found.layers == ()
    assert [(refusal.name, refusal.reason) for refusal in found.refusals] == [("node", reason)]


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (one("Gemm", {"x": X2}, {"w": floats(8, 4)}, beta=0.0), (1, 1, 8)),
        (one("Gemm", {"x": X2}, {"w": floats(4, 8), "b": floats(1, 4)}, transB=1), (1, 0, 8)),
        (one("MatMul", {"x": (8, "N")}, {"w": floats(4, 8)}, order=["w", "x"]), (0, 0, 8)),
        (one("MatMul", {"x": (2, "N", 8)}, {"w": floats(2, 8, 4)}), (1, None, 8)),
        (one("Conv", {"x": ("N", 4, 8)}, {"w": floats(6, 2, 3)}, group=2), (1, 0, 6)),
        (one("Conv", {"x": ("N", 2, 4, 8, 8)}, {"w": floats(6, 2, 3, 3, 3)}), (1, 0, 54)),
        (one("ConvTranspose", {"x": ("N", 6, 8, 8)}, {"w": floats(6, 2, 4, 4)}, group=2, strides=[2, 2]), (1, 1, 12)),
    ],
)
def test_weights_on_either_side(proto: onnx.ModelProto, expected: tuple[int, int | None, int], tmp_path: Path) -> None:
    (layer,) = analysed(proto, tmp_path).layers
    assert (layer.weight_input, layer.weight_axis, layer.reduction) == expected
    assert (layer.weight, layer.inputs, layer.output) == ("w", ("x",), "y")


@pytest.mark.parametrize(
    ("proto", "reason"),
    [
        (one("Tanh", {"x": X2}, {}), "Tanh has no integer kernel"),
        (
            one("FusedMatMul", {"x": X2}, {"w": floats(8, 8)}, domain="com.microsoft"),
            "already fused by an optimizer; start from the model before it was optimized",
        ),
        (one("Gelu", {"x": X2}, {}, domain="com.microsoft"), "com.microsoft.Gelu has no integer kernel"),
        (
            one("Resize", {"x": X4}, {"s": [1.0, 1.0, 2.0, 2.0]}, mode="linear", order=["x", "", "s"]),
            "it interpolates (linear)",
        ),
        (one("Pad", {"x": X2}, {"p": np.array([0, 1, 0, 1]), "v": 1.0}), "it pads with another value than zero"),
        (one("Clip", {"x": X2, "low": ()}, {}), "its bounds are not constant"),
        (one("Add", {"x": X2}, {"c": [1.0, -np.inf]}), "it reads a constant with infinities"),
    ],
)
def test_operators_that_stay_in_float(proto: onnx.ModelProto, reason: str, tmp_path: Path) -> None:
    found = analysed(proto, tmp_path)
    assert found.glue == ()
    assert [(refusal.name, refusal.reason) for refusal in found.refusals] == [("node", reason)]


def test_double_models_are_refused(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.add("MatMul", ["x", g.weight("w", 8, 8, dtype=np.float64)], "m")
    g.add("Relu", ["m"], "y")
    kinds = ([zoo.value(name, ["N", 8], TensorProto.DOUBLE)] for name in ("x", "y"))
    found = analysed(g.model(*kinds), tmp_path)
    assert found.layers == found.glue == ()
    assert [refusal.reason for refusal in found.refusals] == [
        "its weight is double, not float32",
        "it computes in double",
    ]


def tail(g: zoo.Sketch, *outputs: str) -> onnx.ModelProto:
    return g.model([zoo.value("x", ["N", 8])], [zoo.value(name, ["N", 8]) for name in outputs])


def test_a_relu_is_a_tail_only_where_nobody_reads_in_between(tmp_path: Path) -> None:
    def gemm() -> zoo.Sketch:
        g = zoo.Sketch()
        g.add("Gemm", ["x", g.weight("w", 8, 8)], "g")
        g.add("Relu", ["g"], "r")
        return g

    (layer,) = analysed(tail(gemm(), "r"), tmp_path).layers
    assert (layer.tail, layer.output) == ((1,), "r")
    (layer,) = analysed(tail(gemm(), "r", "g"), tmp_path).layers
    assert layer.tail == ()
    g = gemm()
    g.add("Tanh", ["g"], "t")
    (layer,) = analysed(tail(g, "r", "t"), tmp_path).layers
    assert layer.tail == ()
    g = gemm()
    body = helper.make_graph([helper.make_node("Tanh", ["g"], ["t"])], "b", [], [zoo.value("t", ["N", 8])])
    g.put("yes", True, np.bool_)
    g.add("If", ["yes"], "z", then_branch=body, else_branch=body)
    (layer,) = analysed(tail(g, "r", "z"), tmp_path).layers
    assert layer.tail == ()


def test_bounds_that_vary_make_no_tail(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.add("Gemm", ["x", g.weight("w", 8, 8)], "g")
    g.add("ReduceMax", ["x"], "high", keepdims=0)
    g.add("Clip", ["g", g.put("low", 0.0), "high"], "y")
    (layer,) = analysed(tail(g, "y"), tmp_path).layers
    assert layer.tail == ()


@pytest.mark.parametrize(
    ("shape", "tailed"), [((8,), True), ((1, 8), True), ((1,), False), ((2, 8), False), ((), False)]
)
def test_only_a_bias_per_channel_is_a_matmul_s_tail(shape: tuple[int, ...], tailed: bool, tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.add("MatMul", ["x", g.weight("w", 8, 8)], "m")
    g.add("Add", [g.put("b", np.ones(shape)), "m"], "y")
    found = analysed(g.model([zoo.value("x", [2, 8])], [zoo.value("y", [2, 8])]), tmp_path)
    assert bool(found.layers[0].tail) == tailed
    assert bool(found.glue) != tailed


def test_an_add_to_itself_is_no_bias(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.add("MatMul", ["x", g.weight("w", 8, 8)], "m")
    g.add("Add", ["m", "m"], "y")
    found = analysed(tail(g, "y"), tmp_path)
    assert found.layers[0].tail == ()
    assert found.glue[0].inputs == ("m",)


def test_an_unknown_operator_s_output_still_feeds_a_layer(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.nodes.append(helper.make_node("Mystery", ["x"], ["m"], domain="custom", name="mystery"))
    g.add("MatMul", ["m", g.weight("w", 8, 8)], "y")
    graph = helper.make_graph(g.nodes, "g", [zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])], g.initializers)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("custom", 1)]
    found = analysed(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path)
    assert [layer.inputs for layer in found.layers] == [("m",)]
    assert [refusal.reason for refusal in found.refusals] == ["custom.Mystery has no integer kernel"]


def test_a_dilated_average_pool_is_no_glue(tmp_path: Path) -> None:
    """QLinearAveragePool knows no dilations: ONNX Runtime would make an invalid graph of it."""
    g = zoo.Sketch()
    g.conv("x", "c", 3, 4)
    g.add("AveragePool", ["c"], "y", kernel_shape=[2, 2], dilations=[2, 2])
    found = analysed(
        g.model([zoo.value("x", [1, 3, 9, 9])], [zoo.value("y", [1, 4, 7, 7])], opset=19, ir_version=9), tmp_path
    )
    assert found.glue == ()
    assert [refusal.reason for refusal in found.refusals] == ["it is dilated"]
