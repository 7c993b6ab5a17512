import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from autoquant.errors import InstallationError, OutputError, StudyError
from autoquant.tuner.study import database
from autoquant.tuner.study.opening import names
from autoquant.tuner.study.recover import open_study
from autoquant.tuner.study.store import Store

from tests.tuner.study.storing import make_space, make_store, measured


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study with a trial, at rest."""
    path = tmp_path / "study.db"
    with make_store(path) as store:
        store.complete(store.start(make_space().default(), "search"), measured())
    return path


def both_ways(path: Path) -> Iterator[str]:
    """What reading and writing a database says that cannot be used; the file stays as it is."""
    before = path.read_bytes() if path.is_file() else None
    for attempt in (lambda: Store.open(database.url_of(path), timeout=0.1).trials(), lambda: make_store(path)):
        with pytest.raises(StudyError) as caught:
            attempt()
        yield str(caught.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_no_such_file(tmp_path: Path):
    with pytest.raises(StudyError, match=r"no such study: .*none\.db"):
        Store.open(database.url_of(tmp_path / "none.db"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StudyError, match="cannot be opened: no such folder"):
        make_store(tmp_path / "none" / "study.db")


def test_a_folder(tmp_path: Path):
    for text in both_ways(tmp_path):
        assert "is a folder" in text


@pytest.mark.parametrize("content", [b"PK\x03\x04 not SQLite at all" * 100, b"PK"])
def test_not_a_database(tmp_path: Path, content: bytes):
    path = tmp_path / "study.db"
    path.write_bytes(content)
    for text in both_ways(path):
        assert "is corrupt: file is not a database" in text
        assert "--fresh" in text


def test_corrupt(file: Path):
    with file.open("r+b") as raw:
        size = file.stat().st_size
        raw.seek(4096)
        raw.write(os.urandom(size - 4096))
    for text in both_ways(file):
        assert "is corrupt" in text
        assert len(text.splitlines()) == 2


def test_truncated(file: Path):
    with file.open("r+b") as raw:
        raw.truncate(file.stat().st_size // 2)
    for text in both_ways(file):
        assert "is corrupt" in text


def test_locked(file: Path):
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("PRAGMA journal_mode=DELETE")
    other.execute("BEGIN EXCLUSIVE")
    for text in both_ways(file):
        assert "is locked by another program" in text
    other.close()


def test_locked_while_a_trial_is_told(file: Path):
    with make_store(file) as store:
        number = store.start(make_space().default(), "search")
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StudyError, match="is locked by another program"):
            store.complete(number, measured())
        other.close()
        assert store.trial(number).state == "running"
        assert store.complete(number, measured()).state == "complete"


def test_a_full_disk(file: Path):
    def write(store: Store) -> None:
        for _ in range(100):
            store.start(make_space().default(), "search")

    with make_store(file) as store:
        with store.storage.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count=1")  # as many as there are
        with pytest.raises(OutputError, match="is full"):
            write(store)
    with make_store(file) as store:
        trials = store.trials()
        assert [trial.state for trial in trials] == ["complete"] + ["running"] * (len(trials) - 1)
        assert all(trial.recipe == make_space().default() for trial in trials)


def test_another_program(tmp_path: Path):
    path = tmp_path / "study.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    other.close()
    for text in both_ways(path):
        assert "another program" in text
        assert "customers" in text


def test_empty(tmp_path: Path):
    path = tmp_path / "study.db"
    path.touch()
    with pytest.raises(StudyError, match="holds no study"):
        Store.open(database.url_of(path))
    assert path.stat().st_size == 0
    make_store(path).close()
    assert names(database.url_of(path)) == ["study"]


def test_a_newer_optuna(file: Path):
    with sqlite3.connect(file) as other:
        other.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
    other.close()
    for text in both_ways(file):
        assert "another version of Optuna" in text
        assert "pip install -U optuna" in text


def test_a_study_of_somebody_else(tmp_path: Path):
    import optuna

    url = database.url_of(tmp_path / "study.db")
    optuna.create_study(storage=url, study_name="study")
    with sqlite3.connect(tmp_path / "study.db") as other:
        other.execute("PRAGMA journal_mode=WAL")
    other.close()
    for text in both_ways(tmp_path / "study.db"):
        assert "not made by autoquant" in text


def test_another_format(file: Path):
    with make_store(file) as store:
        store.put({"autoquant": {"format": 2, "version": "9.1"}})
    for text in both_ways(file):
        assert "another version of autoquant (9.1)" in text


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nonsense://", "not a storage URL"),
        ("sqlite://", "cannot live in"),
        ("sqlite:///:memory:", "cannot live in"),
        ("oracle+nodriver://u:secret@h/d", "not a storage URL"),
    ],
)
def test_bad_urls(url: str, text: str):
    with pytest.raises(StudyError, match=text) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


def test_a_missing_driver(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    with pytest.raises(InstallationError, match="no driver for mysql") as caught:
        Store.open("mysql+mysqldb://user:secret@127.0.0.1/db")
    assert "secret" not in str(caught.value)


READ_ONLY = """
import os, sys
from pathlib import Path
from autoquant.errors import AutoquantError
from autoquant.tuner.study.database import url_of
from autoquant.tuner.study.store import Store
from tests.tuner.study.storing import make_space, make_store, measured

