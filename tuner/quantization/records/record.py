"""A record: every tensor's scale and offset and every layer's, as a candidate has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx

from ...graph.analysis import Analysis, Layer
from ...graph.index import GraphIndex
from ...graph.model import Model
from ...graph.tensors import data_of
from ..blocks import unpack
from ..candidate import Candidate

FLOATS = ("fp32", "fp16")
Kind = Literal["activation", "weight", "bias"]


@dataclass(frozen=True, slots=True)
class TensorRecord:
    """How one tensor stands on integers: x ≈ (q − offset) · scale, q from `lowest` to `highest`.

    Attributes:
        kind: `activation`, `weight` or `bias`.
        scale: float32 values held as floats: one, or one per channel.
        offset: The zero point in the grid of `dtype`, as many as scales.
        dtype: ONNX's name of the integer type, such as `uint8`.
        axis: Axis of the channels, None per tensor (or where a format does not say).
        shape: As far as known; an activation's in the first calibration feed.
    """

    kind: Kind
    scale: tuple[float, ...]
    offset: tuple[int, ...]
    dtype: str
    axis: int | None = None
    shape: tuple[int, ...] = ()

    @property
    def bits(self) -> int:
        """Width of the integer type."""
        return int("".join(letter for letter in self.dtype if letter.isdigit()))

    @property
    def lowest(self) -> int:
        """The smallest integer of the type."""
        return 0 if self.dtype.startswith("u") else -(2 ** (self.bits - 1))

    @property
    def symmetric(self) -> bool:
        """Whether every offset is the middle of the grid: 0 where signed, 2^(bits−1) where unsigned."""
        middle = self.lowest + 2 ** (self.bits - 1)
        return all(offset == middle for offset in self.offset)

    @property
    def ends(self) -> tuple[tuple[float, float], ...]:
        """The smallest and the largest value of the grid, one pair per scale, in double precision."""
        lowest, most = self.lowest, 2**self.bits - 1
        pairs = zip(self.scale, (lowest - offset for offset in self.offset), strict=True)
        return tuple((scale * below, scale * (below + most)) for scale, below in pairs)


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One compute layer. What follows `weight` is empty for a layer in float.

    Attributes:
        op_type: Conv, MatMul, ….
        precision: As built.
        inputs: The activations it reads.
        output: What it writes, behind the Relu or Clip that is part of it.
        weight: Its constant, None for a MatMul of two activations.
        scale_d: One per input that is quantized.
        offset_d: As many, on the signed grid of as many bits (an unsigned zero point less 2^(bits−1)).
        scale_w: One, or one per output channel; in int4 one per output channel and block of inputs, the blocks of
            the first channel first.
        offset_w: As many, on the signed grid.
        block_w: Inputs of a block, None where the weight has none.
        axis_w: The weight's axis of channels, None per tensor.
        shape_w: The weight's shape.
        scale_b: Scales of the int32 bias, where the layer has one.
    """

    op_type: str
    precision: str
    inputs: tuple[str, ...]
    output: str
    weight: str | None = None
    scale_d: tuple[float, ...] = ()
    offset_d: tuple[int, ...] = ()
    scale_w: tuple[float, ...] = ()
    offset_w: tuple[int, ...] = ()
    axis_w: int | None = None
    block_w: int | None = None
    shape_w: tuple[int, ...] = ()
    scale_b: tuple[float, ...] = ()


@dataclass(frozen=True)
class Record:
    """All of it.

    Attributes:
        tensors: Tensor → how it is quantized; what the candidate leaves in float is not in it.
        layers: Layer → the same seen from the layer, float ones included, in graph order.
        about: Where it comes from: JSON-able.
    """

    tensors: Mapping[str, TensorRecord]
    layers: Mapping[str, LayerRecord]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def activations(self) -> dict[str, TensorRecord]:
        """The activations alone."""
        return {name: tensor for name, tensor in self.tensors.items() if tensor.kind == "activation"}


