"""SiLU (Swish) as one operator.

x · sigmoid(a·x) (Ramachandran, Zoph & Le, Searching for Activation Functions, 2017) is ONNX Runtime's QuickGelu. It
fuses the two itself in float; but where x is dequantized, each reader gets a DequantizeLinear of its own, the two no
longer read the same tensor, and four passes over memory stay where two do.
"""

from __future__ import annotations

from ..draft import Draft
from .algebra import bases, expression
from .patch import MICROSOFT, Change, Patch


def silu(draft: Draft) -> Change:
    """com.microsoft QuickGelu for Mul and Sigmoid of one tensor.

    Requires: the Sigmoid's argument the tensor itself, or a constant times it.
    Ensures: the same values to float rounding; no tensor that others read is gone.
    """
    patch = Patch(draft)
    for i in patch.of_type("Sigmoid"):
        _site(patch, i)
    return patch.apply()


def _site(patch: Patch, i: int) -> None:
    node = patch.node(i)
    reader = patch.index.sole_consumer(node.output[0])
    if reader is None or patch.node(reader).op_type != "Mul":
        return
    other = [name for name in patch.node(reader).input if name != node.output[0]]
    if len(other) != 1 or other[0] not in bases(patch, node.input[0]):
        return
    argument = expression(patch, node.input[0], other[0])
    if argument is None or not argument.equals([0.0, float(argument.plain[1])], []) or not argument.plain[1]:
        return
    nodes = argument.nodes | {i, reader}
    result = patch.node(reader).output[0]
    if not patch.closed(nodes, result) or not patch.untouched(nodes):
        return
    name = f"{patch.node(reader).name}/QuickGelu"
    made = patch.make("QuickGelu", [other[0]], result, name, MICROSOFT, alpha=float(argument.plain[1]))
    patch.replace(nodes, [made])
