"""What keeps ONNX Runtime from fusing what the recipe wants apart, and from undoing what it fuses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from ..graph.analysis import Layer
from .guards import Guard
from .pairs import Pairs
from .plan import Plan
from .weights import Weights
from .writer import Writer


class Fusing:
    """What one build writes so.

    Args:
        plan: What is built.
        writer: Of the graph.
        pairs: Its Q/DQ pairs.
        guards: Node and position → what the node reads there instead of a dequantized tensor.
    """

    def __init__(self, plan: Plan, writer: Writer, pairs: Pairs, guards: Mapping[tuple[int, int], Guard]) -> None:
        self._plan = plan
        self._writer = writer
        self._pairs = pairs
        self._guards = guards
        self._guarded: dict[tuple[str, int], str] = {}

    def guard(self, node: onnx.NodeProto, i: int) -> None:
        """Make a float node, the i-th of the float graph, read other than dequantized tensors where it must."""
        for position, name in enumerate(node.input):
            if (i, position) in self._guards:
                node.input[position] = self._guard(self._guards[i, position], name)

    def _guard(self, guard: Guard, tensor: str) -> str:
        if guard.kind == "bias":
            return of_rank(self._writer, self._plan.builder.weights, tensor, guard.count)
        key = (tensor, guard.count)
        if key not in self._guarded:
            if guard.kind == "barrier":
                self._guarded[key] = self._writer.add("Max", [tensor], self._writer.name(f"{tensor}/float"))
            else:
                self._guarded[key] = self._pairs.per_channel(tensor, guard.count)
        return self._guarded[key]

    def undone(self, layer: Layer) -> str | None:
        """The output of an int8 MatMul whose readers would undo its fusion, None if they do not.

        ONNX Runtime makes a float Gemm of a MatMul and an Add behind it, and hands a Q behind two Transposes that
        cancel out to the MatMul, which then has a Q among several readers.
        """
        builder = self._plan.builder
        index = builder.index
        if not self._plan.for_cpu_kernels or layer.op_type != "MatMul" or layer.tail:
            return None
        if layer.output in self._plan.placement.pairs:
            return None
        nodes = index.graph.node
        readers = index.consumers.get(layer.output, [])
        merges = [nodes[i].op_type for i in readers] == ["Add"] and builder.rank(layer.output) in (0, 2)
        turned = {name for i in readers if nodes[i].op_type == "Transpose" for name in nodes[i].output}
        cancels = any(nodes[i].op_type == "Transpose" for name in turned for i in index.consumers.get(name, []))
        return layer.output if merges or cancels else None

    def rectifier(self, node: onnx.NodeProto, layer: Layer) -> None:
        """Keep a Relu or Clip behind an int8 MatMul from undoing its fusion.

        ONNX Runtime takes a Relu or Clip of one reader for part of the kernel, and does not fuse the kernel at all if
        that reader is no Q. Where the kernel has other readers it drops a Relu before a Q, which then is one of several
        readers. A maximum with zero is no Relu.
        """
        output, placement = node.output[0], self._plan.placement
        if not self._plan.for_cpu_kernels or placement.layers[layer.name] != "int8":
            return
        index = self._plan.builder.index
        readers = index.consumers.get(output, [])
        only_q = output in placement.pairs and all(i in placement.int8_nodes for i in readers)
        # else it may end past the Clip
        only_q = only_q and (node.op_type == "Relu" or output in self._plan.builder.clips)
        kept = index.outputs.intersection((output, node.input[0]))  # both would be gone in the kernel
        if len(index.consumers[node.input[0]]) > 1:
            if node.input[0] in placement.replaced:
                return
            kept.add(node.input[0])
        if output in placement.replaced or (only_q and not kept):
            return
        if node.op_type == "Relu":
            node.op_type = "Max"
            node.input.append(self._writer.constant(f"{output}/floor", np.zeros((), np.float32)))
        else:
            node.input[0] = self._writer.add("Max", [node.input[0]], self._writer.name(f"{output}/kept"))


def of_rank(writer: Writer, weights: Weights, name: str, rank: int) -> str:
    """A bias with leading dimensions of 1, so that no Gemm is made of the Add and the MatMul before it."""
    return writer.constant(f"{name}/bias{rank}", weights.value(name).reshape([1] * (rank - 1) + [-1]))
