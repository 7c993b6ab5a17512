"""The nodes of a graph, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

import onnx

from ...errors import ModelError
from .index import reads


def put_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Replace a graph's nodes by these, its own present ones or new ones; copies are put in."""
    fresh = onnx.GraphProto(node=nodes)
    del graph.node[:]
    graph.node.MergeFrom(fresh.node)


def sort_nodes(graph: onnx.GraphProto, path: object) -> bool:
    """Put writers before readers, where they are not; otherwise the order stays. Whether anything moved.

    Raises:
        ModelError: The graph has a cycle.
    """
    writer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    needs = [{writer[name] for name in reads(node) if name in writer} for node in graph.node]
    if all(i > max(needed, default=-1) for i, needed in enumerate(needs)):
        return False
    readers: list[list[int]] = [[] for _ in needs]
    for i, needed in enumerate(needs):
        for j in needed:
            readers[j].append(i)
    waiting = [len(needed) for needed in needs]
    ready = [i for i, n in enumerate(waiting) if n == 0]
    heapify(ready)
    order = []
    while ready:
        i = heappop(ready)
        order.append(i)
        for j in readers[i]:
            waiting[j] -= 1
            if waiting[j] == 0:
                heappush(ready, j)
    if len(order) < len(needs):
        raise ModelError(f"{path} is corrupt: its nodes form a cycle. Export it again.")
    put_nodes(graph, [graph.node[i] for i in order])
    return True
