"""One name for every node, unique and stable for the same file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable

import onnx

LONGEST = 480
"""Characters of a layer's name at most: as a parameter it must fit the 512 that databases allow."""


def node_names(nodes: Iterable[onnx.NodeProto]) -> list[str]:
    """A name for each node of a graph: its own, or `<OpType>:<first output>` where that is empty or ambiguous."""
    listed = list(nodes)
    derived = [f"{node.op_type}:{next((name for name in node.output if name), '')}" for node in listed]
    count = Counter(node.name for node in listed)
    unclear = {i for i, node in enumerate(listed) if not node.name or count[node.name] > 1}
    while True:  # a name given may equal one derived: then it is ambiguous too
        taken = {derived[i] for i in unclear}
        more = {
            i for i, node in enumerate(listed) if i not in unclear and node.name in taken and node.name != derived[i]
        }
        if not more:
            break
        unclear |= more
    return [derived[i] if i in unclear else node.name for i, node in enumerate(listed)]


def cut(name: str) -> str:
    """The name, if longer than `LONGEST` its beginning and a hash of the whole."""
    if len(name) <= LONGEST:
        return name
    return f"{name[: LONGEST - 18]}…#{hashlib.sha256(name.encode()).hexdigest()[:16]}"
