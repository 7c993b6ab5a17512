"""What ONNX Runtime's optimizer folds into a float Conv, folded beforehand.

It would not fold with Q/DQ standing between, and an int8 candidate would keep float operators that the float model
never runs: a BatchNormalization, an Add or Mul of constants behind the Conv, a Pad before it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper

from .draft import Draft
from .index import GraphIndex

_AFFINE = frozenset(("BatchNormalization", "Add", "Sub", "Mul", "Div"))


def fold_into_convs(draft: Draft) -> None:
    """Fold into each Conv the constant scales and shifts that follow it and the zero padding before it."""
    graph = draft.proto.graph
    index = GraphIndex(graph)
    folded: list[int] = []
    for node in graph.node:
        if node.op_type == "Conv" and node.domain in ("", "ai.onnx") and _constant_float(index, node.input[1:]):
            folded += _absorb_followers(draft, index, node)
            folded += _absorb_pad(draft, index, node)
    if folded:
        kinds = ", ".join(sorted({graph.node[i].op_type for i in folded}))
        draft.notes.append(_note(len(folded), kinds))
    draft.drop_nodes(folded)


def _constant_float(index: GraphIndex, names: Iterable[str]) -> bool:
    found = [index.initializers.get(name) for name in names if name]
    return all(tensor is not None and tensor.data_type == TensorProto.FLOAT for tensor in found)


def _absorb_followers(draft: Draft, index: GraphIndex, conv: onnx.NodeProto) -> list[int]:
    """Fold the chain of constant scales and shifts behind a Conv; the indices of its nodes."""
    dims = index.initializers[conv.input[1]].dims
    scale, shift = np.ones(dims[0]), np.zeros(dims[0])
    chain: list[int] = []
    output = conv.output[0]
    while (follower := index.sole_consumer(output)) is not None:
        affine = _affine(draft, index, index.graph.node[follower], output, len(dims), dims[0])
        if affine is None or not all(np.isfinite(part).all() for part in affine):
            break
        scale, shift = scale * affine[0], shift * affine[0] + affine[1]
        chain.append(follower)
        output = index.graph.node[follower].output[0]
    if not chain:
        return []
    conv.output[0] = output
    per_channel = scale.reshape(-1, *[1] * (len(dims) - 1))
    if np.any(scale != 1.0):
        weight = draft.value(index.initializers[conv.input[1]])
        conv.input[1] = _replaced(draft, index, conv.input[1], (weight * per_channel).astype(np.float32), conv.name)
    has_bias = len(conv.input) > 2 and conv.input[2]
    bias = draft.value(index.initializers[conv.input[2]]) * scale if has_bias else 0.0
    new_bias = np.asarray(bias + shift, dtype=np.float32)
    if has_bias:
        conv.input[2] = _replaced(draft, index, conv.input[2], new_bias, conv.name)
    else:
        del conv.input[2:]
        conv.input.append(_added(draft, index, f"{output}/bias", new_bias))
    return chain


def _affine(
    draft: Draft, index: GraphIndex, node: onnx.NodeProto, x: str, rank: int, channels: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """(scale, shift) per channel, float64, if the node is such a function of `x`."""
    if node.op_type not in _AFFINE or node.domain not in ("", "ai.onnx"):
        return None
    others = [name for name in node.input if name != x]
    if len(others) != len(node.input) - 1 or not _constant_float(index, others):
        return None
    values = [draft.value(index.initializers[name]) for name in others]
    if node.op_type == "BatchNormalization":
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.input[0] != x or attributes.get("training_mode", 0) or any(node.output[1:]):
            return None
        if any(value.shape != (channels,) for value in values):
            return None
        gamma, beta, mean, var = (value.astype(np.float64) for value in values)
        scale = gamma / np.sqrt(var + attributes.get("epsilon", 1e-5))
        return scale, beta - mean * scale
    value = _per_channel(values[0], rank, channels)
    if value is None or (node.op_type in ("Sub", "Div") and node.input[0] != x):
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    if node.op_type in ("Add", "Sub"):
        return one, value if node.op_type == "Add" else -value
    with np.errstate(divide="ignore"):
        return (value if node.op_type == "Mul" else 1.0 / value), zero


def _per_channel(value: np.ndarray, rank: int, channels: int) -> np.ndarray | None:
    """A constant that broadcasts along axis 1 of a tensor of that rank, as [channels] float64; None for others."""
    if value.ndim > rank:
        return None
    if value.size == 1:
        return np.full(channels, value.reshape(()), np.float64)
    padded = (1,) * (rank - value.ndim) + value.shape
    wanted = (1, channels) + (1,) * (rank - 2)
    return value.reshape(channels).astype(np.float64) if padded == wanted else None


def _absorb_pad(draft: Draft, index: GraphIndex, conv: onnx.NodeProto) -> list[int]:
    """Fold a Pad with zeros before a Conv into its padding; the Pad's index."""
    i = index.producer.get(conv.input[0])
    if i is None or index.graph.node[i].op_type != "Pad" or index.sole_consumer(conv.input[0]) is None:
        return []
    attributes = {a.name: helper.get_attribute_value(a) for a in conv.attribute}
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        return []
    rank = len(index.initializers[conv.input[1]].dims)
    pads = _zero_padding(draft, index, index.graph.node[i], rank)
    if pads is None:
        return []
    own = list(attributes.get("pads", [0] * 2 * (rank - 2)))
    kept = [a for a in conv.attribute if a.name not in ("pads", "auto_pad")]
    summed = [int(a + b) for a, b in zip(own, pads, strict=True)]
    fresh = onnx.NodeProto(attribute=[*kept, helper.make_attribute("pads", summed)])
    del conv.attribute[:]
    conv.attribute.MergeFrom(fresh.attribute)
    conv.input[0] = index.graph.node[i].input[0]
    return [i]


