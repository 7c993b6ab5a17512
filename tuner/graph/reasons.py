"""Why an operator that is neither layer nor glue stays in float, one short clause each."""

from __future__ import annotations

import onnx

from .context import Context
from .index import subgraphs

_SILENT = frozenset(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Cast", "Identity", "Constant"))
_SILENT_SHAPES = frozenset(("ConstantOfShape", "Range", "Shape", "Size"))
_INTEGER = frozenset(
    (
        *("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat", "QGemm", "QAttention", "MatMulNBits"),
        *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "GatherBlockQuantized", "QMoE", "MatMulBnb4"),
        *("QEmbedLayerNormalization", "QOrderedMatMul"),
    )
)
# Operators of runtimes that hold weights or products of their own. What an optimizer made of several operators it
# would make again of the quantized ones; what an exporter wrote so has no other form.
_OPTIMIZED = frozenset(
    (
        *("FusedConv", "FusedMatMul", "FusedGemm", "NhwcConv", "NhwcFusedConv", "Attention", "MultiHeadAttention"),
        *("PackedAttention", "PackedMultiHeadAttention", "DecoderMaskedMultiHeadAttention", "DecoderAttention"),
        *("EmbedLayerNormalization", "MoE", "GemmFastGelu", "SparseAttention"),
    )
)
_ATTENTION = frozenset(("GroupQueryAttention", "PagedAttention", "LongformerAttention"))


def reason(context: Context, node: onnx.NodeProto) -> str:
    """The clause; "" where nobody would ask: integer arithmetic, constants, control flow, what converts."""
    standard = node.domain in ("", "ai.onnx")
    if node.op_type in _INTEGER or node.op_type.startswith("QLinear"):
        return "already quantized"
    if node.op_type in _SILENT or node.op_type in _SILENT_SHAPES or any(subgraphs(node)):
        return ""
    floats = ("float", "double", "float16", "bfloat16")
    elements = {_element(context, name) for name in (*node.input, *node.output) if name}
    if not elements.intersection(floats) and elements:
        return ""
    wide = elements.intersection(floats[1:])
    if wide and "float" not in elements:
        return f"it computes in {wide.pop()}"
    if node.op_type in _OPTIMIZED and not standard:
        return "already fused by an optimizer; start from the model before it was optimized"
    where = "" if standard else f"{node.domain}."
    if node.op_type == "Einsum":
        return "Einsum has no integer kernel; only as a MatMul it would have one"
    if node.op_type in _ATTENTION or (standard and node.op_type == "Attention"):
        return f"{where}{node.op_type} has no integer kernel; its products are inside it"
    return f"{where}{node.op_type} has no integer kernel"


def _element(context: Context, name: str) -> str:
    known = context.types.get(name)
    return onnx.TensorProto.DataType.Name(known.element).lower() if known and known.element else "undefined"
