"""What a run may claim: met, not met, or nothing gained."""

from __future__ import annotations

from collections.abc import Mapping

from ...evaluators.base import Latency
from ...evaluators.stopwatch import BUSY
from ...strategies.words import INTEGER_ACTIVATIONS, WEIGHT_ONLY
from .confirm import Confirmed
from .heldout import HeldOut
from .request import TargetDrop
from .result import LEAST_SHARE, Status


def judge(
    found: Confirmed | None,
    target: TargetDrop,
    objective: str,
    layers: Mapping[str, int],
    reason: str,
    held: HeldOut | None = None,
) -> tuple[Status, str]:
    """The status and one sentence why.

    Args:
        layers: As in result.json.
        reason: Why the search ended.
        held: What the held-out samples say, None without any.
    """
    if found is None:
        return "not_met", f"no trial could be scored: {reason}"
    lost = f"{100 * abs(found.drop):.2f}%" if target.relative else f"{abs(found.drop):.4g}"
    if not found.holds:
        return "not_met", f"the best effort loses {lost} where {target} is allowed; {reason}"
    if held is not None and not held.holds:
        return "not_met", (
            f"holds {target} on the samples of the search, but loses {target.shown(held.drop)} on the "
            f"{held.samples} held out; {reason}"
        )
    faster = found.latency is not None and found.latency.speedup_ci[0] > 1.0
    tried = (found.passed or found).latency
    if found.passed is not None and faster:
        return "no_gain", (
            f"int8 gains nothing: the best that holds the target runs at {_speed(tried)}, but the float graph "
            f"rewritten runs at {_speed(found.latency)} of the file given, losing {_lost(found, target)}: take it, it "
            "is what was written"
        )
    if objective == "latency" and tried is not None and tried.speedup_ci[0] <= 1.0:
        written = "; that is what was written" if found.passed else ""
        return "no_gain", (
            "nothing that holds the target is faster than the float model beyond noise: the best runs at "
            f"{_speed(tried)}; keep the float model{written}"
        )
    integers = sum(layers.get(precision, 0) for precision in (*INTEGER_ACTIVATIONS, *WEIGHT_ONLY))
    if integers < LEAST_SHARE * layers["total"]:
        few = f"only {integers} of {layers['total']} layers run on integers in the best that holds the target"
        if faster:
            return "no_gain", (
                f"{few}, but the float graph rewritten runs at {_speed(found.latency)} of the file given, losing "
                f"{_lost(found, target)}: take it, it is what was written"
            )
        return "no_gain", f"{few}; keep the float model"
    if found.drop <= 0:
        return "met", f"scores {lost} better than the float model" if found.drop else "loses nothing"
    return "met", f"loses {lost} where {target} is allowed"


def _speed(latency: Latency | None) -> str:
    assert latency is not None
    low, high = latency.speedup_ci
    return f"{latency.speedup:.2f}× ({low:.2f} to {high:.2f})"


def _lost(found: Confirmed, target: TargetDrop) -> str:
    if found.drop <= 0:
        return "nothing"
    return f"{100 * found.drop:.2f}%" if target.relative else f"{found.drop:.4g}"


def warnings(found: Confirmed | None, objective: str, target: TargetDrop) -> list[str]:
    """What the user should read beside the verdict."""
    said: list[str] = []
    if found is None:
        return said
    lossless = found.passed is not None  # a float form: the clock alone speaks against it
    if found.latency is not None and (objective != "latency" or lossless) and found.latency.speedup_ci[1] < 1.0:
        said.append(f"runs at {found.latency.speedup:.2g}× of the float model here")
    if found.slowdown > BUSY:
        said.append(
            f"the machine was busy while the model was timed (float ran {found.slowdown:.1f} times as long as before): "
            "the latency is unsure"
        )
    if found.noise > 0:
        shown = f"{100 * found.noise:.3g}%" if target.relative else f"{found.noise:.3g}"
        said.append(f"the metric moves by {shown} from one evaluation of the same model to the next")
    changed = [name for name, ran in found.layers.items() if ran != found.candidate.layers.get(name, ran)]
    if changed:
        said.append(
            f"{len(changed)} layers run otherwise than the recipe says, the first {changed[0]} "
            f"({found.candidate.layers[changed[0]]} in the recipe, {found.layers[changed[0]]} here)"
        )
    said.extend(found.candidate.notes)
    return said
