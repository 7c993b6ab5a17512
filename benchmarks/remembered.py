"""What a benchmark has measured, in a file of lines: read once, then only appended to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Remembered:
    """Values by kind and key; a line `[kind, key, value]` each.

    A process that is killed while it writes leaves at most a torn last line, which is passed over.
    """

    def __init__(self, file: Path | None) -> None:
        """File: where the values stay after this process, None for nowhere."""
        self._file = file
        self._values: dict[tuple[str, str], Any] = {}
        text = file.read_text() if file and file.exists() else ""
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines()[: -1 if self._torn else None]:
            if line:
                kind, key, value = json.loads(line)
                self._values[kind, key] = value

    def __contains__(self, place: tuple[str, str]) -> bool:
        return place in self._values

    def __getitem__(self, place: tuple[str, str]) -> Any:
        return self._values[place]

    def __setitem__(self, place: tuple[str, str], value: Any) -> None:
        self._values[place] = value
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._torn:
                self._mend()
            with self._file.open("a") as file:
                file.write(json.dumps([*place, value]) + "\n")

    def _mend(self) -> None:
        """Cut the torn line off, so that the next one does not go on in it."""
        assert self._file is not None
        with self._file.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
        self._torn = False
