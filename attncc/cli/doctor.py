"""`attncc doctor`: versions, devices and backends of this machine."""

from __future__ import annotations

from attncc.cli import output
from attncc.cli.options import AsJson

#: Distributions whose versions matter to a report.
PACKAGES = ("attncc", "torch", "triton", "numpy", "sympy", "networkx", "optuna", "typer", "rich", "matplotlib")


def doctor(as_json: AsJson = False) -> None:
    """Print versions, devices, and which backends can run here (and why one can't).

    Example: attncc doctor --json
    """
    from attncc import backends
    from attncc.machine import devices, machine, versions

    found = {
        "machine": machine(),
        "versions": versions(PACKAGES),
        "devices": devices(),
        "backends": {name: reason or "available" for name, reason in backends.report()},
    }
    if as_json:
        output.show_json(found)
        return
    tables = [output.facts(title, {k: str(v) for k, v in rows.items()}) for title, rows in found.items()]
    output.show(*(part for made in tables for part in (made, "")))
