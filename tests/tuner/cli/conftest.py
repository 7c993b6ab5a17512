import contextlib
import io
from pathlib import Path

import pytest
from autoquant.tuner.cli.main import main

from tests import task
from tests.quick import migrations_read_once, ranges_found_once, short_timings

__all__ = ["migrations_read_once", "ranges_found_once", "short_timings"]

LOUD = '\nprint("a print of the user\'s")\n'


def words(made: task.Task, *more: str) -> list[str]:
    """The command line that tunes a little task."""
    usual = ["tune", "--model", str(made.model), "--eval", str(made.evaluate), "--out", str(made.out)]
    return [*usual, "--objective", "ops", "--strategy", "random", "--target-drop", "50%", *more]


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> task.Task:
    """A little task that was tuned through the command line; what it printed is beside it. Read only."""
    made = task.write(tmp_path_factory.mktemp("tuned"))
    made.evaluate.write_text(made.evaluate.read_text() + LOUD)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(words(made, "--max-trials", "4"))
    assert status == 0, err.getvalue()
    (made.folder / "stdout").write_text(out.getvalue())
    (made.folder / "stderr").write_text(err.getvalue())
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
