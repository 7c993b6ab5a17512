"""Who writes and who reads each tensor of a graph, bodies of If/Loop/Scan included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx
from onnx import AttributeProto


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The bodies of a control-flow node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from attribute.graphs


def captures(graph: onnx.GraphProto) -> set[str]:
    """Names a body reads from the graphs around it."""
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own.update(tensor.values.name for tensor in graph.sparse_initializer)
    own.update(name for node in graph.node for name in node.output)
    read = {value.name for value in graph.output}
    for node in graph.node:
        read.update(reads(node))
    return read - own - {""}


def reads(node: onnx.NodeProto) -> set[str]:
    """Tensors a node reads, those its bodies capture included."""
    names = {name for name in node.input if name}
    for body in subgraphs(node):
        names |= captures(body)
    return names


def rename_reads(node: onnx.NodeProto, renamed: Mapping[str, str]) -> None:
    """Make a node, and the bodies in it, read other tensors."""
    for i, name in enumerate(node.input):
        if name in renamed:
            node.input[i] = renamed[name]
    for body in subgraphs(node):
        for inner in body.node:
            rename_reads(inner, renamed)


class GraphIndex:
    """Look-ups over one graph as it is now; build a new one after a change.

    Attributes:
        graph: The graph.
        initializers: Constant name → its TensorProto (a stub for large ones).
        producer: Tensor → index of the node that writes it (graph inputs and initializers have none).
        consumers: Tensor → indices of the nodes that read it, once per node, those capturing it in a body included.
        outputs: Names of the graph's outputs.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = {value.name for value in graph.output}
        self.producer: dict[str, int] = {}
        self.consumers: dict[str, list[int]] = {}
        for i, node in enumerate(graph.node):
            for name in node.output:
                if name:
                    self.producer[name] = i
            for name in reads(node):
                self.consumers.setdefault(name, []).append(i)

    def sole_consumer(self, tensor: str) -> int | None:
        """The node that alone reads a tensor through its own inputs; None with several, a capture or a graph output."""
        found = self.consumers.get(tensor, [])
        if len(found) != 1 or tensor in self.outputs:
            return None
        return found[0] if tensor in self.graph.node[found[0]].input else None
