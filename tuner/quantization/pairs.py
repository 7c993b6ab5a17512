"""Q and DQ behind the tensors of one build."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from . import scales
from .candidate import Quantization
from .guards import Guard
from .lookups import Lookup
from .plan import Plan
from .wide import WidePairs
from .writer import Writer


class Pairs:
    """The pairs of one build, 8 and 16 bits wide; they are written as the graph grows.

    Args:
        plan: What is built.
        writer: Of the graph.
        made: Tensor → how it is quantized, filled here for 8 bits.
        guards: Node and position → what the node reads there instead of a dequantized tensor.

    Attributes:
        wide: The pairs of 16 bits.
    """

    def __init__(
        self,
        plan: Plan,
        writer: Writer,
        made: dict[str, Quantization],
        guards: Mapping[tuple[int, int], Guard],
    ) -> None:
        builder = plan.builder
        self._plan = plan
        self._placement = plan.placement
        self._writer = writer
        self._made = made
        self._guards = guards
        self._narrow: dict[str, Quantization] = {}
        self._dequantized: dict[str, str] = {}
        self.wide = WidePairs(writer, plan.recipe, builder.ranges, builder.target.symmetries[0], plan.wide)

    def add(self, tensor: str, raw: str | None = None) -> None:
        """Q and DQ behind a tensor that has just been written (as `raw`)."""
        if tensor in self._placement.wide_written:
            self.wide.add(tensor, raw or tensor, written=True)
            raw = None
        self._add_narrow(tensor, raw)
        if tensor in self._placement.wide and tensor not in self._placement.wide_written:
            self.wide.add(tensor, tensor)

    def read(self, node: onnx.NodeProto, original: onnx.NodeProto, *, wide: bool) -> None:
        """Make a node read dequantized tensors where the original reads these, of 16 bits where it is `wide`."""
        pairs = self._placement.wide if wide else self._placement.pairs
        dequantized = self.wide.dequantized if wide else self._dequantized
        for position, name in enumerate(original.input):
            if name in pairs:
                node.input[position] = dequantized[name]

    def per_channel(self, tensor: str, count: int) -> str:
        """A further DQ of a tensor, with the scale once for each of its channels (axis 1)."""
        writer, made = self._writer, self._made[self._placement.pairs[tensor]]
        scale = writer.constant(f"{tensor}/scales", np.full(count, made.scale, np.float32))
        zero_point = writer.constant(f"{tensor}/zeros", np.full(count, made.zero_point, made.dtype))
        inputs = [writer.name(f"{tensor}/q"), scale, zero_point]
        return writer.add("DequantizeLinear", inputs, writer.name(f"{tensor}/float{count}"), axis=1)

    def scale(self, tensor: str, *, wide: bool) -> np.float32:
        """The scale of a tensor whose pair is written."""
        return np.float32((self.wide.made if wide else self._narrow)[tensor].scale)

    def parameters(self, root: str) -> Quantization:
        """How a tensor is quantized, as calibrated or as the recipe's file says."""
        builder, overrides = self._plan.builder, self._plan.overrides
        if root in overrides and root not in builder.lookups:
            return builder.fitted(root, overrides[root])
        return builder.parameters(root, self._plan.recipe)

    def lookup(self, tensor: str) -> Lookup | None:
        """The table that writes a tensor, where one does."""
        builder = self._plan.builder
        producer = builder.index.producer.get(tensor)
        if not self._plan.for_cpu_kernels or producer not in self._placement.int8_nodes:
            return None
        return builder.lookups.get(tensor)

    def nothing(self, tensor: str) -> str:
        """A dequantized 0 for the lookup that writes a tensor."""
        writer, stem = self._writer, f"{tensor}/nothing"
        zero = writer.constant(f"{stem}/q", np.zeros((), np.uint8))
        scale = writer.constant(f"{stem}/scale", np.ones((), np.float32))
        return writer.add("DequantizeLinear", [zero, scale, zero], writer.name(f"{stem}/dq"))

    def _add_narrow(self, tensor: str, raw: str | None) -> None:
        """Q and DQ of 8 bits."""
        root = self._placement.pairs.get(tensor)
        if root is None:
            return
        writer = self._writer
        known = self._narrow.get(root) or self.parameters(root)
        made = self._written(tensor, known)
        self._narrow[root] = self._narrow[tensor] = self._made[root] = self._made[tensor] = made
        scale = writer.constant(f"{tensor}/scale", made.scale)
        zero_point = writer.constant(f"{tensor}/zero", made.zero_point)
        quantized = writer.name(f"{tensor}/q")
        lookup = self.lookup(tensor)
        if lookup is None:
            writer.add("QuantizeLinear", [raw or tensor, scale, zero_point], quantized)
        else:
            written = [
                writer.constant(f"{tensor}/argument/scale", lookup.written.scale),
                writer.constant(f"{tensor}/argument/zero", lookup.written.zero_point),
            ]
            writer.add("QuantizeLinear", [raw or tensor, *written], quantized)
        if tensor not in self._placement.replaced or tensor in self._placement.wide_written:
            self._dequantized[tensor] = writer.name(f"{tensor}/dq")
        elif self._is_read(tensor):
            self._dequantized[tensor] = tensor
        else:
            return
        writer.add("DequantizeLinear", [quantized, scale, zero_point], self._dequantized[tensor])

    def _written(self, tensor: str, made: Quantization) -> Quantization:
        """The same, or with the scale that ONNX Runtime's integer Softmax can write where it makes one."""
        builder = self._plan.builder
        index = builder.index
        producer = index.producer.get(tensor)
        if not self._plan.for_cpu_kernels or producer is None or index.graph.node[producer].op_type != "Softmax":
            return made
        fed = builder.guards.from_integers(index.graph.node[producer].input[0], self._placement)
        if producer not in self._placement.int8_nodes and not fed:
            return made
        return Quantization(np.asarray(scales.SOFTMAX), np.zeros_like(made.zero_point), made.dtype)

    def _is_read(self, tensor: str) -> bool:
        """Whether anyone reads a replaced tensor through the common DQ."""
        index = self._plan.builder.index
        if tensor in index.outputs:
            return True
        for i in index.consumers.get(tensor, ()):
            positions = [k for k, name in enumerate(index.graph.node[i].input) if name == tensor]
            if not positions or any(
                (i, k) not in self._guards or self._guards[i, k].kind != "channels" for k in positions
            ):
                return True
        return False
