"""Layers in float16: regions of the graph, with casts at their borders only.

The nodes of fp16 layers are the regions' seeds; operators between them that are safe in half precision join, so that
two neighbouring fp16 layers have no casts between them. Constants a region reads are stored in float16 once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

import onnx
from onnx import TensorProto, helper

from ..graph.index import reads

LARGEST = 65504.0
"""The largest float16 number."""

# Operators that may join a region → which of their inputs have the type of the output (None: all).
_JOINING: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Gelu", "Clip", "Identity")),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Concat", "Transpose", "Flatten")),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool")),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Expand"), (0,)),
    "Where": (1, 2),
}


def cast_regions(
    nodes: Sequence[onnx.NodeProto],
    seeds: Collection[int],
    outputs: Collection[str],
    half: Callable[[str], str | None],
    free: Callable[[str], str],
) -> tuple[list[onnx.NodeProto], set[str]]:
    """Rewrite nodes so that regions around the seeds compute in float16.

    Args:
        nodes: The graph's, in topological order; changed in place.
        seeds: Indices of the nodes that must be in a region; all their inputs and outputs become float16.
        outputs: The graph's outputs, which keep their type.
        half: Constant → name of its float16 copy, None for what is no float32 constant.
        free: Wanted tensor name → a free one.

    Returns:
        The new nodes, in topological order, and the tensors whose type is float16 now.
    """
    inside = _regions(nodes, seeds, outputs, half)
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    leaving = {name for name in outputs if producer.get(name) in inside}
    for i, node in enumerate(nodes):
        if i not in inside:
            leaving.update(name for name in reads(node) if producer.get(name) in inside)
    result: list[onnx.NodeProto] = []
    halves: set[str] = set()
    entered: dict[str, str] = {}
    inner = {name: free(f"{name}/half") for name in leaving}
    for i, node in enumerate(nodes):
        if i not in inside:
            result.append(node)
            continue
        for position in _typed(node):
            name = node.input[position]
            if not name:
                continue
            constant = half(name)
            if constant is not None:
                node.input[position] = constant
            elif producer.get(name) in inside:
                node.input[position] = inner.get(name, name)
            else:
                if name not in entered:
                    entered[name] = free(f"{name}/fp16")
                    result.append(_cast(name, entered[name], TensorProto.FLOAT16))
                node.input[position] = entered[name]
        result.append(node)
        for position, name in enumerate(node.output):
            if name in inner:
                node.output[position] = inner[name]
                result.append(_cast(inner[name], name, TensorProto.FLOAT))
            elif name:
                halves.add(name)
    return result, halves


def _regions(
    nodes: Sequence[onnx.NodeProto],
    seeds: Collection[int],
    outputs: Collection[str],
    half: Callable[[str], str | None],
) -> set[int]:
    """Indices of the nodes that compute in float16: the seeds, and what lies wholly between nodes of a region."""
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    readers: dict[str, list[int]] = {}
    for i, node in enumerate(nodes):
        for name in reads(node):
            readers.setdefault(name, []).append(i)
    fixed = set(seeds)
    inside = fixed | {i for i, node in enumerate(nodes) if _may_join(node)}

    def fits(i: int) -> bool:
        read = [nodes[i].input[k] for k in _typed(nodes[i]) if nodes[i].input[k]]
        fed = [name for name in read if half(name) is None]
        return (
            bool(fed)
            and all(producer.get(name) in inside for name in fed)
            and not any(name in outputs for name in nodes[i].output)
            and all(set(readers.get(name, [-1])) <= inside for name in nodes[i].output if name)
        )

    while dropped := [i for i in inside - fixed if not fits(i)]:
        inside.difference_update(dropped)
    return inside


def _may_join(node: onnx.NodeProto) -> bool:
    plain = len(node.output) == 1 or node.op_type == "Split"  # the indices of a MaxPool are no floats
    return node.op_type in _JOINING and node.domain in ("", "ai.onnx") and plain


def _typed(node: onnx.NodeProto) -> Iterable[int]:
    """Positions of the inputs that have the type of the output."""
    positions = _JOINING.get(node.op_type)
    return range(len(node.input)) if positions is None else positions


def _cast(tensor: str, output: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [tensor], [output], name=f"{output}/Cast", to=to)
