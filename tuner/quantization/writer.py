"""Collects the nodes and constants of a new graph that keeps the old one's inputs, outputs and names."""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
import onnx
from onnx import helper

from ..graph.index import reads
from ..graph.model import INLINE_BYTES, Model
from ..graph.tensors import stub

_TYPES = {
    np.dtype(kind): helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    for kind in ("f4", "f2", "i1", "u1", "i2", "u2", "i4")
}


class Writer:
    """A graph being written.

    Attributes:
        nodes: In topological order.
    """

    def __init__(self, model: Model, tensors: Set[str], nodes: Set[str]) -> None:
        """Tensors, nodes: the names that the float model uses."""
        self._model = model
        self._taken = tensors
        self._nodes = nodes
        self._names: dict[str, str] = {}
        self._constants: dict[str, onnx.TensorProto] = {}
        self._weights: dict[str, np.ndarray] = {}
        self.nodes: list[onnx.NodeProto] = []

    def name(self, wanted: str) -> str:
        """A tensor name the float model does not use; the same for the same wish."""
        if wanted not in self._names:
            name = wanted
            while name in self._taken:
                name += "_"
            self._names[wanted] = name
        return self._names[wanted]

    def add(self, op_type: str, inputs: Sequence[str], output: str, **attributes: int | None) -> str:
        """Append a node, named after its output and type, and return the output; attributes of None are left out."""
        name = f"{output}/{op_type}"
        while name in self._nodes:
            name += "_"
        node = onnx.NodeProto(op_type=op_type, input=inputs, output=[output], name=name)
        for key, value in attributes.items():
            if value is not None:
                node.attribute.add(name=key, type=onnx.AttributeProto.INT, i=value)
        self.nodes.append(node)
        return output

    def constant(self, wanted: str, values: np.ndarray) -> str:
        """An initializer (once per name), small ones whole, larger ones beside the graph."""
        name = self.name(wanted)
        if name not in self._constants:
            if values.nbytes > INLINE_BYTES:
                self._constants[name] = stub(name, values)
                self._weights[name] = values
            else:
                self._constants[name] = onnx.TensorProto(
                    name=name, data_type=_TYPES[values.dtype], dims=values.shape, raw_data=values.tobytes()
                )
        return name

    def finish(self, retyped: Set[str] = frozenset()) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
        """The model's skeleton and the data of its stripped initializers; constants nobody reads are left out.

        Args:
            retyped: Tensors whose declared type no longer holds.
        """
        source = self._model.proto
        used: set[str] = {info.name for info in source.graph.output}
        for node in self.nodes:
            used |= reads(node)
        proto = onnx.ModelProto(
            ir_version=source.ir_version,
            producer_name=source.producer_name,
            producer_version=source.producer_version,
            domain=source.domain,
            model_version=source.model_version,
            doc_string=source.doc_string,
            opset_import=source.opset_import,
            metadata_props=source.metadata_props,
            functions=source.functions,
        )
        imported = {entry.domain for entry in source.opset_import}
        for domain in sorted({node.domain for node in self.nodes} - imported - {"", "ai.onnx"}):
            proto.opset_import.add(domain=domain, version=1)
        graph = proto.graph
        graph.name = source.graph.name
        graph.doc_string = source.graph.doc_string
        graph.input.extend(source.graph.input)
        graph.output.extend(source.graph.output)
        graph.value_info.extend(info for info in source.graph.value_info if info.name not in retyped)
        graph.sparse_initializer.extend(source.graph.sparse_initializer)
        graph.node.extend(self.nodes)
        graph.initializer.extend(tensor for tensor in source.graph.initializer if tensor.name in used)
        graph.initializer.extend(tensor for name, tensor in self._constants.items() if name in used)
        weights = {**self._model.weights, **self._weights}
        return proto, {name: values for name, values in weights.items() if name in used}
