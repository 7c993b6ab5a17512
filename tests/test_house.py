"""The house keeps its shape: who may import whom, and what an `__init__` holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("graph", "calibration", "quantization", "study", "report", "cli")
PACKAGES = {"tuner": "autoquant.tuner", "strategies": "autoquant.strategies", "evaluators": "autoquant.evaluators"}
SOURCES = [path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]


def imported(path: Path) -> list[str]:
    """Absolute names of all modules a source file imports, late imports included."""
    relative = path.relative_to(ROOT)
    inside = [PACKAGES[relative.parts[0]], *relative.parts[1:-1]]
    if relative.parts[:2] == ("tuner", "api"):
        inside = ["autoquant"]
    package = ".".join(inside).split(".")
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 50


@pytest.mark.parametrize("folder", ["strategies", "evaluators"])
def test_strategies_and_evaluators_know_nothing_of_the_tuner(folder: str) -> None:
    other = "evaluators" if folder == "strategies" else "strategies"
    for path in (ROOT / folder).rglob("*.py"):
        names = imported(path)
        assert not [name for name in names if name.startswith("autoquant.tuner")], path
        assert not [name for name in names if name.startswith(f"autoquant.{other}")], path


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_run_one_way(room: str) -> None:
    later = ROOMS[ROOMS.index(room) + 1 :]
    for path in (ROOT / "tuner" / room).rglob("*.py"):
        forbidden = [name for name in imported(path) for other in later if name.startswith(f"autoquant.tuner.{other}")]
        assert not forbidden, path


def test_inits_hold_a_docstring_only() -> None:
    for path in SOURCES:
        if path.name == "__init__.py" and path.parent.name != "api":
            body = ast.parse(path.read_text()).body
            assert len(body) == 1, path
            assert isinstance(body[0], ast.Expr), path


def test_only_the_study_knows_optuna_s_storage() -> None:
    for path in SOURCES:
        if "study" not in path.parts:
            names = [name for name in imported(path) if name.startswith("optuna.storages.")]
            assert names in ([], ["optuna.storages.InMemoryStorage"]), path


def test_no_path_of_a_machine() -> None:
    pattern = re.compile(r"/(?:work|opt|root|home/\w+)/")
    for path in SOURCES:
        assert not pattern.search(path.read_text()), path
