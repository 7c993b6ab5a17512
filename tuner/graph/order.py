"""The order of nodes, and whether every tensor has exactly one writer."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import onnx

from ...errors import ModelError
from .index import reads


def check_wiring(graph: onnx.GraphProto, path: object) -> None:
    """See that every tensor read is written, once.

    Raises:
        ModelError: It is not: the file is corrupt.
    """
    known = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    known.update(tensor.values.name for tensor in graph.sparse_initializer)
    written: set[str] = set()
    for node in graph.node:
        for name in node.output:
            if name and (name in written or name in known):
                raise ModelError(f"{path} is corrupt: tensor {name!r} is written twice. Export it again.")
            written.add(name)
    known |= written
    for node in graph.node:
        for name in reads(node) - known:
            raise ModelError(
                f"{path} is corrupt: {node.op_type} {node.name!r} reads tensor {name!r}, which nothing writes. "
                "Export it again."
            )
    for value in graph.output:
        if value.name not in known:
            raise ModelError(f"{path} is corrupt: nothing writes its output {value.name!r}. Export it again.")


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
    fresh = onnx.GraphProto(node=[graph.node[i] for i in order])
    del graph.node[:]
    graph.node.MergeFrom(fresh.node)
    return True
