"""Errors of the command line: messages on stderr, objects on stdout under --json, and exit statuses."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from typing import Any, TextIO

from rich.panel import Panel
from rich.text import Text
from typer.main import get_command

from attncc.cli.app import app
from attncc.cli.encoding import spell
from attncc.cli.output import PlainConsole, note, show_json
from attncc.cli.wording import command_of, of_options
from attncc.errors import AttnccError, AttnccWarning, printable, told


def run() -> None:
    """Run the command line; an error becomes a message and exit status 2, a traceback only under --debug."""
    warnings.showwarning = _show_warning
    spell(sys.stdout)
    debug = "--debug" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app(standalone_mode=True)
        sys.stdout.flush()
    except SystemExit as leaving:
        if hasattr(leaving.__context__, "format_message"):  # a usage error, which typer has shown
            _report_json(_of_usage(leaving.__context__))
        raise
    except BrokenPipeError:  # the reader left, as `head` does: nothing to say, and nothing more to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except AttnccError as error:
        if debug:
            raise
        _report(error)
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        _report(_unexpected(error))
        sys.exit(2)


def _report(error: AttnccError) -> None:
    """Say what is wrong, in the words of the command line: on stderr, and under --json on stdout as well."""
    said = of_options(error, command_of(get_command(app), sys.argv[1:]))
    report_error(said)
    _report_json(said)


def report_error(error: AttnccError) -> None:
    """Print an error: the problem, then the rule and the fix."""
    text = Text(error.problem, style="bold")
    for line in (error.rule, error.fix):
        if line:
            text.append(f"\n{line}", style="not bold")
    PlainConsole(stderr=True).print(Panel(text, title="error", title_align="left", border_style="red"))


def _report_json(error: AttnccError) -> None:
    if "--json" in sys.argv:
        show_json({"error": {"problem": error.problem, "rule": error.rule, "fix": error.fix}})
        sys.stdout.flush()


def _of_usage(error: Any) -> AttnccError:
    context = getattr(error, "ctx", None)
    fix = f"Run `{context.command_path} --help`." if context else "Run `attncc --help`."
    return AttnccError(error.format_message(), rule="The command line doesn't fit the command.", fix=fix)


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
            f"The disk is full: {error}.",
            rule="There must be room for what a command writes.",
            fix="Make room, or write elsewhere.",
        )
    return AttnccError(
        f"{told(error)}.",
        rule="attncc did not expect this.",
        fix="Run the command again with --debug, and report the traceback.",
    )
