"""Changes to a graph: found on the graph as it is, collected, then made at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from ..draft import Draft
from ..index import GraphIndex, rename_reads
from ..order import put_nodes
from ..shapes import Dim, TensorType, tensor_types

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""


@dataclass(frozen=True, slots=True)
class Image:
    """A tensor the original graph does not have, as a function of one that it has.

    Its value is min(max(factor · source + offset, low), high); so is its range.

    Attributes:
        source: The tensor of the original graph.
        factor: Not zero; negative where the order turns round.
        offset: Added after the factor.
        low: The least value there can be.
        high: The largest.
    """

    source: str
    factor: float = 1.0
    offset: float = 0.0
    low: float = -np.inf
    high: float = np.inf

    @property
    def scaled(self) -> bool:
        """Whether it is the source times a factor above 0: its grid is then the source's, with another scale."""
        return self.offset == 0 and self.factor > 0 and self.low == -np.inf and self.high == np.inf


def composed(image: Image, derived: Mapping[str, Image]) -> Image:
    """An image of a derived tensor as one of an original tensor."""
    first = derived.get(image.source)
    if first is None:
        return image
    ends = sorted(image.factor * end + image.offset for end in (first.low, first.high))
    low, high = max(image.low, ends[0]), min(image.high, ends[1])
    return Image(first.source, image.factor * first.factor, image.factor * first.offset + image.offset, low, high)


@dataclass(frozen=True)
class Change:
    """What a rewrite did.

    Attributes:
        sites: In how many places.
        derived: New tensors whose range follows from another's.
    """

    sites: int = 0
    derived: Mapping[str, Image] = field(default_factory=dict)


class Patch:
    """Look-ups of the graph as it is, and what is to become of it.

    Nodes are inserted where the last of those they replace stood: whoever reads what they write comes after.
    """

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.graph = draft.proto.graph
        self.index = GraphIndex(self.graph)
        self.sites = 0
        self.derived: dict[str, Image] = {}
        self._made: dict[int, list[onnx.NodeProto]] = {}
        self._gone: set[int] = set()
        self._touched: set[int] = set()
        self._renamed: dict[str, str] = {}
        self._names = {node.name for node in self.graph.node}

    def of_type(self, *types: str) -> list[int]:
        """Nodes of these standard operators, in graph order."""
        return [i for i, node in enumerate(self.graph.node) if node.op_type in types and standard(node)]

    def writer(self, tensor: str) -> int | None:
        """The node that writes a tensor."""
        return self.index.producer.get(tensor)

    def node(self, i: int) -> onnx.NodeProto:
        """A node by its index."""
        found: onnx.NodeProto = self.graph.node[i]
        return found

    def constant(self, tensor: str) -> np.ndarray | None:
        """The data of a float32 or integer constant, None for anything else."""
        found = self.index.initializers.get(tensor)
        if found is None or found.data_type in (TensorProto.STRING, TensorProto.UNDEFINED):
            return None
        return self.draft.value(found)

    def scalar(self, tensor: str) -> float | None:
        """A constant of one element."""
        found = self.index.initializers.get(tensor)
        if found is None or int(np.prod(found.dims)) != 1:
            return None
        value = self.constant(tensor)
        return float(value.reshape(-1)[0]) if value is not None else None

    @cached_property
    def types(self) -> Mapping[str, TensorType]:
        """Element types and shapes, as far as they can be told."""
        return tensor_types(self.draft.proto)

    def shape(self, tensor: str) -> tuple[Dim, ...] | None:
        """A tensor's shape, None where not even the rank is known."""
        return self.types[tensor].shape if tensor in self.types else None

    def broadcasts(self, constant: str, tensor: str) -> bool:
        """Whether a constant of one element has no more dimensions than a tensor: both together have its shape."""
        rank = len(self.index.initializers[constant].dims)
        return rank == 0 or len(self.shape(tensor) or ()) >= rank

    def closed(self, nodes: Collection[int], result: str) -> bool:
        """Whether nobody but these nodes reads what they write, except for the result."""
        for i in nodes:
            for name in self.node(i).output:
                if not name or name == result:
                    continue
                if name in self.index.outputs or not set(self.index.consumers.get(name, ())) <= set(nodes):
                    return False
        return True

    def untouched(self, nodes: Iterable[int]) -> bool:
        """Whether no change collected so far concerns these nodes."""
        return all(found.isdisjoint(nodes) for found in (self._gone, self._touched, self._made.keys()))

    def make(
        self, op_type: str, inputs: list[str], output: str, name: str, domain: str = "", **attributes: Any
    ) -> onnx.NodeProto:
        """A new node; its name gets an ending where it is taken."""
        while name in self._names:
            name += "_"
        self._names.add(name)
        return helper.make_node(op_type, inputs, [output], name=name, domain=domain or None, **attributes)

    def touch(self, i: int) -> onnx.NodeProto:
        """A node that is to be changed in place, or whose constants are."""
        self._touched.add(i)
        return self.node(i)

    def bypass(self, i: int, tensor: str) -> None:
        """Drop a node: who read its output reads another tensor."""
        self._gone.add(i)
        self._renamed[self.node(i).output[0]] = tensor
        self.sites += 1

    def remove(self, i: int) -> None:
        """Drop a node: another writes its output now."""
        self._gone.add(i)
        self.sites += 1

    def replace(self, nodes: Collection[int], made: list[onnx.NodeProto]) -> None:
        """Put new nodes in place of old ones."""
        self._gone.update(nodes)
        self._made.setdefault(max(nodes), []).extend(made)
        self.sites += 1

    def apply(self) -> Change:
        """Make all changes."""
        if self._made or self._gone:
            renamed = {name: self._final(name) for name in self._renamed}
            fresh: list[onnx.NodeProto] = []
            for i, node in enumerate(self.graph.node):
                if i not in self._gone:
                    fresh.append(node)
                fresh += self._made.get(i, ())
            put_nodes(self.graph, fresh)
            for node in self.graph.node if renamed else ():
                rename_reads(node, renamed)
            domains = {node.domain for node in self.graph.node} - {o.domain for o in self.draft.proto.opset_import}
            if MICROSOFT in domains:
                self.draft.proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
        return Change(self.sites, self.derived)

    def _final(self, name: str) -> str:
        while name in self._renamed:
            name = self._renamed[name]
        return name


def standard(node: onnx.NodeProto) -> bool:
    """Whether a node is of ONNX's own operators."""
    return node.domain in ("", "ai.onnx")


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
