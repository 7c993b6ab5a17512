"""What a graph analysis finds: layers, groups, glue, tables and refusals."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layer:
    """A compute operator with what fuses into it.

    Attributes:
        name: Unique and stable for the same file: the node's name, or `<OpType>:<first output>` where it is empty
            or ambiguous; at most 480 characters (longer ones are cut and end in a hash).
        op_type: Conv, ConvTranspose, MatMul, Gemm, LSTM, …
        node: Index of the compute node in `model.proto.graph.node`.
        tail: Indices of the nodes fused behind it, in order (a Relu or Clip, the bias Add of a MatMul).
        inputs: The activation tensors it reads, in order (one, or two for a MatMul of two activations). Never empty
            names.
        output: The tensor after the tail, where a Q of its output stands. Equal to the node's output without a tail.
        weight: Initializer that is its weight, None when both operands are activations.
        weight_input: Which input of the node the weight is (1 for Conv/Gemm, 0 or 1 for MatMul), None without one.
        weight_axis: The output-channel axis of the weight (per-channel scales live there), None without a weight and
            for a MatMul's weight of more than two dimensions, which has one scale.
        bias: Initializer of its bias (Conv input 2, Gemm input 2), None without.
        group: Name of the group: layers sharing a constant weight carry the same (the first layer's name).
        reduction: Elements summed for one output element (K of a MatMul, C/g·kh·kw of a Conv), None if unknown;
            multiply-accumulates = reduction × output elements.
        more: Further constants that are weights too, with the input each is (R of an LSTM, 2), of the same axis.
    """

    name: str
    op_type: str
    node: int
    tail: tuple[int, ...]
    inputs: tuple[str, ...]
    output: str
    weight: str | None
    weight_input: int | None
    weight_axis: int | None
    bias: str | None
    group: str
    reduction: int | None
    more: tuple[tuple[str, int], ...] = ()

    @property
    def weights(self) -> tuple[str, ...]:
        """All its weights."""
        return (*((self.weight,) if self.weight is not None else ()), *(name for name, _ in self.more))


@dataclass(frozen=True, slots=True)
class Table:
    """A constant that Gathers pick from and nothing else reads: an embedding. No layer: it computes nothing.

    Attributes:
        name: Of the first of these Gathers, as for layers.
        nodes: Indices of the Gathers.
        weight: The initializer.
        axis: The axis they pick along.
        outputs: What they write, in the order of `nodes`.
    """

    name: str
    nodes: tuple[int, ...]
    weight: str
    axis: int
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Glue:
    """An operator without weights that can pass or compute int8.

    Attributes:
        name: As for layers.
        passes: True when it moves values without arithmetic (MaxPool, Resize nearest, Transpose, Reshape, Flatten,
            Gather, Slice, Squeeze…): input and output share one scale.
        inputs: Float activation tensors it reads (constants excluded).
        constants: Float initializers it reads as data (the constant operand of a Mul, say).
        outputs: Float tensors it writes.
    """

    name: str
    op_type: str
    node: int
    passes: bool
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An operator that cannot be quantized, and why (one clause, for `inspect`)."""

    name: str
    op_type: str
    node: int
    reason: str


@dataclass(frozen=True)
class Analysis:
    """All of it, each in graph order.

    Attributes:
        layers: The compute operators that can be quantized.
        glue: What stands between them.
        refusals: What stays in float, and why.
        tensors: The float activations whose ranges a recipe may need.
        tables: Constants that can be stored on integers, beside the layers' weights.
    """

    layers: tuple[Layer, ...]
    glue: tuple[Glue, ...]
    refusals: tuple[Refusal, ...]
    tensors: tuple[str, ...]
    tables: tuple[Table, ...] = ()

    @property
    def groups(self) -> dict[str, tuple[Layer, ...]]:
        """Group name → its layers, in graph order."""
        found: dict[str, tuple[Layer, ...]] = {}
        for layer in self.layers:
            found[layer.group] = (*found.get(layer.group, ()), layer)
        return found
