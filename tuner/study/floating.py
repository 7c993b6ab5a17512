"""A recipe's float form: the same rewrites, nothing in int8."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx

from ...strategies.base import Recipe, Space
from ...strategies.words import LAYER, OP, REWRITE, TABLE

# What loading moves about without changing what runs.
_IDLE = frozenset({"Constant", "Identity"})


def floated(space: Space, recipe: Recipe, *, rewritten: bool = True) -> Recipe:
    """The recipe with every layer and all glue in float, as far as the space offers it.

    Args:
        space: Of the recipe.
        recipe: Any.
        rewritten: Keep its rewrites; else all off.
    """
    changes = {name: "fp32" for name in recipe if name.startswith((LAYER, OP, TABLE))}
    if not rewritten:
        changes |= {name: "off" for name in recipe if name.startswith(REWRITE)}
    return space.canonical(recipe.replace(changes))


def differs(source: Path, proto: onnx.ModelProto) -> bool:
    """Whether a float candidate has other operators than the file it was made of: rewritten, or folded at loading."""
    given = onnx.load(source, load_external_data=False)
    return _operators(given) != _operators(proto)


def _operators(proto: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node if node.op_type not in _IDLE)
