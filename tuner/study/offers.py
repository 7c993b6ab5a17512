"""Which precisions each layer may have: by the target, the objective and what was asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...errors import OptionError
from ...strategies.words import INTEGER_ACTIVATIONS, PRECISIONS, TABLE_PRECISIONS, WEIGHT_ONLY
from ..graph.analysis import Layer
from ..graph.recurrent import GATES
from ..targets.base import Target

QUANTIZED = frozenset(INTEGER_ACTIVATIONS + WEIGHT_ONLY)
_ORDER = ("int8", "int16", "weight8", "int4", "fp16", "fp32")
_FLOAT = "fp32"


@dataclass(frozen=True, slots=True)
class Offer:
    """The precisions of one layer or group, the preferred first.

    Attributes:
        usual: Those that the search chooses from.
        possible: All that it can be built in.
    """

    usual: tuple[str, ...]
    possible: tuple[str, ...]


def offer(
    members: Sequence[Layer],
    target: Target,
    *,
    objective: str = "",
    asked: Sequence[str] = (),
    calibrated: Collection[str],
    faulty: Collection[str] = (),
    unweighted: Mapping[str, Mapping[str, str]] | None = None,
) -> Offer:
    """What a group may be.

    Weights alone on integers gain bytes, and neither time nor a cheaper operation: they are offered where the objective
    is size, or where they are asked for.

    Args:
        members: Its layers.
        target: The runtime.
        objective: `latency`, `size` or `ops`.
        asked: Precisions of `--precisions`, empty for the usual ones.
        calibrated: Tensors that have a range.
        faulty: Layers that the builder refuses to put on integers.
        unweighted: Precision of weights alone → layer → why it cannot have it.
    """
    refused = unweighted or {}
    integers = all(_runs_on_integers(layer, target, calibrated) and layer.name not in faulty for layer in members)
    alone = [
        precision
        for precision in WEIGHT_ONLY
        if all(
            layer.weight is not None
            and precision in target.weight_only.get(layer.op_type, ())
            and layer.name not in refused.get(precision, ())
            for layer in members
        )
    ]
    whole = any(layer.op_type in GATES for layer in members)  # no float16 form
    own = [value for value in target.precisions if integers or value not in INTEGER_ACTIVATIONS]
    own = [value for value in own if not (whole and value == "fp16")]
    possible = tuple(value for value in _ORDER if value in {*own, *alone, _FLOAT})
    wanted = {*asked, _FLOAT} if asked else {*own, *(alone if objective == "size" else ()), _FLOAT}
    return Offer(tuple(value for value in possible if value in wanted), possible)


def offer_table(target: Target, *, objective: str = "", asked: Sequence[str] = ()) -> Offer:
    """What a table may be: float first, since only the metric tells whether 8 bits do; see `offer`."""
    alone = tuple(value for value in TABLE_PRECISIONS if value in target.weight_only.get("Gather", ()))
    wanted = set(asked) if asked else {*(alone if objective == "size" else ())}
    return Offer((_FLOAT, *(value for value in alone if value in wanted)), (*alone, _FLOAT))


def check(asked: Sequence[str], target: Target) -> None:
    """See that the precisions of `--precisions` are ones that the target has.

    Raises:
        OptionError: One is not.
    """
    of_weights = [name for name in WEIGHT_ONLY if any(name in values for values in target.weight_only.values())]
    known = [*target.precisions, *of_weights]
    for name in asked:
        if name not in known:
            what = f"is not to be had on the target {target.name}" if name in PRECISIONS else "is no precision"
            raise OptionError(f"--precisions: {name!r} {what}.\nThere are: {', '.join(known)}.")
    if asked and QUANTIZED.isdisjoint(asked):
        raise OptionError(
            f"--precisions {','.join(asked)} leaves nothing to quantize.\nAdd one of: {', '.join(known)}."
        )


def why_not(precision: str, members: Sequence[Layer], unweighted: Mapping[str, Mapping[str, str]]) -> str:
    """Why a group cannot have a precision of weights alone, a clause; "" where nothing special is known."""
    for layer in members:
        if why := unweighted.get(precision, {}).get(layer.name):
            return f"{layer.name}: {why}"
    return ""


def _runs_on_integers(layer: Layer, target: Target, calibrated: Collection[str]) -> bool:
    if QUANTIZED.isdisjoint(target.precisions) or layer.op_type not in target.layers:
        return False
    needed = [*layer.inputs, *([layer.output] if target.layers[layer.op_type] else [])]
    return all(tensor in calibrated for tensor in needed)
