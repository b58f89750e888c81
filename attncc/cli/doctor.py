"""`attncc doctor`: versions, devices and backends of this machine, and what its links are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attncc.cli import options, output
from attncc.cli.progress import progress
from attncc.errors import ConfigError

if TYPE_CHECKING:
    from attncc.distributed.links.fit import Links

#: Distributions whose versions matter to a report.
PACKAGES = ("attncc", "torch", "triton", "numpy", "sympy", "networkx", "optuna", "typer", "rich", "matplotlib")

WithLinks = Annotated[bool, typer.Option("--links", help="Measure bandwidth and speed of gloo processes on this host.")]
Processes = Annotated[int, typer.Option(min=2, help="With --links: processes to start; under torchrun, ignored.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="With --links: the topology file to write.")
]


def doctor(
    as_json: options.AsJson = False, links: WithLinks = False, processes: Processes = 4, file: Output = None
) -> None:
    """Print versions, devices and backends, and why a backend can't run; with --links, measure this host's links.

    Example: attncc doctor --links --output here.toml
    """
    if links:
        _doctor_links(as_json, processes, file)
        return
    if file is not None:
        raise ConfigError(
            "--output without --links.", rule="What is written is the topology of measured links.", fix="Add --links."
        )
    from attncc import backends
    from attncc._util.machine import devices, machine, versions

    facts = {
        "machine": machine(),
        "versions": versions(PACKAGES),
        "devices": devices(),
        "backends": {name: reason or "available" for name, reason in backends.report()},
    }
    if as_json:
        output.show_json(facts)
        return
    tables = [output.facts(title, {k: str(v) for k, v in rows.items()}) for title, rows in facts.items()]
    output.show(*(part for made in tables for part in (made, "")))


def _doctor_links(as_json: bool, processes: int, file: Path | None) -> None:
    from attncc._util.storage import check_file

    check_file(file, "--output")
    links = _measured(processes)
    if links is None:  # a rank that has nothing to say
        return
    if file is not None:
        _write(file, links)
    if as_json:
        output.show_json(links.describe())
    else:
        _show(links)


def _measured(processes: int) -> Links | None:
    from torch.distributed import is_torchelastic_launched

    from attncc.distributed.links import probe

    if is_torchelastic_launched():
        return probe.measure_world(output.note)
    with progress(probe.STEPS) as report:
        return probe.measure_host(processes, report)


def _write(file: Path, links: Links) -> None:
    from attncc._util import storage
    from attncc._util.machine import machine, versions
    from attncc.distributed.links.fit import toml

    facts = (machine() | versions(["torch"])).items()
    remarks = ["Measured by attncc doctor --links: " + ", ".join(f"{name} {value}" for name, value in facts) + "."]
    storage.save(file, toml(links, remarks).encode(), "--output")
    output.note(f"wrote {file}")


def _show(links: Links) -> None:
    exchanges = output.table("exchanges", "who sends", "bytes", "median", "as simulated", numbers=("bytes", "median"))
    for each, predicted in zip(links.exchanged, links.predicted(), strict=True):
        exchanges.add_row(each.pattern, f"{each.size:,}", output.seconds(each.median), output.seconds(predicted))
    fitted = {
        "processes": f"{links.processes} of {links.threads} threads",
        "alpha": f"{output.seconds(links.alpha)} a link, two on a path",
        "beta": f"{output.quantity(links.beta, 'B/s')} from one to another",
        "copies": f"{output.quantity(links.copies, 'B/s')} of all together",
        "alone": f"{output.quantity(links.alone, 'FLOP/s')}, dense attention",
        "together": f"{output.quantity(links.together, 'FLOP/s')} each",
        "cores": f"{links.cores:.2f} processes at full speed at once",
    }
    output.show(exchanges, "", output.facts("as a topology", fitted))
