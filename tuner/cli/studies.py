"""What the verbs over a finished study share: opening it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..study.recover import open_study
from ..study.store import Store


def opened(args: argparse.Namespace) -> Store:
    """The study that the command line names, open for reading.

    Raises:
        StudyError: There is none, or several and no name.
    """
    return open_study(args.study, args.study_name)


def folder(study: str) -> Path | None:
    """The .autoquant folder that STUDY means, None for a storage URL elsewhere."""
    path = Path(study)
    if path.is_dir():
        return path
    return path.parent if path.is_file() else None
