import json
import os
import signal
from pathlib import Path

import pytest
from autoquant.tuner.cli.main import main
from autoquant.tuner.study.recover import open_study

from tests import task
from tests.tuner.cli.conftest import words

# Presses Ctrl-C once: in the calibration, or when the n-th model is scored (the float model is the first).
IMPATIENT = """
import os, signal
from pathlib import Path
import numpy as np

here = Path(__file__).parent
data = np.load(here / "data.npz")
num_samples = len(data["labels"])
sessions = []


def press(part):
    mark = here / "pressed"
    if (here / "press").read_text() == part and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGINT)


def score(session, indices):
    if not any(session is known for known in sessions):
        sessions.append(session)
        press(str(len(sessions)))
    logits = session.run(None, {"x": data["x"][indices]})[0]
    return logits.argmax(-1) == data["labels"][indices]


def calibration():
    for i in range(0, 32, 8):
        if i == 16:
            press("calibration")
        yield {"x": data["x"][i : i + 8]}
"""


def test_ends_with_a_summary_and_its_files(tuned: task.Task) -> None:
    shown, log = (tuned.folder / "stdout").read_text(), (tuned.folder / "stderr").read_text()
    assert "✓ target met" in shown
    assert "a print of the user's\n" in shown
    assert "searching 5 layers: drop at most 50%, least ops, strategy random, at most 4 trials" in log
    assert log.count("trial ") >= 4
    for name in ("model.onnx", "recipe.json", "result.json", "report.html", "study.db"):
        assert (tuned.out / name).stat().st_size > 0
    assert str(tuned.model) in (tuned.out / "report.html").read_text()


def test_a_finished_study_answers_at_once_and_the_same(tuned: task.Task, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tuned, "--max-trials", "4")) == 0
    shown = capsys.readouterr()
    assert "finished" in shown.err
    assert "trial 0 " not in shown.err
    assert shown.out == (tuned.folder / "stdout").read_text()


def test_json_leaves_stdout_to_the_result(tuned: task.Task, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(tuned, "--max-trials", "4", "--json")) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads((tuned.out / "result.json").read_text())
    assert "a print of the user's" in shown.err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    ("part", "interrupted"), [("calibration", 0), ("3", 1), ("4", 0)], ids=["calibration", "trial", "confirmation"]
)
def test_interrupted_anywhere_it_can_go_on(
    part: str, interrupted: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = task.write(tmp_path)
    made.evaluate.write_text(IMPATIENT)
    (tmp_path / "press").write_text(part)
    asked = words(made, "--max-trials", "2")
    handler = signal.getsignal(signal.SIGINT)
    assert main(asked) == 130
    assert signal.getsignal(signal.SIGINT) is handler
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert message.splitlines()[-1].startswith("  autoquant tune --model ")
    assert main(asked) == 0
    with open_study(made.out) as store:
        told = [record for record in store.trials() if not record.interrupted]
        assert [record.state for record in told] == ["complete", "complete"]
        assert sum(record.interrupted for record in store.trials()) == interrupted


def test_another_models_study_is_refused_in_two_lines(
    tmp_path: Path, tuned: task.Task, capsys: pytest.CaptureFixture[str]
) -> None:
    made = task.write(tmp_path)
    made.evaluate.write_text(made.evaluate.read_text() + "\nhigher_is_better = True\n")
    changed = words(made)
    changed[changed.index("--out") + 1] = str(tuned.out)
    capsys.readouterr()
    assert main(changed) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("[")]
    assert 1 <= len(message) <= 2
    assert "eval" in message[0]
    assert "--fresh" in " ".join(message)


def test_a_hold_out_a_first_success_and_patience(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = task.write(tmp_path)
    rules = ("--holdout", "25%", "--stop", "first", "--patience", "5")
    assert main(words(made, *rules)) == 0
    shown = capsys.readouterr().out
    assert "held out" in shown
    assert "on 24 samples the search never saw" in shown
    found = json.loads((made.out / "result.json").read_text())
    assert found["holdout"]["samples"] == 24
    assert found["diagnosis"] is None
    assert main(words(made, "--json", *rules)) == 0
    assert json.loads(capsys.readouterr().out)["holdout"] == found["holdout"]


def test_one_number_cannot_be_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = task.write(tmp_path)
    made.evaluate.write_text("def evaluate(session):\n    return 1.0\n")
    assert main(words(made, "--holdout", "0.2")) == 2
    assert "--holdout 20% needs scores of single samples, but eval.py returns one number" in capsys.readouterr().err
