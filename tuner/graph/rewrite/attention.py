"""A constant factor behind a product, moved up into the weights that the product comes from.

Attention divides its scores by √d (Vaswani et al., Attention Is All You Need, 2017): a pass over the largest tensor
there is. ONNX Runtime fuses it into a float MatMul, but not into an integer one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto

from ..draft import Draft
from .algebra import expression
from .patch import Change, Image, Patch, composed, standard

_MOVES = frozenset(("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"))
_DEPTH = 12


@dataclass
class _Way:
    """From a factor up to weights.

    Attributes:
        tensors: Those on the way; each gets the factor.
        constants: Weights and biases that take it.
        nodes: Who reads these constants.
    """

    tensors: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)


def attention(draft: Draft) -> Change:
    """a·x: a into the weight and bias that x is computed from.

    Requires: on the way up only MatMuls, biases and operators that move values, each read by the next alone; weights
    that nobody else reads.
    Ensures: the same values to float rounding; the product keeps its name.
    """
    sites = 0
    derived: dict[str, Image] = {}
    while True:  # with one factor gone, one behind it may go the same way
        patch = Patch(draft)
        for i in patch.of_type("Mul", "Div"):
            _site(patch, i)
        change = patch.apply()
        if not change.sites:
            return Change(sites, derived)
        sites += change.sites
        derived.update({tensor: composed(image, derived) for tensor, image in change.derived.items()})


def _site(patch: Patch, i: int) -> None:
    node = patch.node(i)
    x = next((name for name in node.input if name not in patch.index.initializers), "")
    found = expression(patch, node.output[0], x, depth=1) if x else None
    if found is None or not found.equals([0.0, float(found.plain[1])], []) or not 1e-20 < abs(found.plain[1]) < 1e20:
        return
    factor = float(found.plain[1])
    way = _up(patch, x, _DEPTH) if factor != 1.0 else None
    if way is None or not patch.untouched([i, *way.nodes]):
        return
    for name in way.constants:
        tensor = patch.index.initializers[name]
        patch.draft.replace_value(tensor, patch.draft.value(tensor) * np.float32(factor))
    for k in way.nodes:
        patch.touch(k)
    names = {tensor: patch.draft.free_name(f"{tensor}/scaled") for tensor in way.tensors if tensor != x}
    patch.derived.update({new: Image(tensor, factor) for tensor, new in names.items()})
    _rename(patch, {**names, x: node.output[0]})
    patch.remove(i)


def _up(patch: Patch, tensor: str, depth: int) -> _Way | None:
    """The way from a tensor up to weights that can take a factor."""
    i = patch.writer(tensor)
    if i is None or depth == 0 or patch.index.sole_consumer(tensor) is None or not standard(patch.node(i)):
        return None
    node = patch.node(i)
    own = [name for name in node.input if name in patch.index.initializers]
    way: _Way | None = None
    if node.op_type in _MOVES:
        way, own = _up(patch, node.input[0], depth - 1), []
    elif node.op_type == "Add" and len(own) == 1:
        rest = next(name for name in node.input if name not in own)
        way = _up(patch, rest, depth - 1)
    elif node.op_type == "MatMul" and not own and node.input[0] != node.input[1]:
        way = _up(patch, node.input[0], depth - 1) or _up(patch, node.input[1], depth - 1)
    elif node.op_type in ("MatMul", "Gemm", "Conv") and own == [name for name in node.input[1:] if name]:
        way = _Way()
    if way is None or not all(_free(patch, name) for name in own):
        return None
    way.tensors.append(tensor)
    way.constants += own
    way.nodes.append(i)
    return way


def _free(patch: Patch, name: str) -> bool:
    tensor: onnx.TensorProto = patch.index.initializers[name]
    return len(patch.index.consumers[name]) == 1 and tensor.data_type == TensorProto.FLOAT


def _rename(patch: Patch, names: dict[str, str]) -> None:
    """Give tensors, each read by one node, other names."""
    for tensor, new in names.items():
        writer, reader = patch.writer(tensor), patch.index.sole_consumer(tensor)
        assert writer is not None
        assert reader is not None
        for k, name in enumerate(patch.node(writer).output):
            if name == tensor:
                patch.node(writer).output[k] = new
        for k, name in enumerate(patch.node(reader).input):
            if name == tensor:
                patch.node(reader).input[k] = new
