"""Models as today's exporters and optimizers write them, through the same checks as onnx's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.load import load

from tests import exports, zoo
from tests.conformance.cases import Case
from tests.conformance.pipeline import check

NO_KERNEL = "{} has no integer kernel"
FUSED = "already fused by an optimizer; start from the model before it was optimized"
MICROSOFT = "com.microsoft.{} has no integer kernel"

# model → what of it can be int8 beside glue, and why the rest of its operators stay in float
EXPECTED: dict[str, tuple[dict[str, int], dict[str, str]]] = {
    "bilstm": ({"MatMul": 1}, {}),
    "gru": ({}, {}),
    "words": ({"MatMul": 1}, {"LayerNormalization": NO_KERNEL}),
    "decoder": ({"Conv": 2}, {}),
    "dynamo_encoder": ({"MatMul": 7, "Gemm": 1}, {"LayerNormalization": NO_KERNEL, "Gelu": NO_KERNEL}),
    "function_encoder": ({"MatMul": 2}, {"Div": NO_KERNEL, "Erf": NO_KERNEL}),
    "legacy_encoder": (
        {"MatMul": 2},
        dict.fromkeys(("ReduceMean", "Sub", "Pow", "Sqrt", "Div", "Erf"), NO_KERNEL),
    ),
    "optimized_encoder": (
        {"MatMul": 3},
        {
            **dict.fromkeys(("EmbedLayerNormalization", "Attention", "FusedMatMul"), FUSED),
            **dict.fromkeys(("SkipLayerNormalization", "BiasGelu", "FastGelu"), MICROSOFT),
        },
    ),
    "microsoft_decoder": (
        {"MatMul": 6},
        {
            "SimplifiedLayerNormalization": NO_KERNEL,
            "GroupQueryAttention": MICROSOFT + "; its products are inside it",
            "SkipSimplifiedLayerNormalization": MICROSOFT,
        },
    ),
    "opset23_decoder": (
        {"MatMul": 5},
        {
            "RMSNormalization": NO_KERNEL,
            "RotaryEmbedding": NO_KERNEL,
            "Attention": NO_KERNEL + "; its products are inside it",
        },
    ),
}


@pytest.mark.parametrize("name", exports.ALL)
def test_the_rest_is_quantized_around_what_stays_in_float(name: str, tmp_path: Path) -> None:
    int8, reasons = EXPECTED[name]
    proto = exports.ALL[name]()
    found = analyse(load(zoo.save(proto, tmp_path / "model.onnx")))
    assert {refusal.op_type: refusal.reason for refusal in found.refusals} == {
        kind: reason.format(kind) for kind, reason in reasons.items()
    }
    report = check(Case("exports", name, proto, tuple(exports.feeds(proto))), tmp_path, compare=False)
    assert report.violations == []
    assert report.int8 == int8
    assert report.floats == {}
    assert "weights" in report.errors
