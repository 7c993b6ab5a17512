"""Tables of what quantized models are worth: corrections, fallbacks, precisions, rewrites, beside another tool's."""

from __future__ import annotations

from typing import Any

from .markdown import markdown

SHOWN_REASONS = 10
_ALIKE = "equalized+smooth auto"


def corrections(found: dict[str, dict[str, Any]]) -> str:
    """What corrections of weights and biases bring, a row for each combination, mean ± sd over calibration parts."""
    rows = []
    for figures in found.values():
        task = f"{figures['task']}, {figures['granularity']}, {figures['calibrator']}, {figures['samples']} samples"
        seconds, first = figures["seconds"], next(iter(figures["combinations"]))
        for name, measured in figures["combinations"].items():
            cost = seconds[name] if name in seconds else sum(seconds.get(part, 0.0) for part in name.split("+"))
            if name.endswith(_ALIKE) and name != _ALIKE:  # the two are computed together
                cost += seconds.get(_ALIKE, 0.0) - sum(seconds.get(part, 0.0) for part in _ALIKE.split("+"))
            rows.append(
                [
                    task if name == first else "",
                    name,
                    spread([100 * row["drop"] for row in measured], 2),
                    spread([row["distance"] for row in measured], 4),
                    spread([row["weights"] for row in measured], 5) if "weights" in measured[0] else "–",
                    f"{cost:.1f}" if cost else "–",
                    f"{seconds['evaluation']:.0f}" if name == first else "",
                ]
            )
    head = ("task", "corrections", "drop, points", "distance", "weights alone", "seconds", "one evaluation, s")
    return markdown(head, rows)


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard deviation."""
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)) ** 0.5
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def fallbacks(figures: dict[str, Any]) -> str:
    """A row for each task and target, with corrections and without, then five halves of the calibration samples."""
    rows = []
    for row in sorted(figures["rows"], key=lambda row: (row["task"], row["seed"] is not None, row["corrected"])):
        way = "corrected where it helps" if row["corrected"] else "no corrections"
        if row["seed"] is not None:
            way = f"half of the calibration samples, seed {row['seed']}"
        layers, bound = row["layers"], len(row["float"]["accuracy"])
        drop = "–" if row["drop"] is None else f"{100 * row['drop']:.2f}"
        used = ", ".join(f"{name}={choice}" for name, choice in row["corrections"].items()) or "–"
        floats = f"{layers['total'] - layers['int8']} ({bound} by accuracy)"
        cells = [row["task"], row["target"], way, row["status"], drop, f"{layers['int8']}/{layers['total']}", floats]
        faster = "–" if row["speedup"] is None else timed(row)
        rows.append([*cells, used, f"{row['evaluations']:.1f}", f"{row['seconds']:.0f}", faster, row["revision"]])
    head = (
        "task",
        "target",
        "how",
        "status",
        "drop, %",
        "int8",
        "float",
        "corrections used",
        "evaluations",
        "seconds",
        "faster than float",
        "revision",
    )
    return markdown(head, rows)


def timed(row: dict[str, Any]) -> str:
    """How much faster, with its interval."""
    return f"{row['speedup']:.2f}× ({row['speedup_ci'][0]:.2f}–{row['speedup_ci'][1]:.2f})"


def precisions(figures: dict[str, Any]) -> str:
    """A row for each form of each task."""
    rows = []
    for task, found in figures["tasks"].items():
        for name, form in found["forms"].items():
            size = form["size_bytes"]
            metric = f"{found['baseline'] - form['drop']:.4f} of {found['baseline']:.4f}"
            smaller = f"{found['baseline_bytes'] / size:.1f}×"
            faster = timed(form) if "speedup" in form else "–"
            rows.append([task, name, metric, f"{form['distance']:.4f}", f"{size / 1e6:.1f}", smaller, faster])
    return markdown(("task", "form", "metric", "distance", "MB", "smaller", "faster than float"), rows)


def differential(figures: dict[str, Any]) -> str:
    """Ours beside onnxruntime.quantization."""
    rows = []
    for task, placements in figures["tasks"].items():
        for placement, found in placements.items():
            scales, low_high = found["scales"], found["speedup_ci"]
            ratios = found["ours_to_theirs_over_theirs_to_float"]
            rows.append(
                [
                    task,
                    placement,
                    " / ".join(f"{ratios[name]:.3f}" if name in ratios else "–" for name in ("aligned", "as_it_comes")),
                    f"{100 * found['ours_to_float']:.2f} % / {100 * found['theirs_to_float']:.2f} %",
                    f"{scales['within_1_ulp']}/{scales['weights']}",
                    f"{scales['raised_channels']}/{scales['channels']}",
                    f"{found['kernels']['ours']['int8']} / {found['kernels']['theirs']['int8']}",
                    f"{found['ours_ms']:.2f} / {found['theirs_ms']:.2f}",
                    f"{found['speedup_over_theirs']:.2f}× ({low_high[0]:.2f}–{low_high[1]:.2f})",
                ]
            )
    head = (
        "task", "Q/DQ around", "‖ours − theirs‖ ÷ ‖theirs − float‖, aligned / as it comes", "to float, ours / theirs",
        "scales within 1 ulp", "channels raised for a bias", "int8 kernels, ours / theirs",
        "ms, ours / theirs", "faster than theirs",
    )  # fmt: skip
    return markdown(head, rows)


def rewrites(figures: dict[str, Any]) -> str:
    """What each rewrite gains in float and on integers."""
    rows = []
    for task, found in figures["tasks"].items():
        for kind in (kind for kind in found if kind != "sites"):
            cells = [f"{name} {row[0]:.2f}×" for name, row in found[kind].items() if name != "all"]
            low, middle, high = (found[kind]["all"][i] for i in (1, 0, 2))
            rows.append([task, kind, f"{middle:.2f}× ({low:.2f}–{high:.2f})", ", ".join(cells)])
    return markdown(("task", "layers", "all rewrites (lowest and highest round)", "each alone"), rows)


def conformance(figures: dict[str, Any]) -> str:
    """The backend tests of onnx: by kind, by operator, and what is left out, with its reasons."""
    outcomes = list(next(iter(figures["kinds"].values())))
    kinds = [[kind, *(f"{counts[name]}" for name in outcomes)] for kind, counts in figures["kinds"].items()]
    total = [sum(counts[name] for counts in figures["kinds"].values()) for name in outcomes]
    rows = [
        [
            op_type,
            f"{row['int8']}/{row['nodes']}",
            f"{row['models']}",
            "–" if row["median_error"] is None else f"{100 * row['median_error']:.2f} %",
            "–" if row["median_error_theirs"] is None else f"{100 * row['median_error_theirs']:.2f} %",
            f"{row['compared']}",
            "–" if row["worst_ratio"] is None else f"{row['worst_ratio']:.2f}",
        ]
        for op_type, row in figures["operators"].items()
    ]
    head = (
        "operator", "nodes on integers", "models with one", "median error of the outputs", "onnxruntime.quantization's",
        "models compared", "worst ratio",
    )  # fmt: skip
    kept = "; ".join(f"{reason} ({count})" for reason, count in figures["stay_float"].items())
    reasons = list(figures["skipped"].items())
    skipped = ", ".join(f"{reason} ({count})" for reason, count in reasons[:SHOWN_REASONS])
    skipped += f", others ({sum(count for _, count in reasons[SHOWN_REASONS:])})"
    return (
        markdown(("kind", *outcomes), [*kinds, ["all", *map(str, total)]])
        + f"\nViolations: {len(figures['violations'])}. Compute operators with a constant weight that stay in float: "
        + f"{kept or 'none'}. Skipped because ONNX Runtime does not run the model in float: {skipped}.\n\n"
        + markdown(head, rows)
    )
