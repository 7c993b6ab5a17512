"""The search space of one model on one target: parameters, what may be chosen, what the options leave open."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from optuna.distributions import CategoricalDistribution

from ...errors import ModelError, OptionError
from ...strategies.base import Space
from ...strategies.words import (
    ACTIVATION_SYMMETRY,
    BIAS,
    BIASES,
    CALIBRATOR,
    CALIBRATOR_OF,
    CALIBRATORS,
    EQUALIZATION,
    EQUALIZATIONS,
    GLOBAL_CHOICES,
    GLUE_PRECISIONS,
    GRANULARITIES,
    IMPORTED,
    INHERIT,
    INTEGER_ACTIVATIONS,
    LAYER,
    OP,
    PRECISIONS,
    REWRITE,
    REWRITE_CHOICES,
    ROUNDING,
    ROUNDINGS,
    SMOOTH,
    SMOOTHS,
    SYMMETRIES,
    TABLE,
    TABLE_PRECISIONS,
    UNCORRECTED,
    WEIGHT_GRANULARITY,
    WEIGHT_ONLY,
    WEIGHT_RANGE,
    WEIGHT_RANGES,
    WEIGHT_SYMMETRY,
)
from ..graph.analysis import Analysis, Layer
from ..targets.base import Target
from .offers import QUANTIZED, offer, offer_table, why_not

_SHOWN = 5


def build_space(
    analysis: Analysis,
    target: Target,
    shares: Mapping[str, float] | None = None,
    *,
    calibrated: Collection[str],
    faulty: Collection[str] = (),
    keep_float: Sequence[str] = (),
    only: Sequence[str] = (),
    fix: Mapping[str, str] | None = None,
    per_layer_calibrators: bool = False,
    rewrites: Sequence[str] = (),
    doubtful: Collection[str] = (),
    imported: bool = False,
    objective: str = "",
    precisions: Sequence[str] = (),
    unweighted: Mapping[str, Mapping[str, str]] | None = None,
    scalable: Collection[str] = (EQUALIZATION, SMOOTH),
) -> Space:
    """All parameters of a study and what the target and the options leave open.

    The choices of a parameter never depend on target or options: a study goes on when they change, and Optuna
    refuses a parameter whose choices do.

    Args:
        analysis: The model's layers and glue.
        target: What the runtime runs.
        shares: `layer/<group>` → share of the work (`Space.shares`).
        calibrated: Tensors that have a range. What reads or writes another one (an untaken branch, say) stays float.
        faulty: Names of layers that the builder refuses.
        keep_float: Regular expressions. A layer whose name matches one (`re.search`) stays float, and its group
            with it. One that begins with `op/` is matched against `op/<type>` and keeps glue float, one that begins
            with `table/` likewise tables.
        only: Regular expressions. Only what matches one may be int8; of a group all layers must match. Glue is then
            float unless an expression beginning with `op/` matches it, as tables are without one for `table/`.
        fix: Parameter → the one choice it keeps. `layer/<name>` may name any layer of a group.
        rewrites: Names of the rewrites that change the model; `analysis` is then `Variants.union`.
        doubtful: Those of them that stay off unless the search finds them worth it.
        imported: Whether ranges come from a file: then `imported` is one more calibrator, the first. (A study of such
            ranges has a name of its own, so that its parameters' choices stay the same.)
        objective: As for `offer`, as `precisions` (its `asked`) and `unweighted`.
        precisions: Of `--precisions`.
        unweighted: Precision of weights alone → layer name → why it cannot have it.
        scalable: Those of equalization and smoothing that find something to scale in the model.
        per_layer_calibrators: Whether a layer may have a calibrator of its own; `fix` may give it one in any case.

    Raises:
        ModelError: The model has no layer that the target runs in int8.
        OptionError: An expression is invalid or matches nothing, `fix` names an unknown parameter or a choice that
            is not to be had, or the options leave no layer to quantize.
    """
    groups = analysis.groups
    glue = _glue_types(analysis, target, calibrated)
    kept = _matching(keep_float, "--keep-float", analysis, glue)
    selected = _matching(only, "--only", analysis, glue) if only else None

    calibrators = (IMPORTED, *CALIBRATORS) if imported else CALIBRATORS
    choices: dict[str, tuple[str, ...]] = {**GLOBAL_CHOICES, CALIBRATOR: calibrators}
    offered: dict[str, tuple[str, ...]] = {
        CALIBRATOR: calibrators,
        ACTIVATION_SYMMETRY: _among(target.symmetries, SYMMETRIES),
        WEIGHT_GRANULARITY: GRANULARITIES,
        # symmetric first: no zero point to correct for, the faster kernels everywhere
        WEIGHT_SYMMETRY: _among(("symmetric", "asymmetric"), tuple(target.weight)),
        WEIGHT_RANGE: WEIGHT_RANGES,
        ROUNDING: ROUNDINGS,
        BIAS: BIASES,
        EQUALIZATION: EQUALIZATIONS if EQUALIZATION in scalable else EQUALIZATIONS[:1],
        SMOOTH: SMOOTHS if SMOOTH in scalable else SMOOTHS[:1],
    }
    for rewrite in rewrites:
        choices[REWRITE + rewrite] = REWRITE_CHOICES
        # TensorRT compiles the plain operators itself and knows none of ONNX Runtime's own
        preferred = REWRITE_CHOICES[::-1] if rewrite in doubtful else REWRITE_CHOICES
        offered[REWRITE + rewrite] = ("off",) if target.name == "tensorrt" else preferred
    for op_type, possible in glue.items():
        name = OP + op_type
        choices[name] = GLUE_PRECISIONS
        wanted = name not in kept and (selected is None or name in selected)
        offered[name] = GLUE_PRECISIONS if possible and wanted else ("fp32",)
    possible_layers = 0
    can_be: dict[str, tuple[str, ...]] = {}
    for group, members in groups.items():
        name = LAYER + group
        choices[name] = PRECISIONS
        found = offer(
            members,
            target,
            objective=objective,
            asked=precisions,
            calibrated=calibrated,
            faulty=faulty,
            unweighted=unweighted,
        )
        possible_layers += not QUANTIZED.isdisjoint(found.usual)
        can_be[name] = found.possible
        wanted = not any(layer.name in kept for layer in members)
        wanted = wanted and (selected is None or all(layer.name in selected for layer in members))
        offered[name] = tuple(value for value in found.usual if wanted or value not in QUANTIZED)
    for table in analysis.tables:
        name = TABLE + table.name
        choices[name] = TABLE_PRECISIONS
        can_be[name] = offer_table(target, objective="size").possible
        usual = offer_table(target, objective=objective, asked=precisions).usual
        wanted = name not in kept and (selected is None or name in selected)
        offered[name] = usual if wanted else ("fp32",)
    for group in groups:
        name = CALIBRATOR_OF + group
        choices[name] = (INHERIT, *calibrators)
        chosen = per_layer_calibrators and not set(INTEGER_ACTIVATIONS).isdisjoint(offered[LAYER + group])
        offered[name] = choices[name] if chosen else (INHERIT,)
    weighted = any(
        layer.weight is not None and not QUANTIZED.isdisjoint(offered[LAYER + layer.group]) for layer in analysis.layers
    )
    if not weighted and not set(WEIGHT_ONLY).intersection((fix or {}).values()):  # nothing to round better
        offered |= {name: (off,) for name, off in UNCORRECTED.items()}
    if not possible_layers:
        raise ModelError(
            f"the model has no layer that can be quantized for the target {target.name} "
            f"(found {len(analysis.layers)} compute layers).\n`autoquant inspect` says why, operator by operator."
        )
    _fix(fix or {}, choices, offered, can_be, groups, target, unweighted or {})
    if all(QUANTIZED.isdisjoint(offered[LAYER + group]) for group in groups):
        raise OptionError(
            f"--keep-float, --only and --fix leave none of the {possible_layers} quantizable layers to quantize.\n"
            "Loosen them; `autoquant inspect` lists the layers."
        )
    return Space(choices, offered, dict(shares or {}))


def distributions(space: Space) -> dict[str, CategoricalDistribution]:
    """Optuna's distribution of every parameter, over all its choices."""
    cached: dict[tuple[str, ...], CategoricalDistribution] = {}
    for values in space.choices.values():
        if values not in cached:
            cached[values] = CategoricalDistribution(values)
    return {name: cached[values] for name, values in space.choices.items()}


def _among(preferred: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    return tuple(value for value in preferred if value in known)


def _glue_types(analysis: Analysis, target: Target, calibrated: Collection[str]) -> dict[str, bool]:
    """Glue operator type → whether any operator of it can be int8, in order of first appearance."""
    found: dict[str, bool] = {}
    for glue in analysis.glue:
        possible = glue.op_type in target.glue and all(t in calibrated for t in (*glue.inputs, *glue.outputs))
        found[glue.op_type] = found.get(glue.op_type, False) or possible
    return found


def _matching(patterns: Sequence[str], option: str, analysis: Analysis, glue: Collection[str]) -> set[str]:
    """Layer names, `op/<type>` and `table/<name>` that match any of the expressions."""
    found: set[str] = set()
    for pattern in patterns:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise OptionError(f"{option} must be a regular expression, but got {pattern!r}: {error}") from None
        names = [layer.name for layer in analysis.layers]
        if pattern.removeprefix("^").startswith(OP):
            names = [OP + op for op in glue]
        elif pattern.removeprefix("^").startswith(TABLE):
            names = [TABLE + table.name for table in analysis.tables]
        matches = {name for name in names if expression.search(name)}
        if not matches:
            some = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            raise OptionError(
                f"{option} {pattern!r} matches none of {len(names)} names ({some or 'there are none'}).\n"
                "`autoquant inspect` lists them all; glue is matched by `op/<type>`, a table by `table/<name>`."
            )
        found |= matches
    return found


def _fix(
    fix: Mapping[str, str],
    choices: Mapping[str, tuple[str, ...]],
    offered: dict[str, tuple[str, ...]],
    can_be: Mapping[str, tuple[str, ...]],
    groups: Mapping[str, Sequence[Layer]],
    target: Target,
    unweighted: Mapping[str, Mapping[str, str]],
) -> None:
    """Narrow `offered` to the fixed choices, in place. What is not usual (`can_be`) can be fixed too."""
    group_of = {
        prefix + layer.name: prefix + group
        for prefix in (LAYER, CALIBRATOR_OF)
        for group, members in groups.items()
        for layer in members
    }
    fixed: dict[str, str] = {}
    for given, value in fix.items():
        name = group_of.get(given, given)
        if name not in choices:
            near = difflib.get_close_matches(given, [*choices, *group_of], n=_SHOWN, cutoff=0.4)
            near = list(dict.fromkeys(near)) or list(choices)[:_SHOWN]
            raise OptionError(f"--fix names no parameter of this model: {given!r}.\nNear it: {', '.join(near)}")
        if value not in choices[name]:
            raise OptionError(f"--fix {given} must be one of {', '.join(choices[name])}, but got {value!r}.")
        unusual = value in WEIGHT_ONLY and value in can_be.get(name, ())
        if value not in offered[name] and not unusual and not name.startswith(CALIBRATOR_OF):
            why = why_not(value, groups.get(name.removeprefix(LAYER), ()), unweighted)
            raise OptionError(
                f"--fix {given}={value} is not to be had here: "
                + (f"{why}." if why else f"the target {target.name} and the other options leave")
                + (" There are: " if why else " ")
                + f"{', '.join(offered[name])}."
            )
        if fixed.get(name, value) != value:
            raise OptionError(f"--fix {given}={value} contradicts {fixed[name]} for another layer of its group.")
        fixed[name] = value
    for name, value in fixed.items():
        offered[name] = (value,)
