"""What holds for every test."""

from __future__ import annotations

import signal

# A shell starts background jobs with SIGINT ignored, which Python and every child process would inherit: then no
# test of Ctrl-C could work under a CI that runs in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
