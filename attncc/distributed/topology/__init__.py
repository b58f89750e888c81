"""Topologies: devices, the nodes that hold them, and the network between them."""

from attncc.distributed.topology.devices import Device, Topology

__all__ = ["Device", "Topology"]
