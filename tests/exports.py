"""Small models as today's exporters and optimizers write them, and those with recurrent layers, tables and decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.zoo import Sketch, value

WIDTH, HEADS, WORDS = 64, 4, 64
MICROSOFT = "com.microsoft"


class Export(Sketch):
    """A sketch whose nodes may be of other domains and have several outputs."""

    def call(
        self, op_type: str, inputs: Sequence[str], outputs: str | Sequence[str], *, domain: str = "", **attributes: Any
    ) -> str:
        """Append a node named after its first output, which is returned."""
        written = [outputs] if isinstance(outputs, str) else list(outputs)
        name = f"node_{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), written, name=name, domain=domain, **attributes))
        return written[0]

    def finished(
        self, inputs: Sequence[onnx.ValueInfoProto], opset: int, functions: Sequence[onnx.FunctionProto] = ()
    ) -> onnx.ModelProto:
        """The model; it writes `y`, of float type and no declared shape."""
        output = onnx.ValueInfoProto(name="y")
        output.type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "main_graph", list(inputs), [output], self.initializers)
        domains = {node.domain for node in self.nodes} - {""}
        imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in sorted(domains))]
        return helper.make_model(
            graph, opset_imports=imports, functions=list(functions), ir_version=11 if opset > 22 else 10
        )

    def numbers(self, name: str, *values: int) -> str:
        """An int64 constant of one dimension."""
        return self.put(name, values, np.int64)

    def normal(self, name: str, size: int) -> tuple[str, str]:
        """Scale around one, and shift, of a normalization."""
        self.put(f"{name}.weight", 1 + 0.1 * self.rng.standard_normal(size))
        return f"{name}.weight", self.bias(f"{name}.bias", size)


def bilstm() -> onnx.ModelProto:
    """Two bidirectional LSTMs and a MatMul, as a recogniser or a tagger has them. x is [T, N, 8]."""
    g = Export(1)
    x, size, hidden = "x", 8, 16
    for i in range(2):
        w, r, b = (
            g.put(f"{n}{i}", g.rng.standard_normal(shape) * scale)
            for n, shape, scale in (
                ("W", (2, 4 * hidden, size), size**-0.5),
                ("R", (2, 4 * hidden, hidden), hidden**-0.5),
                ("B", (2, 8 * hidden), 0.1),
            )
        )
        outputs = [f"lstm{i}", f"h{i}", f"c{i}"]
        g.call("LSTM", [x, w, r, b], outputs, hidden_size=hidden, direction="bidirectional")
        g.call("Transpose", [f"lstm{i}"], f"turned{i}", perm=[0, 2, 1, 3])
        x = g.call("Reshape", [f"turned{i}", g.numbers(f"shape{i}", 0, 0, -1)], f"flat{i}")
        size = 2 * hidden
    g.call("MatMul", [x, g.weight("head", size, 12)], "y")
    return g.finished([value("x", ["T", "N", 8])], 17)


def gru() -> onnx.ModelProto:
    """A GRU and an RNN over it; the last state is the output. x is [T, N, 8]."""
    g = Export(2)
    for kind, gates, size in (("GRU", 3, 8), ("RNN", 1, 16)):
        g.put(f"{kind}.w", g.rng.standard_normal((1, gates * 16, size)) * size**-0.5)
        g.put(f"{kind}.r", g.rng.standard_normal((1, gates * 16, 16)) * 0.25)
    g.call("GRU", ["x", "GRU.w", "GRU.r"], "states", hidden_size=16, linear_before_reset=1)
    g.call("Squeeze", ["states", g.numbers("direction", 1)], "sequence")
    g.call("RNN", ["sequence", "RNN.w", "RNN.r"], ["", "last"], hidden_size=16)
    g.call("Identity", ["last"], "y")
    return g.finished([value("x", ["T", "N", 8])], 17)


def words() -> onnx.ModelProto:
    """Two embeddings, added, normalized and projected. ids are [N, T]."""
    g = Export(3)
    g.put("words.weight", g.rng.standard_normal((WORDS, WIDTH)) * np.exp(g.rng.standard_normal((WORDS, 1))))
    g.put("positions.weight", g.rng.standard_normal((WIDTH, WIDTH)))
    g.call("Gather", ["words.weight", "ids"], "word")
    g.call("Shape", ["ids"], "length", start=1, end=2)
    g.call("Squeeze", ["length"], "count")
    g.call("Range", [g.put("zero", 0, np.int64), "count", g.put("one", 1, np.int64)], "places")
    g.call("Gather", ["positions.weight", "places"], "place")
    g.call("Add", ["word", "place"], "sum")
    g.call("LayerNormalization", ["sum", *g.normal("norm", WIDTH)], "normal")
    g.call("MatMul", ["normal", g.weight("head", WIDTH, 8)], "y")
    return g.finished([value("ids", ["N", "T"], TensorProto.INT64)], 17)


def decoder() -> onnx.ModelProto:
    """Two ConvTransposes with their Relus between Convs, as a segmentation head has them."""
    g = Export(4)
    g.conv("x", "stem", 8, 16)
    g.call("Relu", ["stem"], "s")
    for i, (a, b) in enumerate((("s", "u0"), ("u0", "u1"))):
        w = g.put(f"up{i}.w", g.rng.standard_normal((16, 8 if i else 16, 2, 2)) * 0.2)
        g.call("ConvTranspose", [a, w, g.bias(f"up{i}.b", 8 if i else 16)], f"up{i}", strides=[2, 2])
        g.call("Relu", [f"up{i}"], b)
    g.conv("u1", "y", 8, 4)
    return g.finished([value("x", ["N", 8, 6, 6])], 17)


def dynamo_encoder() -> onnx.ModelProto:
    """One encoder block of torch.onnx.export(dynamo=True): opset 20, `val_12`, fused LayerNormalization and Gelu.

    Weights are transposed constants read by MatMul, or by Gemm with transB; the attention is written out, its scale on
    both factors.
    """
    g = Export(5)
    norm = g.call("LayerNormalization", ["x", *g.normal("norm1", WIDTH)], "layer_norm", epsilon=1e-5)
    heads = g.numbers("val_3", 0, 0, HEADS, WIDTH // HEADS)
    for i, kind in enumerate(("q_proj", "k_proj", "v_proj")):
        g.call("MatMul", [norm, g.weight(f"val_{4 + i}", WIDTH, WIDTH)], f"val_{10 + i}")
        g.call("Add", [f"val_{10 + i}", g.bias(f"{kind}.bias", WIDTH)], f"linear_{i}")
        g.call("Reshape", [f"linear_{i}", heads], f"view_{i}", allowzero=1 if i == 9 else 0)
        g.call("Transpose", [f"view_{i}"], f"transpose_{i}", perm=[0, 2, 3, 1] if i == 1 else [0, 2, 1, 3])
    root = g.put("val_20", (WIDTH // HEADS) ** -0.25)
    g.call("Mul", ["transpose_0", root], "val_21")
    g.call("Mul", ["transpose_1", root], "val_22")
    g.call("MatMul", ["val_21", "val_22"], "val_23")
    g.call("Softmax", ["val_23"], "val_24", axis=-1)
    g.call("MatMul", ["val_24", "transpose_2"], "scaled_dot_product_attention")
    g.call("Transpose", ["scaled_dot_product_attention"], "transpose_3", perm=[0, 2, 1, 3])
    g.call("Reshape", ["transpose_3", g.numbers("val_25", -1, WIDTH)], "view_3")
    out = [g.put("out_proj.weight", g.rng.standard_normal((WIDTH, WIDTH)) * 0.2), g.bias("out_proj.bias", WIDTH)]
    g.call("Gemm", ["view_3", *out], "linear_3", transB=1)
    g.call("Shape", ["x"], "val_26")
    g.call("Reshape", ["linear_3", "val_26"], "view_4")
    g.call("Add", ["x", "view_4"], "add_1")
    g.call("LayerNormalization", ["add_1", *g.normal("norm2", WIDTH)], "layer_norm_1")
    g.call("MatMul", ["layer_norm_1", g.weight("val_27", WIDTH, 2 * WIDTH)], "val_28")
    g.call("Add", ["val_28", g.bias("fc1.bias", 2 * WIDTH)], "linear_4")
    g.call("Gelu", ["linear_4"], "gelu", approximate="none")
    g.call("MatMul", ["gelu", g.weight("val_29", 2 * WIDTH, WIDTH)], "val_30")
    g.call("Add", ["val_30", g.bias("fc2.bias", WIDTH)], "linear_5")
    g.call("Add", ["add_1", "linear_5"], "y")
    return g.finished([value("x", ["s0", "s1", WIDTH])], 20)


def function_encoder() -> onnx.ModelProto:
    """A linear layer and a Gelu by Erf as local functions, which older dynamo exports keep."""
    g = Export(6)
    body = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "t"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["z"]),
    ]
    erf = [
        helper.make_node("Constant", [], ["root"], value_float=2.0**0.5),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("Div", ["x", "root"], ["d"]),
        helper.make_node("Erf", ["d"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["a"]),
        helper.make_node("Mul", ["x", "a"], ["p"]),
        helper.make_node("Mul", ["p", "half"], ["z"]),
    ]
    imports = [helper.make_opsetid("", 18)]
    library = "pkg.onnxscript.torch_lib"
    functions = [
        helper.make_function(library, "aten_linear_bias", ["x", "w", "b"], ["z"], body, imports),
        helper.make_function(library, "_aten_gelu_approximate_none", ["x"], ["z"], erf, imports),
    ]
    for name, size in (("fc1", WIDTH), ("fc2", WIDTH)):
        g.put(f"{name}.weight", g.rng.standard_normal((size, WIDTH)) * 0.2)
        g.bias(f"{name}.bias", size)
    g.call("aten_linear_bias", ["x", "fc1.weight", "fc1.bias"], "linear", domain=library)
    g.call("_aten_gelu_approximate_none", ["linear"], "gelu", domain=library)
    g.call("aten_linear_bias", ["gelu", "fc2.weight", "fc2.bias"], "y", domain=library)
    return g.finished([value("x", ["s0", "s1", WIDTH])], 18, functions)


def legacy_encoder() -> onnx.ModelProto:
    """A feed-forward block of the TorchScript exporter: slashes in names, LayerNorm and Gelu written out, Constants."""
    g = Export(7)

    def constant(name: str, number: float) -> str:
        tensor = helper.make_tensor(name, TensorProto.FLOAT, [], [number])
        g.nodes.append(helper.make_node("Constant", [], [name], name=f"/{name}", value=tensor))
        return name

    g.call("ReduceMean", ["x"], "/norm/mean", axes=[-1])
    g.call("Sub", ["x", "/norm/mean"], "/norm/Sub_output_0")
    g.call("Pow", ["/norm/Sub_output_0", constant("/norm/two", 2.0)], "/norm/Pow_output_0")
    g.call("ReduceMean", ["/norm/Pow_output_0"], "/norm/variance", axes=[-1])
    g.call("Add", ["/norm/variance", constant("/norm/epsilon", 1e-5)], "/norm/Add_output_0")
    g.call("Sqrt", ["/norm/Add_output_0"], "/norm/Sqrt_output_0")
    g.call("Div", ["/norm/Sub_output_0", "/norm/Sqrt_output_0"], "/norm/Div_output_0")
    scale, shift = g.normal("norm", WIDTH)
    g.call("Mul", ["/norm/Div_output_0", scale], "/norm/Mul_output_0")
    g.call("Add", ["/norm/Mul_output_0", shift], "/norm/Add_1_output_0")
    g.call("MatMul", ["/norm/Add_1_output_0", g.weight("onnx::MatMul_31", WIDTH, 2 * WIDTH)], "/fc1/MatMul_output_0")
    g.call("Add", [g.bias("fc1.bias", 2 * WIDTH), "/fc1/MatMul_output_0"], "/fc1/Add_output_0")
    g.call("Div", ["/fc1/Add_output_0", constant("/act/root", 2.0**0.5)], "/act/Div_output_0")
    g.call("Erf", ["/act/Div_output_0"], "/act/Erf_output_0")
    g.call("Add", ["/act/Erf_output_0", constant("/act/one", 1.0)], "/act/Add_output_0")
    g.call("Mul", ["/fc1/Add_output_0", "/act/Add_output_0"], "/act/Mul_output_0")
    g.call("Mul", ["/act/Mul_output_0", constant("/act/half", 0.5)], "/act/Mul_1_output_0")
    g.call("MatMul", ["/act/Mul_1_output_0", g.weight("onnx::MatMul_32", 2 * WIDTH, WIDTH)], "/fc2/MatMul_output_0")
    g.call("Add", [g.bias("fc2.bias", WIDTH), "/fc2/MatMul_output_0"], "/fc2/Add_output_0")
    g.call("Add", ["x", "/fc2/Add_output_0"], "y")
    return g.finished([value("x", ["batch", "sequence", WIDTH])], 14)


def optimized_encoder() -> onnx.ModelProto:
    """A block after ONNX Runtime's transformer optimizer: embedding, attention and norms are operators of its own."""
    g = Export(8)
    tables = [g.put(f"{kind}.weight", g.rng.standard_normal((WORDS, WIDTH))) for kind in ("words", "positions")]
    inputs = ["ids", "", tables[0], tables[1], "", *g.normal("embed", WIDTH)]
    g.call("EmbedLayerNormalization", inputs, ["embedded", ""], domain=MICROSOFT, epsilon=1e-5)
    qkv = [g.put("qkv.weight", g.rng.standard_normal((WIDTH, 3 * WIDTH)) * 0.2), g.bias("qkv.bias", 3 * WIDTH)]
    g.call("Attention", ["embedded", *qkv], "attended", domain=MICROSOFT, num_heads=HEADS)
    g.call("MatMul", ["attended", g.weight("out.weight", WIDTH, WIDTH)], "projected")
    skip = ["projected", "embedded", *g.normal("norm1", WIDTH), g.bias("out.bias", WIDTH)]
    g.call("SkipLayerNormalization", skip, "normal", domain=MICROSOFT, epsilon=1e-5)
    g.call("MatMul", ["normal", g.weight("fc1.weight", WIDTH, 2 * WIDTH)], "wide")
    g.call("BiasGelu", ["wide", g.bias("fc1.bias", 2 * WIDTH)], "gelu", domain=MICROSOFT)
    g.call("MatMul", ["gelu", g.weight("fc2.weight", 2 * WIDTH, WIDTH)], "narrow")
    g.call("FastGelu", ["narrow", g.bias("fc2.bias", WIDTH)], "again", domain=MICROSOFT)
    g.call("FusedMatMul", ["again", g.weight("head.weight", WIDTH, 8)], "y", domain=MICROSOFT, alpha=0.5)
    return g.finished([value("ids", ["N", "T"], TensorProto.INT32)], 17)


