"""A candidate: the model that a recipe yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx


@dataclass(frozen=True, slots=True)
class Quantization:
    """How one tensor stands on integers.

    Attributes:
        scale: float32, shape [] or [channels].
        zero_point: Integers of `dtype`, shape of `scale`.
        dtype: `uint8`, `int8`, `uint16`, `int16` or `int32`.
        axis: Axis of the channels, None per tensor.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: str
    axis: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A quantized model in memory.

    Attributes:
        proto: The skeleton, as `Model.proto`: larger initializers stripped.
        weights: Data of the stripped initializers, quantized ones included.
        layers: Layer name → precision as built.
        quantization: Tensor (activation, weight or bias of the float model) → how it is quantized here; of an
            activation on 8 and on 16 bits, on 8. Weights in blocks are left out.
        wide: Activation on 16 bits → how.
        size_bytes: Bytes of the file it would be written to, external data included.
        notes: Why a layer is not what the recipe says, one sentence each.
        corrections: What was computed from calibration samples for it: key → file (`vault.py`).
    """

    proto: onnx.ModelProto
    weights: Mapping[str, np.ndarray]
    layers: Mapping[str, str]
    quantization: Mapping[str, Quantization]
    size_bytes: int
    notes: tuple[str, ...] = ()
    corrections: Mapping[str, str] = field(default_factory=dict)
    wide: Mapping[str, Quantization] = field(default_factory=dict)

    def skeleton(self) -> bytes:
        """The skeleton, serialized: what a session takes together with `weights`."""
        data: bytes = self.proto.SerializeToString(deterministic=True)
        return data
