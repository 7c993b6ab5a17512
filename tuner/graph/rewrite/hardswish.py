"""HardSwish and HardSigmoid, written out as Add, Clip, Mul and Div, put back as HardSigmoid (and Mul).

HardSwish(x) = x · min(max(x + 3, 0), 6) / 6 (Howard et al., Searching for MobileNetV3, 2019): four passes over memory
where ONNX Runtime needs two. It has no kernel of its own for the operator HardSwish and would do these same two.
"""

from __future__ import annotations

from ..draft import Draft
from .algebra import Expression, bases, expression, linear, results
from .patch import Change, Image, Patch


def hardswish(draft: Draft) -> Change:
    """HardSigmoid for a Clip with what surrounds it, HardSigmoid and Mul for HardSwish.

    Requires: the Clip's lower bound is 0 and its argument a linear function of one tensor, with an offset.
    Ensures: the same values to float rounding; no tensor that others read is gone.
    """
    patch = Patch(draft)
    for i in patch.of_type("Clip"):
        _clip(patch, i)
    for i in patch.of_type("HardSwish"):
        x, out = patch.node(i).input[0], patch.node(i).output[0]
        gate = draft.free_name(f"{out}/gate")
        patch.derived[gate] = Image(x, 1 / 6, 0.5, 0.0, 1.0)
        _write(patch, frozenset((i,)), x, (1 / 6, 0.5), out, gate, x)
    return patch.apply()


def _clip(patch: Patch, i: int) -> None:
    node = patch.node(i)
    bounds = [patch.scalar(name) for name in node.input[1:3]]
    if len(bounds) < 2 or bounds[0] != 0.0 or not bounds[1] or not 0 < bounds[1] < 1e30:
        return
    high, clipped = bounds[1], node.output[0]
    argument = linear(patch, node.input[0])
    if argument is None or not argument[1].plain[0]:  # without an offset it is no HardSigmoid
        return
    x, line = argument
    slope = (float(line.plain[1]) / high, float(line.plain[0]) / high)
    for result in results(patch, clipped):
        factor = _factor(patch, result, clipped, 1 / high)
        if factor is None:
            continue
        times, found = factor
        nodes = line.nodes | found.nodes | {i}
        if not patch.closed(nodes, result) or not patch.untouched(nodes):
            return
        gate = result
        if times:
            gate = patch.draft.free_name(f"{result}/gate")
            patch.derived[gate] = Image(clipped, 1 / high, 0.0, 0.0, 1.0)
        _write(patch, nodes, x, slope, result, gate, times)
        return


def _write(
    patch: Patch, nodes: frozenset[int], x: str, slope: tuple[float, float], result: str, gate: str, times: str
) -> None:
    """HardSigmoid of `x`, times a tensor where one is named, in place of these nodes."""
    stem = patch.node(max(nodes)).name
    made = [patch.make("HardSigmoid", [x], gate, f"{stem}/HardSigmoid", alpha=slope[0], beta=slope[1])]
    if times:
        made.append(patch.make("Mul", [times, gate], result, f"{stem}/Mul"))
    patch.replace(nodes, made)


def _factor(patch: Patch, result: str, clipped: str, wanted: float) -> tuple[str, Expression] | None:
    """A tensor as `wanted` · clipped · y: y, the empty string for 1, and the expression; None for anything else."""
    plain = expression(patch, result, "", clipped)
    if plain is not None:
        return ("", plain) if plain.equals([], [wanted]) else None
    for y in bases(patch, result):
        found = expression(patch, result, y, clipped) if y != clipped else None
        if found is not None and found.nodes and found.equals([], [0.0, wanted]):
            return y, found
    return None
