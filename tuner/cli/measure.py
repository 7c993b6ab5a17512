"""The figures of `autoquant eval`: one model, or one against its reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from ...errors import ModelError, OptionError
from ..report import format as write

FLOAT_KERNELS = frozenset(
    {
        "Conv",
        "FusedConv",
        "NhwcFusedConv",
        "ConvTranspose",
        "MatMul",
        "FusedMatMul",
        "Gemm",
        "FusedGemm",
        "GemmFastGelu",
    }
    | {"LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention"}
)

if TYPE_CHECKING:
    import onnxruntime as ort

    from ...evaluators.base import Feed
    from ...evaluators.protocol import Evaluation, Progress


def measure(
    model: Path,
    spec: str,
    *,
    reference: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
) -> dict[str, Any]:
    """Score a model, and its reference too where one is named; time them.

    Args:
        spec: What `--eval` was given.
        progress: Told the samples scored and how many there are, for one model after the other.

    Returns:
        `model`, `metric`, `samples`, `seconds`, `latency_ms`, `kernels` {`int8`, `float`} (compute operators that ONNX
        Runtime runs on integers and in float; None off the CPU), `device`, `threads`; with a reference `reference`
        {`model`, `metric`, `latency_ms`}, `drop` {`absolute`, `relative`} and `speedup`, `speedup_ci`.

    Raises:
        AutoquantError: The model, the evaluation or the device cannot be used.
    """
    from ...evaluators import latency
    from ...evaluators.device import resolve
    from ...evaluators.evaluation import load_evaluation
    from ...evaluators.session import open_session

    for path in (model, reference):
        if path is not None and not path.is_file():
            raise ModelError(f"No such model file: {path}")
    where = resolve(device)
    evaluation = load_evaluation(spec, model_path=reference or model)
    if evaluation.form == "fidelity" and reference is None:
        raise OptionError("fidelity: is agreement with the float model.\nName that with --reference FLOAT.onnx.")
    session = open_session(model, device=where, threads=threads)
    base = open_session(reference, device=where, threads=threads) if reference else None
    evaluation.prepare(base or session)
    metric, samples, seconds, feed = _scored(evaluation, session, progress)
    figures: dict[str, Any] = {
        "model": str(model),
        "metric": metric,
        "samples": samples,
        "seconds": round(seconds, 3),
        "kernels": kernels(model) if where.name == "cpu" else None,
        "device": where.name,
        "threads": threads,
    }
    if base is None or reference is None:
        figures["latency_ms"] = round(latency.measure(session, feed), 4)
        return figures
    before, _, _, _ = _scored(evaluation, base, progress)
    timed = latency.compare(base, session, feed)
    worse = before - metric if evaluation.higher_is_better else metric - before
    return figures | {
        "latency_ms": round(timed.candidate_ms, 4),
        "reference": {"model": str(reference), "metric": before, "latency_ms": round(timed.baseline_ms, 4)},
        "drop": {"absolute": worse, "relative": worse / abs(before) if before else None},
        "speedup": round(timed.speedup, 4),
        "speedup_ci": [round(bound, 4) for bound in timed.speedup_ci],
    }


def _scored(
    evaluation: Evaluation, session: ort.InferenceSession, progress: Progress
) -> tuple[float, int | None, float, Feed]:
    """Metric, samples, seconds, and a feed to time: the evaluation's, else one sample of what it fed."""
    from ...evaluators.recording import Recorder

    feed = evaluation.latency_feed()
    recorder = None if feed is not None else Recorder(session, limit_samples=1)
    scored = evaluation.score(recorder or session, progress=progress)
    if feed is None:
        assert recorder is not None
        feed = next(iter(recorder.feeds()))
    samples = evaluation.num_samples if scored.samples is None else len(scored.samples)
    return scored.metric, samples, scored.seconds, feed


def kernels(model: Path) -> dict[str, int]:
    """Compute operators of the graph as ONNX Runtime's CPU provider runs it, by what they multiply."""
    from ..quantization.kernels import INTEGER_KERNELS, optimized

    kinds = [node.op_type for node in optimized(model).graph.node]
    return {
        "int8": sum(kind in INTEGER_KERNELS for kind in kinds),
        "float": sum(kind in FLOAT_KERNELS for kind in kinds),
    }


def table(figures: dict[str, Any]) -> Table:
    """The figures for a terminal."""
    reference = figures.get("reference")
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=reference is not None, header_style="dim")
    grid.add_column("", style="dim", no_wrap=True)
    grid.add_column("model", no_wrap=True, style="bold")
    if reference:
        grid.add_column("reference", no_wrap=True)
    grid.add_column("", overflow="fold")

    def row(name: str, value: str, other: str, *notes: str) -> None:
        note = ", ".join(note for note in notes if note)
        grid.add_row(*([name, value, other, note] if reference else [name, value, note]))

    drop = ""
    if reference:
        lost = figures["drop"]
        drop = f"drop {write.drop(lost['absolute'], False)}"
        drop += f" ({write.drop(lost['relative'], True)})" if lost["relative"] is not None else ""
    scored = write.many(figures["samples"], "sample") if figures["samples"] is not None else ""
    before = f"{reference['metric']:.6g}" if reference else ""
    row("metric", f"{figures['metric']:.6g}", before, drop, scored, f"scored in {write.seconds(figures['seconds'])}")
    speed = ""
    if reference:
        between = write.interval(figures["speedup_ci"], write.speedup)
        speed = f"{write.speedup(figures['speedup'])} as fast (95%: {between})"
    threads = write.many(figures["threads"], "thread") if figures["threads"] else ""
    slow = write.milliseconds(reference["latency_ms"]) if reference else ""
    row("latency", write.milliseconds(figures["latency_ms"]), slow, speed, f"on {figures['device']}", threads)
    if figures["kernels"] is not None:
        counts = figures["kernels"]
        total = counts["int8"] + counts["float"]
        row("kernels", f"{counts['int8']} of {total}", "", "compute operators run on integers")
    return grid
