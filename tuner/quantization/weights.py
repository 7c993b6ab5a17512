"""Quantized weights, made once per (weight, scheme) and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from ..graph.model import Model
from ..graph.tensors import data_of
from . import blocks, scales
from .scales import QuantizedWeight
from .weightrange import least_error


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a weight is quantized.

    Attributes:
        axis: Axis with a scale per index, None for one scale.
        symmetric: Whether the zero point is fixed.
        bits: 8, or 7 where 8-bit products would saturate.
        unsigned: uint8 instead of int8.
        clipped: Whether the range is that of least squared error instead of min-max.
        block: Inputs of a matrix that share a scale, 0 for all of them.
    """

    axis: int | None
    symmetric: bool
    bits: int = 8
    unsigned: bool = False
    clipped: bool = False
    block: int = 0

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest integer."""
        half = 2 ** (self.bits - 1)
        if self.block:
            return -half, half - 1
        moved = 128 if self.unsigned else 0
        return moved + (1 - half if self.symmetric else -half), moved + half - 1


class Weights:
    """The float constants of a model and their quantized forms.

    The cache holds at most one integer copy per scheme that was asked for: a quarter of the float weights each.
    """

    def __init__(self, model: Model) -> None:
        self._tensors: Mapping[str, onnx.TensorProto] = {t.name: t for t in model.proto.graph.initializer}
        self._data = model.weights
        self._floats: dict[str, np.ndarray] = {}
        self._largest: dict[str, float] = {}
        self._digests: dict[str, str] = {}
        self._quantized: dict[tuple[str, Scheme], QuantizedWeight] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def dims(self, name: str) -> tuple[int, ...]:
        """Shape of a constant, without touching its data."""
        return tuple(self._tensors[name].dims)

    def is_float(self, name: str) -> bool:
        """Whether a name is a float32 constant."""
        return name in self._tensors and self._tensors[name].data_type == TensorProto.FLOAT

    def value(self, name: str) -> np.ndarray:
        """Data of a constant."""
        if name not in self._floats:
            tensor = self._tensors[name]
            self._floats[name] = data_of(tensor, self._data)
        return self._floats[name]

    def largest(self, name: str) -> float:
        """The largest magnitude in a constant; NaN if it holds one."""
        if name not in self._largest:
            values = self.value(name)
            ends = (values.min(initial=0.0), values.max(initial=0.0))
            self._largest[name] = float(np.abs(ends).max())
        return self._largest[name]

    def finite(self, name: str) -> bool:
        """Whether a constant has neither NaN nor infinity."""
        return bool(np.isfinite(self.largest(name)))

    def half(self, name: str) -> np.ndarray:
        """A constant in float16."""
        return self.value(name).astype(np.float16)

    def digest(self, name: str) -> str:
        """sha256 (hex) of a constant's data."""
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(np.ascontiguousarray(self.value(name)).data).hexdigest()
        return self._digests[name]

    def of(self, name: str, scheme: Scheme) -> QuantizedWeight:
        """A constant on integers, rounded to nearest."""
        if (name, scheme) not in self._quantized:
            values, part = self.value(name), None
            if scheme.block and scheme.axis is not None:
                self._quantized[name, scheme] = blocks.quantize(
                    values, axis=scheme.axis, symmetric=scheme.symmetric, clipped=scheme.clipped, block=scheme.block
                )
                return self._quantized[name, scheme]
            if scheme.clipped:
                part = least_error(values, axis=scheme.axis, symmetric=scheme.symmetric, bits=scheme.bits)
            self._quantized[name, scheme] = scales.weight(
                values,
                axis=scheme.axis,
                symmetric=scheme.symmetric,
                bits=scheme.bits,
                unsigned=scheme.unsigned,
                part=part,
            )
        return self._quantized[name, scheme]
