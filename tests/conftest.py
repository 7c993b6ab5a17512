"""What holds for every test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

# A shell starts background jobs with SIGINT ignored, which Python and every child process would inherit: then no
# test of Ctrl-C could work under a CI that runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite says the same each time it runs; `HYPOTHESIS_PROFILE=explore pytest` draws examples afresh.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session", autouse=True)
def _nobody_watches() -> Iterator[None]:
    """The output of a pipe, whatever the machine that runs the tests declares."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CI"):
            environment.delenv(name, raising=False)
        yield
