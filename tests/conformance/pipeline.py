"""One model through load → analyse → calibrate on its own inputs → all-int8, all weights on 8 bits → session → run."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from autoquant.errors import ModelError
from autoquant.evaluators.session import explain, open_session
from autoquant.strategies.base import Recipe
from autoquant.strategies.words import LAYER, OP, REWRITE, TABLE
from autoquant.tuner.calibration.collect import collect
from autoquant.tuner.calibration.compute import compute_ranges
from autoquant.tuner.calibration.ranges import Ranges
from autoquant.tuner.graph.analysis import Analysis
from autoquant.tuner.graph.index import subgraphs
from autoquant.tuner.graph.load import load
from autoquant.tuner.graph.model import Model
from autoquant.tuner.graph.rewrite.variants import Variants
from autoquant.tuner.graph.serialize import inline
from autoquant.tuner.quantization.candidate import Candidate
from autoquant.tuner.quantization.kernels import integer_kernels, ran
from autoquant.tuner.quantization.variants import Builders
from autoquant.tuner.study.space import build_space
from autoquant.tuner.targets.base import Target
from autoquant.tuner.targets.profiles import get
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from tests.conformance.cases import COMPUTE, RECURRENT, Case

Outputs = list[list[Any]]

TIMES_THEIRS = 3.0
"""Our relative Euclidean error of the outputs over that of onnxruntime.quantization on the same nodes, at most."""

ERROR = 0.05
"""Error at most where onnxruntime.quantization fails."""

NEGLIGIBLE = 0.02
"""Error that needs no comparison: what rounding once to 8 bits costs where few values nearly cancel."""

FLOAT_ERROR = 2e-5
"""Of the loaded and of the rewritten float model, over the largest output: float rounding."""

PLACEMENTS = ("layers", "everything")


@dataclass
class Report:
    """What became of one case.

    Attributes:
        outcome: `quantized`, `nothing` (nothing to quantize), `glue` (glue alone, which `tune` does not offer),
            `stored` (layers of which only the weights can be on integers, or tables), `refused` (loading says why it
            cannot) or `skipped` (ONNX Runtime does not run the model as given).
        reason: Why it was skipped or refused, or what "nothing" was told.
        met: Operator type → nodes of the loaded model's main graph.
        int8: Operator type → layers in int8.
        stored: Operator type → layers, and tables (`Gather`), with their weights alone on 8 bits.
        glue: Operator type → glue operators in int8.
        floats: Name of a Conv, ConvTranspose, MatMul, Gemm or recurrent layer with a constant weight that stays in
            float → why.
        errors: Placement (and rewrite) → relative error of our candidate's outputs.
        theirs: Placement → that of onnxruntime.quantization's; None where it fails.
        rewrites: Those that apply.
        violations: What is wrong, a sentence each.
    """

    case: str
    outcome: str = "quantized"
    reason: str = ""
    met: dict[str, int] = field(default_factory=dict)
    int8: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    glue: dict[str, int] = field(default_factory=dict)
    floats: dict[str, str] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    theirs: dict[str, float | None] = field(default_factory=dict)
    rewrites: tuple[str, ...] = ()
    violations: list[str] = field(default_factory=list)


def check(case: Case, folder: Path, *, compare: bool = True) -> Report:
    """Take one case through.

    Args:
        folder: For files.
        compare: Whether to run onnxruntime.quantization beside ours in any case, not only where our error is not
            negligible.
    """
    report = Report(case.id)
    path = folder / "model.onnx"
    path.write_bytes(case.proto.SerializeToString())
    try:
        wanted, steady = _reference(path, case.feeds)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        report.outcome, report.reason = "skipped", explain(error)
        return report
    try:
        model = load(path)
    except ModelError as error:
        report.outcome, report.reason = "refused", str(error).replace(str(path), "the model")
        return report
    variants = Variants(model)
    report.met = dict(Counter(node.op_type for node in model.proto.graph.node))
    if steady:
        _float(report, "loading", model, case, wanted)
        _rewrites(report, variants, case, wanted)
    target = get("cpu")
    ranges = Ranges({}, {}, 0)
    if variants.collected:
        ranges = compute_ranges(collect(model, variants.collected, case.feeds, open_session=opened))
    builders = Builders(model, variants, ranges, target)
    try:
        build_space(variants.analysis, target, calibrated=builders.calibrated, faulty=builders.faults)
    except ModelError as error:
        report.outcome, report.reason = "nothing", str(error).splitlines()[0]
    unweighted = builders.unweighted["weight8"]
    neither = {name: fault for name, fault in builders.faults.items() if name in unweighted}
    _floats(report, model, variants.analysis, neither)
    run_of = _Run(case, folder, builders, wanted if steady else None, compare)
    for placement in PLACEMENTS:
        _all_int8(report, run_of, placement)
    _all_stored(report, run_of)
    for name in variants.names:
        recipe = _recipe(variants.get((name,)).analysis, target, "everything").replace({REWRITE + name: "on"})
        candidate = builders.build(recipe)
        _near(report, run_of, f"everything, {name}", candidate, _int8_nodes(builders, recipe), recipe)
    return report


@dataclass(frozen=True)
class _Run:
    """What every candidate of a case needs: the float model's answers (None where they differ each time) and more."""

    case: Case
    folder: Path
    builders: Builders
    wanted: Outputs | None
    compare: bool


