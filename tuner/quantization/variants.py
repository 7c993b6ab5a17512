"""One builder for each set of rewrites: the entrance to a build for recipes that switch them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np

from ...strategies.words import EQUALIZATION, REWRITE, SMOOTH
from ..calibration.ranges import Ranges
from ..graph.analysis import Analysis
from ..graph.model import Model
from ..graph.rewrite.patch import Image
from ..graph.rewrite.variants import Variants
from ..targets.base import Target
from .builder import Builder
from .candidate import Candidate, Quantization
from .rescaling import Form, Rescaling, scaling_of
from .results import Nothing, Source


class Builders:
    """Builds candidates of one model, rewritten as each recipe says; a recipe without `rewrite/…` means all off.

    Args:
        model: The float model.
        analysis: Its layers and glue, or its variants where they are at hand.
        ranges: What calibration found on the model as loaded.
        target: The runtime's profile.
        source: As for `Builder`.
    """

    def __init__(
        self,
        model: Model,
        analysis: Analysis | Variants,
        ranges: Ranges,
        target: Target,
        source: Source | None = None,
    ) -> None:
        self.variants = analysis if isinstance(analysis, Variants) else Variants(model, analysis)
        self.ranges = ranges
        self.target = target
        self._source = source
        self._made: dict[frozenset[str], Builder] = {}
        self._rescalings: dict[frozenset[str], Rescaling] = {}
        self._scaled: dict[int, Builder] = {}

    def builder(self, recipe: Mapping[str, str]) -> Builder:
        """The builder of a recipe's variant, its channels scaled as the recipe says.

        Raises:
            CalibrationError: Channels are to be scaled, and what that takes is not to be had from the source.
        """
        form = self._form(recipe)
        if form is None:
            return self._of(switched_on(recipe))
        if id(form) not in self._scaled:
            self._scaled[id(form)] = Builder(form.model, form.analysis, form.ranges, self.target, self._source)
        return self._scaled[id(form)]

    def build(
        self,
        recipe: Mapping[str, str],
        *,
        simulate: bool = False,
        overrides: Mapping[str, Quantization] | None = None,
        wide: Mapping[str, Quantization] | None = None,
    ) -> Candidate:
        """The candidate of a recipe; see `Builder.build`."""
        built = self.builder(recipe).build(recipe, simulate=simulate, overrides=overrides, wide=wide)

        form = self._form(recipe)
        if form is None:
            return built
        return replace(built, corrections=dict(sorted({**built.corrections, **form.files}.items())))

    def parameters(self, tensor: str, recipe: Mapping[str, str]) -> Quantization:
        """Scale and zero point of an activation under a recipe; see `Builder.parameters`."""
        return self.builder(recipe).parameters(tensor, recipe)

    @property
    def corrections_seconds(self) -> float:
        """Spent so far on what corrections take from calibration samples."""
        return self._source.seconds if self._source else 0.0

    def corrections_cost(self, candidate: Candidate) -> float:
        """Seconds that a candidate's corrections took, whichever recipe asked for them first."""
        return sum(self._source.costs.get(key, 0.0) for key in candidate.corrections) if self._source else 0.0

    @property
    def faults(self) -> Mapping[str, str]:
        """Layer name → why it cannot be int8, with or without rewrites."""
        full = self._of(frozenset(self.variants.names)).faults
        return {name: fault for name, fault in self._of(frozenset()).faults.items() if name in full}

    @property
    def unweighted(self) -> Mapping[str, Mapping[str, str]]:
        """Precision of weights alone → layer name → why it cannot have it, with or without rewrites."""
        plain, full = self._of(frozenset()).unweighted, self._of(frozenset(self.variants.names)).unweighted
        return {precision: {**full[precision], **plain[precision]} for precision in plain}

    @cached_property
    def scalable(self) -> tuple[str, ...]:
        """Those of equalization and smoothing that find something to scale."""
        found = self._rescaling(frozenset(self.variants.names)).sites
        written = any(site.writer is not None for site in found)
        return (*((EQUALIZATION,) if written else ()), *((SMOOTH,) if any(site.readers for site in found) else ()))

    @property
    def calibrated(self) -> frozenset[str]:
        """Tensors with a range, those that only rewrites bring included."""
        return frozenset(self.listed({REWRITE + name: "on" for name in self.variants.names})[1].values)

    def listed(self, recipe: Mapping[str, str]) -> tuple[Analysis, Ranges]:
        """All tensors any switch of a recipe's layers, glue or rewrites may need, and their ranges: for recipe.json."""
        here = self.builder(recipe)
        full = self._of(frozenset(self.variants.names))
        tensors = dict.fromkeys((*self.variants.union.tensors, *here.analysis.tensors))
        ranges = replace(
            self.ranges,
            values={**full.ranges.values, **here.ranges.values},
            shapes={**full.ranges.shapes, **here.ranges.shapes},
        )
        return replace(here.analysis, tensors=tuple(tensors)), ranges

    def _form(self, recipe: Mapping[str, str]) -> Form | None:
        """The scaled model of a recipe, None where it scales nothing."""
        scaling = scaling_of(recipe)
        return None if scaling is None else self._rescaling(switched_on(recipe)).form(scaling)

    def _rescaling(self, names: frozenset[str]) -> Rescaling:
        key = names.intersection(self.variants.names)
        if key not in self._rescalings:
            plain = self._of(key)
            self._rescalings[key] = Rescaling(
                plain.model, plain.analysis, plain.ranges, self._source or Nothing(), self.target, sorted(key)
            )
        return self._rescalings[key]

    def _of(self, names: frozenset[str]) -> Builder:
        key = names.intersection(self.variants.names)
        if key not in self._made:
            variant = self.variants.get(key)
            self._made[key] = Builder(
                variant.model, variant.analysis, extended(self.ranges, variant.derived), self.target, self._source
            )
        return self._made[key]


def switched_on(recipe: Mapping[str, str]) -> frozenset[str]:
    """The rewrites a recipe makes."""
    return frozenset(
        name[len(REWRITE) :] for name, value in recipe.items() if name.startswith(REWRITE) and value == "on"
    )


def extended(ranges: Ranges, derived: Mapping[str, Image]) -> Ranges:
    """The ranges, with those of derived tensors whose source has some."""
    values, shapes = dict(ranges.values), dict(ranges.shapes)
    for tensor, image in derived.items():
        found = ranges.values.get(image.source)
        if tensor in values or not found:
            continue
        values[tensor] = {
            calibrator: {symmetry: _moved(image, by, symmetry) for symmetry in by} for calibrator, by in found.items()
        }
        if image.source in shapes:
            shapes[tensor] = shapes[image.source]
    return replace(ranges, values=values, shapes=shapes)


def _moved(image: Image, by: Mapping[str, tuple[float, float]], symmetry: str) -> tuple[float, float]:
    """A range's image; with the ends in order and 0 inside, of equal ends where symmetric unless never negative."""
    source = by[symmetry] if image.offset == 0 and image.factor > 0 else by.get("asymmetric", by[symmetry])
    ends = [image.factor * end + image.offset for end in source]
    low, high = (min(max(end, image.low), image.high) for end in sorted(ends))
    low, high = float(np.float32(min(low, 0.0))), float(np.float32(max(high, 0.0)))
    if symmetry == "symmetric" and low < 0:
        low, high = -max(-low, high), max(-low, high)
    return low, high
