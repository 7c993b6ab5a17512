"""Activations of 16 bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...strategies.words import ACTIVATION_SYMMETRY, CALIBRATOR, IMPORTED
from ..calibration.ranges import Ranges
from . import scales
from .candidate import Quantization
from .writer import Writer

OPSET = 21
"""The first whose QuantizeLinear and DequantizeLinear take 16-bit integers."""

TYPES = {"asymmetric": "uint16", "symmetric": "int16"}
"""Integer type of an activation per symmetry."""


class WidePairs:
    """The Q/DQ pairs of 16 bits of one build.

    Args:
        writer: Of the graph.
        recipe: Parameter → choice.
        ranges: What calibration found.
        symmetry: The activations' where the recipe says nothing.
        overrides: Tensor → what is used instead of the calibrated scale and zero point.

    Attributes:
        made: Tensor → how it is quantized.
        dequantized: Tensor → what int16 layers read.
    """

    def __init__(
        self,
        writer: Writer,
        recipe: Mapping[str, str],
        ranges: Ranges,
        symmetry: str,
        overrides: Mapping[str, Quantization],
    ) -> None:
        self._writer = writer
        self._recipe = recipe
        self._ranges = ranges
        self._symmetry = symmetry
        self._overrides = overrides
        self.made: dict[str, Quantization] = {}
        self.dequantized: dict[str, str] = {}

    def parameters(self, tensor: str) -> Quantization:
        """Scale and zero point of a tensor, as calibrated or as the recipe's file says."""
        return self._overrides.get(tensor) or parameters(tensor, self._recipe, self._ranges, self._symmetry)

    def add(self, tensor: str, source: str, *, written: bool = False) -> None:
        """Write Q and DQ of a tensor behind `source`; `written`: everyone reads it from there."""
        writer = self._writer
        made = self.made[tensor] = self.parameters(tensor)
        scale = writer.constant(f"{tensor}/wide/scale", made.scale)
        zero_point = writer.constant(f"{tensor}/wide/zero", made.zero_point)
        quantized = writer.add("QuantizeLinear", [source, scale, zero_point], writer.name(f"{tensor}/wide/q"))
        output = tensor if written else writer.name(f"{tensor}/wide/dq")
        self.dequantized[tensor] = writer.add("DequantizeLinear", [quantized, scale, zero_point], output)


def parameters(tensor: str, recipe: Mapping[str, str], ranges: Ranges, symmetry: str) -> Quantization:
    """Scale and zero point of an activation on 16 bits: min-max ranges, or imported ones.

    With 65536 steps rounding costs next to nothing whatever the range: what a calibrator cuts off for finer steps
    would be all there is to lose.

    Args:
        tensor: The activation.
        recipe: Parameter → choice.
        ranges: What calibration found.
        symmetry: The activations' where the recipe says nothing.

    Raises:
        KeyError: The tensor was not calibrated.
    """
    chosen = recipe.get(ACTIVATION_SYMMETRY, symmetry)
    calibrator = IMPORTED if recipe.get(CALIBRATOR) == IMPORTED else "minmax"
    low, high = ranges.get(tensor, calibrator, chosen)
    dtype = TYPES[chosen]
    scale, zero_point = scales.activation(low, high, symmetric=chosen == "symmetric", dtype=dtype)
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point, dtype), dtype)
