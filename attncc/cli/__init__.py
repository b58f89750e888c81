"""The command line: one file a command, heavy imports inside the commands."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; Ctrl-C ends it with exit status 130 and no traceback, also while it is imported."""
    try:
        from attncc.cli.errors import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)
