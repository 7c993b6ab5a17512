"""What a run knows of its calibration samples: number, source, selection, and how they compare to the evaluation.

Kept in the study, shown in the summary, the report and result.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...evaluators.base import Feed
from ...evaluators.feeds import batch_of
from ..calibration.collect import collect
from ..calibration.identity import Met
from ..calibration.inputshift import Profile, Shift, shift
from ..calibration.mismatch import Mismatch, mismatch
from ..calibration.ranges import Ranges
from .baseline import Baseline
from .inputs import Inputs
from .samples import Samples, opener

COMPARED = 16
"""Samples of the evaluation whose ranges are compared with the calibrated ones."""
_PART = 0.04
"""Of the evaluation at most: a pass that counts every tensor takes up to 2.5 times as long as plain inference."""
_FEW = 8
_NOTABLE = 0.1


def about(
    inputs: Inputs,
    source: Samples,
    ranges: Ranges,
    tensors: Sequence[str],
    met: Met,
    profile: Profile,
    measured: Baseline,
) -> dict[str, Any]:
    """The `calibration` of result.json.

    Args:
        source: Where the samples came from.
        ranges: What they gave.
        tensors: What was calibrated.
        met: The samples that went by.
        profile: Their inputs' means and deviations.
        measured: The float model's score, with what its evaluation fed where that was watched.
    """
    seen = measured.seen
    overlap = None
    if seen is not None and not source.data_free:
        overlap = met.total - met.repeated if source.recorded else len(met.digests & seen.digests)
    found, moved = None, None
    if measured.recorder is not None and seen is not None and not source.recorded:
        few = list(_first(measured.recorder.feeds(), inputs, min(COMPARED, max(1, int(_PART * seen.total)))))
        if few:
            collected = collect(inputs.model, tensors, few, open_session=opener(inputs))
            names = tuple(value.name for value in inputs.model.proto.graph.input)
            found = mismatch(collected, ranges, names)
            theirs = Profile(inputs.model.inputs)
            for feed in few:
                theirs.add(feed)
            moved = shift(profile.values, theirs.values, inputs.request.seed)
    unlike = (found is not None and found.unlike(ranges.samples)) or (moved is not None and moved.notable)
    chosen = source.chosen
    return {
        "samples": ranges.samples,
        "of": chosen.total if chosen is not None and chosen.places is not None else None,
        "source": source.source,
        "data_free": source.data_free,
        "select": source.options.select or "random",
        "selection": source.options.words(inputs.request.seed) or None,
        "repeated": met.repeated,
        "constant": met.constant,
        "overlap": overlap,
        "evaluation_samples": None if seen is None else len(seen.digests),
        "coverage": None
        if found is None
        else {**found.to_json(), "input_shift": None if moved is None else moved.distance, "unlike": unlike},
        "warnings": [*_quality(source, met), *_unlike(source, ranges.samples, found, moved)],
        "chosen": None if chosen is None else chosen.to_json(),
    }


def _quality(source: Samples, met: Met) -> list[str]:
    """Warnings about the samples themselves."""
    if source.data_free:
        return ["calibrated without data: ranges come from made-up samples, real ones would do better"]
    said = []
    distinct = met.total - met.repeated
    if distinct < _FEW:
        said.append(
            f"only {distinct} different calibration samples: ranges of so few are a matter of luck. Give 100 or more"
        )
    elif met.repeated > _NOTABLE * met.total:
        said.append(f"{met.repeated} of {met.total} calibration samples repeat others: they add nothing")
    if met.constant > _NOTABLE * met.total:
        said.append(
            f"{met.constant} of {met.total} calibration samples hold a single value throughout: are these inputs meant?"
        )
    return said


def _unlike(source: Samples, calibrated: int, found: Mismatch | None, moved: Shift | None) -> list[str]:
    """A warning where the evaluation feeds other data."""
    if found is None:
        return []
    if not found.unlike(calibrated):
        if moved is None or not moved.notable:
            return []
        how = f"its inputs' mean or contrast lies {moved.distance:.2g} deviations away"
    elif found.outside >= found.narrow:
        how = (
            f"in {found.outside} of {found.tensors} tensors its values lie beyond the calibrated range "
            f"({found.worst}: {100 * found.beyond:.2g}% of them, up to {found.reach:.3g} times as far)"
        )
    else:
        how = (
            f"in {found.narrow} of {found.tensors} tensors its values fill less than a quarter of the calibrated range "
            f"({found.worst}: {100 * found.reach:.2g}%)"
        )
    remedy = (
        "--input-range may mend it" if source.data_free else "does calibration() preprocess as the evaluation does?"
    )
    return [f"the evaluation feeds other data than calibration saw: {how}; {remedy}"]


def public(held: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What result.json shows of it."""
    return None if held is None else {name: value for name, value in held.items() if name != "chosen"}


def _first(feeds: Iterable[Feed], inputs: Inputs, count: int) -> Iterable[Feed]:
    """The first samples of some feeds."""
    for feed in feeds:
        if count <= 0:
            return
        rows = batch_of(feed, inputs.model.inputs)
        yield feed if rows is None else {name: array[:count] for name, array in feed.items()}
        count -= rows or COMPARED
