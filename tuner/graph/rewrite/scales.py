"""Constant scales and shifts before a layer, folded into its weights.

Exporters leave them behind: learnable ones of a whole tensor (PP-LCNetV3's after every activation), the 1/255 of an
input, a division of a MatMul's operand. In float each is a pass over memory that also keeps ONNX Runtime from handing
blocked layouts on; with Q/DQ around it costs as much as the activation itself. What stands behind a Conv is folded
when the model is loaded.
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from ..draft import Draft
from .algebra import expression, linear
from .patch import Change, Image, Patch, attribute, standard

_LARGEST = 1e20


def scales(draft: Draft) -> Change:
    """a·x + b before Conv, MatMul and Gemm: a into the weight, b into the bias where no padding sees it; 1·x + 0: out.

    A padded Conv would see zeros where it saw (0 - b)/a; there x + b/a stays.

    Requires: a and b the same for the whole tensor, all readers of a·x + b layers whose weights nobody else reads.
    Ensures: the same values to float rounding; no tensor that others read is gone.
    """
    patch = Patch(draft)
    for tensor in list(dict.fromkeys(patch.node(i).input[0] for i in patch.of_type("Conv", "MatMul", "Gemm"))):
        _fold(patch, tensor)
    for i in patch.of_type("Add", "Sub", "Mul", "Div"):
        _pass_by(patch, i)
    return patch.apply()


def _pass_by(patch: Patch, i: int) -> None:
    """Drop a node that changes nothing."""
    node = patch.node(i)
    for x in node.input:
        if node.output[0] in patch.index.outputs or x in patch.index.initializers or not patch.untouched([i]):
            continue
        found = expression(patch, node.output[0], x, depth=1)
        if found is not None and not found.plain[0] and found.plain[1] == 1.0 and not found.plain[2:].any():
            patch.bypass(i, x)


def _fold(patch: Patch, tensor: str) -> None:
    readers = patch.index.consumers.get(tensor, [])
    if tensor in patch.index.outputs or not all(_takes(patch, i, tensor) for i in readers):
        return
    found = linear(patch, tensor)
    if found is None or not patch.untouched({*found[1].nodes, *readers}):
        return
    x, line = found
    a, b = float(line.plain[1]), float(line.plain[0])
    kept = b / a if b and any(_is_padded(patch, i) or not _biased(patch, i) for i in readers) else 0.0
    in_reach = all(math.isfinite(value) and abs(value) < _LARGEST for value in (a, 1 / a, b, kept))
    if not in_reach or (kept and a == 1.0):
        return
    source = x
    made: list[onnx.NodeProto] = []
    if kept:
        source = patch.draft.free_name(f"{tensor}/shifted")
        patch.derived[source] = Image(tensor, 1 / a)
        shift = patch.draft.add_constant(patch.draft.free_name(f"{tensor}/shift"), np.asarray(kept, np.float32))
        made = [patch.make("Add", [x, shift], source, f"{patch.node(max(line.nodes)).name}/Add")]
        b = 0.0
    for i in readers:
        _absorb(patch, i, source, a, b)
    patch.replace(line.nodes, made)


def _takes(patch: Patch, i: int, tensor: str) -> bool:
    """Whether a node is a layer that reads a tensor as its first operand, with weights of its own."""
    node = patch.node(i)
    if node.op_type not in ("Conv", "MatMul", "Gemm") or not standard(node) or node.input[0] != tensor:
        return False
    if list(node.input).count(tensor) != 1:
        return False
    names = [name for name in node.input[1:] if name]
    constants = [patch.index.initializers.get(name) for name in names]
    if any(c is None or c.data_type != onnx.TensorProto.FLOAT for c in constants):
        return False
    if node.op_type == "MatMul" and len(patch.index.initializers[node.input[1]].dims) != 2:
        return False
    if node.op_type == "Gemm":
        plain = (
            attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) and not attribute(node, "transA", 0)
        )
        if not plain:
            return False
    return all(len(patch.index.consumers[name]) == 1 for name in names)


def _is_padded(patch: Patch, i: int) -> bool:
    node = patch.node(i)
    if node.op_type != "Conv":
        return False
    return attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or any(attribute(node, "pads", []))


def _biased(patch: Patch, i: int) -> bool:
    """Whether a shift can go into a bias: Conv and Gemm have one, a MatMul the Add behind it."""
    return patch.node(i).op_type != "MatMul" or _bias_add(patch, i) is not None


def _bias_add(patch: Patch, i: int) -> tuple[int, int] | None:
    """The Add of a constant behind a MatMul, nobody else's, and which of its inputs the constant is."""
    output = patch.node(i).output[0]
    reader = patch.index.sole_consumer(output)
    if reader is None or patch.node(reader).op_type != "Add" or not patch.untouched([reader]):
        return None
    node = patch.node(reader)
    position = 1 if node.input[0] == output else 0
    constant = patch.index.initializers.get(node.input[position])
    columns = patch.index.initializers[patch.node(i).input[1]].dims[-1]
    if constant is None or list(constant.dims) != [columns] or len(patch.index.consumers[constant.name]) != 1:
        return None
    return reader, position


def _absorb(patch: Patch, i: int, source: str, a: float, b: float) -> None:
    """Let a layer read `source`, of which it read a·source + b before."""
    node = patch.touch(i)
    node.input[0] = source
    weight = patch.constant(node.input[1])
    assert weight is not None
    if b:
        rows_first = node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0))
        _add_to_bias(patch, i, b * _sums(weight.reshape(weight.shape[0], -1) if rows_first else weight.T))
    if a != 1.0:
        _set(patch, node.input[1], weight * np.float32(a))


def _add_to_bias(patch: Patch, i: int, shift: np.ndarray) -> None:
    node = patch.node(i)
    if node.op_type == "Gemm":
        shift = shift / attribute(node, "beta", 1.0)
    if node.op_type == "MatMul":
        found = _bias_add(patch, i)
        assert found is not None
        node, position = patch.touch(found[0]), found[1]
    else:
        position = 2
        if len(node.input) < 3 or not node.input[2]:
            name = patch.draft.free_name(f"{node.output[0]}/bias")
            patch.draft.add_constant(name, shift.astype(np.float32))
            del node.input[2:]
            node.input.append(name)
            return
    bias = patch.constant(node.input[position])
    assert bias is not None
    _set(patch, node.input[position], (bias + shift).astype(np.float32))


def _sums(rows: np.ndarray) -> np.ndarray:
    """The sum of each row in float64, one element after the other: the same bits on every machine."""
    return rows.astype(np.float64).cumsum(axis=1)[:, -1]


def _set(patch: Patch, name: str, array: np.ndarray) -> None:
    """Other data for a constant that one node alone reads."""
    patch.draft.replace_value(patch.index.initializers[name], np.ascontiguousarray(array, np.float32))
