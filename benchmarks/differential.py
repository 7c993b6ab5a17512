"""Our all-int8 min-max candidate beside onnxruntime.quantization's, on the same graph and with the same ranges.

`python -m benchmarks.differential`. Both quantize what our loader makes of the file (onnxruntime.quantization cannot
take some of these files as they come: opset 11, weights in Constant nodes). Two placements of Q/DQ: `layers` (around
the compute layers alone) and `everything` (glue operators too, each tool's own list).

The scales and zero points of activations are theirs: two min-max passes over the same samples differ in the last bits,
which a network then amplifies. Their float operators read the rounded tensor where ours read the float one (a residual
Add beside a quantized MatMul, say). That is another placement, not another arithmetic, so under `layers` the distance
is taken to theirs with these operators put back on the float tensor (`aligned`), as well as to theirs as it comes.
Reported: distance of the outputs between the two candidates over the distance of theirs from float (wanted: at most
0.5), weight scales that agree to 1 ulp (channels aside whose scale is raised for an int32 bias), and the time of a run
against theirs as it comes, in alternation.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from autoquant.evaluators.session import open_session as open_autoquant
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import ACTIVATION_SYMMETRY, CALIBRATOR, WEIGHT_GRANULARITY, WEIGHT_SYMMETRY
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.graph.analyse import analyse
from autoquant.tuner.graph.analysis import Analysis
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.serialize import inline, write
from autoquant.tuner.quantization.builder import Builder
from autoquant.tuner.quantization.candidate import Candidate, Quantization
from autoquant.tuner.targets import profiles
from autoquant.tuner.targets.base import Target
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from .environment import TASKS, default_tasks, environment, folders
from .environment import write as write_results
from .measure import compare, kernels, latency_feed, load_task, open_session, rounded

Feed = dict[str, np.ndarray]
PLACEMENTS = ("layers", "everything")


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """The feeds, as onnxruntime.quantization wants them."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next feed, None after the last."""
        return next(self._feeds, None)


def recipe(analysis: Analysis, target: Target, placement: str) -> Recipe:
    """Everything in int8, min-max, asymmetric activations, symmetric weights per channel."""
    chosen = {
        CALIBRATOR: "minmax",
        ACTIVATION_SYMMETRY: "asymmetric",
        WEIGHT_GRANULARITY: "per_channel",
        WEIGHT_SYMMETRY: "symmetric",
    }
    glue = "int8" if placement == "everything" else "fp32"
    chosen |= {f"op/{operator.op_type}": glue for operator in analysis.glue if operator.op_type in target.glue}
    chosen |= {f"layer/{group}": "int8" for group in analysis.groups}
    return Recipe(chosen)


def theirs(model: Model, feeds: Sequence[Feed], target: Target, placement: str, path: Path) -> None:
    """Write onnxruntime.quantization's candidate."""
    logging.disable(logging.WARNING)  # it recommends a preprocessing that has been done
    compute = ["Conv", "MatMul", "Gemm"]
    options: dict[str, Any] = {"ActivationSymmetric": False, "WeightSymmetric": True}
    if placement == "layers":
        # Relu and Clip fuse into a Conv; a MatMul wants no Q on its output where the target's kernel needs none.
        options["OpTypesToExcludeOutputQuantization"] = [name for name in compute if not target.layers[name]]
    quantize_static(
        inline(model.proto, model.weights),
        path,
        Reader(feeds),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=[*compute, "Relu", "Clip"] if placement == "layers" else None,
        per_channel=True,
        reduce_range=target.weight_bits == 7,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options=options,
    )


