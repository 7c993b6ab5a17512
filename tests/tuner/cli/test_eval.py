import json
from pathlib import Path

import numpy as np
import pytest
from autoquant.tuner.cli.main import main

from tests import task

Captured = pytest.CaptureFixture[str]


def test_scores_and_times_a_model(tuned: task.Task, capsys: Captured) -> None:
    assert main(["eval", str(tuned.model), "--eval", str(tuned.evaluate)]) == 0
    said, *lines = capsys.readouterr().out.splitlines()
    assert said == "a print of the user's"
    assert lines[0].startswith("metric   1 ")
    assert "96 samples" in lines[0]
    assert lines[1].startswith("latency")
    assert lines[2].startswith("kernels  0 of 5")
    assert " ms" in lines[1]


def test_against_a_reference(tuned: task.Task, capsys: Captured) -> None:
    words = ["eval", str(tuned.out / "model.onnx"), "--eval", str(tuned.evaluate), "--reference", str(tuned.model)]
    assert main([*words, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["reference"]["metric"] == 1.0
    assert figures["drop"]["absolute"] == pytest.approx(1.0 - figures["metric"])
    result = json.loads((tuned.out / "result.json").read_text())
    assert figures["kernels"] == {"int8": result["layers"]["int8"], "float": 5 - result["layers"]["int8"]}
    low, high = figures["speedup_ci"]
    assert low <= figures["speedup"] <= high
    assert main(words) == 0
    assert "as fast" in capsys.readouterr().out


def test_arrays_need_no_code(tuned: task.Task, capsys: Captured) -> None:
    assert main(["eval", str(tuned.model), "--eval", f"accuracy:{tuned.folder / 'data.npz'}", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["metric"], figures["samples"]) == (1.0, 96)


def test_fidelity_of_a_model_to_itself_is_1(tuned: task.Task, tmp_path: Path, capsys: Captured) -> None:
    np.savez(tmp_path / "inputs.npz", x=np.load(tuned.folder / "data.npz")["x"][:8])
    words = ["eval", str(tuned.model), "--eval", f"fidelity:{tmp_path / 'inputs.npz'}"]
    assert main(words) == 2
    assert "--reference FLOAT.onnx" in capsys.readouterr().err
    assert main([*words, "--reference", str(tuned.model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == 1.0


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        ("nowhere.onnx", "num_samples = 1", "nowhere.onnx"),
        ("{model}", "def evaluate(session): return 1 / 0", "ZeroDivisionError"),
        ("{model}", "def evaluate(session): return None", "None"),
        ("{model}", "x = 1", "evaluate"),
        ("{model}", "import nowhere", "nowhere"),
        ("{data}", "def evaluate(session): return 1.0", "data.npz"),
    ],
)
def test_what_cannot_be_scored(
    model: str, source: str, message: str, tuned: task.Task, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "e.py").write_text(source)
    path = model.format(model=tuned.model, data=tuned.folder / "data.npz")
    assert main(["eval", path, "--eval", str(tmp_path / "e.py")]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""
    # the user's own frames may stand above; what is ours is two lines at most
    ours = shown.err[shown.err.index("autoquant: ") :]
    assert ours.count("\n") <= 2
