"""What a kill -9 leaves: tried before every statement that the database executes, and at random moments."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from autoquant.tuner.study.database import url_of
from autoquant.tuner.study.store import Store

from tests.tuner.study.storing import make_space, make_store, measured

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")

SPACE = make_space()
RECIPE = SPACE.default()


def killed_before(statement: int, work: Callable[[], None]) -> bool:
    """Do the work in a process that is killed before its n-th statement. False if the work needs fewer."""
    child = os.fork()
    if child == 0:
        left = statement

        def count(*_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", count)
            sqlalchemy.event.listen(sqlalchemy.engine.Engine, "commit", count)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def kill_points(work: Callable[[Path], None], folder: Path, step: int = 1) -> list[Path]:
    """One database for every statement before which the work was killed, the last one where it was not."""
    found: list[Path] = []
    while True:
        file = folder / f"{len(found)}" / "study.db"
        file.parent.mkdir()
        if (folder / "before.db").exists():
            shutil.copy(folder / "before.db", file)
        found.append(file)
        if not killed_before((len(found) - 1) * step, lambda file=file: work(file)):  # type: ignore[misc]
            return found


def start_and_complete(file: Path) -> None:
    with make_store(file, space=SPACE) as store:
        store.put_probe("distance", RECIPE, 0.5)
        store.complete(store.start(RECIPE, "search"), measured())


def check(store: Store, *, may_run: bool) -> None:
    """Every trial is whole: as it is after `start`, or as it is after it was told."""
    for number, trial in enumerate(store.trials()):
        assert trial.number == number
        assert trial.recipe == RECIPE
        assert trial.phase == "search"
        if trial.state == "running":
            assert may_run
            assert trial.metric is None
        elif not trial.interrupted:
            assert (trial.state, trial.metric, trial.drop, trial.cost, trial.constraint) == (
                "complete",
                0.8,
                0.005,
                0.5,
                0.005 - 0.01,
            )
            assert trial.seconds["evaluate"] == 1.0
    for frozen in store.study().trials:
        assert frozen.values == ([0.5] if frozen.state.name == "COMPLETE" else None)


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_before_every_statement_of_a_trial(tmp_path: Path, step: int):
    make_store(tmp_path / "before.db", space=SPACE).close()
    files = kill_points(start_and_complete, tmp_path, step)
    assert len(files) > 20 / step
    states = set()
    for file in files:
        with make_store(file, space=SPACE) as store:
            check(store, may_run=True)
            states.add(tuple(t.state for t in store.trials()))
            left = store.reclaim()
            assert [recipe for _, recipe in left] == [RECIPE] * sum(t.interrupted for t in store.trials())
            for _, recipe in left:
                store.complete(store.start(recipe, "search"), measured())
            check(store, may_run=False)
    assert states == {(), ("running",), ("complete",)}


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_while_the_database_is_made(tmp_path: Path, step: int):
    files = kill_points(start_and_complete, tmp_path, step)
    assert len(files) > 50 / step
    for file in files:
        with make_store(file, space=SPACE) as store:
            check(store, may_run=True)
            store.reclaim()
            store.complete(store.start(RECIPE, "search"), measured())
            assert store.best() is not None


WRITER = """
import sys, pathlib
from tests.tuner.study.storing import make_space, make_store, measured
space = make_space()
with make_store(pathlib.Path(sys.argv[1]), space=space) as store:
    store.reclaim()
    while True:
        store.complete(store.start(space.default(), "search"), measured())
        print(flush=True)
"""


def test_killed_at_any_moment(tmp_path: Path):
    moments = random.Random(0)
    file = tmp_path / "study.db"
    told = 0
    watcher = None  # as a dashboard may: what is open elsewhere must survive the kill too
    for _ in range(2):
        command = [sys.executable, "-c", WRITER, str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as writer:
            assert writer.stdout is not None
            for _ in range(5):
                assert writer.stdout.readline() == b"\n"
                told += 1
            time.sleep(moments.uniform(0, 0.02))
            writer.kill()
            told += writer.stdout.read().count(b"\n")
        watcher = watcher or sqlite3.connect(file)
        assert watcher.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with Store.open(url_of(file)) as store:
            check(store, may_run=True)
            complete = sum(t.state == "complete" for t in store.trials())
            running = sum(t.state == "running" for t in store.trials())
        assert complete - told in (0, 1)  # told in the database, killed before it could say so
        assert running <= 1
        told = complete
    watcher.close()
