"""Ranges of activations from another tool's file, as one more calibrator: `imported`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from ....errors import OptionError
from ....strategies.words import CALIBRATORS, IMPORTED
from ...calibration.ranges import Ranges
from ...graph.draft import tensor_names
from ...graph.rewrite.patch import Image
from ...graph.rewrite.variants import Variants
from . import encodings, jsonrecord, tensorrt
from .record import TensorRecord

_USUAL = CALIBRATORS[0]
_LARGEST = 2.0**126  # as the calibrators: wider than this high - low overflows float32
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Span:
    """What a file's grid covers, in double precision, so that the scale that follows from it is the file's.

    Attributes:
        low: Its lower end, ≤ 0.
        high: Its upper end, ≥ 0.
        most: The largest magnitude of the symmetric range.
    """

    low: float
    high: float
    most: float

    def ranges(self, *, negative: bool) -> dict[str, tuple[float, float]]:
        """Symmetry → range, as in `Ranges.values`; one that begins at 0 where the tensor is never negative."""
        low, high, most = max(self.low, -_LARGEST), min(self.high, _LARGEST), min(self.most, _LARGEST)
        if not negative:
            return {"asymmetric": (0.0, high or most), "symmetric": (0.0, high or most)}
        return {"asymmetric": (low, high), "symmetric": (-most, most)}

    def divided(self, factor: float) -> Span:
        """The span of a tensor of which this one's is a multiple."""
        return Span(self.low / factor, self.high / factor, self.most / factor)


@dataclass(frozen=True)
class Imported:
    """A file of ranges.

    Attributes:
        path: The file.
        form: `tensorrt-cache`, `qnn-encodings` or `json-record`.
        digest: sha256 of its content, hex.
        spans: Activation → what its grid covers.
        symmetric: Whether every grid is symmetric.
        model: Fingerprint of the model the file says it is of, "" where it does not say.
    """

    path: Path
    form: str
    digest: str
    spans: Mapping[str, Span]
    symmetric: bool
    model: str = ""

    def to_json(self) -> dict[str, Any]:
        """What a study records of it, beside the ranges themselves."""
        return {"file": self.path.name, "format": self.form, "sha256": self.digest, "tensors": len(self.spans)}

    def check(self, variants: Variants) -> None:
        """Refuse ranges of another model.

        Raises:
            OptionError: A tensor that neither the model's file nor a rewritten form of it has, or none that is needed.
        """
        known = tensors_of(variants)
        strange = [name for name in self.spans if name not in known]
        needed = variants.union.tensors
        if strange:
            raise OptionError(
                f"--ranges {self.path} has {len(strange)} of {len(self.spans)} tensors that the model does not have: "
                f"{_some(strange)}.\nGive ranges of this model (it needs {_some(needed)}), or take those out of it."
            )
        if self.spans.keys().isdisjoint(needed):
            raise OptionError(
                f"--ranges {self.path} has none of the {len(needed)} tensors that quantization needs; it has "
                f"{_some(list(self.spans))}.\nGive ranges of activations of this model, such as {_some(needed)}."
            )

    def at_sources(self, derived: Mapping[str, Image]) -> Imported:
        """The same, with ranges of tensors that only rewrites bring carried back to what they are multiples of.

        Args:
            derived: See `Rewritten.derived`.
        """
        back = {
            derived[name].source: span.divided(derived[name].factor)
            for name, span in self.spans.items()
            if name in derived and derived[name].scaled
        }
        return replace(self, spans={**back, **self.spans})

    def over(self, ranges: Ranges) -> Ranges:
        """Calibrated ranges with these beside them; a tensor that the file lacks keeps its min-max range."""
        values = {}
        for tensor, by in without(ranges).values.items():
            negative = by[_USUAL]["asymmetric"][0] < 0
            span = self.spans.get(tensor)
            values[tensor] = {**by, IMPORTED: dict(by[_USUAL]) if span is None else span.ranges(negative=negative)}
        return replace(ranges, values=values)

    def alone(self, shapes: Mapping[str, tuple[int, ...]], negative: Collection[str]) -> Ranges:
        """These ranges without a calibration.

        Args:
            shapes: Of the model's tensors, as far as known.
            negative: Tensors that may be negative.
        """
        values = {name: {IMPORTED: span.ranges(negative=name in negative)} for name, span in self.spans.items()}
        return Ranges(values=values, shapes=shapes)


def without(ranges: Ranges) -> Ranges:
    """Ranges without imported ones, which are another study's."""
    kept = {tensor: {c: r for c, r in by.items() if c != IMPORTED} for tensor, by in ranges.values.items()}
    return replace(ranges, values=kept)


def tensors_of(variants: Variants) -> set[str]:
    """All tensors of the model: as the file has them, as loaded, and as rewritten."""
    forms = ((), variants.names, *((name,) for name in variants.names))
    graphs = [variants.get(names).model.proto.graph for names in forms]
    graphs.append(onnx.load(variants.model.path, load_external_data=False).graph)
    return {name for graph in graphs for name in tensor_names(graph)}


def read(path: Path) -> Imported:
    """Read a TensorRT calibration cache, QNN/AIMET encodings or our own record; which it is, its content says.

    Raises:
        OptionError: It cannot be read, is none of these, or holds something that makes no sense.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OptionError(f"--ranges cannot read {path}: {error.strerror or error}.") from None
    try:
        form, tensors, model = _parsed(data.decode(errors="replace"))
    except OptionError as error:
        raise OptionError(f"--ranges {path}: {error}") from None
    activations = {name: tensor for name, tensor in tensors.items() if tensor.kind == "activation"}
    return Imported(
        path=path,
        form=form,
        digest=hashlib.sha256(data).hexdigest(),
        spans={name: _span(tensor) for name, tensor in activations.items()},
        symmetric=all(tensor.symmetric for tensor in activations.values()),
        model=model,
    )


def _parsed(text: str) -> tuple[str, Mapping[str, TensorRecord], str]:
    """Format, tensors and the fingerprint of their model."""
    if tensorrt.recognised(text):
        scales = tensorrt.read(text)
        return "tensorrt-cache", {n: TensorRecord("activation", (s,), (0,), "int8") for n, s in scales.items()}, ""
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if jsonrecord.recognised(data):
        record = jsonrecord.read(data)
        return "json-record", record.tensors, str(record.about.get("model", ""))
    if encodings.recognised(data):
        return "qnn-encodings", encodings.read(data), ""
    raise OptionError(
        "neither a TensorRT calibration cache, nor QNN/AIMET encodings, nor an autoquant record.\n"
        "A cache begins with TRT-…, encodings have activation_encodings; `autoquant export --format` writes all three."
    )


def _span(tensor: TensorRecord) -> Span:
    """The hull of a tensor's grids."""
    low, high = min(low for low, _ in tensor.ends), max(high for _, high in tensor.ends)
    return Span(low, high, high if tensor.symmetric else max(-low, high))


def _some(found: Collection[str]) -> str:
    return ", ".join(list(found)[:_SHOWN]) + (", …" if len(found) > _SHOWN else "") if found else "none"
