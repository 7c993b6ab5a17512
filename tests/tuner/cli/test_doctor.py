import json
from pathlib import Path

import pytest
from autoquant.errors import InstallationError
from autoquant.evaluators import machine
from autoquant.tuner.cli import checks
from autoquant.tuner.cli.main import main

Captured = pytest.CaptureFixture[str]


def test_a_sound_machine(folder: Path, capsys: Captured) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    found = {finding["name"]: finding for finding in report["findings"]}
    assert "CPUExecutionProvider" in found["device cpu"]["text"]
    assert "onnx " in found["versions"]["text"]
    assert machine.instruction_set() in found["processor"]["text"]
    assert found["folder"]["text"].startswith(str(folder))
    assert list(folder.iterdir()) == []  # what it tried is gone


def test_for_people(folder: Path, capsys: Captured) -> None:
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "✓  python" in shown
    assert "✗" not in shown


def test_a_broken_installation_is_found_and_not_fallen_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    def broken() -> None:
        raise InstallationError("two distributions.\nMend it: pip …")

    monkeypatch.setattr(machine, "check_installation", broken)
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "✗  installation" in shown
    assert "Mend it" in shown
    assert "device cpu" not in shown  # nothing of a runtime that cannot be trusted


def test_a_check_that_fails_is_a_finding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad() -> checks.Finding:
        raise RuntimeError("odd")

    bad.__name__ = "processor"
    monkeypatch.setattr(checks, "processor", bad)
    found = {finding.name: finding for finding in checks.examine()}
    assert found["processor"] == checks.Finding("processor", "broken", "RuntimeError: odd")
    assert found["device cpu"].state == "ok"


def test_a_missing_extra_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checks.EXTRAS, "dashboard", ("no_such_module",))
    assert checks.extra("dashboard") == checks.Finding(
        "extra dashboard", "absent", "pip install 'autoquant[dashboard]'"
    )
