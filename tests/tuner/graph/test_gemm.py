"""Gemms brought into the form x·W + b."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.analyse import analyse

from tests import zoo
from tests.tuner.graph.running import check, constants, ops


def gemm(bias: tuple[int, ...] | None = None, shape: tuple[Any, ...] = ("N", 8), **attributes: Any) -> onnx.ModelProto:
    """x·W + b with W [8, 4], or [4, 8] where transB."""
    g = zoo.Sketch(2)
    inputs = ["x", g.weight("w", *((4, 8) if attributes.get("transB") else (8, 4)))]
    if bias is not None:
        inputs.append(g.put("b", g.rng.standard_normal(bias)))
    g.add("Gemm", inputs, "y", name="gemm", **attributes)
    rows = shape[1] if attributes.get("transA") else shape[0]
    return g.model([zoo.value("x", shape)], [zoo.value("y", [rows, 4])])


@pytest.mark.parametrize(
    ("proto", "wanted"),
    [
        (gemm(alpha=0.5), ["Gemm"]),
        (gemm((4,), alpha=0.5, beta=2.0, transB=1), ["Gemm"]),
        (gemm((), beta=-1.0), ["Gemm"]),
        (gemm((1,)), ["Gemm"]),
        (gemm((1, 1)), ["Gemm"]),
        (gemm((3, 4), (3, 8), beta=0.5), ["Gemm", "Add"]),
        (gemm((3, 1), (3, 8)), ["Gemm", "Add"]),
        (gemm((4,), (8, 3), transA=1), ["Transpose", "Gemm"]),
        (gemm((4,), beta=0.0), ["Gemm"]),
    ],
)
def test_one_layer_and_the_same_answers(proto: onnx.ModelProto, wanted: list[str], tmp_path: Path) -> None:
    model = check(proto, tmp_path)
    assert ops(model) == wanted
    assert [layer.name for layer in analyse(model).layers] == ["gemm"]
    assert "1 Gemm brought into the form x·W + b." in model.notes


@pytest.mark.parametrize(("beta", "added"), [(1.0, ["Add"]), (2.0, ["Mul", "Add"])])
def test_a_bias_that_is_computed_is_added_apart(beta: float, added: list[str], tmp_path: Path) -> None:
    g = zoo.Sketch(2)
    g.add("ReduceMean", ["x"], "b", axes=[1], keepdims=1)
    g.add("Gemm", ["x", g.weight("w", 8, 4), "b"], "y", name="gemm", alpha=3.0, beta=beta)
    model = check(g.model([zoo.value("x", [2, 8])], [zoo.value("y", [2, 4])]), tmp_path)
    assert ops(model) == ["ReduceMean", "Gemm", *added]
    assert [layer.name for layer in analyse(model).layers] == ["gemm"]


def test_a_weight_that_others_read_is_copied(tmp_path: Path) -> None:
    g = zoo.Sketch(2)
    w = g.weight("w", 8, 8)
    g.add("Gemm", ["x", w], "m", alpha=2.0)
    g.add("MatMul", ["m", w], "y")
    model = check(g.model([zoo.value("x", ["N", 8])], [zoo.value("y", ["N", 8])]), tmp_path)
    values = constants(model)
    assert np.array_equal(values["w/scaled"], 2.0 * values["w"])
    assert len({layer.group for layer in analyse(model).layers}) == 2


def test_what_is_plain_is_left_alone(tmp_path: Path) -> None:
    model = check(gemm((4,)), tmp_path)
    assert ops(model) == ["Gemm"]
    assert model.notes == ()
