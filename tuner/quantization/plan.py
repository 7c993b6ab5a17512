"""What one build is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .candidate import Quantization
from .placement import Placement

if TYPE_CHECKING:
    from .builder import Builder


@dataclass(frozen=True, slots=True)
class Plan:
    """A recipe on one model, ready to be built.

    Attributes:
        builder: What is known of the model and the target, whatever the recipe.
        recipe: Parameter → choice.
        placement: Where it puts what.
        simulate: Whether kernels are simulated: weights rounded to their integers' values, biases in float.
        overrides: Activation tensor → scale and zero point that are used instead of the calibrated ones.
        wide: Likewise for 16 bits.
    """

    builder: Builder
    recipe: Mapping[str, str]
    placement: Placement
    simulate: bool
    overrides: Mapping[str, Quantization]
    wide: Mapping[str, Quantization]

    @property
    def for_cpu_kernels(self) -> bool:
        """Whether to do what only ONNX Runtime's optimizer for the CPU wants done."""
        return self.builder.target.name == "cpu" and not self.simulate
