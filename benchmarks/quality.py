"""Tables of what quantization itself is worth: corrections, fallbacks, precisions."""

from __future__ import annotations

from typing import Any

from .markdown import markdown


def corrections(found: dict[str, dict[str, Any]]) -> str:
    """What corrections of weights and biases bring, a row for each combination, mean ± sd over calibration parts."""
    rows = []
    for figures in found.values():
        task = f"{figures['task']}, {figures['granularity']}, {figures['calibrator']}, {figures['samples']} samples"
        seconds, first = figures["seconds"], next(iter(figures["combinations"]))
        for name, measured in figures["combinations"].items():
            cost = sum(seconds.get(part, 0.0) for part in name.split("+"))
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
        rows.append([*cells, used, f"{row['evaluations']:.1f}", row["revision"]])
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
        "revision",
    )
    return markdown(head, rows)


def precisions(figures: dict[str, Any]) -> str:
    """A row for each form of each task."""
    rows = []
    for task, found in figures["tasks"].items():
        for name, form in found["forms"].items():
            size = form["size_bytes"]
            metric = f"{found['baseline'] - form['drop']:.4f} of {found['baseline']:.4f}"
            smaller = f"{found['baseline_bytes'] / size:.1f}×"
            rows.append([task, name, metric, f"{form['distance']:.4f}", f"{size / 1e6:.1f}", smaller])
    return markdown(("task", "form", "metric", "distance", "MB", "smaller"), rows)
