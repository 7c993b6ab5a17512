from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from autoquant.tuner.graph.analyse import analyse
from onnx import TensorProto, helper

from tests import zoo
from tests.tuner.graph.running import check, constants, ops


def test_a_transposed_weight_becomes_one(tmp_path: Path) -> None:
    g = zoo.Sketch(1)
    w = g.weight("w", 40, 8)
    g.add("Transpose", [w], "w.t", perm=[1, 0])
    g.add("MatMul", ["x", "w.t"], "y")
    model = check(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 40])]), tmp_path)
    assert ops(model) == ["MatMul"]
    assert list(model.weights) == ["w.t"]
    assert analyse(model).layers[0].weight == "w.t"


def test_arithmetic_on_weights_becomes_one(tmp_path: Path) -> None:
    g = zoo.Sketch(2)
    g.add("Mul", [g.weight("v", 8, 8), g.put("g", 0.5)], "w")
    g.add("Reshape", ["w", g.put("s", [4, 16], np.int64)], "w.r")
    g.add("Concat", ["w.r", "w.r"], "w.c", axis=0)
    g.add("MatMul", ["x", "w.c"], "y")
    assert ops(check(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 16])]), tmp_path)) == ["MatMul"]


@pytest.mark.parametrize(
    ("attribute", "value", "kind"),
    [
        ("value_float", 2.0, TensorProto.FLOAT),
        ("value_floats", [1.0, 2.0], TensorProto.FLOAT),
        ("value_int", 3, TensorProto.INT64),
        ("value_ints", [3, 4], TensorProto.INT64),
    ],
)
def test_every_form_of_constant(attribute: str, value: object, kind: int, tmp_path: Path) -> None:
    g = zoo.Sketch(3)
    g.nodes.append(helper.make_node("Constant", [], ["c"], **{attribute: value}))
    g.add("Mul", ["x", "c"], "y")
    proto = g.model([zoo.value("x", ["N", 2], kind)], [zoo.value("y", ["N", 2], kind)])
    model = check(proto, tmp_path)
    assert ops(model) == ["Mul"]
    np.testing.assert_array_equal(constants(model)["c"], np.asarray(value))


def test_a_sparse_constant_and_one_that_is_an_output_stay(tmp_path: Path) -> None:
    g = zoo.Sketch(4)
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [5.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [3])
    sparse = helper.make_sparse_tensor(values, indices, [8])
    g.nodes.append(helper.make_node("Constant", [], ["s"], sparse_value=sparse))
    g.nodes.append(helper.make_node("Constant", [], ["z"], value_floats=[1.0]))
    g.add("Add", ["x", "s"], "y")
    model = check(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8]), zoo.value("z", [1])]), tmp_path)
    assert ops(model) == ["Constant", "Constant", "Add"]


def test_paddings_computed_from_constants_fold_away(tmp_path: Path) -> None:
    g = zoo.Sketch(5)
    g.add(
        "ConstantOfShape",
        [g.put("n", [4], np.int64)],
        "zeros",
        value=helper.make_tensor("", TensorProto.INT64, [1], [0]),
    )
    g.add("Concat", [g.put("p", [1, 2, 1, 2], np.int64), "zeros"], "all", axis=0)
    g.add("Reshape", ["all", g.put("pairs", [-1, 2], np.int64)], "rows")
    names = [g.put(f"s{i}", [v], np.int64) for i, v in enumerate((-1, -(2**31), 0, -1))]
    g.add("Slice", ["rows", *names], "flipped")
    g.add("Transpose", ["flipped"], "columns", perm=[1, 0])
    g.add("Reshape", ["columns", g.put("flat", [-1], np.int64)], "pads")
    g.add("Pad", ["x", "pads"], "padded")
    g.add("Conv", ["padded", g.weight("w", 4, 3, 3, 3)], "y")
    model = check(g.model([zoo.value("x", ["N", 3, 8, 8])], [zoo.value("y", [None] * 4)]), tmp_path)
    assert ops(model) == ["Conv"]


def test_what_would_grow_large_stays(tmp_path: Path) -> None:
    g = zoo.Sketch(6)
    g.add("ConstantOfShape", [g.put("n", [1 << 20], np.int64)], "zeros")
    g.add("Expand", [g.put("one", [1.0]), g.put("m", [1 << 19], np.int64)], "ones")
    g.add("ReduceSum", ["zeros"], "a")
    g.add("ReduceSum", ["ones"], "b")
    g.add("Sum", ["x", "a", "b"], "y")
    model = check(g.model([zoo.value("x", [1])], [zoo.value("y", [1])]), tmp_path)
    assert {"ConstantOfShape", "Expand"} <= set(ops(model))
    assert not model.weights


def test_integer_division_and_casts_follow_onnx(tmp_path: Path) -> None:
    g = zoo.Sketch(7)
    g.add("Div", [g.put("a", [-7, 7], np.int64), g.put("b", [2, 2], np.int64)], "q")
    g.add("Cast", ["q"], "f", to=TensorProto.FLOAT)
    g.add("Mul", ["x", "f"], "y")
    assert ops(check(g.model([zoo.value("x", [2])], [zoo.value("y", [2])]), tmp_path, tolerance=0.0)) == ["Mul"]


def test_a_constant_a_body_reads_is_folded_as_well(tmp_path: Path) -> None:
    g = zoo.Sketch(8)
    g.add("Transpose", [g.weight("w", 8, 8)], "w.t")
    body = helper.make_graph([helper.make_node("MatMul", ["x", "w.t"], ["m"])], "b", [], [zoo.value("m", ["N", 8])])
    g.put("yes", True, np.bool_)
    g.add("If", ["yes"], "y", then_branch=body, else_branch=body)
    model = check(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])]), tmp_path)
    assert ops(model) == ["If"]