def _all_int8(report: Report, run_of: _Run, placement: str) -> None:
    """Build, load and run one placement; count what is on integers."""
    builders = run_of.builders
    analysis = builders.variants.analysis
    recipe = _recipe(analysis, builders.target, placement)
    candidate = builders.build(recipe)
    nodes = _int8_nodes(builders, recipe)
    if not nodes:
        return
    if report.outcome == "nothing":
        report.outcome = "glue"
    _ran(report, placement, candidate, analysis)
    if builders.build(recipe).skeleton() != candidate.skeleton():
        report.violations.append(f"{placement}: a rebuild differs")
    kinds = {node.name: node.op_type for node in builders.variants.model.proto.graph.node}
    for kind in map(kinds.__getitem__, nodes):
        counts = report.int8 if kind in COMPUTE else report.glue
        if (kind in COMPUTE) == (placement == "layers"):  # layers are the same under both
            counts[kind] = counts.get(kind, 0) + 1
    _near(report, run_of, placement, candidate, nodes, recipe)


def _all_stored(report: Report, run_of: _Run) -> None:
    """All weights and tables on 8 bits, as far as they can be, and float kernels."""
    builders = run_of.builders
    analysis = builders.variants.analysis
    recipe = _recipe(analysis, builders.target, "layers")
    recipe = recipe.replace({LAYER + group: "weight8" for group in analysis.groups})
    recipe = recipe.replace({TABLE + table.name: "weight8" for table in analysis.tables})
    candidate = builders.build(recipe)
    unweighted = builders.unweighted["weight8"]
    for layer in analysis.layers:
        if (candidate.layers[layer.name] == "weight8") == (layer.name in unweighted):
            report.violations.append(f"weights: {layer.name} was built {candidate.layers[layer.name]}")
        elif layer.name not in unweighted:
            report.stored[layer.op_type] = report.stored.get(layer.op_type, 0) + 1
    if analysis.tables:
        report.stored["Gather"] = len(analysis.tables)
    if not report.stored:
        return
    if report.outcome == "nothing":
        report.outcome = "stored"
    if ran(candidate, analysis) != candidate.layers:
        report.violations.append("weights: not what was built ran")
    got = run(candidate.skeleton(), candidate.weights, run_of.case.feeds)
    if run_of.wanted is None:
        return
    report.errors["weights"] = error = distance(run_of.wanted, got)
    allowed = NEGLIGIBLE if report.errors.get("layers", 0.0) <= NEGLIGIBLE else ERROR
    if not error <= allowed:
        report.violations.append(f"weights: error {error:.3g}, allowed {allowed:.3g}")