def microsoft_decoder() -> onnx.ModelProto:
    """A block as ONNX Runtime's model builder writes it: GroupQueryAttention, SkipSimplifiedLayerNormalization."""
    g = Export(9)
    size = WIDTH // HEADS
    g.call("SimplifiedLayerNormalization", ["x", g.normal("norm1", WIDTH)[0]], "normal", axis=-1, epsilon=1e-5)
    for name, columns in (("q", WIDTH), ("k", 2 * size), ("v", 2 * size)):
        g.call("MatMul", ["normal", g.weight(f"{name}.weight", WIDTH, columns)], name)
    for name in ("past_k", "past_v"):
        g.put(name, np.zeros((2, 2, 0, size)))
    g.put("lengths", [5, 5], np.int32)
    g.put("total", 6, np.int32)
    attended = ["q", "k", "v", "past_k", "past_v", "lengths", "total"]
    angles = g.rng.uniform(0, 6, (16, size // 2))
    attended += [g.put("cos", np.cos(angles)), g.put("sin", np.sin(angles))]
    g.call(
        "GroupQueryAttention",
        attended,
        ["attended", "present_k", "present_v"],
        domain=MICROSOFT,
        num_heads=HEADS,
        kv_num_heads=2,
        do_rotary=1,
    )
    g.call("MatMul", ["attended", g.weight("o.weight", WIDTH, WIDTH)], "projected")
    skipped = ["x", "projected", g.normal("norm2", WIDTH)[0]]
    outputs = ["normal2", "", "", "sum"]
    g.call("SkipSimplifiedLayerNormalization", skipped, outputs, domain=MICROSOFT, epsilon=1e-5)
    g.call("MatMul", ["normal2", g.weight("gate.weight", WIDTH, 2 * WIDTH)], "gate")
    g.call("Sigmoid", ["gate"], "open")
    g.call("Mul", ["gate", "open"], "silu")
    g.call("MatMul", ["silu", g.weight("down.weight", 2 * WIDTH, WIDTH)], "y")
    return g.finished([value("x", [2, 6, WIDTH])], 21)


def opset23_decoder() -> onnx.ModelProto:
    """A block with the operators of opset 23: RMSNormalization, RotaryEmbedding and Attention."""
    g = Export(10)
    size = WIDTH // HEADS
    g.call("RMSNormalization", ["x", g.normal("norm1", WIDTH)[0]], "rms_norm", axis=-1)
    for name in ("q", "k", "v"):
        g.call("MatMul", ["rms_norm", g.weight(f"{name}.weight", WIDTH, WIDTH)], f"linear_{name}")
    angles = g.rng.uniform(0, 6, (16, size // 2))
    g.put("cos", np.cos(angles))
    g.put("sin", np.sin(angles))
    for name in ("q", "k"):
        g.call("RotaryEmbedding", [f"linear_{name}", "cos", "sin", "places"], f"rotary_{name}", num_heads=HEADS)
    read = ["rotary_q", "rotary_k", "linear_v"]
    g.call("Attention", read, "attention", q_num_heads=HEADS, kv_num_heads=HEADS, is_causal=1)
    g.call("MatMul", ["attention", g.weight("o.weight", WIDTH, WIDTH)], "linear_o")
    g.call("Add", ["x", "linear_o"], "add")
    g.call("RMSNormalization", ["add", g.normal("norm2", WIDTH)[0]], "rms_norm_1", axis=-1)
    g.call("MatMul", ["rms_norm_1", g.weight("fc.weight", WIDTH, WIDTH)], "y")
    return g.finished([value("x", [2, 6, WIDTH]), value("places", [2, 6], TensorProto.INT64)], 23)


ALL: dict[str, Callable[[], onnx.ModelProto]] = {
    build.__name__: build
    for build in (
        *(bilstm, gru, words, decoder, dynamo_encoder, function_encoder, legacy_encoder, optimized_encoder),
        *(microsoft_decoder, opset23_decoder),
    )
}


def feeds(proto: onnx.ModelProto, count: int = 4) -> list[dict[str, np.ndarray]]:
    """Seeded inputs; what is dynamic is 2 or, along time, 6; ids and positions count on."""
    rng = np.random.default_rng(11)
    made = []
    for _ in range(count):
        feed = {}
        for info in proto.graph.input:
            kind = info.type.tensor_type
            shape = [d.dim_value or {"T": 6, "s1": 6, "sequence": 6}.get(d.dim_param, 2) for d in kind.shape.dim]
            if kind.elem_type == TensorProto.FLOAT:
                feed[info.name] = rng.standard_normal(shape).astype(np.float32)
            elif info.name == "places":
                feed[info.name] = np.broadcast_to(np.arange(shape[1]), shape).astype(np.int64)
            else:
                feed[info.name] = rng.integers(0, 30, shape).astype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        made.append(feed)
    return made
