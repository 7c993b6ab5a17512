from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from autoquant.tuner.graph.load import load
from onnx import TensorProto, helper

from tests import zoo
from tests.tuner.graph.running import check, constants, full, load_proto, ops, run

HALF: Any = np.float16


def halves(*names: str) -> list[Any]:
    return [zoo.value(name, ["N", 8], TensorProto.FLOAT16) for name in names]


def test_only_inputs_and_outputs_stay_float16(tmp_path: Path) -> None:
    model = check(zoo.half_net(), tmp_path, tolerance=2e-3)
    assert all(array.dtype != np.float16 for array in constants(model).values())
    assert ops(model)[0] == ops(model)[-1] == "Cast"
    assert ops(model).count("Cast") == 3, "input, output and the int64 shape's"
    assert any("float16" in note for note in model.notes)


def test_a_delivered_model_is_not_widened_again(tmp_path: Path) -> None:
    once = load_proto(zoo.half_net(), tmp_path)
    (tmp_path / "once.onnx").write_bytes(full(once))
    again = load(tmp_path / "once.onnx")
    assert full(again) == full(once)
    assert again.notes == ()


def test_mixed_precision_loses_its_casts(tmp_path: Path) -> None:
    g = zoo.Sketch(1)
    g.add("MatMul", ["x", g.weight("a.w", 8, 32)], "a")
    g.add("Cast", ["a"], "a.half", to=TensorProto.FLOAT16)
    g.add("MatMul", ["a.half", g.weight("b.w", 32, 32, dtype=HALF)], "b")
    g.add("Relu", ["b"], "r")
    g.add("Cast", ["r"], "r.single", to=TensorProto.FLOAT)
    g.add("MatMul", ["r.single", g.weight("c.w", 32, 8)], "y")
    model = check(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])]), tmp_path, tolerance=1e-2)
    assert ops(model) == ["MatMul", "MatMul", "Relu", "MatMul"]
    assert model.weights["b.w"].dtype == np.float32


def test_a_tensor_that_is_read_and_returned(tmp_path: Path) -> None:
    g = zoo.Sketch(2)
    g.add("MatMul", ["x", g.weight("w", 8, 8, dtype=HALF)], "y")
    g.add("Relu", ["y"], "z")
    model = check(g.model(halves("x"), halves("y", "z")), tmp_path, tolerance=1e-2)
    assert [value.name for value in model.proto.graph.output] == ["y", "z"]


def test_bodies_are_widened_too(tmp_path: Path) -> None:
    g = zoo.Sketch(3)
    g.weight("w", 8, 8, dtype=HALF)
    inner = zoo.Sketch(4)
    inner.put("c", 0.5, HALF)
    inner.add("MatMul", ["x", "w"], "m"), inner.add("Mul", ["m", "c"], "t")
    one = helper.make_tensor("one", TensorProto.FLOAT16, [1], [1.0])
    then = helper.make_graph(inner.nodes, "then", [], halves("t"), inner.initializers)
    fill = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["e"], value=one),
    ]
    other = helper.make_graph(fill, "else", [], halves("e"))
    g.add("If", ["flag"], "h", then_branch=then, else_branch=other)
    g.add("Add", ["h", "x"], "y")
    proto = g.model([*halves("x"), zoo.value("flag", [], TensorProto.BOOL)], halves("y"))
    model = check(proto, tmp_path, tolerance=1e-2)
    assert b"float16" not in full(model)
    for flag in (True, False):
        feed = {"x": np.ones((2, 8), np.float16), "flag": np.asarray(flag)}
        assert run(full(model), [feed])[0][0].dtype == np.float16


def test_float32_models_are_left_alone(tmp_path: Path) -> None:
    model = load_proto(zoo.conv_net(), tmp_path)
    assert "Cast" not in ops(model)
    assert not any("float16" in note for note in model.notes)
