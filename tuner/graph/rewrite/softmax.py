"""A Softmax between a Flatten and a Reshape back, as opset 13 no longer needs it."""

from __future__ import annotations

from ..draft import Draft
from .patch import Change, Patch, attribute


def softmax(draft: Draft) -> Change:
    """Softmax over the last axis for Flatten, Softmax and a Reshape to the Flatten's input shape.

    That is what lifting from opset 12 makes of a Softmax, which flattened its input.

    Requires: the Flatten keeps the last axis alone.
    Ensures: the same values; no tensor that others read is gone.
    """
    patch = Patch(draft)
    for i in patch.of_type("Softmax"):
        _site(patch, i)
    return patch.apply()


def _site(patch: Patch, i: int) -> None:
    node = patch.node(i)
    flatten, reshape = patch.writer(node.input[0]), patch.index.sole_consumer(node.output[0])
    if flatten is None or reshape is None or patch.node(flatten).op_type != "Flatten":
        return
    x = patch.node(flatten).input[0]
    shape = patch.shape(x)
    back = patch.node(reshape)
    if shape is None or back.op_type != "Reshape" or back.input[0] != node.output[0]:
        return
    rank = len(shape)
    asked = patch.writer(back.input[1])
    whole = asked is not None and patch.node(asked).op_type == "Shape" and patch.node(asked).input[0] == x
    if asked is None or not whole or patch.node(asked).attribute or attribute(back, "allowzero", 0):
        return
    if attribute(patch.node(flatten), "axis", 1) % rank != rank - 1 or attribute(node, "axis", -1) not in (-1, 1):
        return
    nodes = {i, flatten, reshape}
    if patch.closed(nodes, back.output[0]) and patch.untouched(nodes):
        patch.replace(nodes, [patch.make("Softmax", [x], back.output[0], f"{back.name}/Softmax", axis=-1)])
