"""onnx's own backend tests, all of them, quantized as far as they can be: `python -m benchmarks.conformance`.

Every model goes through load → analyse → calibrate on its own inputs → all-int8 (layers alone; layers and glue) →
session → run, beside onnxruntime.quantization on the same nodes. Counted by kind and by operator; what fails, what
stays in float and what ONNX Runtime itself does not run is named with its reason. Nothing is timed.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.conformance.cases import KINDS, Case, collect
from tests.conformance.pipeline import COMPUTE, Report, check

from .environment import environment, write
from .measure import rounded

OUTCOMES = ("quantized", "stored", "glue", "nothing", "refused", "skipped")


def checked(case: Case) -> Report:
    """One case; whatever it raises is a violation."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            return check(case, Path(folder))
        except Exception as error:  # noqa: BLE001 - a crash is what is looked for
            return Report(case.id, "crashed", violations=[f"{type(error).__name__}: {error}"])


def cause(reason: str) -> str:
    """A reason of ONNX Runtime's without what is of one model alone."""
    text = re.sub(r"^ONNX Runtime [\d.]+ cannot load the model: ", "", reason)
    for pattern, what in (
        (r"Could not find an implementation for (\w+)\((\d+)\)", r"no kernel for \1 of opset \2"),
        (r"([\w.]+:\w+)\(-?\d+\) is not a registered function/op", r"\1 is not known"),
        (r"only \*guarantees\* support for models stamped", "opset newer than it supports"),
        (r"(Unsupported model IR version)", "file format newer than it supports"),
        (r"In Node, \(\"[^\"]*\", (\w+)", r"calls its \1 invalid"),
        (r"while running (\w+) node", r"\1 fails"),
        (r"Unable to handle object|Numpy.type", "input of a type numpy lacks"),
    ):
        found = re.search(pattern, text)
        if found:
            return found.expand(what)
    return text[:80]


def by_operator(reports: Sequence[Report]) -> dict[str, dict[str, Any]]:
    """Operator type → what became of its nodes, and the errors of the models in which it is on integers."""
    table: dict[str, dict[str, Any]] = {}
    ran = [report for report in reports if report.outcome != "skipped"]
    for op_type in sorted({name for report in ran for name in (*report.int8, *report.glue)} | set(COMPUTE)):
        placement = "layers" if op_type in COMPUTE else "everything"
        on = [report for report in ran if op_type in report.int8 or op_type in report.glue]
        ours = [report.errors[placement] for report in on if placement in report.errors]
        pairs = [
            (report.errors[placement], theirs)
            for report in on
            if (theirs := report.theirs.get(placement)) is not None and placement in report.errors
        ]
        table[op_type] = {
            "nodes": sum(report.met.get(op_type, 0) for report in ran),
            "int8": sum(report.int8.get(op_type, 0) + report.glue.get(op_type, 0) for report in ran),
            "models": len(on),
            "median_error": statistics.median(ours) if ours else None,
            "compared": len(pairs),
            "median_error_theirs": statistics.median(theirs for _, theirs in pairs) if pairs else None,
            "worst_ratio": max((mine / theirs for mine, theirs in pairs if theirs > 1e-3), default=None),
        }
    return table


def summary(reports: Sequence[Report]) -> dict[str, Any]:
    """All figures."""
    kinds: dict[str, Counter[str]] = {}
    for report in reports:
        kinds.setdefault(report.case.partition("/")[0], Counter())[report.outcome] += 1
    skipped = Counter(cause(report.reason) for report in reports if report.outcome == "skipped")
    floats = Counter(reason for report in reports for reason in report.floats.values())
    named = {
        report.case: report.floats or {"load": report.reason}
        for report in reports
        if report.floats or report.outcome == "refused"
    }
    return {
        "kinds": {kind: {name: counts.get(name, 0) for name in OUTCOMES} for kind, counts in kinds.items()},
        "operators": by_operator(reports),
        "rewritten": dict(Counter(name for report in reports for name in report.rewrites)),
        "violations": [f"{report.case}: {text}" for report in reports for text in report.violations],
        "stay_float": dict(floats.most_common()),
        "exceptions": named,
        "skipped": dict(skipped.most_common()),
        "skipped_names": sorted(report.case for report in reports if report.outcome == "skipped"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} (default: all)")
    arguments = parser.parse_args()
    reports: list[Report] = []
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        for kind in arguments.kinds or KINDS:
            # the architectures are large: here, one after the other
            cases = collect([kind])
            reports += map(checked, cases) if kind == "light" else pool.map(checked, cases, chunksize=16)
            print(kind, Counter(report.outcome for report in reports if report.case.startswith(f"{kind}/")), flush=True)
    figures = {**environment(), **rounded(summary(reports), 4)}
    if not arguments.kinds:
        write("conformance", figures)
    for text in figures["violations"]:
        print(text)
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
