from __future__ import annotations

from pathlib import Path

import numpy as np
from autoquant.tuner.graph.analyse import analyse
from onnx import TensorProto, helper

from tests import zoo
from tests.tuner.graph.running import check, ops


def test_identities_of_weights_and_activations_go(tmp_path: Path) -> None:
    g = zoo.Sketch(1)
    g.add("Identity", [g.weight("w", 8, 8)], "w.1")
    g.add("Identity", ["w.1"], "w.2")
    g.add("MatMul", ["x", "w.1"], "a")
    g.add("Identity", ["a"], "a.1")
    g.add("MatMul", ["a.1", "w.2"], "y")
    model = check(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])]), tmp_path)
    assert ops(model) == ["MatMul", "MatMul"]
    assert len(analyse(model).groups) == 1


def test_one_that_writes_an_output_stays(tmp_path: Path) -> None:
    g = zoo.Sketch(2)
    g.add("Relu", ["x"], "r")
    g.add("Identity", ["r"], "y")
    g.add("Identity", ["x"], "z")
    model = check(g.model([zoo.value("x", [2])], [zoo.value("y", [2]), zoo.value("z", [2])]), tmp_path)
    assert ops(model) == ["Relu", "Identity", "Identity"]


def test_bodies_read_on(tmp_path: Path) -> None:
    g = zoo.Sketch(3)
    g.add("Identity", ["x"], "i")
    body = helper.make_graph([helper.make_node("Relu", ["i"], ["r"])], "b", [], [zoo.value("r", ["N", 8])])
    nested = helper.make_graph(
        [helper.make_node("If", ["yes"], ["n"], then_branch=body, else_branch=body)],
        "n",
        [],
        [zoo.value("n", ["N", 8])],
    )
    g.put("yes", True, np.bool_)
    g.add("If", ["yes"], "y", then_branch=nested, else_branch=body)
    assert ops(check(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])]), tmp_path)) == ["If"]


def test_dropout_goes_unless_its_mask_is_read(tmp_path: Path) -> None:
    g = zoo.Sketch(4)
    g.add("Dropout", ["x", g.put("ratio", 0.5)], "d")
    g.add("Dropout", ["d", "ratio", g.put("training", False, np.bool_)], "e")
    g.nodes.append(helper.make_node("Dropout", ["e"], ["f", "mask"], name="masked"))
    g.add("Relu", ["f"], "y")
    outputs = [zoo.value("y", [2]), zoo.value("mask", [2], TensorProto.BOOL)]
    assert ops(check(g.model([zoo.value("x", [2])], outputs), tmp_path)) == ["Dropout", "Relu"]


def test_a_cast_to_the_same_type_goes(tmp_path: Path) -> None:
    g = zoo.Sketch(5)
    g.add("Cast", ["x"], "c", to=TensorProto.FLOAT)
    g.add("Cast", ["c"], "i", to=TensorProto.INT32)
    g.add("Cast", ["i"], "y", to=TensorProto.FLOAT)
    assert ops(check(g.model([zoo.value("x", [2])], [zoo.value("y", [2])]), tmp_path)) == ["Cast", "Cast"]
