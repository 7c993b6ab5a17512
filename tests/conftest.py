"""What holds for every test."""

from __future__ import annotations

import os
import signal

import hypothesis

# A shell starts background jobs with SIGINT ignored, which Python and every child process would inherit: then no
# test of Ctrl-C could work under a CI that runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The suite says the same each time it runs; `HYPOTHESIS_PROFILE=explore pytest` draws examples afresh.
hypothesis.settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
