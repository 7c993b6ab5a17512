"""Tables of what a search costs and finds: calibration, probes, proposals, trials, racing."""

from __future__ import annotations

from typing import Any

from .markdown import markdown

TRUTHS = ("drop", "changed")
SHOWN_MODES = ("alone", "restored", "both", "direct")


def overhead(figures: dict[str, Any]) -> str:
    """One trial's overhead."""
    columns = ("overhead_ms", "build_ms", "session_ms", "propose_and_record_ms", "worst_ms")
    rows = [
        [task, *(f"{parts[name]:.0f}" for name in columns), f"{parts['trials']}"]
        for task, parts in figures["tasks"].items()
    ]
    head = ("task", "overhead, ms", "build", "open session", "propose and record", "worst trial", "trials")
    return markdown(head, rows)


def calibration(figures: dict[str, Any]) -> str:
    """Calibration's time and memory, a column for every figure."""
    rows = figures["rows"]
    head = [name.replace("_", " ") for name in rows[0]]
    return markdown(head, ([str(value) for value in row.values()] for row in rows))


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


def proposal(figures: dict[str, Any]) -> str:
    """What proposing and recording costs."""
    rows = [
        [name, *(f"{found[part]:.0f}" for part in ("median_ms", "worst_ms", "processor_ms")), f"{found['probes']}"]
        for name, found in figures["strategies"].items()
        if found["trials"]
    ]
    text = f"{figures['layers']} layers, {figures['trials']} trials, {figures['parameters']} parameters.\n\n"
    return text + markdown(("strategy", "median, ms", "worst", "processor time", "probes asked"), rows)


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


def closeness(figures: dict[str, Any]) -> str:
    """How well each probe ranks corrected recipes, and what the one of least distance loses."""
    rows = []
    for task, found in figures["tasks"].items():
        drops = [recipe["drop"] for recipe in found["recipes"]]
        cells = [
            f"{probe['correlation']:.2f}, {100 * probe['drop_of_least']:.1f}" for probe in found["probes"].values()
        ]
        rows.append([task, str(found["samples"]), f"{100 * min(drops):.1f} to {100 * max(drops):.1f}", *cells])
    names = [f"{name} samples" for name in next(iter(figures["tasks"].values()))["probes"]]
    return markdown(("task", "scored", "drops, points", *names), rows)
