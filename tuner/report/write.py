"""Write the report's files: whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from ...errors import OutputError
from ..study.result import Result


def write_result(result: Result, path: Path) -> Path:
    """Write result.json atomically.

    Args:
        result: What the run found. Paths and non-finite numbers have no place in it.
        path: The file to write.

    Returns:
        `path`.

    Raises:
        OutputError: The file cannot be written.
    """
    return write_text(json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n", path)


def write_text(text: str, path: Path) -> Path:
    """Write a text file atomically: a reader sees the old content or the new, never half of it.

    Raises:
        OutputError: The folder is missing, not writable or full.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)  # mkstemp's 0600 is for secrets; this is for the user's colleagues
        Path(temporary).replace(path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path
