"""Small ONNX models with seeded weights, shared by all tests.

Every builder returns a fresh `onnx.ModelProto` that passes the checker; `feeds` makes inputs for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str | None]


class Sketch:
    """Collects nodes and initializers of a graph; `model` closes it."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(seed)

    def add(
        self, op_type: str, inputs: Sequence[str], output: str, *, name: str | None = None, **attributes: Any
    ) -> str:
        """Append a node with one output; it is named after the output unless `name` is given."""
        node = helper.make_node(op_type, list(inputs), [output], name=output if name is None else name, **attributes)
        self.nodes.append(node)
        return output

    def put(self, name: str, array: Any, dtype: Any = np.float32) -> str:
        """An initializer with the given data."""
        self.initializers.append(numpy_helper.from_array(np.asarray(array, dtype=dtype), name))
        return name

    def weight(self, name: str, *shape: int, dtype: Any = np.float32) -> str:
        """A random weight, scaled so that activations keep about their variance (He)."""
        fan_in = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        return self.put(name, self.rng.standard_normal(shape) * np.sqrt(2.0 / fan_in), dtype)

    def bias(self, name: str, size: int, dtype: Any = np.float32) -> str:
        """A random small bias."""
        return self.put(name, self.rng.standard_normal(size) * 0.1, dtype)

    def conv(self, x: str, output: str, channels: int, out: int, kernel: int = 3, **attributes: Any) -> str:
        """A Conv with bias, "same" padding and weights `<output>.w`, `<output>.b`."""
        group = attributes.get("group", 1)
        attributes.setdefault("pads", [kernel // 2] * 4)
        w = self.weight(f"{output}.w", out, channels // group, kernel, kernel)
        return self.add("Conv", [x, w, self.bias(f"{output}.b", out)], output, kernel_shape=[kernel] * 2, **attributes)

    def linear(self, x: str, output: str, k: int, n: int) -> str:
        """MatMul and bias Add, weights `<output>.w`, `<output>.b`; the MatMul writes `<output>.mm`."""
        self.add("MatMul", [x, self.weight(f"{output}.w", k, n)], f"{output}.mm")
        return self.add("Add", [f"{output}.mm", self.bias(f"{output}.b", n)], output)

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        *,
        opset: int = 17,
        ir_version: int = 8,
    ) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = helper.make_graph(self.nodes, "zoo", list(inputs), list(outputs), self.initializers)
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
        onnx.checker.check_model(proto)
        return proto


def value(name: str, shape: Dims, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """A graph input or output."""
    return helper.make_tensor_value_info(name, dtype, list(shape))


def conv_net() -> onnx.ModelProto:
    """Conv-BN-Relu, depthwise Conv-Clip, residual Add, pooling, Gemm: x [N,3,16,16] → y [N,10]. 4 Conv, 1 Gemm."""
    g = Sketch(1)
    g.add("Conv", ["x", g.weight("stem.w", 8, 3, 3, 3)], "stem", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    scale, shift = g.put("bn.scale", g.rng.uniform(0.5, 1.5, 8)), g.bias("bn.shift", 8)
    mean, var = g.bias("bn.mean", 8), g.put("bn.var", g.rng.uniform(0.5, 2.0, 8))
    g.add("BatchNormalization", ["stem", scale, shift, mean, var], "bn", epsilon=1e-5)
    g.add("Relu", ["bn"], "relu")
    g.conv("relu", "depthwise", 8, 8, group=8)
    g.add("Clip", ["depthwise", g.put("zero", 0.0), g.put("six", 6.0)], "relu6")
    g.conv("relu6", "pointwise", 8, 8, kernel=1)
    g.add("Add", ["pointwise", "relu"], "residual")
    g.add("Relu", ["residual"], "residual_relu")
    g.conv("residual_relu", "down", 8, 16, strides=[2, 2])
    g.add("GlobalAveragePool", ["down"], "pool")
    g.add("Flatten", ["pool"], "flat")
    g.add("Gemm", ["flat", g.weight("fc.w", 10, 16), g.bias("fc.b", 10)], "y", transB=1)
    return g.model([value("x", ["N", 3, 16, 16])], [value("y", ["N", 10])])


def _layer_norm(g: Sketch, x: str, output: str, size: int) -> str:
    g.add("ReduceMean", [x], f"{output}.mean", axes=[-1])
    g.add("Sub", [x, f"{output}.mean"], f"{output}.centred")
    g.add("Pow", [f"{output}.centred", g.put(f"{output}.two", 2.0)], f"{output}.square")
    g.add("ReduceMean", [f"{output}.square"], f"{output}.var", axes=[-1])
    g.add("Add", [f"{output}.var", g.put(f"{output}.eps", 1e-5)], f"{output}.var_eps")
    g.add("Sqrt", [f"{output}.var_eps"], f"{output}.std")
    g.add("Div", [f"{output}.centred", f"{output}.std"], f"{output}.normal")
    g.add("Mul", [f"{output}.normal", g.put(f"{output}.gain", g.rng.uniform(0.8, 1.2, size))], f"{output}.scaled")
    return g.add("Add", [f"{output}.scaled", g.bias(f"{output}.shift", size)], output)


def _gelu(g: Sketch, x: str, output: str) -> str:
    g.add("Div", [x, g.put(f"{output}.sqrt2", np.sqrt(2.0))], f"{output}.div")
    g.add("Erf", [f"{output}.div"], f"{output}.erf")
    g.add("Add", [f"{output}.erf", g.put(f"{output}.one", 1.0)], f"{output}.add")
    g.add("Mul", [x, f"{output}.add"], f"{output}.mul")
    return g.add("Mul", [f"{output}.mul", g.put(f"{output}.half", 0.5)], output)


def transformer() -> onnx.ModelProto:
    """One encoder block as PyTorch exports it: ids, mask int64 [N,T] → logits [N,4]. 8 MatMul (2 of two activations).

    Shape arithmetic (Shape, Gather, Concat on int64), a mask of −10,000, decomposed LayerNorm and Erf gelu.
    """
    g = Sketch(2)
    dim, heads, vocabulary = 16, 2, 50
    g.add("Gather", [g.weight("embedding", vocabulary, dim), "ids"], "embedded")
    x = _layer_norm(g, "embedded", "ln0", dim)
    g.add("Cast", ["mask"], "mask.float", to=TensorProto.FLOAT)
    g.add("Unsqueeze", ["mask.float", g.put("mask.axes", [1, 2], np.int64)], "mask.4d")
    g.add("Sub", [g.put("mask.one", 1.0), "mask.4d"], "mask.inverted")
    g.add("Mul", ["mask.inverted", g.put("mask.low", -10000.0)], "mask.bias")
    g.add("Shape", [x], "shape")
    g.put("minus_one", [-1], np.int64)
    g.put("heads", [heads, dim // heads], np.int64)
    for axis in (0, 1):
        g.add("Gather", ["shape", g.put(f"axis{axis}", [axis], np.int64)], f"shape.{axis}", axis=0)
    g.add("Concat", ["shape.0", "shape.1", "heads"], "shape.split", axis=0)
    g.add("Concat", ["shape.0", "shape.1", "minus_one"], "shape.merged", axis=0)
    for part, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        g.linear(x, part, dim, dim)
        g.add("Reshape", [part, "shape.split"], f"{part}.split")
        g.add("Transpose", [f"{part}.split"], f"{part}.heads", perm=order)
    g.add("MatMul", ["q.heads", "k.heads"], "scores")
    g.add("Div", ["scores", g.put("root", np.sqrt(dim / heads))], "scores.scaled")
    g.add("Add", ["scores.scaled", "mask.bias"], "scores.masked")
    g.add("Softmax", ["scores.masked"], "attention", axis=-1)
    g.add("MatMul", ["attention", "v.heads"], "context.heads")
    g.add("Transpose", ["context.heads"], "context.swapped", perm=[0, 2, 1, 3])
    g.add("Reshape", ["context.swapped", "shape.merged"], "context")
    g.linear("context", "projected", dim, dim)
    x = _layer_norm(g, g.add("Add", ["projected", x], "residual1"), "ln1", dim)
    g.linear(x, "up", dim, 4 * dim)
    g.linear(_gelu(g, "up", "gelu"), "down", 4 * dim, dim)
    x = _layer_norm(g, g.add("Add", ["down", x], "residual2"), "ln2", dim)
    g.add("ReduceMean", [x], "pooled", axes=[1], keepdims=0)
    g.add("Gemm", ["pooled", g.weight("head.w", dim, 4), g.bias("head.b", 4)], "logits")
    ids = [value(name, ["N", "T"], TensorProto.INT64) for name in ("ids", "mask")]
    return g.model(ids, [value("logits", ["N", 4])])


def hardswish_net() -> onnx.ModelProto:
    """HardSwish as Add·Clip·Mul·Div and as an operator: x [N,3,16,16] → y [N,10]. 3 Conv, 1 MatMul."""
    g = Sketch(3)
    g.put("three", 3.0), g.put("zero", 0.0), g.put("six", 6.0)
    g.conv("x", "c1", 3, 8)
    g.add("Add", ["c1", "three"], "h1.add")
    g.add("Clip", ["h1.add", "zero", "six"], "h1.clip")
    g.add("Mul", ["c1", "h1.clip"], "h1.mul")
    g.add("Div", ["h1.mul", "six"], "h1")
    g.conv("h1", "c2", 8, 8, group=8, strides=[2, 2])
    g.add("HardSwish", ["c2"], "h2")
    g.conv("h2", "c3", 8, 16, kernel=1)
    g.add("HardSigmoid", ["c3"], "gate", alpha=1 / 6, beta=0.5)
    g.add("Mul", ["c3", "gate"], "gated")
    g.add("GlobalAveragePool", ["gated"], "pool")
    g.add("Flatten", ["pool"], "flat")
    g.linear("flat", "y", 16, 10)
    return g.model([value("x", ["N", 3, 16, 16])], [value("y", ["N", 10])])


def shared_weight_net() -> onnx.ModelProto:
    """Two MatMul share one weight, two Conv another: x [N,4,8,8] → y [N,8]. 2 + 1 MatMul, 2 Conv."""
    g = Sketch(4)
    w = g.weight("conv.w", 4, 4, 3, 3)
    g.add("Conv", ["x", w], "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    g.add("Relu", ["a"], "a.relu")
    g.add("Conv", ["a.relu", w], "b", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    g.add("AveragePool", ["b"], "pool", kernel_shape=[4, 4], strides=[4, 4])
    g.add("Flatten", ["pool"], "flat")
    w = g.weight("linear.w", 16, 16)
    g.add("MatMul", ["flat", w], "m1")
    g.add("Relu", ["m1"], "m1.relu")
    g.add("MatMul", ["m1.relu", w], "m2")
    g.add("MatMul", ["m2", g.weight("own.w", 16, 8)], "y")
    return g.model([value("x", ["N", 4, 8, 8])], [value("y", ["N", 8])])


def constant_weight_net() -> onnx.ModelProto:
    """Opset 11, all weights in Constant nodes: x [N,3,16,16] → y [N,10]. 2 Conv, 1 MatMul."""
    g = Sketch(5)
    g.conv("x", "c1", 3, 8)
    g.add("Clip", ["c1", g.put("low", 0.0), g.put("high", 6.0)], "c1.relu6")
    g.conv("c1.relu6", "c2", 8, 8, strides=[2, 2])
    g.add("Unsqueeze", ["c2"], "wide", axes=[1])
    g.add("Squeeze", ["wide"], "narrow", axes=[1])
    g.add("GlobalAveragePool", ["narrow"], "pool")
    g.add("Reshape", ["pool", g.put("flat.shape", [-1, 8], np.int64)], "flat")
    g.linear("flat", "logits", 8, 10)
    g.add("Softmax", ["logits"], "y", axis=1)
    constants = [helper.make_node("Constant", [], [t.name], name=f"constant/{t.name}", value=t) for t in g.initializers]
    g.nodes[:0] = constants
    g.initializers.clear()
    return g.model([value("x", ["N", 3, 16, 16])], [value("y", ["N", 10])], opset=11, ir_version=6)


def input_weight_net() -> onnx.ModelProto:
    """IR version 3, opset 9: weights are listed as graph inputs too: x [N,3,8,8] → y [N,4]. 1 Conv, 1 Gemm."""
    g = Sketch(6)
    g.conv("x", "c1", 3, 4)
    g.add("Relu", ["c1"], "relu")
    g.add("GlobalAveragePool", ["relu"], "pool")
    g.add("Flatten", ["pool"], "flat")
    g.add("Gemm", ["flat", g.weight("fc.w", 4, 4), g.bias("fc.b", 4)], "y")
    weights = [value(t.name, t.dims, t.data_type) for t in g.initializers]
    return g.model([value("x", ["N", 3, 8, 8]), *weights], [value("y", ["N", 4])], opset=9, ir_version=3)


def if_net() -> onnx.ModelProto:
    """An If whose branches use outer tensors and weights: x [N,8], flag bool [] → y [N,4]. 2 MatMul, 1 in a branch."""
    g = Sketch(7)
    g.linear("x", "h", 8, 8)
    g.weight("inner.w", 8, 8)
    then_nodes = [
        helper.make_node("MatMul", ["h", "inner.w"], ["then.mm"], name="then.mm"),
        helper.make_node("Add", ["then.mm", "h.b"], ["then.out"], name="then.out"),
    ]
    else_nodes = [helper.make_node("Relu", ["h"], ["else.out"], name="else.out")]
    then_graph = helper.make_graph(then_nodes, "then", [], [value("then.out", ["N", 8])])
    else_graph = helper.make_graph(else_nodes, "else", [], [value("else.out", ["N", 8])])
    g.add("If", ["flag"], "chosen", then_branch=then_graph, else_branch=else_graph)
    g.linear("chosen", "y", 8, 4)
    return g.model([value("x", ["N", 8]), value("flag", [], TensorProto.BOOL)], [value("y", ["N", 4])])


def loop_net() -> onnx.ModelProto:
    """A Loop multiplying by an outer weight: x [N,8], count int64 [] → y [N,4]. 1 MatMul outside, 1 in the body."""
    g = Sketch(8)
    g.weight("state.w", 8, 8)
    g.put("go_on", True, np.bool_)
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "state.w"], ["body.mm"], name="body.mm"),
            helper.make_node("Tanh", ["body.mm"], ["state.next"], name="body.tanh"),
            helper.make_node("Identity", ["go"], ["go.next"], name="body.go"),
        ],
        "body",
        [value("i", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("state", ["N", 8])],
        [value("go.next", [], TensorProto.BOOL), value("state.next", ["N", 8])],
    )
    g.add("Loop", ["count", "go_on", "x"], "state.last", body=body)
    g.linear("state.last", "y", 8, 4)
    return g.model([value("x", ["N", 8]), value("count", [], TensorProto.INT64)], [value("y", ["N", 4])])


def half_net() -> onnx.ModelProto:
    """All float16: x [N,3,16,16] → y [N,10], both float16. 2 Conv, 1 Gemm, a Cast to float16 inside."""
    g = Sketch(9)
    half: Any = np.float16
    g.add("Conv", ["x", g.weight("c1.w", 8, 3, 3, 3, dtype=half), g.bias("c1.b", 8, half)], "c1", pads=[1, 1, 1, 1])
    g.add("Relu", ["c1"], "relu")
    g.add("Shape", ["relu"], "shape")
    g.add("Cast", ["shape"], "shape.half", to=TensorProto.FLOAT16)
    g.add("ReduceMax", ["shape.half"], "largest", keepdims=0)
    g.add("Div", ["relu", "largest"], "scaled")
    g.add(
        "Conv", ["scaled", g.weight("c2.w", 8, 8, 3, 3, dtype=half), g.bias("c2.b", 8, half)], "c2", pads=[1, 1, 1, 1]
    )
    g.add("GlobalAveragePool", ["c2"], "pool")
    g.add("Flatten", ["pool"], "flat")
    g.add("Gemm", ["flat", g.weight("fc.w", 8, 10, dtype=half), g.bias("fc.b", 10, half)], "y")
    x, y = value("x", ["N", 3, 16, 16], TensorProto.FLOAT16), value("y", ["N", 10], TensorProto.FLOAT16)
    return g.model([x], [y])


def quantized_net() -> onnx.ModelProto:
    """Partly quantized: the first Conv already has Q/DQ, the second and the Gemm not: x [N,3,16,16] → y [N,10]."""
    g = Sketch(10)
    g.put("x.scale", 0.03), g.put("x.zero", 128, np.uint8)
    g.add("QuantizeLinear", ["x", "x.scale", "x.zero"], "x.q")
    g.add("DequantizeLinear", ["x.q", "x.scale", "x.zero"], "x.dq")
    g.put("w.scale", np.full(8, 0.004)), g.put("w.zero", np.zeros(8), np.int8)
    g.put("w.q", g.rng.integers(-127, 128, (8, 3, 3, 3)), np.int8)
    g.add("DequantizeLinear", ["w.q", "w.scale", "w.zero"], "w.dq", axis=0)
    g.add("Conv", ["x.dq", "w.dq", g.bias("c1.b", 8)], "c1", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    g.add("Relu", ["c1"], "relu")
    g.put("h.scale", 0.02), g.put("h.zero", 0, np.uint8)
    g.add("QuantizeLinear", ["relu", "h.scale", "h.zero"], "h.q")
    g.add("DequantizeLinear", ["h.q", "h.scale", "h.zero"], "h.dq")
    g.conv("h.dq", "c2", 8, 8)
    g.add("Relu", ["c2"], "relu2")
    g.add("GlobalAveragePool", ["relu2"], "pool")
    g.add("Flatten", ["pool"], "flat")
    g.add("Gemm", ["flat", g.weight("fc.w", 10, 8), g.bias("fc.b", 10)], "y", transB=1)
    return g.model([value("x", ["N", 3, 16, 16])], [value("y", ["N", 10])])


def two_input_net() -> onnx.ModelProto:
    """Two inputs, two outputs: image [N,3,8,8], features [N,4] → logits [N,5], embedding [N,12]. 1 Conv, 1 MatMul."""
    g = Sketch(11)
    g.conv("image", "c1", 3, 8)
    g.add("Relu", ["c1"], "relu")
    g.add("GlobalAveragePool", ["relu"], "pool")
    g.add("Flatten", ["pool"], "flat")
    g.add("Concat", ["flat", "features"], "embedding", axis=1)
    g.linear("embedding", "logits", 12, 5)
    inputs = [value("image", ["N", 3, 8, 8]), value("features", ["N", 4])]
    return g.model(inputs, [value("logits", ["N", 5]), value("embedding", ["N", 12])])


def slash_names_net() -> onnx.ModelProto:
    """Names as PyTorch exports them: input.1 [N,3,8,8] → 33 [N,4]. 2 Conv, 1 Gemm."""
    g = Sketch(12)
    g.weight("onnx::Conv_27", 4, 3, 3, 3), g.bias("onnx::Conv_28", 4)
    g.weight("model.features.1.weight", 4, 4, 1, 1)
    first, second = "/features/features.0/Conv_output_0", "/features/features.1/Conv_output_0"
    g.add("Conv", ["input.1", "onnx::Conv_27", "onnx::Conv_28"], first, name="/features/features.0/Conv", pads=[1] * 4)
    g.add("Relu", [first], "/features/Relu_output_0", name="/features/Relu")
    g.add("Conv", ["/features/Relu_output_0", "model.features.1.weight"], second, name="/features/features.1/Conv")
    g.add("GlobalAveragePool", [second], "/pool/GlobalAveragePool_output_0", name="/pool/GlobalAveragePool")
    g.add("Flatten", ["/pool/GlobalAveragePool_output_0"], "/Flatten_output_0", name="/Flatten")
    g.weight("classifier.weight", 4, 4), g.bias("classifier.bias", 4)
    g.add(
        "Gemm", ["/Flatten_output_0", "classifier.weight", "classifier.bias"], "33", name="/classifier/Gemm", transB=1
    )
    return g.model([value("input.1", ["N", 3, 8, 8])], [value("33", ["N", 4])])


def nothing_net() -> onnx.ModelProto:
    """Nothing to quantize: x [N,8] → y [N,8]."""
    g = Sketch(13)
    g.add("Erf", ["x"], "erf")
    g.add("Tanh", ["erf"], "y")
    return g.model([value("x", ["N", 8])], [value("y", ["N", 8])])


def _dense_stack(names: Sequence[str]) -> onnx.ModelProto:
    g = Sketch(14)
    for name, x, y in zip(names, ("x", "a.relu", "b.relu", "c.relu"), ("a", "b", "c", "y"), strict=True):
        g.add("MatMul", [x, g.weight(f"{y}.w", 8, 8)], y, name=name)
        if y != "y":
            g.add("Relu", [y], f"{y}.relu", name="")
    return g.model([value("x", ["N", 8])], [value("y", ["N", 8])])


def names_net() -> onnx.ModelProto:
    """Awkward node names: empty, equal to the name an empty one gets, 600 characters long. 4 MatMul."""
    return _dense_stack(["", "MatMul:a", "n" * 600, ""])


def duplicate_names_net() -> onnx.ModelProto:
    """Two nodes called "dense": valid ONNX that onnxruntime refuses to run as it is (so not in ALL). 4 MatMul."""
    return _dense_stack(["first", "dense", "dense", "last"])


ALL: dict[str, Callable[[], onnx.ModelProto]] = {
    build.__name__: build
    for build in (
        conv_net,
        transformer,
        hardswish_net,
        shared_weight_net,
        constant_weight_net,
        input_weight_net,
        if_net,
        loop_net,
        half_net,
        quantized_net,
        two_input_net,
        slash_names_net,
        nothing_net,
        names_net,
    )
}
"""Every builder by name, for parametrized tests."""


def feeds(proto: onnx.ModelProto, count: int = 4, *, batch: int = 2, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Seeded random inputs: normal floats, ids below 50, masks of ones ending in zeros, counts of 3; T is 6."""
    rng = np.random.default_rng(seed)
    weights = {t.name for t in proto.graph.initializer}
    made = []
    for _ in range(count):
        feed = {}
        for info in proto.graph.input:
            if info.name in weights:
                continue
            kind = info.type.tensor_type
            shape = [
                d.dim_value if d.HasField("dim_value") else {"N": batch, "T": 6}.get(d.dim_param, batch)
                for d in kind.shape.dim
            ]
            dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
            if dtype == np.bool_:
                feed[info.name] = np.asarray(bool(rng.integers(2)))
            elif info.name == "mask":
                feed[info.name] = (np.arange(shape[1]) < rng.integers(2, shape[1] + 1, (shape[0], 1))).astype(np.int64)
            elif dtype == np.int64:
                feed[info.name] = rng.integers(0, 50, shape) if shape else np.asarray(3)
            else:
                feed[info.name] = rng.standard_normal(shape).astype(dtype)
        made.append(feed)
    return made


def save(proto: onnx.ModelProto, path: Path) -> Path:
    """Write a model to one file and return the path."""
    path.write_bytes(proto.SerializeToString())
    return path


def external(proto: onnx.ModelProto, path: Path, data: str | None = None) -> Path:
    """Write a model with its initializers in one external file `data` (default `<path's name>.data`) beside it.

    Those under 64 bytes stay inside: onnxruntime cannot read axes and shapes from elsewhere.
    """
    onnx.save_model(
        proto,
        path,
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=data or f"{path.name}.data",
        size_threshold=64,
    )
    return path
