"""The checks of `autoquant doctor`, one function each."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ...errors import AutoquantError
from ..report import format as write

EXTRAS = {"dashboard": ("optuna_dashboard",), "examples": ("rapidocr", "PIL", "matplotlib")}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination; `absent` is something optional that is not there."""

    name: str
    state: Literal["ok", "absent", "broken"]
    text: str

    def to_json(self) -> dict[str, str]:
        """A JSON-able form."""
        return asdict(self)


def examine() -> list[Finding]:
    """All checks, in order. One that cannot be made is a finding itself, never an exception."""
    findings = [python(), installation()]
    if findings[-1].state == "ok":
        findings += _guarded(versions, processor, cpu, cuda, tensorrt)
    return findings + _guarded(folder, database) + [extra(name) for name in EXTRAS]


def _guarded(*checks: Callable[[], Finding]) -> list[Finding]:
    found = []
    for check in checks:
        try:
            found.append(check())
        except Exception as error:  # noqa: BLE001 - a broken installation fails in any way; the doctor must go on
            found.append(Finding(check.__name__, "broken", f"{type(error).__name__}: {error}"))
    return found


def python() -> Finding:
    """The interpreter."""
    return Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")


def installation() -> Finding:
    """Exactly one onnxruntime distribution."""
    from ...evaluators.machine import check_installation

    try:
        check_installation()
    except AutoquantError as error:
        return Finding("installation", "broken", str(error))
    return Finding("installation", "ok", "one ONNX Runtime distribution")


def versions() -> Finding:
    """The libraries a result depends on."""
    from ...evaluators.machine import versions as installed

    found = {name: version for name, version in installed().items() if name != "python"}
    return Finding("versions", "ok", ", ".join(f"{name} {version}" for name, version in found.items()))


def processor() -> Finding:
    """Its instructions and cores."""
    from ...evaluators.machine import instruction_set
    from ..targets.profiles import get

    bits = get("cpu").weight_bits
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    note = "8-bit weights" if bits == 8 else f"{bits}-bit weights: 8-bit products saturate here"
    return Finding("processor", "ok", f"{instruction_set()}, {write.many(cores, 'core')}, {note}")


def cpu() -> Finding:
    """A real session on the CPU."""
    from ...evaluators.device import CPU, silenced
    from ...evaluators.session import open_session

    with silenced():
        session = open_session(_identity(), device=CPU)
    return Finding("device cpu", "ok", ", ".join(session.get_providers()))


def cuda() -> Finding:
    """Whether a session really gets CUDA."""
    from ...evaluators.device import CUDA_PROVIDER

    return _provider("device cuda", CUDA_PROVIDER)


def tensorrt() -> Finding:
    """Whether a session really gets TensorRT."""
    from ...evaluators.device import TENSORRT_PROVIDER

    return _provider("target tensorrt", TENSORRT_PROVIDER)


def _provider(name: str, provider: str) -> Finding:
    from ...evaluators.device import loads, missing

    if loads(provider):
        return Finding(name, "ok", "a session gets it")
    return Finding(name, "absent", missing(provider))


def _identity() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "check", [x], [y])
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7
    ).SerializeToString()
    return data


def folder() -> Finding:
    """Whether results can be written in the working directory."""
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        return Finding("folder", "broken", f"{here} cannot be written ({error.strerror}): give --out another folder")
    return Finding("folder", "ok", f"{here}, {write.size(free)} free")


def database() -> Finding:
    """Whether a study's database works on this file system (some network file systems lack the locks)."""
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as scratch,
        closing(sqlite3.connect(Path(scratch) / "x.db")) as base,
    ):
        mode = base.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        base.execute("CREATE TABLE t (x)")
        base.commit()
    if mode != "wal":
        return Finding(
            "database", "broken", "SQLite's WAL does not work in this folder: give --out one on a local disk"
        )
    return Finding("database", "ok", f"SQLite {sqlite3.sqlite_version} with WAL")


def extra(name: str) -> Finding:
    """Whether an optional part is installed."""
    lacking = [module for module in EXTRAS[name] if importlib.util.find_spec(module) is None]
    if lacking:
        return Finding(f"extra {name}", "absent", f"pip install 'autoquant[{name}]'")
    return Finding(f"extra {name}", "ok", "installed")
