"""Which calibrator decides the range of a tensor: the recipe's, or that of a layer that reads it."""

from __future__ import annotations

from collections.abc import Mapping

from ...strategies.words import CALIBRATOR, CALIBRATOR_OF, CALIBRATORS, INHERIT, LAYER
from ..graph.analysis import Analysis


class Calibrators:
    """Looks calibrators up; who reads what is found once per model.

    `calibrator/<layer>` governs the activations that the layer reads. A tensor has one scale, whoever reads it: of
    several int8 layers the first in graph order that does not inherit decides. What a passing operator writes shares
    the scale of what it reads, and so its calibrator: the choice of a layer behind it is without effect.
    """

    def __init__(self, analysis: Analysis) -> None:
        readers: dict[str, list[tuple[str, str]]] = {}
        for layer in analysis.layers:
            for tensor in layer.inputs:
                readers.setdefault(tensor, []).append((LAYER + layer.group, CALIBRATOR_OF + layer.group))
        self._readers = readers

    def of(self, tensor: str, recipe: Mapping[str, str]) -> str:
        """The calibrator of a tensor's range under a recipe; parameters that the recipe lacks are inherited."""
        for layer, calibrator in self._readers.get(tensor, ()):
            own = recipe.get(calibrator, INHERIT)
            if own != INHERIT and recipe.get(layer) == "int8":
                return own
        return recipe.get(CALIBRATOR, CALIBRATORS[0])


def own(recipe: Mapping[str, str]) -> dict[str, str]:
    """The `calibrator/…` parameters that do not inherit."""
    return {name: value for name, value in recipe.items() if name.startswith(CALIBRATOR_OF) and value != INHERIT}