def activations(path: Path, analysis: Analysis) -> dict[str, Quantization]:
    """The scales and zero points of their activations, so that both candidates have the same ranges."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    found = {}
    for tensor in analysis.tensors:
        scale, zero_point = stored.get(f"{tensor}_scale"), stored.get(f"{tensor}_zero_point")
        if scale is not None and zero_point is not None:
            found[tensor] = Quantization(scale.reshape(()), zero_point.reshape(()), str(zero_point.dtype))
    return found


def align(path: Path, aligned: Path) -> None:
    """Let float operators read the float tensor, except behind a Conv, whose kernel leaves none."""
    proto = onnx.load(path)
    producers = {name: node for node in proto.graph.node for name in node.output}
    constants = {tensor.name for tensor in proto.graph.initializer}

    def behind_conv(name: str) -> bool:
        node = producers.get(name)
        while node is not None and node.op_type in ("Relu", "Clip"):
            node = producers.get(node.input[0])
        return node is not None and node.op_type == "Conv"

    originals = {}
    for node in proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants:
            tensor = producers[node.input[0]].input[0]
            if not behind_conv(tensor):
                originals[node.output[0]] = tensor
    for node in proto.graph.node:
        if node.op_type not in ("Conv", "MatMul", "Gemm", "QuantizeLinear"):
            node.input[:] = [originals.get(name, name) for name in node.input]
    onnx.save(proto, aligned)


def scales(candidate: Candidate, model: Model, analysis: Analysis, path: Path, bits: int) -> dict[str, int]:
    """How the scales of the weights that both quantized agree.

    Returns:
        weights; within_1_ulp: weights all of whose scales agree to 1 unit in the last place, channels aside that we
        raised so that an int32 bias fits (both tools do, each with its own headroom); channels; raised_channels.
    """
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    whole = inline(model.proto, model.weights)
    floats = {tensor.name: numpy_helper.to_array(tensor) for tensor in whole.graph.initializer}
    counts = dict.fromkeys(("weights", "within_1_ulp", "channels", "raised_channels"), 0)
    for layer in {layer.weight: layer for layer in analysis.layers if layer.weight}.values():
        other = stored.get(f"{layer.weight}_scale")
        if layer.weight not in candidate.quantization or other is None:
            continue
        ours, other = np.asarray(candidate.quantization[layer.weight].scale, np.float32).ravel(), other.ravel()
        channels = np.moveaxis(floats[layer.weight], layer.weight_axis, 0)
        plain = np.abs(channels.reshape(len(channels), -1)).max(1) / np.float32(2 ** (bits - 1) - 1)
        raised = ours > plain * np.float32(1.0001) if len(ours) == len(plain) else np.zeros(len(ours), bool)
        agree = len(ours) == len(other) and (np.abs(ours - other) <= np.spacing(ours))[~raised].all()
        counts["weights"] += 1
        counts["within_1_ulp"] += bool(agree)
        counts["channels"] += len(ours)
        counts["raised_channels"] += int(raised.sum())
    return counts


def outputs(path: Path, feeds: Sequence[Feed]) -> list[np.ndarray]:
    """Every float output of every feed, float64."""
    session = open_session(path, 2)
    found = (output for feed in feeds for output in session.run(None, feed))
    return [output.astype(np.float64) for output in found if output.dtype.kind == "f"]


def distance(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Euclidean distance of all outputs together."""
    return float(np.sqrt(sum(np.square(a - b).sum() for a, b in zip(one, other, strict=True))))


def differ(folder: Path, pairs: int, scratch: Path) -> dict[str, Any]:
    """Both candidates of one task under both placements."""
    task = load_task(folder)
    feeds = list(task.calibration())
    seen = [{name: array[:4] for name, array in feed.items()} for feed in feeds[:8]]
    model, target = load(folder / "model.onnx"), profiles.get("cpu")
    analysis = analyse(model)
    ranges = compute_ranges(collect(model, analysis.tensors, feeds, open_session=open_autoquant))
    builder = Builder(model, analysis, ranges, target)
    reference = scratch / "float.onnx"
    write(model.proto, model.weights, reference)
    wanted = outputs(reference, seen)
    found: dict[str, Any] = {}
    for placement in PLACEMENTS:
        ours_path, theirs_path = scratch / f"ours_{placement}.onnx", scratch / f"theirs_{placement}.onnx"
        theirs(model, feeds, target, placement, theirs_path)
        same = activations(theirs_path, analysis)
        candidate = builder.build(recipe(analysis, target, placement), overrides=same)
        write(candidate.proto, candidate.weights, ours_path)
        ours, other = outputs(ours_path, seen), outputs(theirs_path, seen)
        ratio = {"as_it_comes": distance(ours, other) / distance(other, wanted)}
        if placement == "layers":
            aligned_path = scratch / "aligned.onnx"
            align(theirs_path, aligned_path)
            aligned = outputs(aligned_path, seen)
            ratio["aligned"] = distance(ours, aligned) / distance(aligned, wanted)
        norm = distance(wanted, [np.zeros(())] * len(wanted))
        timed = compare(open_session(theirs_path, 2), open_session(ours_path, 2), latency_feed(task), pairs)
        found[placement] = {
            "ours_to_theirs_over_theirs_to_float": ratio,
            "ours_to_float": distance(ours, wanted) / norm,
            "theirs_to_float": distance(other, wanted) / norm,
            "scales": scales(candidate, model, analysis, theirs_path, target.weight_bits),
            "kernels": {"ours": kernels(ours_path), "theirs": kernels(theirs_path)},
            "theirs_ms": timed["baseline_ms"],
            "ours_ms": timed["model_ms"],
            "speedup_over_theirs": timed["speedup"],
            "speedup_ci": timed["speedup_ci"],
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=Path, default=default_tasks(), help="folder of the built tasks")
    parser.add_argument("--pairs", type=int, default=41)
    parser.add_argument("only", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)} (default: all)")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {**environment(), "tasks": {}}
    for folder in folders(arguments.tasks, arguments.only):
        with tempfile.TemporaryDirectory() as scratch:
            figures["tasks"][folder.name] = differ(folder, arguments.pairs, Path(scratch))
        print(folder.name, rounded(figures["tasks"][folder.name], 3), flush=True)
    write_results("differential", rounded(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
