"""onnx's own backend tests through load → analyse → calibrate → all-int8 → session → run.

`exceptions.json` lists every Conv, ConvTranspose, MatMul, Gemm, LSTM, GRU and RNN with a constant weight that can be
neither int8 nor have its weights alone on 8 bits, with its reason, and every model that loading refuses. A new one
fails, and so does one that is no longer needed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import onnx
import pytest

from tests.conformance.cases import COMPUTE, DATA, KINDS, RECURRENT, Case, collect, operators
from tests.conformance.pipeline import Report, check

EXCEPTIONS: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "exceptions.json").read_text())
KINDS_BUT_LIGHT = tuple(kind for kind in KINDS if kind != "light")
LIGHT = tuple(path.stem for path in sorted((DATA / "light").glob("*.onnx")))
MANY = ("attention", "_expanded")  # names of hundreds of node cases, MatMuls between activations alike
EVERY_OF_MANY, EVERY_OTHER = 24, 40


def few() -> list[Case]:
    """Everything that has a compute operator and all exceptions, with a sample of what there is much of."""
    met = {"many": 0, "other": 0}

    def wanted(kind: str, name: str, proto: onnx.ModelProto) -> bool:
        if f"{kind}/{name}" in EXCEPTIONS:
            return True
        group = "many" if any(word in name for word in MANY) else "other"
        if group == "other" and operators(proto).intersection((*COMPUTE, *RECURRENT)):
            return True
        met[group] += 1
        return met[group] % (EVERY_OF_MANY if group == "many" else EVERY_OTHER) == 0

    return list(collect(KINDS_BUT_LIGHT, wanted))


def exceptions(report: Report) -> dict[str, str]:
    """What of a case would have to stand on the list."""
    return {"load": report.reason} if report.outcome == "refused" else report.floats


def wrong(reports: Iterable[Report]) -> list[str]:
    """Everything that is not as it should be."""
    found = []
    for report in reports:
        found += [f"{report.case}: {violation}" for violation in report.violations]
        listed, needed = EXCEPTIONS.get(report.case, {}), exceptions(report)
        if listed != needed:
            found.append(f"{report.case}: exceptions.json has {listed}, found {needed}")
    return found


def test_models_with_compute_operators_and_a_sample_of_the_rest(tmp_path: Path) -> None:
    cases = few()
    reports = [check(case, tmp_path, compare=False) for case in cases]
    assert wrong(reports) == []
    assert EXCEPTIONS.keys() <= {report.case for report in reports}
    outcomes = [report.outcome for report in reports]
    assert outcomes.count("quantized") > 60
    assert outcomes.count("skipped") < len(outcomes) / 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS_BUT_LIGHT)
def test_every_model(kind: str) -> None:
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        assert wrong(pool.map(checked, collect([kind]), chunksize=16)) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_architectures(name: str, tmp_path: Path) -> None:
    cases = collect(["light"], lambda kind, found, proto: found == name)
    assert wrong(check(case, tmp_path) for case in cases) == []


def checked(case: Case) -> Report:
    """One case, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return check(case, Path(folder))
