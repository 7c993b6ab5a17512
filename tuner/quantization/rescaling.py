"""Equalized and smoothed forms of a model: scales chosen from weights and samples, ranges of what they change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from ...strategies.words import CALIBRATORS, EQUALIZATION, IMPORTED, SMOOTH, SYMMETRIES, WEIGHT_GRANULARITY
from ..calibration.channels import channels
from ..calibration.collect import OpenSession, collect
from ..calibration.compute import compute_ranges
from ..calibration.ranges import Ranges
from ..graph.analyse import analyse
from ..graph.analysis import Analysis
from ..graph.model import Model
from ..graph.rescale import Rescaled, rescaled
from ..graph.sites import Site, sites
from ..targets.base import Target
from .results import Kept, Source
from .scalechoice import Chooser, Scaling
from .sweep import Compute, Feeds, Sweep

_VERSION = 1


@dataclass(frozen=True)
class Form:
    """A scaled model, and what is known of it.

    Attributes:
        files: Key → file of the results it rests on.
    """

    model: Model
    analysis: Analysis
    ranges: Ranges
    files: Mapping[str, str]


def scaling_of(recipe: Mapping[str, str]) -> Scaling | None:
    """How a recipe scales channels; None where it does not."""
    equalization, smooth = recipe.get(EQUALIZATION, "off") == "on", recipe.get(SMOOTH, "off")
    if not equalization and smooth == "off":
        return None
    return Scaling(equalization, smooth, recipe.get(WEIGHT_GRANULARITY) == "per_tensor")


class Rescaling:
    """The scaled forms of one model (a variant), each made when it is first asked for.

    Args:
        model: The float model.
        analysis: Its layers.
        ranges: What calibration found.
        source: Where results come from.
        target: The runtime. On TensorRT only what weights take up is scaled: it has no place for what is left.
        rewrites: What tells variants of the same file apart.
    """

    def __init__(
        self,
        model: Model,
        analysis: Analysis,
        ranges: Ranges,
        source: Source,
        target: Target,
        rewrites: Sequence[str] = (),
    ) -> None:
        self._model = model
        self._analysis = analysis
        self._ranges = ranges
        self._source = source
        self._target = target
        self._rewrites = list(rewrites)
        self._made: dict[Scaling, Form] = {}

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Where the model can be scaled."""
        found = sites(self._model, self._analysis)
        if self._target.name != "tensorrt":
            return found
        return tuple(site for site in found if site.writer is not None and not site.others)

    @cached_property
    def _chooser(self) -> Chooser:
        return Chooser(self._model, self._analysis, self.sites)

    def form(self, scaling: Scaling) -> Form:
        """The model scaled as a recipe says.

        Raises:
            CalibrationError: As the source.
        """
        if scaling not in self._made:
            files: dict[str, str] = {}

            def get(kind: str, run: Compute) -> np.ndarray:
                kept = self._get(kind, scaling, run)
                files.update({self._key(kind, scaling): kept.file} if kept.file else {})
                return kept.values

            scales, offsets = self._unpacked(get("scales", lambda *given: self._scales(scaling)))
            made = rescaled(self._model, self._analysis, scales, offsets)
            spans = get("spans", lambda *given: _spans(made, *given))
            analysis = _without_added(analyse(made.model), made)
            ranges = _extended(self._ranges, made, spans)
            self._made[scaling] = Form(made.model, analysis, ranges, files)
        return self._made[scaling]

    def _get(self, kind: str, scaling: Scaling, run: Compute) -> Kept:
        layer = next((site.writer or site.readers[0] for site in self.sites), "")
        asked = EQUALIZATION if scaling.equalization else SMOOTH
        return self._source.get(
            Sweep(key=self._key(kind, scaling), model=self._model, layer=layer, asked=asked, run=run)
        )

    def _key(self, kind: str, scaling: Scaling) -> str:
        """32 hex digits that name a result."""
        # what all recipes share is of none
        parts = "" if kind == "channels" else json.dumps(asdict(scaling), sort_keys=True)
        text = json.dumps([kind, _VERSION, self._model.fingerprint, self._rewrites, parts])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _scales(self, scaling: Scaling) -> np.ndarray:
        """Scale and offset of each site's channels, one behind the other, float32 [2, channels]."""
        axes = self._chooser.axes()
        seen = self._get("channels", scaling, lambda *given: _channels(self._model, axes, *given)).values
        statistics: dict[str, np.ndarray] = {}
        place = 0
        for tensor, (_, count) in axes.items():
            if np.isfinite(seen[:, place]).all():
                statistics[tensor] = seen[:, place : place + count]
            place += count
        scales, offsets = self._chooser.choose(scaling, statistics)
        parts = []
        for site in self.sites:
            scale, offset = scales.get(site, np.ones(site.channels)), offsets.get(site, np.zeros(site.channels))
            parts.append(np.stack([scale, offset]).astype(np.float32))
        return np.concatenate([np.zeros((2, 0), np.float32), *parts], axis=1)

    def _unpacked(self, values: np.ndarray) -> tuple[dict[Site, np.ndarray], dict[Site, np.ndarray]]:
        """The inverse, without sites that are left as they are."""
        scales: dict[Site, np.ndarray] = {}
        offsets: dict[Site, np.ndarray] = {}
        place = 0
        for site in self.sites:
            scale, offset = values[:, place : place + site.channels]
            place += site.channels
            if (scale != 1).any() or offset.any():
                scales[site] = scale
            if offset.any():
                offsets[site] = offset
        return scales, offsets


