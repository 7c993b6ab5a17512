"""What corrections make of one model's weights and biases: looked up, computed once, kept per scheme."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from ..calibration.moments import LONGEST
from ..calibration.rows import Form, as_matrices, form_of
from ..graph.analysis import Analysis, Layer
from ..graph.model import Model
from . import scales
from .biases import shift
from .empirical import Chain
from .results import Kept, Nothing, Rounding, Source, Wanted
from .scales import QuantizedWeight
from .weights import Scheme, Weights

_VERSION = 1


class Corrections:
    """The corrections of one model (a variant), results kept per layer and scheme.

    Args:
        model: The float model.
        analysis: Its layers.
        weights: Its constants.
        source: Where results come from.
    """

    def __init__(self, model: Model, analysis: Analysis, weights: Weights, source: Source | None = None) -> None:
        self._model = model
        self._weights = weights
        self._source = source or Nothing()
        self._forms: dict[str, Form] = {}
        self._refused: dict[str, str] = {}
        self._readers: dict[str, list[Layer]] = {}
        self._hessians: dict[Form, int] = {}
        for layer in analysis.layers:
            if layer.weight is None:
                continue
            self._readers.setdefault(layer.weight, []).append(layer)
            form = form_of(layer, model.proto.graph.node[layer.node], weights.dims(layer.weight))
            if isinstance(form, str):
                self._refused[layer.name] = form
                continue
            self._forms[layer.name] = form
            if form.size <= LONGEST:
                self._hessians[form] = form.size * form.size * form.groups
        self._rounded: dict[tuple[str, Scheme, str], tuple[QuantizedWeight, Mapping[str, str]]] = {}
        self._means: dict[str, tuple[np.ndarray, Mapping[str, str]]] = {}
        self._chains: dict[str, tuple[Mapping[str, np.ndarray], Mapping[str, str]]] = {}
        self._shifts: dict[tuple[str, Scheme, str], tuple[QuantizedWeight, np.ndarray]] = {}

    def refusal(self, layer: Layer) -> str:
        """Why a layer's weight is rounded to nearest whatever the recipe says, or the empty string."""
        if layer.name in self._refused:
            return self._refused[layer.name]
        assert layer.weight is not None
        if self._forms[layer.name] not in self._hessians:
            return f"its rows have more than {LONGEST} elements"
        kinds = {(other.weight_axis, self._shape(other)) for other in self._readers[layer.weight]}
        return "" if len(kinds) == 1 else "layers that read it otherwise share its weight"

    def rounded(
        self, layer: Layer, scheme: Scheme, grown: QuantizedWeight | None = None
    ) -> tuple[QuantizedWeight, Mapping[str, str]]:
        """The weight of a layer without `refusal`, rounded by GPTQ on the grid it has; and key → file of the result.

        Args:
            layer: The layer.
            scheme: How its weight is quantized.
            grown: The weight to nearest on the grid in use, where that is not the scheme's own.
        """
        assert layer.weight is not None
        nearest = grown or self._weights.of(layer.weight, scheme)
        grid = "" if grown is None else _digest(grown.scale, grown.zero_point)
        place = (layer.weight, scheme, grid)
        if place not in self._rounded:
            wanted = self._rounding(layer, scheme, nearest, grid)
            kept = self._source.get(wanted)
            self._rounded[place] = replace(nearest, values=kept.values), _record(wanted, kept)
        return self._rounded[place]

    def mean(self, layer: Layer, rounding: str = "nearest") -> tuple[np.ndarray, Mapping[str, str]] | None:
        """E[x] of a layer's rows, float64 [groups, K], and key → file of it; None where it has no rows.

        Args:
            layer: The layer.
            rounding: Whether the recipe needs Hessians too.
        """
        form = self._forms.get(layer.name)
        if form is None:
            return None
        key = _key("mean", _of(form))
        if key not in self._means:
            hessians = self._hessians if rounding == "gptq" else {}
            wanted = Wanted(key, self._model, layer.name, [*self._forms.values()], hessians, form=form)
            kept = self._source.get(wanted)
            self._means[key] = kept.values, _record(wanted, kept)
        return self._means[key]

    def shift(
        self, layer: Layer, quantized: QuantizedWeight, scheme: Scheme, rounding: str
    ) -> tuple[np.ndarray, Mapping[str, str]] | None:
        """ΔW·E[x] of a layer, float64 [channels], and key → file of E[x]; None where it has no rows.

        Args:
            layer: The layer.
            quantized: Its weight as finally rounded.
            scheme: How it was quantized.
            rounding: How it was rounded.
        """
        found = self.mean(layer, rounding)
        if found is None:
            return None
        place = (layer.name, scheme, rounding)
        if place not in self._shifts or self._shifts[place][0] is not quantized:
            assert layer.weight is not None
            assert layer.weight_axis is not None
            form, axis = self._forms[layer.name], layer.weight_axis
            moved = shift(
                as_matrices(scales.dequantize(quantized), form, axis),
                as_matrices(self._weights.value(layer.weight), form, axis),
                found[0],
            )
            self._shifts[place] = quantized, moved
        return self._shifts[place][1], found[1]

    def chained(self, chain: Chain) -> tuple[Mapping[str, np.ndarray], Mapping[str, str]]:
        """Layer → what empirical correction takes from its bias, float64 [channels]; and key → file of the result."""
        if not chain.layers:
            return {}, {}
        key = _key("empirical", chain.name)
        if key not in self._chains:
            wanted = Wanted(key, self._model, chain.layers[0].name, chain=chain)
            kept = self._source.get(wanted)
            self._chains[key] = chain.by_layer(kept.values), _record(wanted, kept)
        return self._chains[key]

    def _rounding(self, layer: Layer, scheme: Scheme, nearest: QuantizedWeight, grid: str) -> Wanted:
        assert layer.weight is not None
        assert layer.weight_axis is not None
        readers = tuple(dict.fromkeys(self._forms[other.name] for other in self._readers[layer.weight]))
        parts = [*sorted(_of(form) for form in readers), *([grid] if grid else [])]
        return Wanted(
            key=_key("gptq", self._weights.digest(layer.weight), _scheme(scheme), *parts),
            model=self._model,
            layer=layer.name,
            forms=[*self._forms.values()],
            hessians=self._hessians,
            rounding=Rounding(
                self._weights.value(layer.weight),
                nearest,
                self._forms[layer.name],
                layer.weight_axis,
                *scheme.limits,
            ),
            readers=readers,
        )

    def _shape(self, layer: Layer) -> tuple[object, ...]:
        form = self._forms.get(layer.name)
        return () if form is None else (form.axis, form.groups, form.kernel)


def _of(form: Form) -> str:
    return json.dumps(asdict(form), sort_keys=True)


def _scheme(scheme: Scheme) -> str:
    """As text; without what only blocks have, the same as before there were any."""
    return json.dumps({name: value for name, value in asdict(scheme).items() if name != "block" or value})


def _key(kind: str, *parts: str) -> str:
    """32 hex digits that name a result."""
    text = json.dumps([kind, _VERSION, *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _digest(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:32]


def _record(wanted: Wanted, kept: Kept) -> Mapping[str, str]:
    return {wanted.key: kept.file} if kept.file else {}
