"""`autoquant dashboard`: optuna-dashboard on a study."""

from __future__ import annotations

import argparse

from .arguments import Subparsers, add_study, positive

DESCRIPTION = "Browse a study with optuna-dashboard: trials, importances, parallel coordinates."


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb."""
    parser = subparsers.add_parser("dashboard", help="browse a study with optuna-dashboard", description=DESCRIPTION)
    add_study(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="H", help="default 127.0.0.1: this machine only")
    parser.add_argument("--port", type=positive, default=8080, metavar="N", help="default 8080")
    parser.set_defaults(run=run, uses_runtime=False)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from ...errors import InstallationError, OutputError

    try:
        from optuna_dashboard import run_server
    except ImportError as error:
        raise InstallationError(
            "The dashboard is not installed.\nInstall it: pip install 'autoquant[dashboard]'"
        ) from error
    from .studies import opened

    storage = opened(args).url
    print(f"http://{args.host}:{args.port}/  (Ctrl-C ends it)", flush=True)
    try:
        run_server(storage, host=args.host, port=args.port)
    except OSError as error:
        raise OutputError(
            f"Nothing can be served on {args.host}:{args.port}: {error.strerror or error}.\nChoose another --port."
        ) from error
    except KeyboardInterrupt:  # the ordinary way to end a server
        print()
    return 0
