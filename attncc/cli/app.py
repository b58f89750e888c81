"""The application and its commands."""

from __future__ import annotations

from typing import Annotated

import typer

from attncc.cli.audit import audit
from attncc.cli.bench import bench
from attncc.cli.cache import app as cache_app
from attncc.cli.compile import compile_pattern
from attncc.cli.doctor import doctor
from attncc.cli.inspect import inspect
from attncc.cli.listing import list_patterns
from attncc.cli.partition import partition
from attncc.cli.plan import plan
from attncc.cli.plugins import app as plugins_app
from attncc.cli.show import show
from attncc.cli.targets import targets
from attncc.cli.topologies import topologies
from attncc.cli.tune import tune
from attncc.cli.verify import verify
from attncc.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Declare which keys a query sees; look at the plan, tune it, run it.\n\n"
    "Example: attncc bench strided --seq-len 16384",
)
app.command("list")(list_patterns)
app.command()(show)
app.command()(plan)
app.command()(bench)
app.command()(verify)
app.command()(audit)
app.command()(tune)
app.command()(inspect)
app.command("compile")(compile_pattern)
app.command()(targets)
app.command()(partition)
app.command()(topologies)
app.command()(doctor)
app.add_typer(cache_app, name="cache")
app.add_typer(plugins_app, name="plugins")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"attncc {__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the Python traceback of an error.")]


@app.callback()
def options(version: Version = False, debug: Debug = False) -> None:
    """Options of all commands; main() takes --debug, which may stand anywhere."""
