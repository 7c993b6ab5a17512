from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests import zoo
from tests.tuner.graph.test_analyse import analysed, floats


def sketch(rows: int = 64, columns: int = 16) -> zoo.Sketch:
    g = zoo.Sketch()
    g.put("table", floats(rows, columns))
    return g


def closed(g: zoo.Sketch, folder: Path, *outputs: str) -> tuple[list[tuple[object, ...]], list[str]]:
    ids = [zoo.value("ids", ["N", 3], TensorProto.INT64)]
    untyped = [onnx.ValueInfoProto(name=name) for name in outputs or ("y",)]
    graph = helper.make_graph(g.nodes, "tables", ids, untyped, g.initializers)
    found = analysed(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder)
    tables = [(t.name, t.weight, t.axis, t.nodes, t.outputs) for t in found.tables]
    return tables, [refusal.reason for refusal in found.refusals]


def test_an_embedding_is_a_table_and_no_layer(tmp_path: Path) -> None:
    g = sketch()
    g.add("Gather", ["table", "ids"], "e", name="words")
    g.add("MatMul", ["e", g.weight("w", 16, 8)], "y")
    tables, reasons = closed(g, tmp_path)
    assert tables == [("words", "table", 0, (0,), ("e",))]
    assert reasons == []


def test_gathers_of_one_constant_are_one_table(tmp_path: Path) -> None:
    g = sketch()
    g.add("Gather", ["table", "ids"], "a", axis=1)
    g.add("Gather", ["table", "ids"], "b", axis=-1)
    tables, _ = closed(g, tmp_path, "a", "b")
    assert tables == [("a", "table", 1, (0, 1), ("a", "b"))]


@pytest.mark.parametrize(("rows", "columns", "kind"), [(32, 31, np.float32), (64, 16, np.float64), (64, 16, np.int64)])
def test_small_tables_and_other_types_are_none(rows: int, columns: int, kind: type, tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.put("table", np.zeros((rows, columns)), kind)
    g.add("Gather", ["table", "ids"], "e")
    g.add("Cast", ["e"], "y", to=1)
    assert closed(g, tmp_path)[0] == []


def test_a_constant_that_something_else_reads(tmp_path: Path) -> None:
    g = sketch()
    g.add("Gather", ["table", "ids"], "e")
    g.add("Gemm", ["e2", "table"], "y", transB=1, name="head")
    g.nodes.insert(1, helper.make_node("ReduceMean", ["e"], ["e2"], axes=[1], keepdims=0))
    tables, reasons = closed(g, tmp_path)
    assert tables == []
    assert reasons == ["its table is also what 'head' reads", "ReduceMean has no integer kernel"]


def test_several_axes(tmp_path: Path) -> None:
    g = sketch()
    g.add("Gather", ["table", "ids"], "a")
    g.add("Gather", ["table", "ids"], "b", axis=1)
    assert closed(g, tmp_path, "a", "b") == ([], ["its table is read along several axes"])


def test_infinities_are_told_once(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.put("table", np.full((64, 16), -np.inf))
    g.add("Gather", ["table", "ids"], "y")
    assert closed(g, tmp_path) == ([], ["it reads a constant with infinities"])
