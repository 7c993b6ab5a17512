"""The database connection: opening it safely, one transaction at a time, and saying in words what went wrong."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from sqlalchemy.engine import URL, Connection, Engine, make_url

from ...errors import InstallationError, OutputError, StudyError
from .shield import shielded


class NoStudyError(StudyError):
    """A database without any study in it."""


_LIKE = "Give one like sqlite:///study.db or postgresql://user@host/database."
_FRESH = "Start anew with --fresh, or give another --out or --storage."


def url_of(database: str | Path) -> str:
    """The storage URL of a database file; a URL stays as it is."""
    text = str(database)
    if "://" in text:
        return text
    return URL.create("sqlite", database=str(Path(text).absolute())).render_as_string(hide_password=False)


def file_of(url: str) -> Path | None:
    """The SQLite file behind a storage URL, None for a database server.

    Raises:
        StudyError: Not a database URL, or a database in memory.
    """
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError:
        raise StudyError(f"not a storage URL: {url}\n{_LIKE}") from None
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise StudyError(f"a study cannot live in {url!r}: give a plain SQLite file, sqlite:///study.db.")
    return Path(parsed.database)


def shown(url: str) -> str:
    """How messages name a database: a file by its path, a server by its URL without the password."""
    file = file_of(url)
    return str(file) if file else make_url(url).render_as_string(hide_password=True)


def connect(url: str, *, write: bool, timeout: float = 30.0) -> RDBStorage:
    """Open a database as an Optuna storage.

    Args:
        url: Storage URL.
        write: Create file and tables where missing. Otherwise nothing is ever written.
        timeout: Seconds to wait for another process's lock.

    Raises:
        StudyError: Missing, corrupt, locked, read-only, not a database of Optuna's, or of a newer version of it.
        InstallationError: The URL's database driver is not installed.
    """
    file = file_of(url)
    options: dict[str, Any] = {}
    with explained(url):
        if file:
            _check_file(file, write=write, timeout=timeout)
            opener = _opener(file, write=write, timeout=timeout)
            if write:
                _check_writable(opener)
            # the opener decides which file: Optuna would trip over braces and percent signs in a path
            url, options = "sqlite:///study.db", {"creator": opener}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RDBStorage(url, engine_kwargs=options, skip_table_creation=not write)


@contextmanager
def transaction(engine: Engine, url: str) -> Iterator[Connection]:
    """One transaction: all of it is committed at the end, or nothing. Ctrl-C waits for that."""
    with shielded(), explained(url), engine.begin() as connection:
        yield connection


def checkpoint(engine: Engine) -> bool:
    """Move SQLite's write-ahead log into the file itself, so that the file alone is whole. False while others read.

    Never waits long: the next checkpoint moves what this one could not.
    """
    if engine.name != "sqlite":
        return True
    with engine.connect() as connection:
        timeout = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
        connection.exec_driver_sql("PRAGMA busy_timeout=200")
        try:
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        except sqlalchemy.exc.OperationalError:  # locked: as busy
            busy = 1
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout={timeout}")
    return not busy


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what database drivers raise into errors a user can act on."""
    try:
        yield
    except (sqlite3.Error, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise _explain(url, error) from error
    except ImportError as error:
        raise InstallationError(
            f"no driver for {shown(url)}: {error.__cause__ or error}.\n"
            "Install it, for PostgreSQL: pip install psycopg2-binary"
        ) from error
    except RuntimeError as error:
        if "table schema" not in str(error):
            raise
        raise StudyError(
            f"{shown(url)} was made by another version of Optuna.\n{str(error).split('. ')[-1]}"
        ) from error


def _explain(url: str, error: Exception) -> StudyError | OutputError:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(getattr(cause, "orig", None) or cause).strip()
    words, where = text.lower(), shown(url)
    if isinstance(error, sqlalchemy.exc.NoSuchModuleError):
        return StudyError(f"not a storage URL: {where}\n{_LIKE}")
    if "not a database" in words or "malformed" in words or "corrupt" in words:
        return StudyError(f"{where} is corrupt: {text}.\n{_FRESH}")
    if "is locked" in words or "busy" in words:
        return StudyError(
            f"{where} is locked by another program.\nClose what holds it (a database browser?) and retry."
        )
    if "readonly" in words or "read-only" in words:
        return StudyError(f"{where} is read-only.\nMake it and its folder writable, or give another --out.")
    if "unable to open" in words:
        return StudyError(f"{where} cannot be opened: no such folder, or no permission.")
    if "is full" in words or "disk i/o" in words:
        return OutputError(
            f"{where} cannot be written: {text}.\nThe study is whole up to the last trial; free some space."
        )
    # SQLite; PostgreSQL; MySQL
    if "no such table" in words or ("exist" in words and ('relation "' in words or "table '" in words)):
        return NoStudyError(f"{where} holds no study.")
    return StudyError(f"{where} cannot be used: {text.splitlines()[0] if text else type(cause).__name__}")


def _check_file(file: Path, *, write: bool, timeout: float) -> None:
    """Look at a SQLite file before Optuna does, which would make tables in any database.

    Only ever through SQLite: where a process closes a file that it opened itself, POSIX drops the locks of all of the
    process's connections to it, and the next kill or close of another process corrupts the database.
    """
    if not file.exists():
        if write:
            return
        raise StudyError(f"no such study: {file}")
    if file.is_dir():
        raise StudyError(f"{file} is a folder, not a database file.")
    connection = _opener(file, write=False, timeout=timeout)()
    try:
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    finally:
        connection.close()
    if damage != "ok":
        raise StudyError(f"{file} is corrupt: {str(damage).splitlines()[0]}.\n{_FRESH}")
    # a run killed while it made the tables leaves only some of them
    known = {"alembic_version", *optuna.storages._rdb.models.BaseModel.metadata.tables}
    if not ("studies" in tables or tables <= known):
        raise StudyError(
            f"{file} is a database of another program (it has the tables {', '.join(sorted(tables)[:3])})."
        )


def _check_writable(opener: Callable[[], sqlite3.Connection]) -> None:
    """See that a write would be let through: SQLite opens a read-only file without a word."""
    connection = opener()
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version={version}")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _opener(file: Path, *, write: bool, timeout: float) -> Callable[[], sqlite3.Connection]:
    """How to make one connection to a SQLite file."""
    uri = file.absolute().as_uri()

    def opened(query: str) -> sqlite3.Connection:
        return sqlite3.connect(uri + query, uri=True, timeout=timeout, check_same_thread=False)

    def writer() -> sqlite3.Connection:
        connection = opened("?mode=rwc")
        # a kill loses nothing committed, a power cut at most the last trials; never the file
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def reader() -> sqlite3.Connection:
        # WAL wants files beside it, even to read, and only who may write takes them away again
        if os.access(file, os.W_OK) and os.access(file.absolute().parent, os.W_OK):
            connection = opened("?mode=rw")
            connection.execute("PRAGMA query_only=ON")
            return connection
        # on read-only media the file alone is the database, unless somebody else is at work in it
        return opened("?mode=ro" if Path(f"{file}-wal").exists() else "?immutable=1")

    return writer if write else reader
