"""The mean over the spatial axes as GlobalAveragePool, for which ONNX Runtime has a blocked and an integer kernel."""

from __future__ import annotations

from ..draft import Draft
from .patch import Change, Patch, attribute


def pooling(draft: Draft) -> Change:
    """GlobalAveragePool for a ReduceMean that keeps its axes, which are all but the first two.

    Requires: four or five dimensions.
    Ensures: the same values to float rounding.
    """
    patch = Patch(draft)
    for i in patch.of_type("ReduceMean"):
        node = patch.node(i)
        shape = patch.shape(node.input[0])
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1 and node.input[1]:
            constant = patch.constant(node.input[1])
            axes = constant.reshape(-1).tolist() if constant is not None else None
        if shape is None or not axes or not attribute(node, "keepdims", 1) or not 4 <= len(shape) <= 5:
            continue
        if sorted(axis % len(shape) for axis in axes) == list(range(2, len(shape))) and patch.untouched([i]):
            made = patch.make("GlobalAveragePool", [node.input[0]], node.output[0], f"{node.name}/GlobalAveragePool")
            patch.replace([i], [made])
    return patch.apply()
