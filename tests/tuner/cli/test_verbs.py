"""The verbs over a finished study."""

import filecmp
import json
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pandas as pd
import pytest
from autoquant.tuner.cli.main import main

from tests import task

Captured = pytest.CaptureFixture[str]


def test_trials_lists_all(tuned: task.Task, capsys: Captured) -> None:
    assert main(["trials", str(tuned.out)]) == 0
    shown = capsys.readouterr().out
    assert "drop allowed: 50%" in shown
    assert "★" in shown
    assert not any(line.endswith(" ") for line in shown.splitlines())


def test_trials_as_csv(tuned: task.Task, capsys: Captured) -> None:
    assert main(["trials", str(tuned.out), "--csv"]) == 0
    (tuned.folder / "trials.csv").write_text(capsys.readouterr().out)
    found = pd.read_csv(tuned.folder / "trials.csv")
    assert list(found["number"]) == [0, 1, 2, 3]
    assert found["metric"].between(0, 1).all()


def test_trials_sorted_and_cut(tuned: task.Task, capsys: Captured) -> None:
    assert main(["trials", str(tuned.out / "study.db"), "--csv", "--sort", "cost", "--last", "2"]) == 0
    shown = capsys.readouterr().out
    (tuned.folder / "sorted.csv").write_text(shown)
    costs = list(pd.read_csv(tuned.folder / "sorted.csv")["cost"])
    assert len(costs) == 2
    assert costs == sorted(costs)


def test_export_rebuilds_what_was_delivered(tuned: task.Task, tmp_path: Path, capsys: Captured) -> None:
    assert main(["export", str(tuned.out), "--out", str(tmp_path / "best.onnx")]) == 0
    assert "best.onnx: trial " in capsys.readouterr().out
    assert filecmp.cmp(tmp_path / "best.onnx", tuned.out / "model.onnx", shallow=False)


def test_quantize_replays_the_recipe(tuned: task.Task, tmp_path: Path, capsys: Captured) -> None:
    recipe = str(tuned.out / "recipe.json")
    words = ["quantize", "--model", str(tuned.model), "--recipe", recipe, "--out", str(tmp_path / "again.onnx")]
    assert main(words) == 0
    assert "again.onnx: " in capsys.readouterr().out
    assert filecmp.cmp(tmp_path / "again.onnx", tuned.out / "model.onnx", shallow=False)


def test_report_writes_the_page_again(tuned: task.Task, tmp_path: Path, capsys: Captured) -> None:
    assert main(["report", str(tuned.out), "--out", str(tmp_path / "r.html")]) == 0
    assert capsys.readouterr().out.strip().endswith("r.html")
    assert (tmp_path / "r.html").read_text() == (tuned.out / "report.html").read_text()


def test_report_of_a_study_without_a_result(tuned: task.Task, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes((tuned.out / "study.db").read_bytes())
    assert main(["report", str(tmp_path / "study.db")]) == 0
    assert "no result yet" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trials", "{nowhere}"], "no such study: "),
        (["report", "{empty}"], "holds no study"),
        (["export", "{study}", "--trial", "99", "--out", "{empty}/x.onnx"], "has no trial 99"),
        (["export", "{study}", "--model", "{nowhere}", "--out", "{empty}/x.onnx"], "nowhere"),
        (["export", "{study}", "--out", "{nowhere}/x.onnx"], "nowhere"),
        (["trials", "{study}", "--study-name", "other"], "holds no study 'other'"),
        (["trials", "{corrupt}"], "corrupt"),
        (["quantize", "--model", "{model}", "--recipe", "{nowhere}", "--out", "x.onnx"], "cannot read the recipe"),
        (["quantize", "--model", "{model}", "--recipe", "{model}", "--out", "x.onnx"], "is not JSON"),
        (["report", "{study}", "--out", "{nowhere}/r.html"], "cannot be written"),
    ],
)
def test_bad_requests(words: list[str], message: str, tuned: task.Task, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "corrupt.db").write_bytes(b"SQLite format 3\0" + b"\7" * 4000)
    places = {
        "nowhere": tmp_path / "nowhere",
        "empty": tmp_path / "empty",
        "corrupt": tmp_path / "corrupt.db",
        "study": tuned.out,
        "model": tuned.model,
    }
    assert main([word.format(**places) for word in words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") <= 2
    assert "Traceback" not in shown.err


def test_reading_a_study_changes_nothing(tuned: task.Task) -> None:
    before = (tuned.out / "study.db").read_bytes()
    assert main(["trials", str(tuned.out)]) == 0
    assert (tuned.out / "study.db").read_bytes() == before


def test_the_best_of_nothing_is_two_lines(tuned: task.Task, tmp_path: Path, capsys: Captured) -> None:
    target = tmp_path / "study.db"
    target.write_bytes((tuned.out / "study.db").read_bytes())
    with sqlite3.connect(target) as base:
        base.execute("UPDATE trial_system_attributes SET value_json = '1.0' WHERE key = 'constraints:drop'")
        base.execute("DELETE FROM study_user_attributes WHERE key = 'result'")  # as before anything was delivered
    base.close()
    assert main(["export", str(target), "--out", str(tmp_path / "x.onnx")]) == 2
    assert "no trial of the study" in capsys.readouterr().err


def test_dashboard_without_its_extra_says_how_to_get_it(
    tuned: task.Task, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    assert main(["dashboard", str(tuned.out)]) == 2
    assert "pip install 'autoquant[dashboard]'" in capsys.readouterr().err


def test_dashboard_serves_the_study(tuned: task.Task) -> None:
    pytest.importorskip("optuna_dashboard")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "autoquant", "dashboard", str(tuned.out), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        assert f":{port}/" in server.stdout.readline()
        studies = _fetch(f"http://127.0.0.1:{port}/api/studies")
    finally:
        server.kill()
        server.communicate(timeout=30)
    assert json.loads(studies)["study_summaries"][0]["study_name"].startswith("model 50% ops random")


def _fetch(url: str) -> bytes:
    for _ in range(150):
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                data: bytes = answer.read()
                return data
        except OSError:
            time.sleep(0.1)
    pytest.fail("no server answers")