def _channels(
    model: Model,
    axes: Mapping[str, tuple[int, int]],
    feeds: Feeds,
    open_session: OpenSession,
    progress: Callable[[int], None] | None,
) -> np.ndarray:
    """What `channels` finds of each tensor, one behind the other, float64 [4, channels]; NaN where never seen."""
    found = channels(
        model, {name: axis for name, (axis, _) in axes.items()}, feeds(), open_session=open_session, progress=progress
    )
    parts = [found.get(name, np.full((4, count), np.nan)) for name, (_, count) in axes.items()]
    return np.concatenate([np.zeros((4, 0)), *parts], axis=1)


def _spans(
    made: Rescaled, feeds: Feeds, open_session: OpenSession, progress: Callable[[int], None] | None
) -> np.ndarray:
    """Ranges of the new tensors, float64 [tensors, calibrators, symmetries, 2]; NaN where there is none."""
    names = list(made.sources)
    if not names:
        return np.zeros((0, len(CALIBRATORS), len(SYMMETRIES), 2))
    ranges = compute_ranges(collect(made.model, names, feeds(), open_session=open_session, progress=progress))
    none = (np.nan, np.nan)
    return np.array(
        [
            [
                [
                    ranges.values[name][calibrator][symmetry] if name in ranges.values else none
                    for symmetry in SYMMETRIES
                ]
                for calibrator in CALIBRATORS
            ]
            for name in names
        ]
    )


def _extended(ranges: Ranges, made: Rescaled, spans: np.ndarray) -> Ranges:
    """The ranges with those of the new tensors; where there are imported ones these have min-max ranges."""
    imported = any(IMPORTED in by for by in ranges.values.values())
    values, shapes = dict(ranges.values), dict(ranges.shapes)
    for (name, source), by_calibrator in zip(made.sources.items(), spans, strict=True):
        if not np.isfinite(by_calibrator).all():
            continue
        found = {
            calibrator: {
                symmetry: (float(span[0]), float(span[1])) for symmetry, span in zip(SYMMETRIES, spans_of, strict=True)
            }
            for calibrator, spans_of in zip(CALIBRATORS, by_calibrator, strict=True)
        }
        values[name] = {**found, IMPORTED: found[CALIBRATORS[0]]} if imported else found
        if source in shapes:
            shapes[name] = shapes[source]
    return replace(ranges, values=values, shapes=shapes)


def _without_added(analysis: Analysis, made: Rescaled) -> Analysis:
    """The analysis without the added Muls: they are no glue of the recipe's."""
    nodes = made.model.proto.graph.node
    added = {i for i, node in enumerate(nodes) if node.op_type == "Mul" and node.output[0] in made.added}
    return replace(analysis, glue=tuple(glue for glue in analysis.glue if glue.node not in added))
