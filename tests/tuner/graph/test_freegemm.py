from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.analyse import analyse

from tests import zoo
from tests.tuner.graph.running import check, ops


def gemm(*, left: bool = False, bias: str = "", **attributes: Any) -> onnx.ModelProto:
    """A [3, 5] · B [5, 4] + C, with A a constant or not, C none, an activation or a constant."""
    g = zoo.Sketch(2)
    shapes = {
        "a": [5, 3] if attributes.get("transA") else [3, 5],
        "b": [4, 5] if attributes.get("transB") else [5, 4],
        "c": [3, 4],
    }
    names = ["a", "b", *(["c"] if bias else [])]
    for name in ("a",) * left + ("c",) * (bias == "constant"):
        g.put(name, g.rng.standard_normal(shapes[name]))
    g.add("Gemm", names, "y", name="gemm", **attributes)
    held = {tensor.name for tensor in g.initializers}
    return g.model([zoo.value(n, shapes[n]) for n in names if n not in held], [zoo.value("y", [3, 4])])


@pytest.mark.parametrize(
    ("proto", "wanted"),
    [
        (gemm(), ["MatMul"]),
        (gemm(left=True), ["MatMul"]),
        (gemm(left=True, transA=1, transB=1), ["Transpose", "MatMul"]),
        (gemm(transA=1, bias="activation"), ["Transpose", "MatMul", "Add"]),
        (gemm(alpha=0.5, beta=2.0, bias="activation"), ["MatMul", "Mul", "Mul", "Add"]),
        (gemm(bias="constant"), ["MatMul", "Add"]),
        (gemm(beta=0.0, bias="constant"), ["MatMul"]),
    ],
)
def test_a_matmul_and_the_same_answers(proto: onnx.ModelProto, wanted: list[str], tmp_path: Path) -> None:
    model = check(proto, tmp_path)
    assert ops(model) == wanted
    assert "1 Gemm without a constant weight written as MatMul." in model.notes
    (layer,) = analyse(model).layers
    assert layer.name == "gemm"


def test_a_quantized_gemm_stays(tmp_path: Path) -> None:
    g = zoo.Sketch()
    g.put("s", 0.1)
    g.put("z", 3, np.uint8)
    g.add("QuantizeLinear", ["a", "s", "z"], "q")
    g.add("DequantizeLinear", ["q", "s", "z"], "d")
    g.add("Gemm", ["d", "b"], "y", name="gemm")
    model = check(g.model([zoo.value("a", [3, 5]), zoo.value("b", [5, 4])], [zoo.value("y", [3, 4])]), tmp_path)
    assert ops(model) == ["QuantizeLinear", "DequantizeLinear", "Gemm"]
