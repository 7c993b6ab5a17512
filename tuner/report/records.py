"""A trial's quantization parameters, written in the formats that hardware toolchains read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from ... import __version__
from ...errors import OptionError
from ..graph.draft import tensor_names
from ..graph.model import Model
from ..graph.rewrite.patch import Image
from ..graph.tensors import is_stub
from ..quantization.records import encodings, jsonrecord, tensorrt
from ..quantization.records.record import Record, record_of
from ..quantization.variants import switched_on
from ..study.export import Rebuilt, export_trial, rebuild
from ..study.imported import IMPORTED_RANGES
from ..study.store import Store
from .write import write_text

FORMATS = ("qdq", "tensorrt-cache", "qnn-encodings", "json-record")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        said: What there is to say of it, one sentence each: a count for the reader, then warnings.
        warnings: What the format could not carry.
    """

    path: Path
    said: str
    warnings: tuple[str, ...] = ()


def export(
    store: Store,
    trial: int | Literal["best"],
    out: Path,
    form: str = "qdq",
    model_path: Path | None = None,
) -> Exported:
    """Write a trial as a model or as a record of its scales and offsets.

    Args:
        store: The study.
        trial: Its number, or `best`.
        out: The file to write.
        form: One of `FORMATS`; their fields are told in `quantization/records/`.
        model_path: The float model, None for where it was when the study began.

    Raises:
        OptionError: No such format.
        StudyError: There is no such trial, or nothing was calibrated yet.
        ModelError: The float model is missing or not the study's.
        OutputError: The file cannot be written.
    """
    if form not in FORMATS:
        raise OptionError(f"--format must be one of {', '.join(FORMATS)}, but got {form!r}.")
    if form == "qdq":
        return Exported(export_trial(store, trial, out, model_path), "")
    rebuilt = rebuild(store, trial, model_path)
    record = record_in(store, rebuilt)
    if form == "json-record":
        return Exported(write_text(jsonrecord.write(record), out), f"{len(record.tensors)} tensors")
    if form == "tensorrt-cache":
        record = replace(record, tensors=record.activations)
    recipe = rebuilt.record.recipe
    derived = rebuilt.builders.variants.get(switched_on(recipe)).derived
    record, warnings = _as_in_the_file(_at_sources(record, derived), rebuilt.builders.builder(recipe).model)
    if form == "qnn-encodings":
        count = len(record.activations)
        said = f"{count} activations, {len(record.tensors) - count} constants"
        return Exported(write_text(encodings.write(record.tensors), out), said, tuple(warnings))
    found, asymmetric = tensorrt.scales(record)
    if asymmetric:
        warnings.append(
            f"{len(asymmetric)} of {len(found)} activations are asymmetric in this trial: their symmetric scale is "
            "max(-low, high) / 127."
        )
    return Exported(write_text(tensorrt.write(found), out), f"{len(found)} activations", tuple(warnings))


def record_in(store: Store, rebuilt: Rebuilt) -> Record:
    """The record of a trial that was rebuilt."""
    trial, builder = rebuilt.record, rebuilt.builders.builder(rebuilt.record.recipe)
    about: dict[str, Any] = {
        "autoquant": __version__,
        "model": store.fingerprint.model,
        "target": builder.target.name,
        "weight_bits": builder.target.weight_bits,
        "study": store.name,
        "trial": trial.number,
        "metric": trial.metric,
        "drop": trial.drop,
        "parameters": dict(trial.recipe),
    }
    source = store.get(IMPORTED_RANGES)
    if source is not None:
        about["ranges"] = source
    return record_of(rebuilt.candidate, builder.model, builder.analysis, builder.ranges.shapes, about)


def _at_sources(record: Record, derived: Mapping[str, Image]) -> Record:
    """A record in which what is another tensor times a factor stands under that one's name, with its scale."""
    back = {}
    for name, tensor in record.activations.items():
        image = derived.get(name)
        if image is not None and image.scaled and image.source not in record.tensors:
            scale = tuple(float(np.float32(step / image.factor)) for step in tensor.scale)
            back[image.source] = replace(tensor, scale=scale)
    gone = {name for name in record.tensors if name in derived and derived[name].source in back}
    kept = {name: tensor for name, tensor in record.tensors.items() if name not in gone}
    return replace(record, tensors=dict(sorted({**kept, **back}.items())))


def _as_in_the_file(record: Record, model: Model) -> tuple[Record, list[str]]:
    """What of a record is true of the float model as its file has it, and words about the rest.

    A toolchain reads that file: it knows no tensor that a rewrite made, nor a weight into which something was folded.

    Args:
        model: The model as loaded and rewritten, from which the trial was built.
    """
    file = onnx.load(model.path, load_external_data=False)
    there, constants = tensor_names(file.graph), _constants(file, record)
    now = {tensor.name: tensor for tensor in model.proto.graph.initializer}
    kept = {}
    for name, tensor in record.tensors.items():
        if tensor.kind == "activation" and name in there:
            kept[name] = tensor
        elif name in constants:
            value = model.weights[name] if is_stub(now[name]) else numpy_helper.to_array(now[name])
            if np.array_equal(value, numpy_helper.to_array(constants[name], str(model.path.parent))):
                kept[name] = tensor
    lost = [name for name in record.tensors if name not in kept]
    said = []
    if lost:
        said.append(
            f"{len(lost)} of {len(record.tensors)} tensors are left out: the float model's file does not have them, or "
            f"with other values, before autoquant folds and rewrites ({_some(lost)})."
        )
    return replace(record, tensors=kept), said


def _constants(file: onnx.ModelProto, record: Record) -> dict[str, onnx.TensorProto]:
    """The constants of a file that a record speaks of, those of Constant nodes included."""
    found = {tensor.name: tensor for tensor in file.graph.initializer if tensor.name in record.tensors}
    for node in file.graph.node:
        if node.op_type == "Constant" and node.output[0] in record.tensors:
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    return found


def _some(found: Collection[str]) -> str:
    return ", ".join(list(found)[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
