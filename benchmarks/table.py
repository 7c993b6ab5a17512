"""Write RESULTS.md, and the table in the README, from results/*.json: `python -m benchmarks.table`.

Only what a results file holds is written; a task without one has no row of ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .environment import RESULTS, ROOT, TASKS
from .markdown import markdown
from .quality import corrections, fallbacks, precisions

BEGIN, END = "<!-- benchmarks: written by `python -m benchmarks.table` -->", "<!-- end of benchmarks -->"
HEAD = ("task (float metric)", "tool", "holds 1 %", "metric", "seconds", "evaluations", "int8 layers", "latency")
TRUTHS = ("drop", "changed")
SHOWN_REASONS = 10
SHOWN_MODES = ("alone", "restored", "both", "direct")


def results() -> dict[str, dict[str, Any]]:
    """Name of a results file without its ending → content."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}


def our_row(figures: dict[str, Any]) -> list[str]:
    """The cells of one tuned task, the task's own left out."""
    tuned, measured = figures["tune"], figures["measured"]
    kernels, latency = measured["kernels"], measured["latency"]
    total = kernels["int8"] + kernels["float"]
    low, high = latency["speedup_ci"]
    verdict = "" if status_of(figures) == "met" else f", says `{status_of(figures)}`"
    strategy = figures.get("strategy", "auto")
    way = "" if strategy == "auto" else f", its strategy `{strategy}`"
    return [
        f"**autoquant**, objective {figures['objective']}{way}{verdict}",
        "yes" if measured["relative_drop"] <= 0.01 + 1e-12 else "**no**",
        f"{measured['metric']:.4f}",
        f"{tuned['seconds']:.0f}",
        f"{tuned['result']['trials']['evaluations']:g}",
        f"{kernels['int8']}/{total}",
        f"{latency['speedup']:.2f}× ({low:.2f}–{high:.2f})",
    ]


def status_of(figures: dict[str, Any]) -> str:
    """What the run itself concluded: met, not_met or no_gain."""
    return str(figures["tune"]["result"]["status"])


def peer_row(row: list[Any]) -> list[str]:
    """The cells of one peer."""
    tool, holds, metric, seconds, evaluations, int8, speedup = row
    return [
        tool,
        {True: "yes", False: "**no**", None: "nothing returned"}[holds],
        "" if metric is None else f"{metric:.4f}",
        f"{seconds}",
        evaluations,
        int8 or "",
        "" if speedup is None else f"{speedup:.2f}×",
    ]


def tuned_rows(found: dict[str, dict[str, Any]], peers: dict[str, Any]) -> Iterator[list[str]]:
    """Ours, then the peers', task by task."""
    for task in TASKS:
        mine = [figures for name, figures in found.items() if name.startswith("tune_") and figures["task"] == task]
        cells = [*map(our_row, mine), *map(peer_row, peers["rows"][task])]
        name = f"{task} ({mine[0]['measured']['baseline']:.4f})" if mine else task
        for index, row in enumerate(cells):
            yield [name if index == 0 else "", *row]


def brief(found: dict[str, dict[str, Any]], peers: dict[str, Any]) -> str:
    """README's table: ours and the best that a peer delivered within the target."""
    rows = []
    for task in TASKS:
        mine = found.get(f"tune_{task}_latency") or found.get(f"tune_{task}_ops")
        if mine is None:
            continue
        held = [row for row in peers["rows"][task] if row[1] and row[6] is not None]
        best = max(held, key=lambda row: row[6], default=None)
        measured, cells = mine["measured"], our_row(mine)
        rows.append(
            [
                task,
                f"{measured['baseline']:.4f}",
                cells[2],
                cells[5],
                cells[6] if status_of(mine) == "met" else f"{cells[6]}, says `{status_of(mine)}`",
                cells[3],
                f"{best[6]:.2f}× ({best[0]})" if best else "none held the target",
            ]
        )
    if not rows:
        return "Not measured on this revision yet: `make tasks bench`.\n"
    head = ("task", "float", "tuned", "int8 layers", "faster than float", "seconds to tune", "best peer")
    return markdown(head, rows)


def where(figures: dict[str, Any]) -> str:
    """One sentence: machine, versions, command."""
    machine, versions = figures["machine"], figures["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{figures['date']}, revision {figures['revision']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['instruction_set']}, {machine['memory_gb']} GB, {machine['system']}; {named}. "
        f"Command: `{figures['command']}`.\n"
    )


def overhead(figures: dict[str, Any]) -> str:
    """One trial's overhead."""
    columns = ("overhead_ms", "build_ms", "session_ms", "propose_and_record_ms", "worst_ms")
    rows = [
        [task, *(f"{parts[name]:.0f}" for name in columns), f"{parts['trials']}"]
        for task, parts in figures["tasks"].items()
    ]
    head = ("task", "overhead, ms", "build", "open session", "propose and record", "worst trial", "trials")
    return markdown(head, rows)


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


