"""Keep what another benchmark prints, one JSON object a line: `COMMAND | python -m benchmarks.record NAME`.

Passes the lines on and writes them with the machine and the versions to results/NAME.json.
"""

from __future__ import annotations

import argparse
import json
import sys

from .environment import environment, write


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--command", required=True, help="what printed the lines")
    arguments = parser.parse_args()
    figures = {**environment(), "command": arguments.command, "rows": []}
    for line in sys.stdin:
        print(line, end="", flush=True)
        figures["rows"].append(json.loads(line))
    if not figures["rows"]:
        print(f"{arguments.command} printed nothing: no results file written", file=sys.stderr)
        return 1
    write(arguments.name, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
