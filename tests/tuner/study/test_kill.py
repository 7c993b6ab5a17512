"""kill -9 at any moment, and Ctrl-C: nothing is lost but the trial in flight."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import task

SLOW = """
_score = score


def score(session, indices):
    import time

    time.sleep(0.15)
    return _score(session, indices)
"""


@pytest.fixture
def slow(tmp_path: Path) -> task.Task:
    made = task.write(tmp_path)
    made.evaluate.write_text(made.evaluate.read_text() + SLOW)
    return made


def start(of: task.Task, out: Path) -> subprocess.Popen[str]:
    words = ["tune", "--model", str(of.model), "--eval", str(of.evaluate), "--target-drop", "1%", "--objective", "size"]
    options = ["--strategy", "random", "--max-trials", "6", "--threads", "1", "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "autoquant", *words, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def result(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "result.json").read_text())
    return loaded


def test_a_run_killed_again_and_again_ends_as_one_left_alone(slow: task.Task, tmp_path: Path) -> None:
    alone = start(slow, tmp_path / "alone")
    killed = 0
    for told in (1, 2, 4, 6):
        run = start(slow, slow.out)
        # Each kill comes a little after the study has moved, whatever the machine's speed; the last while it confirms.
        deadline = time.monotonic() + 60
        while run.poll() is None and _trials(slow.out) < told and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.07 * killed)
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL)
        run.communicate()
        killed += 1
    alone.communicate(timeout=120)
    assert alone.returncode == 0
    final = start(slow, slow.out)
    _, errors = final.communicate(timeout=120)
    assert final.returncode == 0, errors
    assert killed >= 3
    assert result(slow.out)["tuned"]["metric"] == result(tmp_path / "alone")["tuned"]["metric"]
    assert (slow.out / "model.onnx").read_bytes() == (tmp_path / "alone" / "model.onnx").read_bytes()
    assert result(slow.out)["trials"]["total"] == 6


def test_ctrl_c_leaves_the_study_whole_and_says_how_to_go_on(slow: task.Task) -> None:
    run = start(slow, slow.out)
    while _trials(slow.out) < 2 and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in output + errors
    assert "autoquant tune" in output + errors
    with sqlite3.connect(slow.out / "study.db") as database:
        assert database.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone() == (0,)
    again = start(slow, slow.out)
    again.communicate(timeout=120)
    assert again.returncode == 0


def _trials(out: Path) -> int:
    """Trials told so far; 0 where there is no database yet."""
    try:
        with sqlite3.connect(f"file:{out / 'study.db'}?mode=ro", uri=True, timeout=1) as database:
            found: int = database.execute("SELECT count(*) FROM trials WHERE state != 'RUNNING'").fetchone()[0]
            return found
    except sqlite3.OperationalError:
        return 0
