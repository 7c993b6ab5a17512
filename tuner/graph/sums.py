"""Sum of two tensors is Add, for which runtimes have an integer kernel (old exporters write residuals as Sum)."""

from __future__ import annotations

from .draft import Draft


def sums_to_adds(draft: Draft) -> None:
    """Turn each Sum of two inputs into an Add, of one into an Identity."""
    for node in draft.proto.graph.node:
        if node.op_type == "Sum" and node.domain in ("", "ai.onnx") and len(node.input) <= 2:
            node.op_type = "Add" if len(node.input) == 2 else "Identity"
