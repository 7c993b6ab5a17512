"""One recipe's weights and biases: on integers and corrected as it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...strategies.words import BIAS, EMPIRICAL, LAYER, ROUNDING, WEIGHT_GRANULARITY, WEIGHT_RANGE, WEIGHT_SYMMETRY
from ..graph.analysis import Layer
from ..targets.base import Target
from . import blocks
from .corrections import Corrections
from .empirical import Chain
from .scales import QuantizedWeight
from .weights import Scheme, Weights


class Mended:
    """What one build asks of its layers' constants.

    Attributes:
        files: Key → file of the results it took (`Candidate.corrections`).
        notes: Layer → why it is not corrected as the recipe says.
    """

    def __init__(
        self,
        weights: Weights,
        corrections: Corrections,
        target: Target,
        recipe: Mapping[str, str],
        chain: Callable[[], Chain],
    ) -> None:
        """Chain: the layers that empirical bias correction is of, asked for where the recipe wants it."""
        self._weights = weights
        self._chain = chain
        self._chained: Mapping[str, np.ndarray] | None = None
        self._corrections = corrections
        self._target = target
        self._recipe = recipe
        self.files: dict[str, str] = {}
        self.notes: dict[str, str] = {}

    @property
    def biases(self) -> bool:
        """Whether biases are corrected."""
        return self._recipe.get(BIAS, "off") != "off"

    def scheme(self, layer: Layer) -> Scheme:
        """How the recipe quantizes a layer's weight."""
        target, recipe = self._target, self._recipe
        precision = recipe.get(LAYER + layer.group)
        symmetric = recipe.get(WEIGHT_SYMMETRY, "symmetric") == "symmetric" or "asymmetric" not in target.weight
        clipped = recipe.get(WEIGHT_RANGE) == "mse"
        if precision == "int4":
            return Scheme(layer.weight_axis, symmetric, blocks.BITS, False, clipped, blocks.BLOCK)
        per_channel = recipe.get(WEIGHT_GRANULARITY, "per_channel") == "per_channel"
        # the left operand of an integer MatMul has one scale and the type of an activation
        left = layer.op_type == "MatMul" and layer.weight_input == 0
        if precision == "weight8":  # read by float kernels alone
            return Scheme(layer.weight_axis if per_channel else None, symmetric, 8, False, clipped)
        axis = layer.weight_axis if per_channel and not left else None
        return Scheme(axis, symmetric, target.weight_bits, left, clipped)

    def weight(self, layer: Layer, grown: QuantizedWeight | None = None) -> QuantizedWeight:
        """A layer's weight; by GPTQ where the recipe says so, to nearest with a note where that cannot be.

        Args:
            layer: The layer.
            grown: Its weight to nearest on a grid of its own, None for the scheme's.
        """
        nearest = grown or self.nearest(layer)
        if self._recipe.get(ROUNDING) != "gptq":
            return nearest
        refusal = self._corrections.refusal(layer)
        if refusal:
            self.notes[layer.name] = f"{layer.name} is rounded to nearest: {refusal}"
            return nearest
        made, record = self._corrections.rounded(layer, self.scheme(layer), grown)
        self.files |= record
        return made

    def nearest(self, layer: Layer, name: str | None = None) -> QuantizedWeight:
        """A layer's weight (or a further one of that name) rounded to nearest."""
        assert layer.weight is not None
        return self._weights.of(name or layer.weight, self.scheme(layer))

    def shift(self, layer: Layer, quantized: QuantizedWeight) -> np.ndarray | None:
        """What quantization moves the layer's mean output by, float64 [channels]; None where the bias stays.

        By rounding its own weight; or, measured, by that and by what the layers before it leave.
        """
        if not self.biases:
            return None
        if self._recipe[BIAS] == EMPIRICAL:
            if self._chained is None:
                self._chained, record = self._corrections.chained(self._chain())
                self.files |= record
            return self._chained.get(layer.name)
        rounding = self._recipe.get(ROUNDING, "nearest")
        found = self._corrections.shift(layer, quantized, self.scheme(layer), rounding)
        if found is None:
            return None
        self.files |= found[1]
        return found[0]

    def bias(self, name: str, layer: Layer, quantized: QuantizedWeight) -> np.ndarray:
        """A layer's float bias without that shift, float32 [channels] (or [1] where it is one and stays)."""
        values = self._weights.value(name).reshape(-1)
        shift = self.shift(layer, quantized)
        return values if shift is None else (values.astype(np.float64) - shift).astype(np.float32)