def calibration(figures: dict[str, Any]) -> str:
    """Calibration's time and memory, a column for every figure."""
    rows = figures["rows"]
    head = [name.replace("_", " ") for name in rows[0]]
    return markdown(head, ([str(value) for value in row.values()] for row in rows))


def sensitivity(figures: dict[str, Any]) -> str:
    """What label-free probes predict: means over the tasks, then task by task for the default."""
    tasks, kind = figures["tasks"], figures["default"]["kind"]
    first = next(iter(tasks.values()))
    kinds = list(first["settings"]["kinds"])

    def mean(*path: str) -> str:
        """Over the tasks: of correlations `drop / changed`, of figures the one."""
        found = []
        for value in tasks.values():
            for key in path:
                value = value.get(key, {})
            found.append([value[truth]["rho"] for truth in TRUTHS] if isinstance(value, dict) and value else [value])
        known = [values for values in found if values[0] not in (None, {})]
        return " / ".join(f"{sum(column) / len(column):.2f}" for column in zip(*known, strict=True))

    rows = [["settings", *(mean("settings", "kinds", name) for name in kinds)]]
    for part in ("recipes", "transferred"):
        rows.append([f"{part}: count", mean(part, "count"), *[""] * (len(kinds) - 1)])
        for mode in first[part]["modes"]:
            rows.append([f"{part}: {mode}", *(mean(part, "modes", mode, name) for name in kinds)])
    for mode in first["fallback"]:
        rows.append([f"fallback: {mode}", *(mean("fallback", mode, name) for name in kinds)])
    sizes = first["recipes"]["samples"]
    by_size = ", ".join(f"{mean('recipes', 'samples', size)} with {size}" for size in sizes)
    text = (
        "Mean over the tasks of Spearman's correlation with the measured drop / with the number of samples whose score "
        "changed; under fallback the part of these that is left.\n\n"
        + markdown(("question", *kinds), rows)
        + f"\nProbing whole recipes by {kind} on fewer samples: {by_size}.\n"
        + "\nTask by task, with the number of samples whose score changed, 95 % intervals.\n\n"
    )
    asked = [f"recipes, {kind} {mode}" for mode in SHOWN_MODES]
    head = ("task", f"settings by {kind}", "settings by the best", *asked, "recipes, count", "one pass", "÷ evaluation")
    rows = []
    for task, found in tasks.items():
        settings, recipes, cost = found["settings"]["kinds"], found["recipes"], found["cost"]
        best = max(settings, key=lambda name: settings[name]["changed"]["rho"])
        rows.append(
            [
                f"{task}, {found['samples']} samples",
                interval(settings[kind]["changed"]),
                f"{best} {interval(settings[best]['changed'])}",
                *(interval(recipes["modes"][mode][kind]["changed"]) for mode in SHOWN_MODES),
                interval(recipes["count"]["changed"]),
                f"{cost['layers']} × {cost['probe_s']:.2f} s",
                f"{cost['pass_over_evaluation']:.2f}",
            ]
        )
    return text + markdown(head, rows)


def interval(value: dict[str, float]) -> str:
    """A figure and its 95 % interval."""
    return f"{value['rho']:.2f} ({value['low']:.2f} to {value['high']:.2f})"


def racing(figures: dict[str, Any]) -> str:
    """Samples scored with racing, as parts of those without."""
    rows = []
    for task, found in figures["tasks"].items():
        drawn = found["replays"]
        failing = [f"{100 * drawn[order]['failing']:.0f} %" if "failing" in drawn[order] else "–" for order in drawn]
        rows.append(
            [
                task,
                f"{found['holding']} / {found['failing']}",
                "the same" if found["same_verdicts"] else "**differ**",
                f"{100 * found['part']:.0f} %",
                f"{100 * found['part_of_failing']:.0f} %" if "part_of_failing" in found else "–",
                " / ".join(failing),
                f"{sum(row['wrong'] for row in drawn.values())}",
                f"{found['seconds']['off']:.0f} / {found['seconds']['on']:.0f}",
            ]
        )
    head = (
        "task", "recipes that hold / do not", "verdicts", "samples scored", "of those that do not hold",
        "the same over 20 sequences: learnt / gainful first / uniform", "stopped wrongly there", "seconds, off / on",
    )  # fmt: skip
    return markdown(head, rows)


def evaluations(figures: dict[str, Any]) -> str:
    """Trials until the target is held at little cost."""
    rows = [
        [
            row["task"],
            row["strategy"],
            f"{row['median']:g}",
            ", ".join(map(str, row["evaluations"])),
            f"{row['arrived']} of {len(row['evaluations'])}",
            f"{row['probes']:g} × {row['probe_in_evaluations']:.2f}" if row["probes"] else "–",
            f"{row['samples']}",
            f"{row['revision']}",
        ]
        for row in figures["rows"]
    ]
    head = (
        "task", "strategy", "median", "of each seed", "arrived", "probes × a probe in evaluations", "samples",
        "revision",
    )  # fmt: skip
    return markdown(head, rows)


