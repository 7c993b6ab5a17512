"""One tuning run per folder: a lock of the operating system's, which a killed process cannot leave behind."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from ...errors import OutputError, StudyLockedError

_NAME = ".lock"
# on Windows the locked bytes cannot be read by others: lock one far behind the text
_FAR = 1 << 30


class FolderLock:
    """Held from `acquire` until `release`, the end of the `with` block or the end of the process.

    The file stays where it is: to delete it would let a third process lock a new one while a second waits on the old.
    """

    def __init__(self, folder: Path, command: str = "") -> None:
        self.path = folder / _NAME
        self._command = command
        self._handle: int | None = None

    def acquire(self) -> Self:
        """Take the lock, without waiting.

        Raises:
            StudyLockedError: Another process, or another run in this one, holds it; the text names the process.
            OutputError: The folder is not writable, or its file system knows no locks.
        """
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(f"cannot write into {self.path.parent}: {error.strerror}.") from error
        try:
            _lock(handle)
        except OSError as error:
            os.close(handle)
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise StudyLockedError(self._refusal()) from None
            raise OutputError(
                f"cannot lock {self.path}: {error.strerror}.\nThe file system knows no locks: give an --out on another."
            ) from error
        self._handle = handle
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": self._command}
        os.ftruncate(handle, 0)
        os.write(handle, json.dumps(holder).encode())
        return self

    def release(self) -> None:
        """Let go. Does nothing when it is not held."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _refusal(self) -> str:
        try:
            holder = json.loads(self.path.read_text())
            who = f"process {holder['pid']} on {holder['host']}"
            who += f" ({holder['command']})" if holder["command"] else ""
        except (OSError, ValueError, KeyError):  # it has only just locked, or is about to let go
            who = "another process"
        return f"{self.path.parent} is in use: {who} is tuning there.\nWait for it, stop it, or give another --out."


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(handle: int) -> None:
        # flock, not lockf: it holds against this very process too, and no stray close() lets go of it
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
