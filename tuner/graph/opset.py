"""Lifting a model to a newer opset (per-channel QDQ needs 13)."""

from __future__ import annotations

import onnx
from onnx import helper, version_converter

from ...errors import ModelError
from .draft import opset

OLDEST = 13
"""Below this opset DequantizeLinear has no axis."""
LIFTED = 17
"""What a model from below `OLDEST` is lifted to."""

_OLDEST_IR = 8


def lift(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """A copy of a light model at a newer opset of the default domain; bodies of If/Loop included. Stubs stay stubs.

    Nodes and tensors keep their names; the converter may insert Constant nodes. A model at `version` or above comes
    back as it is (copied).

    Raises:
        ModelError: An operator has no equivalent in the newer opset.
    """
    lifted = onnx.ModelProto()
    lifted.CopyFrom(proto)
    found = opset(proto)
    if found >= version:
        return lifted
    lifted.ir_version = max(lifted.ir_version, _OLDEST_IR)
    try:
        graph = version_converter.convert_version(lifted, version).graph
    except (RuntimeError, ValueError) as error:  # ConvertError is a RuntimeError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"The model's opset {found} cannot be lifted to {version}: {reason[:200]}. "
            f"Export it again with opset {version}."
        ) from error
    graph.quantization_annotation.MergeFrom(proto.graph.quantization_annotation)
    lifted.graph.CopyFrom(graph)
    for imported in lifted.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = version
    raise_ir_version(lifted)
    return lifted


def raise_ir_version(proto: onnx.ModelProto) -> None:
    """Lift the IR version to what the opset needs, and to 8: weights that are no inputs, metadata, external data."""
    needed = helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
    proto.ir_version = max(proto.ir_version, needed, _OLDEST_IR)
