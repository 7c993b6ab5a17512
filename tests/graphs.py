"""Small random graphs: a hypothesis strategy.

A graph grows step by step on the tensors there are, an image at first, or a sequence of vectors, or a vector. What real
exports do is drawn too: branches and residuals, weights that two layers share, weights in Constant nodes, names that
are empty or look like those we give, a batch that is dynamic, intermediate tensors that are outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]

BATCH = 2
NODE_NAMES = ("", "", "node", "a/b/MatMul", "node_1", "node_token_1", "b/MatMulAddFusion", "ä β", "x/q/dq")
TENSOR_NAMES = ("t", "t/q", "t/scale", "t/dq", "t/raw", "a b", "λ", "model.layer.0", "/t/0", "t/float")
CHANNELS = (1, 3, 4, 8)


@dataclass(frozen=True)
class Drawn:
    """A model and feeds for it."""

    proto: onnx.ModelProto
    feeds: list[dict[str, np.ndarray]]


@dataclass
class _Sketch:
    """A graph being drawn.

    Attributes:
        tensors: Those that may be read on, with their shapes, the batch as `BATCH`.
        weights: Shape → names of the float constants there are.
    """

    draw: Draw
    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    tensors: dict[str, Shape] = field(default_factory=dict)
    weights: dict[Shape, list[str]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)

    def name(self) -> str:
        """A tensor name not used so far, an odd one if possible."""
        wanted = self.draw(st.sampled_from(TENSOR_NAMES))
        name, n = wanted, 0
        while name in self.taken:
            n += 1
            name = f"{wanted}_{n}"
        self.taken.add(name)
        return str(name)

    def put(self, array: np.ndarray) -> str:
        """A constant: an initializer or a Constant node."""
        name = self.name()
        tensor = numpy_helper.from_array(array, name)
        if self.draw(st.integers(0, 3)) == 0:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.initializers.append(tensor)
        return name

    def weight(self, *shape: int, fan_in: int = 1, around: float = 0.0) -> str:
        """A float constant, perhaps one that another node reads too."""
        there = self.weights.setdefault(shape, [])
        if there and self.draw(st.integers(0, 2)) == 0:
            return str(self.draw(st.sampled_from(there)))
        values = self.rng.standard_normal(shape) * np.sqrt(2.0 / fan_in) * (0.1 if around else 1.0) + around
        there.append(self.put(values.astype(np.float32)))
        return there[-1]

    def add(self, op_type: str, inputs: list[str], shape: Shape, *, domain: str = "", **attributes: Any) -> str:
        """A node with one output."""
        output = self.name()
        free = [name for name in NODE_NAMES if not name or name not in self.named]  # ONNX Runtime refuses a double one
        name = self.draw(st.sampled_from(free))
        self.named.add(name)
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, domain=domain, **attributes))
        self.tensors[output] = shape
        return output

    def other(self, shape: Shape, but: str) -> str:
        """Another tensor of a shape, the same one where there is none."""
        found = [name for name, its in self.tensors.items() if its == shape and name != but]
        return str(self.draw(st.sampled_from(found))) if found else but


@st.composite
def graphs(draw: Draw, steps: int = 7) -> Drawn:
    """A model of up to so many steps, with two feeds."""
    sketch = _Sketch(draw, np.random.default_rng(draw(st.integers(0, 7))))
    channels = draw(st.sampled_from(CHANNELS))
    shape: Shape = draw(
        st.sampled_from([(BATCH, channels, 6, 6), (BATCH, channels, 7, 5), (BATCH, 5, channels), (BATCH, channels)])
    )
    source = sketch.name()
    sketch.tensors[source] = shape
    tensor = source
    for _ in range(draw(st.integers(1, steps))):
        if len(sketch.tensors) > 1 and draw(st.integers(0, 4)) == 0:
            tensor = draw(st.sampled_from(list(sketch.tensors)))  # a branch
        tensor = _step(sketch, tensor)
    outputs = [tensor]
    inner = [name for name in sketch.tensors if name not in (source, tensor)]
    if inner and draw(st.integers(0, 2)) == 0:
        outputs.append(draw(st.sampled_from(inner)))
    dynamic = draw(st.booleans())
    if tensor == source:
        outputs[0] = sketch.add("Relu", [source], shape)
    graph = helper.make_graph(
        sketch.nodes,
        "drawn",
        [_value(source, shape, dynamic)],
        [_value(name, sketch.tensors[name], dynamic) for name in outputs],
        sketch.initializers,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rng = np.random.default_rng(1)
    return Drawn(proto, [{source: rng.standard_normal(shape).astype(np.float32)} for _ in range(2)])


def _value(name: str, shape: Shape, dynamic: bool) -> onnx.ValueInfoProto:
    sizes: list[int | str] = ["N" if dynamic else shape[0], *shape[1:]]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)


def _step(sketch: _Sketch, x: str) -> str:
    """Something on top of a tensor; the new one."""
    rank = len(sketch.tensors[x])
    choices = {4: _IMAGE, 3: _SEQUENCE, 2: _VECTOR}[rank]
    return sketch.draw(st.sampled_from(choices))(sketch, x)


def _conv(sketch: _Sketch, x: str) -> str:
    n, channels, height, width = sketch.tensors[x]
    draw = sketch.draw
    kernel = draw(st.sampled_from([1, 3]))
    depthwise = draw(st.booleans())
    out = channels if depthwise else draw(st.sampled_from(CHANNELS))
    group = channels if depthwise else 1
    stride = draw(st.sampled_from([1, 1, 2])) if min(height, width) > 2 else 1
    inputs = [x, sketch.weight(out, channels // group, kernel, kernel, fan_in=channels // group * kernel**2)]
    if draw(st.booleans()):
        inputs.append(sketch.weight(out, fan_in=50))
    shape = (n, out, -(-height // stride), -(-width // stride))
    y = sketch.add("Conv", inputs, shape, group=group, strides=[stride] * 2, pads=[kernel // 2] * 4)
    follower = draw(st.sampled_from(["", "Relu", "Clip", "BatchNormalization", "HardSwish"]))
    if follower == "Relu":
        return sketch.add("Relu", [y], shape)
    if follower == "Clip":
        return sketch.add("Clip", [y, sketch.put(np.float32(0.0)), sketch.put(np.float32(6.0))], shape)
    if follower == "BatchNormalization":
        scale, variance = (sketch.weight(out, around=1.0) for _ in range(2))
        shift, mean = (sketch.weight(out, fan_in=50) for _ in range(2))
        variance = sketch.put(np.exp(sketch.rng.standard_normal(out) * 0.1).astype(np.float32))
        return sketch.add("BatchNormalization", [y, scale, shift, mean, variance], shape)
    return _hardswish(sketch, y) if follower == "HardSwish" else y


def _hardswish(sketch: _Sketch, x: str) -> str:
    """As exporters decompose it."""
    shape = sketch.tensors[x]
    a = sketch.add("Add", [x, sketch.put(np.float32(3.0))], shape)
    c = sketch.add("Clip", [a, sketch.put(np.float32(0.0)), sketch.put(np.float32(6.0))], shape)
    return sketch.add("Div", [sketch.add("Mul", [x, c], shape), sketch.put(np.float32(6.0))], shape)


def _residual(sketch: _Sketch, x: str) -> str:
    shape = sketch.tensors[x]
    other = sketch.other(shape, x)
    return sketch.add(sketch.draw(st.sampled_from(["Add", "Mul", "Sum"])), [x, other], shape)


def _constant(sketch: _Sketch, x: str) -> str:
    """Arithmetic with a constant per channel, or a scalar."""
    shape = sketch.tensors[x]
    channels = (shape[1], 1, 1) if len(shape) == 4 else (shape[-1],)
    operand = sketch.weight(*sketch.draw(st.sampled_from([channels, (), (1,)])), around=1.0)
    inputs = [x, operand] if sketch.draw(st.booleans()) else [operand, x]
    return sketch.add(sketch.draw(st.sampled_from(["Add", "Mul", "Sub"])), inputs, shape)


def _pointwise(sketch: _Sketch, x: str) -> str:
    op = sketch.draw(st.sampled_from(["Relu", "Sigmoid", "LeakyRelu", "Tanh", "HardSigmoid", "Identity", "Abs"]))
    return sketch.add(op, [x], sketch.tensors[x])


def _pool(sketch: _Sketch, x: str) -> str:
    n, channels, height, width = sketch.tensors[x]
    if min(height, width) < 2:
        return _pointwise(sketch, x)
    op = sketch.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    shape = (n, channels, height // 2, width // 2)
    return sketch.add(op, [x], shape, kernel_shape=[2, 2], strides=[2, 2])


def _concat(sketch: _Sketch, x: str) -> str:
    shape = sketch.tensors[x]
    return sketch.add("Concat", [x, sketch.other(shape, x)], (shape[0], 2 * shape[1], *shape[2:]), axis=1)


def _squeeze_excite(sketch: _Sketch, x: str) -> str:
    """A factor per channel, computed from the whole image."""
    n, channels, _, _ = shape = sketch.tensors[x]
    y = sketch.add("GlobalAveragePool", [x], (n, channels, 1, 1))
    y = sketch.add("Conv", [y, sketch.weight(channels, channels, 1, 1, fan_in=channels)], (n, channels, 1, 1))
    return sketch.add("Mul", [x, sketch.add("Sigmoid", [y], (n, channels, 1, 1))], shape)


def _resize(sketch: _Sketch, x: str) -> str:
    n, channels, height, width = sketch.tensors[x]
    if height > 8:
        return _pool(sketch, x)
    factors = sketch.put(np.array([1, 1, 2, 2], np.float32))
    shape = (n, channels, 2 * height, 2 * width)
    return sketch.add("Resize", [x, "", factors], shape, mode="nearest", nearest_mode="floor")


def _pad(sketch: _Sketch, x: str) -> str:
    n, channels, height, width = sketch.tensors[x]
    pads = sketch.put(np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64))
    return sketch.add("Pad", [x, pads], (n, channels, height + 1, width + 1))


def _upsample(sketch: _Sketch, x: str) -> str:
    n, channels, height, width = sketch.tensors[x]
    if height > 8:
        return _pool(sketch, x)
    w = sketch.weight(channels, 2, 2, 2, fan_in=channels * 4)
    return sketch.add("ConvTranspose", [x, w], (n, 2, 2 * height, 2 * width), strides=[2, 2])


def _to_vector(sketch: _Sketch, x: str) -> str:
    n, channels, _, _ = sketch.tensors[x]
    y = sketch.add("GlobalAveragePool", [x], (n, channels, 1, 1))
    return sketch.add("Flatten", [y], (n, channels))


def _to_sequence(sketch: _Sketch, x: str) -> str:
    n, channels, height, width = sketch.tensors[x]
    y = sketch.add("Reshape", [x, sketch.put(np.array([0, channels, -1], np.int64))], (n, channels, height * width))
    return sketch.add("Transpose", [y], (n, height * width, channels), perm=[0, 2, 1])


def _gemm(sketch: _Sketch, x: str) -> str:
    n, size = sketch.tensors[x]
    draw = sketch.draw
    out, turned = draw(st.sampled_from([2, 4, 16])), draw(st.booleans())
    w = sketch.weight(out, size, fan_in=size) if turned else sketch.weight(size, out, fan_in=size)
    inputs = [x, w]
    if draw(st.booleans()):
        inputs.append(sketch.weight(*draw(st.sampled_from([(out,), (1, out), (1,), ()])), fan_in=50))
    alpha = draw(st.sampled_from([1.0, 1.0, 0.5]))
    y = sketch.add("Gemm", inputs, (n, out), transB=int(turned), alpha=alpha)
    return sketch.add("Relu", [y], (n, out)) if draw(st.booleans()) else y


def _matmul(sketch: _Sketch, x: str) -> str:
    *front, size = sketch.tensors[x]
    out = sketch.draw(st.sampled_from([3, 8, size]))
    shape = (*front, out)
    y = sketch.add("MatMul", [x, sketch.weight(size, out, fan_in=size)], shape)
    if sketch.draw(st.booleans()):
        bias = sketch.weight(out, fan_in=50)
        y = sketch.add("Add", [y, bias] if sketch.draw(st.booleans()) else [bias, y], shape)
    return sketch.add("Relu", [y], shape) if sketch.draw(st.integers(0, 2)) == 0 else y


def _matmul_left(sketch: _Sketch, x: str) -> str:
    n, length, size = sketch.tensors[x]
    return sketch.add("MatMul", [sketch.weight(4, length, fan_in=length), x], (n, 4, size))


def _attention(sketch: _Sketch, x: str) -> str:
    """MatMul of two activations, Softmax, MatMul."""
    n, length, size = sketch.tensors[x]
    if length == 1:
        return _matmul(sketch, x)
    keys = sketch.add("Transpose", [sketch.other((n, length, size), x)], (n, size, length), perm=[0, 2, 1])
    scores = sketch.add("MatMul", [x, keys], (n, length, length))
    scores = sketch.add("Div", [scores, sketch.put(np.float32(np.sqrt(size) * 2))], (n, length, length))
    weights = sketch.add("Softmax", [scores], (n, length, length), axis=-1)
    return sketch.add("MatMul", [weights, x], (n, length, size))


def _normalize(sketch: _Sketch, x: str) -> str:
    shape = sketch.tensors[x]
    inputs = [x, sketch.weight(shape[-1], around=1.0), sketch.weight(shape[-1], fan_in=50)]
    return sketch.add("LayerNormalization", inputs, shape, epsilon=1e-2)


def _gelu(sketch: _Sketch, x: str) -> str:
    shape = sketch.tensors[x]
    y = sketch.add("Erf", [sketch.add("Div", [x, sketch.put(np.float32(np.sqrt(2)))], shape)], shape)
    y = sketch.add("Mul", [x, sketch.add("Add", [y, sketch.put(np.float32(1.0))], shape)], shape)
    return sketch.add("Mul", [y, sketch.put(np.float32(0.5))], shape)


def _softmax(sketch: _Sketch, x: str) -> str:
    if sketch.tensors[x][-1] == 1:  # QLinearSoftmax answers 0 there
        return _pointwise(sketch, x)
    return sketch.add("Softmax", [x], sketch.tensors[x], axis=-1)


def _slice(sketch: _Sketch, x: str) -> str:
    shape = sketch.tensors[x]
    ends = [sketch.put(np.array([value], np.int64)) for value in (0, max(1, shape[1] // 2), 1)]
    return sketch.add("Slice", [x, *ends], (shape[0], max(1, shape[1] // 2), *shape[2:]))


_IMAGE = (
    *(_conv, _conv, _conv, _conv, _residual, _constant, _pointwise, _pool, _concat, _squeeze_excite, _resize, _pad),
    *(_upsample, _to_vector, _to_sequence, _slice),
)
_SEQUENCE = (
    *(_matmul, _matmul, _matmul, _matmul_left, _attention, _normalize, _gelu, _residual, _constant, _pointwise),
    *(_softmax, _concat, _slice),
)
_VECTOR = (_gemm, _gemm, _matmul, _matmul, _residual, _constant, _pointwise, _softmax, _concat, _slice, _gelu)