def optimality(figures: dict[str, Any]) -> str:
    """`auto` beside the best of all recipes."""
    auto, best = figures["auto"], min(figures["best"], key=lambda row: row["ms"])
    rows = [
        [name, found["int8"], f"{100 * found['drop']:.2f} %", f"{found['ms']:.3f}"]
        for name, found in (("auto", auto), ("the best of the table", best))
    ]
    text = (
        f"{figures['task']}, {figures['groups']} groups, all {figures['recipes']} recipes, {figures['feasible']} of "
        f"them within a drop of {100 * figures['target']:.2f} % on {figures['samples']} samples. auto scored "
        f"{auto['scores']} and timed {auto['latency']}; its latency is {figures['ratio']:.3f} of the best's.\n\n"
    )
    return text + markdown(("recipe", "groups in int8", "drop", "ms, timed again together"), rows)


def rewrites(figures: dict[str, Any]) -> str:
    """What each rewrite gains in float and on integers."""
    rows = []
    for task, found in figures["tasks"].items():
        for kind in (kind for kind in found if kind != "sites"):
            cells = [f"{name} {row[0]:.2f}×" for name, row in found[kind].items() if name != "all"]
            low, middle, high = (found[kind]["all"][i] for i in (1, 0, 2))
            rows.append([task, kind, f"{middle:.2f}× ({low:.2f}–{high:.2f})", ", ".join(cells)])
    return markdown(("task", "layers", "all rewrites (lowest and highest round)", "each alone"), rows)


def proposal(figures: dict[str, Any]) -> str:
    """What proposing and recording costs."""
    rows = [
        [name, *(f"{found[part]:.0f}" for part in ("median_ms", "worst_ms", "processor_ms")), f"{found['probes']}"]
        for name, found in figures["strategies"].items()
        if found["trials"]
    ]
    text = f"{figures['layers']} layers, {figures['trials']} trials, {figures['parameters']} parameters.\n\n"
    return text + markdown(("strategy", "median, ms", "worst", "processor time", "probes asked"), rows)


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


def report(found: dict[str, dict[str, Any]], peers: dict[str, Any]) -> str:
    """The whole of RESULTS.md."""
    text = (
        "# Results\n\nWritten by `python -m benchmarks.table` from results/*.json; README.md says what is measured.\n"
    )
    text += "\n## Five public tasks, target 1 %\n\n" + markdown(HEAD, tuned_rows(found, peers))
    text += f"\nThe peers: {peers['source']} Machine: {peers['machine']}. They were given {peers['given']}.\n"
    tuned = [figures for name, figures in found.items() if name.startswith("tune_")]
    if tuned:
        text += "\nautoquant: " + where(tuned[0])
    for name, title, body in (
        ("overhead", "A trial's overhead beside the evaluation", overhead),
        ("differential", "Beside onnxruntime.quantization: all-int8, min-max", differential),
        ("racing", "Racing: samples scored, as parts of all", racing),
        (
            "evaluations",
            "Evaluations until 1 % is held with 90 % of all-int8's saving (200: not within 200)",
            evaluations,
        ),
        ("optimality", "`auto` against enumeration", optimality),
        ("rewrites", "Rewrites of the float graph, against the file as given", rewrites),
        ("proposal", "Proposing and recording a trial in a large study", proposal),
        ("calibration", "Calibration: 100 samples (seconds), peak memory at 100 and 1,000", calibration),
        ("sensitivity", "Which label-free probe predicts the measured drop", sensitivity),
        ("fallbacks", "Float layers that a tight target costs (objective `ops`)", fallbacks),
        ("precisions", "More precisions: metric and bytes", precisions),
        ("conformance", "Conformance: onnx's own backend tests in all-int8", conformance),
    ):
        if name in found:
            measured = found[name]
            text += f"\n## {title}\n\n{body(measured)}\n{where(measured.get('environment', measured))}"
    mended = {name: figures for name, figures in found.items() if name.startswith("corrections_")}
    if mended:
        text += f"\n## Corrections of weights and biases, all layers in int8\n\n{corrections(mended)}\n"
        text += where(next(iter(mended.values()))["environment"])
    return text


def fill(readme: Path, table: str) -> bool:
    """Put the table between README's two marks; False where they are missing."""
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        return False
    before, _, rest = text.partition(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{table}{END}{rest.partition(END)[2]}")
    return True


def main() -> int:
    peers, found = json.loads((Path(__file__).parent / "peers.json").read_text()), results()
    (ROOT / "benchmarks" / "RESULTS.md").write_text(report(found, peers))
    if not fill(ROOT / "README.md", brief(found, peers)):
        print("README.md has no marks for the table", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