def _near(report: Report, run_of: _Run, what: str, candidate: Candidate, nodes: Sequence[str], recipe: Recipe) -> None:
    """See that a candidate's outputs are near those of the float model, beside onnxruntime.quantization's."""
    got = run(candidate.skeleton(), candidate.weights, run_of.case.feeds)
    if run_of.wanted is None:
        return
    report.errors[what] = error = distance(run_of.wanted, got)
    if error <= NEGLIGIBLE and not run_of.compare:
        return
    model = run_of.builders.builder(recipe).model
    report.theirs[what] = theirs = _theirs(model, run_of.case, nodes, run_of.wanted, run_of.folder)
    allowed = ERROR if theirs is None else max(NEGLIGIBLE, TIMES_THEIRS * theirs)
    if not error <= allowed:
        report.violations.append(f"{what}: error {error:.3g}, allowed {allowed:.3g}")


def distance(wanted: Outputs, got: Outputs) -> float:
    """Euclidean distance of all float outputs over the size of those wanted; infinite where others differ in shape."""
    error = size = 0.0
    for a, b in _pairs(wanted, got):
        if a.shape != b.shape or a.dtype != b.dtype:
            return float("inf")
        if a.dtype.kind != "f":
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        a, b = np.where(same, 0.0, a), np.where(same, 0.0, b)
        error += float(np.square(a - b).sum())
    for a, _ in _pairs(wanted, wanted):
        if a.dtype.kind == "f":
            a = a.astype(np.float64)
            size += float(np.square(a[np.isfinite(a)]).sum())
    if error == 0.0:
        return 0.0
    return float(np.sqrt(error / size)) if size else float("inf")


def _pairs(one: Outputs, other: Outputs) -> list[tuple[np.ndarray, np.ndarray]]:
    found = []
    for x, y in zip(_flat(one), _flat(other), strict=True):
        found.append((np.asarray(x), np.asarray(y)))
    return found


def _flat(values: Any) -> list[Any]:
    if isinstance(values, list):
        return [item for value in values for item in _flat(value)]
    return [] if values is None else [values]


def opened(model: bytes, *, weights: Mapping[str, np.ndarray] | None = None) -> ort.InferenceSession:
    return open_session(model, weights=weights, threads=1)


def run(model: bytes, weights: Mapping[str, np.ndarray] | None, feeds: Sequence[Mapping[str, Any]]) -> Outputs:
    session = opened(model, weights=weights)
    return [session.run(None, dict(feed)) for feed in feeds]


def _reference(path: Path, feeds: Sequence[Mapping[str, Any]]) -> tuple[Outputs, bool]:
    """What the file as given answers, and whether it answers the same again."""
    wanted = run(path.read_bytes(), None, feeds)
    again = run(path.read_bytes(), None, feeds)
    steady = len(_flat(wanted)) == len(_flat(again)) and distance(wanted, again) == 0.0
    return wanted, steady


def _float(report: Report, what: str, model: Model, case: Case, wanted: Outputs) -> None:
    """See that a float model answers what the file does."""
    try:
        got = run(inline(model.proto, model.weights).SerializeToString(), None, case.feeds)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        report.violations.append(f"{what}: {explain(error)}")
        return
    for a, b in _pairs(wanted, got):
        if a.shape != b.shape or a.dtype != b.dtype:
            report.violations.append(f"{what}: {a.dtype}{list(a.shape)} became {b.dtype}{list(b.shape)}")
        elif a.dtype.kind == "f" and a.size:
            eps = FLOAT_ERROR if a.dtype.itemsize >= 4 else 2e-3
            finite = np.abs(a[np.isfinite(a)].astype(np.float64)).max(initial=0.0)
            if not np.allclose(a, b, rtol=eps, atol=eps * max(finite, 1e-30), equal_nan=True):
                worst = float(np.nanmax(np.abs(a.astype(np.float64) - b.astype(np.float64))))
                report.violations.append(f"{what}: differs by {worst:.3g} of {finite:.3g}")
        elif a.dtype.kind != "f" and not np.array_equal(a, b):
            report.violations.append(f"{what}: other {a.dtype} values")


def _rewrites(report: Report, variants: Variants, case: Case, wanted: Outputs) -> None:
    """See that each rewrite alone, and all of them, leave the answers alone."""
    report.rewrites = variants.names
    for name in variants.names:
        _float(report, f"rewrite {name}", variants.get((name,)).model, case, wanted)
    if len(variants.names) > 1:
        _float(report, "all rewrites", variants.full.model, case, wanted)