folder = Path(sys.argv[1])
file = folder / "study.db"
with make_store(file) as store:
    store.complete(store.start(make_space().default(), "search"), measured())
with Store.open(url_of(file)) as store:
    store.trials()
file.chmod(0o444)
folder.chmod(int(sys.argv[2], 8))
if os.geteuid() == 0:  # no permission stops root
    os.setgid(65534)
    os.setuid(65534)
with Store.open(url_of(file)) as store:
    print(len(store.trials()))
print(*sorted(path.name for path in folder.iterdir()))
try:
    make_store(file)
except AutoquantError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="permissions are of another kind there")
@pytest.mark.parametrize("mode", ["555", "777"])
def test_read_only(mode: str):
    # a read-only file is still read (from read-only media too), but no run goes on in it
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", READ_ONLY, folder, mode]
        root = Path(__file__).parents[3]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        Path(folder).chmod(0o755)
    assert done.returncode == 0, done.stderr
    trials, files, *rest = done.stdout.splitlines()
    assert (trials, files) == ("1", "study.db")
    assert "is read-only" in rest[0]
    assert "writable" in rest[1]


def test_reading_leaves_nothing_and_changes_nothing(file: Path):
    before = file.read_bytes()
    with Store.open(database.url_of(file)) as store:
        assert len(store.trials()) == 1
        with pytest.raises(StudyError, match="is read-only"):
            store.start(make_space().default(), "search")
    assert [path.name for path in file.parent.iterdir()] == ["study.db"]
    assert file.read_bytes() == before


def test_a_second_look_in_the_same_process_leaves_the_locks(file: Path):
    """A plain open() and close() of the file anywhere in the process would drop them, and with them the study."""
    code = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1], timeout=0).execute('PRAGMA journal_mode=DELETE'))"
    with make_store(file) as store:
        store.start(make_space().default(), "search")
        with Store.open(database.url_of(file)) as second:
            assert len(second.trials()) == 2
        names(database.url_of(file))
        other = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False)
        assert "database is locked" in other.stderr
        store.complete(1, measured())


def test_several_studies(file: Path):
    make_store(file, "second").close()
    with pytest.raises(StudyError, match=r"(?s)holds 2 studies: choose with --study-name.*study, second"):
        open_study(file)
    with pytest.raises(StudyError, match=r"(?s)no study 'third'.*It has: study, second"):
        open_study(file, "third")
    with open_study(database.url_of(file), "second") as store:
        assert store.name == "second"
