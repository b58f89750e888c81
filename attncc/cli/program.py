"""A run of the command line: its streams, its warnings, and what becomes of errors."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from typing import TextIO

from attncc.cli.app import app
from attncc.cli.encoding import spell
from attncc.cli.output import note, report_error
from attncc.errors import AttnccError, AttnccWarning
from attncc.text import printable, told


def run() -> None:
    """Run the command line; an error becomes a message and exit status 2, a traceback only under --debug."""
    warnings.showwarning = _show_warning
    spell(sys.stdout)
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app(standalone_mode=True)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader left, as `head` does: nothing to say, and nothing more to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except AttnccError as error:
        if debug:
            raise
        report_error(error)
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        report_error(_unexpected(error))
        sys.exit(2)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say what is warned of; where in the code stands only beside the warnings of other libraries."""
    text = warnings.formatwarning(message, category, filename, lineno, line)
    note(f"warning: {message}" if issubclass(category, AttnccWarning) else text.rstrip())


def _unexpected(error: Exception) -> AttnccError:
    said = printable(error)
    if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
        return AttnccError(
            "There is not enough memory.", rule=said, fix="Ask for a shorter length, or fewer heads and entries."
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return AttnccError(
            f"The disk is full: {error}.", rule="What a command writes must fit.", fix="Make room, or write elsewhere."
        )
    return AttnccError(
        f"{told(error)}.",
        rule="attncc did not expect this.",
        fix="Run the command again with --debug, and report the traceback.",
    )
