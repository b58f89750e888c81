"""The command line: one file a command, heavy imports inside the commands."""

from __future__ import annotations

import sys

from attncc.cli.app import app
from attncc.cli.output import report_error
from attncc.errors import AttnccError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; attncc's errors become a message and exit status 2, unless --debug is given."""
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except AttnccError as error:
        if debug:
            raise
        report_error(error)
        sys.exit(2)
