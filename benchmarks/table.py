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
from .quality import conformance, corrections, differential, fallbacks, precisions, rewrites
from .searching import calibration, closeness, evaluations, optimality, overhead, proposal, racing, sensitivity

BEGIN, END = "<!-- benchmarks: written by `python -m benchmarks.table` -->", "<!-- end of benchmarks -->"
HEAD = ("task (float metric)", "tool", "holds 1 %", "metric", "seconds", "evaluations", "int8 layers", "latency")


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
        (
            "closeness",
            "Which probe tells corrected recipes apart: rank correlation with the drop, drop of its first choice",
            closeness,
        ),
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
