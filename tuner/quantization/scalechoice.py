"""Which scales the sites of a model get: equalization and smoothing on one graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ..calibration.channels import HIGH, LOW, MEAN, SQUARE
from ..graph.analysis import Analysis, Layer
from ..graph.index import GraphIndex
from ..graph.model import Model
from ..graph.sites import Site, biases_of, groups_of
from .equalization import Reach, absorbed, equalized, parted, spread
from .smoothing import Reading, searched, smoothed
from .weights import Weights

_LARGEST = 1e6


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a recipe asks for.

    Attributes:
        equalization: Whether layers are equalized with the layers behind them.
        smooth: `off`, a migration strength, or `auto`.
        per_tensor: Whether weights have one scale each.
    """

    equalization: bool
    smooth: str
    per_tensor: bool


class Chooser:
    """Chooses.

    Args:
        model: The float model.
        analysis: Its layers.
        places: Its sites.
    """

    def __init__(self, model: Model, analysis: Analysis, places: Sequence[Site]) -> None:
        self._places = places
        self._layers = {layer.name: layer for layer in analysis.layers}
        self._nodes = model.proto.graph.node
        self._index = GraphIndex(model.proto.graph)
        self._weights = Weights(model)

    def axes(self) -> dict[str, tuple[int, int]]:
        """Tensors whose channels a choice looks at → their axis, and how many there are."""
        found: dict[str, tuple[int, int]] = {}
        for site in self._places:
            found.setdefault(site.tensor, (site.axis, site.channels))
            for name in (*site.readers, *([site.writer] if site.writer else [])):
                layer = self._layers[name]
                axis, parts = (1 if layer.op_type == "Conv" else -1), self._parts(layer)
                found.setdefault(layer.inputs[0], (axis, parts.shape[0] * parts.shape[2]))
                found.setdefault(layer.output, (axis, parts.shape[0] * parts.shape[1]))
        return found

    def choose(
        self, scaling: Scaling, statistics: Mapping[str, np.ndarray]
    ) -> tuple[dict[Site, np.ndarray], dict[Site, np.ndarray]]:
        """Scale and offset of each site that is to have one.

        Args:
            scaling: What is asked for.
            statistics: Tensor → float64 [4, channels], see `channels`; tensors that were never seen are missing.
        """
        known = [site for site in self._places if site.tensor in statistics]
        between = [site for site in known if site.writer is not None and site.readers and not site.others]
        scales: dict[Site, np.ndarray] = {}
        if scaling.smooth != "off":
            wanted = [site for site in known if site.writer is None]
            for site in wanted if scaling.equalization else [*wanted, *between]:
                scales[site] = self._smooth(site, scaling, statistics)
        offsets: dict[Site, np.ndarray] = {}
        if scaling.equalization:
            loose = [site for site in known if self._is_loose(site)]
            between = [site for site in between if site not in loose]
            for site in loose:
                scales[site] = self._spread(site, scaling, self._reaches(scales), scales, statistics)
            pairs = [(site.writer or "", site.readers) for site in between]
            scales |= dict(zip(between, equalized(self._reaches(scales), pairs), strict=True))
            for site in between:
                if self._absorbs(site):
                    offsets[site] = absorbed(*(statistics[site.tensor][row] for row in (LOW, MEAN, SQUARE)))
            reaches = self._reaches(scales)
            for site in known:
                if site.writer is not None and site.others and self._layers[site.writer].op_type == "Conv":
                    scales[site] = self._spread(site, scaling, reaches, scales, statistics)
        return {site: _sane(scale) for site, scale in scales.items()}, offsets

    def _is_loose(self, site: Site) -> bool:
        """Whether only depthwise Convs read what a Conv writes that are even at their own outputs.

        Scales of their inputs go through to there: they need not be shared with their weights.
        """
        if site.writer is None or not site.readers or site.others or self._layers[site.writer].op_type != "Conv":
            return False
        even = {other.writer for other in self._places if other.others}
        return all(name in even and self._parts(self._layers[name]).shape[1:3] == (1, 1) for name in site.readers)

    def _smooth(self, site: Site, scaling: Scaling, statistics: Mapping[str, np.ndarray]) -> np.ndarray:
        seen = statistics[site.tensor]
        writers = {other.writer for other in self._places} if scaling.equalization else set()
        readings = []
        for name in site.readers:
            layer, out = self._layers[name], statistics.get(self._layers[name].output)
            reach = np.maximum(np.abs(out[LOW]), np.abs(out[HIGH])) if out is not None else None
            # what is equalized at its output too uses the grid of its weight evenly there
            even = layer.op_type == "Conv" and name in writers
            readings.append(Reading(self._parts(layer), not scaling.per_tensor or even, reach))
        if scaling.smooth == "auto":
            return searched(readings, seen[LOW], seen[HIGH], seen[SQUARE])
        largest = np.maximum(np.abs(seen[LOW]), np.abs(seen[HIGH]))
        return smoothed(largest, np.max([reading.columns for reading in readings], axis=0), float(scaling.smooth))

    def _spread(
        self,
        site: Site,
        scaling: Scaling,
        reaches: Mapping[str, Reach],
        scales: Mapping[Site, np.ndarray],
        statistics: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        assert site.writer is not None
        layer, seen = self._layers[site.writer], statistics[site.tensor]
        parts = self._parts(layer)
        power = statistics[layer.inputs[0]][SQUARE]
        for other, scale in scales.items():
            if other.tensor == layer.inputs[0] and layer.name in other.readers:
                power = power / scale**2
        energy = power.reshape(parts.shape[0], -1).sum(axis=1) * parts.shape[3]
        rows = reaches[layer.name].rows if scaling.per_tensor else None
        return spread(rows, seen[LOW], seen[HIGH], np.repeat(energy, parts.shape[1]))

    def _reaches(self, scales: Mapping[Site, np.ndarray]) -> dict[str, Reach]:
        """Of every layer at a site, its inputs and outputs scaled so far."""
        names = {name for site in self._places for name in (*site.readers, site.writer) if name is not None}
        found = {name: Reach.of(*self._weight(self._layers[name])) for name in names}
        for site, scale in scales.items():
            for name in site.readers:
                found[name] = found[name].scaled(inputs=scale)
            if site.writer is not None:
                found[site.writer] = found[site.writer].scaled(outputs=scale)
        return found

    def _absorbs(self, site: Site) -> bool:
        """Whether a Relu stands between, and layers behind it that have biases and pad nothing."""
        assert site.writer is not None
        layer = self._layers[site.writer]
        relu = bool(layer.tail) and self._nodes[layer.tail[-1]].op_type == "Relu"
        if not relu or site.chain or not biases_of(layer, self._index):
            return False
        return all(self._takes_offset(self._layers[name]) for name in site.readers)

    def _takes_offset(self, layer: Layer) -> bool:
        names = biases_of(layer, self._index)
        parts = self._parts(layer)
        if len(names) != 1 or len(self._index.consumers[names[0]]) != 1 or not self._weights.is_float(names[0]):
            return False
        if int(np.prod(self._weights.dims(names[0]))) != parts.shape[0] * parts.shape[1]:
            return False
        node = self._nodes[layer.node]
        return not padded(node)

    def _parts(self, layer: Layer) -> np.ndarray:
        """A layer's weight as `parted` has it."""
        return parted(*self._weight(layer))

    def _weight(self, layer: Layer) -> tuple[np.ndarray, int, int]:
        """A layer's weight, the axis of its outputs, its groups."""
        assert layer.weight is not None
        assert layer.weight_axis is not None
        groups = groups_of(self._nodes[layer.node]) if layer.op_type == "Conv" else 1
        return self._weights.value(layer.weight), layer.weight_axis, groups


def padded(node: onnx.NodeProto) -> bool:
    """Whether a node's window reaches past the edge."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return any(found.get("pads", ())) or found.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")


def _sane(scale: np.ndarray) -> np.ndarray:
    """In bounds, float32."""
    return np.asarray(np.clip(np.nan_to_num(scale, nan=1.0), 1.0 / _LARGEST, _LARGEST), np.float32)
