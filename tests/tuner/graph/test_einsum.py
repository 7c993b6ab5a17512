from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from autoquant.tuner.graph.analyse import analyse

from tests import zoo
from tests.tuner.graph.running import check as same
from tests.tuner.graph.running import constants, ops

SIZES = {"b": 2, "s": 5, "t": 5, "d": 6, "h": 3, "k": 4, "i": 6, "o": 7}


def einsum(equation: str, constant: int | None = None) -> onnx.ModelProto:
    """An Einsum of two operands, one of them a constant `w`; the first activation's first size is dynamic."""
    g = zoo.Sketch(3)
    terms = equation.replace(" ", "").split("->")[0].split(",")
    shapes = [[SIZES[label] for label in term] for term in terms]
    names, inputs = [], []
    for place, shape in enumerate(shapes):
        if place == constant:
            names.append(g.put("w", g.rng.standard_normal(shape)))
            continue
        names.append(f"x{place}")
        inputs.append(zoo.value(f"x{place}", shape if constant is None else ["N", *shape[1:]]))
    g.add("Einsum", names, "y", name="node", equation=equation)
    graph = onnx.helper.make_graph(g.nodes, "one", inputs, [onnx.ValueInfoProto(name="y")], g.initializers)
    graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("equation", "constant", "wanted"),
    [
        ("bsi,io->bso", 1, ["MatMul"]),
        ("bsi,oi->bso", 1, ["MatMul"]),
        ("bsi, io", 1, ["MatMul", "Transpose"]),  # the result in alphabetical order: bos
        ("bsd,dhk->bshk", 1, ["MatMul", "Reshape"]),
        ("bsd,hdk->bhsk", 1, ["MatMul", "Reshape", "Transpose"]),
        ("bshk,hkd->bsd", 1, ["Reshape", "MatMul"]),
        ("bhsk,hkd->bsd", 1, ["Transpose", "Reshape", "MatMul"]),
        ("oi,bsi->bso", 0, ["MatMul"]),
        ("bhsd,bhtd->bhst", None, ["Transpose", "MatMul"]),
        ("bshd,bthd->bhst", None, ["Transpose", "Transpose", "MatMul"]),
        ("bhst,bthd->bshd", None, ["Transpose", "MatMul", "Transpose"]),
        ("si,io->so", None, ["MatMul"]),
    ],
)
def test_one_product_becomes_a_layer(equation: str, constant: int | None, wanted: list[str], tmp_path: Path) -> None:
    model = same(einsum(equation, constant), tmp_path)
    assert ops(model) == wanted
    assert "1 Einsum written as MatMul." in model.notes
    (layer,) = analyse(model).layers
    assert layer.name == "node"
    assert (layer.weight is not None) == (constant is not None)


def test_the_weight_is_in_order(tmp_path: Path) -> None:
    proto = einsum("bsd,hdk->bhsk", 1)
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[0])
    found = constants(same(proto, tmp_path))
    assert np.array_equal(found["w/matrix"], weight.transpose(1, 0, 2).reshape(6, 12))


@pytest.mark.parametrize(
    ("equation", "constant"),
    [
        ("bsi,bio->bso", 1),  # a batch of constants
        ("bsi,io->bo", 1),  # a sum over what one operand alone has
        ("bsi,ii->bs", 1),  # a diagonal
        ("bs,s->bs", 1),  # no sum
        ("bshk,bthk->bst", None),  # a sum over two labels of activations
        ("b...i,io->b...o", 1),
        ("bsi->bis", None),
    ],
)
def test_what_is_none_stays(equation: str, constant: int | None, tmp_path: Path) -> None:
    proto = einsum(equation.replace("...", "s"), constant)
    proto.graph.node[0].attribute[0].s = equation.encode()
    model = same(proto, tmp_path)
    assert ops(model) == ["Einsum"]
    (refusal,) = analyse(model).refusals
    assert refusal.reason == "Einsum has no integer kernel; only as a MatMul it would have one"