def _recipe(analysis: Analysis, target: Target, placement: str) -> Recipe:
    """All layers in int8, glue too or in float; ranges min-max, weights symmetric per channel."""
    chosen = {
        "activation/calibrator": "minmax",
        "activation/symmetry": "asymmetric",
        "weight/granularity": "per_channel",
        "weight/symmetry": "symmetric",
    }
    glue = "int8" if placement == "everything" else "fp32"
    chosen |= {OP + item.op_type: glue for item in analysis.glue if item.op_type in target.glue}
    chosen |= {LAYER + group: "int8" for group in analysis.groups}
    return Recipe(chosen)


def _int8_nodes(builders: Builders, recipe: Recipe) -> list[str]:
    """Names of the nodes that are on integers by the recipe."""
    placed = builders.builder(recipe).placer.place(recipe).int8_nodes
    nodes = builders.builder(recipe).model.proto.graph.node
    return [nodes[i].name for i in sorted(placed)]


def _ran(report: Report, placement: str, candidate: Candidate, analysis: Analysis) -> None:
    """See that ONNX Runtime's optimized graph runs what the candidate says."""
    integer = {kernel.layer for kernel in integer_kernels(candidate, analysis)}
    for name, precision in candidate.layers.items():
        if (precision == "int8") != (name in integer):
            report.violations.append(f"{placement}: {name} was built {precision} and ran otherwise")


def _floats(report: Report, model: Model, analysis: Analysis, faults: Mapping[str, str]) -> None:
    """Compute operators with a constant weight that are no layer, or a layer that cannot be int8."""
    refused = {refusal.name: refusal.reason for refusal in analysis.refusals}
    layers = {layer.node: layer.name for layer in analysis.layers}
    for i, node in enumerate(model.proto.graph.node):
        for body in subgraphs(node):
            for inner in _weighted(body, _constants(model.proto.graph)):
                report.floats[f"{node.name}/{inner}"] = f"inside the body of a {node.op_type}"
        if not _is_weighted(node, _constants(model.proto.graph)):
            continue
        if i not in layers:
            report.floats[node.name] = refused.get(node.name, "silently")
        elif layers[i] in faults:
            report.floats[node.name] = faults[layers[i]]


def _constants(graph: onnx.GraphProto) -> set[str]:
    written = (node.output[0] for node in graph.node if node.op_type == "Constant")
    return {tensor.name for tensor in graph.initializer}.union(written)


def _is_weighted(node: onnx.NodeProto, constants: Set[str]) -> bool:
    """Whether a node is a compute operator with a constant weight."""
    if node.op_type not in (*COMPUTE, *RECURRENT) or node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in RECURRENT:
        return constants.issuperset(node.input[1:3])
    weights = node.input[:2] if node.op_type == "MatMul" else node.input[1:2]
    return not constants.isdisjoint(weights)


def _weighted(graph: onnx.GraphProto, outer: Set[str]) -> Iterator[str]:
    """Outputs of such nodes in a body, and in the bodies in it."""
    constants = _constants(graph) | outer
    for node in graph.node:
        if _is_weighted(node, constants):
            yield node.output[0]
        for body in subgraphs(node):
            yield from _weighted(body, constants)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Sequence[Mapping[str, Any]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Any:
        return next(self._feeds, None)


def _theirs(model: Model, case: Case, nodes: Sequence[str], wanted: Outputs, folder: Path) -> float | None:
    """Error of onnxruntime.quantization's candidate with the same nodes quantized; None where it fails."""
    path = folder / "theirs.onnx"
    logging.disable(logging.WARNING)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_static(
                inline(model.proto, model.weights),
                path,
                _Reader(case.feeds),
                quant_format=QuantFormat.QDQ,
                nodes_to_quantize=list(nodes),
                per_channel=True,
                reduce_range=get("cpu").weight_bits == 7,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
            )
        error = distance(wanted, run(path.read_bytes(), None, case.feeds))
        return error if np.isfinite(error) else None
    except Exception:  # noqa: BLE001 - it raises anything
        return None
    finally:
        logging.disable(logging.NOTSET)