def _zero_padding(draft: Draft, index: GraphIndex, pad: onnx.NodeProto, rank: int) -> list[int] | None:
    """What a Pad adds to the spatial axes, in a Conv's order; None if it does anything else."""
    mode = next((a.s for a in pad.attribute if a.name == "mode"), b"constant")
    inputs = [*pad.input, "", "", ""][1:4]
    constants = [index.initializers.get(name) for name in inputs]
    if (
        mode != b"constant"
        or constants[0] is None
        or any(n and c is None for n, c in zip(inputs, constants, strict=True))
    ):
        return None
    amounts = draft.value(constants[0]).astype(np.int64)
    if constants[1] is not None and np.any(draft.value(constants[1]) != 0):
        return None
    axes = np.arange(rank) if constants[2] is None else draft.value(constants[2]).astype(np.int64) % rank
    if amounts.size != 2 * axes.size or amounts.min(initial=0) < 0:
        return None
    full = np.zeros((2, rank), np.int64)
    full[:, axes] = amounts.reshape(2, -1)
    return None if full[:, :2].any() else [int(n) for n in full[:, 2:].reshape(-1)]


def _replaced(draft: Draft, index: GraphIndex, name: str, array: np.ndarray, reader: str) -> str:
    """Give a constant new data, under a new name where others read the old ones."""
    if len(index.consumers[name]) > 1:
        index.consumers[name] = index.consumers[name][1:]
        return _added(draft, index, f"{name}/{reader}", array)
    draft.replace_value(index.initializers[name], array)
    return name


def _added(draft: Draft, index: GraphIndex, wanted: str, array: np.ndarray) -> str:
    name = draft.add_constant(draft.free_name(wanted), array)
    index.initializers[name] = draft.proto.graph.initializer[-1]
    return name


def _note(count: int, kinds: str) -> str:
    subject, place = ("1 operator", "it") if count == 1 else (f"{count} operators", "them")
    return f"{subject} ({kinds}) folded into the Conv beside {place}, as ONNX Runtime would."