def record_of(
    candidate: Candidate,
    model: Model,
    analysis: Analysis,
    shapes: Mapping[str, tuple[int, ...]],
    about: Mapping[str, Any],
) -> Record:
    """The record of a candidate.

    Args:
        candidate: As delivered: with integer weights.
        model: The float model it was built from, rewritten as its recipe says.
        analysis: Of that model.
        shapes: Of its activations, as far as known.
        about: What the record says of itself.
    """
    constants = {tensor.name: tuple(tensor.dims) for tensor in model.proto.graph.initializer}
    tensors = {}
    for name, made in candidate.quantization.items():
        kind: Kind = "activation" if name not in constants else "bias" if made.dtype == "int32" else "weight"
        shape = tuple(shapes.get(name, ())) if kind == "activation" else constants[name]
        tensors[name] = _tensor(kind, made.scale, made.zero_point, made.dtype, made.axis, shape)
    index = GraphIndex(candidate.proto.graph)

    def value(name: str) -> np.ndarray:
        return data_of(index.initializers[name], candidate.weights)

    nodes = {node.name: node for node in candidate.proto.graph.node}
    layers = {}
    for layer in analysis.layers:
        precision, node = candidate.layers[layer.name], nodes.get(layer.name)
        layers[layer.name] = _layer(layer, precision, node, tensors, partial(_constant, index, value))
        if precision == "int4" and node is not None:
            layers[layer.name] = replace(layers[layer.name], **_blocks(layer, node, value))
    return Record({name: tensors[name] for name in sorted(tensors)}, layers, about)


def _blocks(layer: Layer, node: onnx.NodeProto, value: Callable[[str], np.ndarray]) -> dict[str, Any]:
    """What a record says of a MatMulNBits node's weight."""
    given = {attribute.name: attribute.i for attribute in node.attribute}
    scales = value(node.input[2]).reshape(-1)
    offsets = np.zeros(len(scales), np.int8)
    if len(node.input) > 3 and node.input[3]:
        offsets = unpack(value(node.input[3]).reshape(given["N"], -1))[:, : len(scales) // given["N"]].reshape(-1)
    return {
        "scale_w": tuple(scales.tolist()),
        "offset_w": tuple(offsets.tolist()),
        "axis_w": layer.weight_axis,
        "block_w": given["block_size"],
        "shape_w": (given["K"], given["N"]) if layer.weight_axis else (given["N"], given["K"]),
    }


def _tensor(
    kind: Kind, scale: np.ndarray, zero_point: np.ndarray, dtype: str, axis: int | None, shape: tuple[int, ...]
) -> TensorRecord:
    scales = tuple(np.asarray(scale, np.float32).reshape(-1).tolist())
    return TensorRecord(kind, scales, tuple(np.asarray(zero_point).reshape(-1).tolist()), dtype, axis, shape)


def _layer(
    layer: Layer,
    precision: str,
    node: onnx.NodeProto | None,
    tensors: Mapping[str, TensorRecord],
    constant: Callable[[str, Kind], TensorRecord | None],
) -> LayerRecord:
    bare = LayerRecord(layer.op_type, precision, layer.inputs, layer.output, layer.weight)
    if precision in FLOATS or node is None:
        return bare
    data = [tensors[name] for name in layer.inputs if name in tensors]
    # From the graph itself: of a constant that layers share each may have scales of its own.
    weight = None
    if layer.weight_input is not None and layer.weight is not None:  # no DQ stands before a weight read in float
        weight = constant(node.input[layer.weight_input], "weight") or tensors.get(layer.weight)
    bias = constant(node.input[2], "bias") if layer.bias is not None and len(node.input) > 2 else None
    return LayerRecord(
        layer.op_type,
        precision,
        layer.inputs,
        layer.output,
        layer.weight,
        scale_d=tuple(tensor.scale[0] for tensor in data),
        offset_d=tuple(signed(tensor)[0] for tensor in data),
        scale_w=weight.scale if weight else (),
        offset_w=signed(weight) if weight else (),
        axis_w=weight.axis if weight else None,
        shape_w=weight.shape if weight else (),
        scale_b=bias.scale if bias else (),
    )


def signed(tensor: TensorRecord) -> tuple[int, ...]:
    """The offsets on the signed grid of as many bits."""
    middle = tensor.lowest + 2 ** (tensor.bits - 1)
    return tuple(offset - middle for offset in tensor.offset)


def _constant(index: GraphIndex, value: Callable[[str], np.ndarray], name: str, kind: Kind) -> TensorRecord | None:
    """What a DequantizeLinear makes of a constant; None for any other tensor."""
    producer = index.producer.get(name)
    node = index.graph.node[producer] if producer is not None else None
    if node is None or node.op_type != "DequantizeLinear" or node.input[0] not in index.initializers:
        return None
    integers, scale = value(node.input[0]), value(node.input[1])
    zero_point = value(node.input[2]) if len(node.input) > 2 else np.zeros_like(scale, integers.dtype)
    axis = next((a.i for a in node.attribute if a.name == "axis"), None) if scale.ndim else None
    return _tensor(kind, scale, zero_point, str(integers.dtype), axis, integers.shape)
