"""`attncc topologies`: the shipped descriptions of devices and the links between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attncc.cli import options, output

if TYPE_CHECKING:
    from attncc.distributed.topology import Topology


def topologies(as_json: options.AsJson = False) -> None:
    """List the shipped topologies; a file of the same form may stand wherever a name does.

    Example: attncc topologies
    """
    from attncc.distributed.topology import Topology

    rows = [_row(Topology.load(name)) for name in Topology.names()]
    rows.sort(key=lambda row: row["devices"])
    if as_json:
        output.show_json({"topologies": rows})
        return
    numbers = ("devices", "nodes", "links")
    listing = output.table("", "topology", *numbers, "targets", "what it is", numbers=numbers)
    for row in rows:
        counts = (f"{row[name]:,}" for name in numbers)
        listing.add_row(row["name"], *counts, ", ".join(row["targets"]), row["title"])
    output.show(listing)


def _row(topology: Topology) -> dict[str, Any]:
    return {
        "name": topology.name,
        "title": topology.title,
        "devices": topology.count,
        "nodes": len(set(topology.node.tolist())),
        "links": topology.graph.number_of_edges(),
        "targets": list(topology.targets),
    }
