"""The choice of settings that ranks agree on: what any of them knows, or else what all of them simulate."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist

from attncc.backends.inputs import Inputs
from attncc.distributed.execution.channel import Channel, gathered_rows
from attncc.distributed.schedules.settings import PARTITIONS, ROUTES, Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation import selection
from attncc.distributed.simulation.selection import SettingsChoice
from attncc.distributed.topology import Topology
from attncc.frontend.patterns import Pattern

#: Where a choice is from, the best first.
LAYERS = ("tuned", "simulated")


def agreed_settings(
    pattern: Pattern,
    length: int,
    inputs: Inputs,
    sharings: Sequence[Sharing],
    topology: Topology,
    channels: Sequence[Channel],
    device: torch.device,
) -> Settings:
    """Return the settings for self-attention on a topology (see selection.settings_for), the same on all ranks.

    Collective, with one exchange whatever a rank has kept: one rank may have a tuned configuration, or have simulated
    this before, where another has not. The best that any rank has is taken, that of the first such rank.
    """
    wanted = pattern, length, inputs, list(sharings), topology
    row = [dist.get_rank(), *_as_numbers(selection.known(*wanted), sharings)]
    found = gathered_rows(row, channels, device, "the choice of a schedule")
    layer, rank = min((numbers[0], rank) for rank, *numbers in found)
    if layer == len(LAYERS):
        return selection.simulated(*wanted).settings
    choice = _of_numbers(next(numbers for other, *numbers in found if other == rank), sharings, rank)
    selection.keep(choice, *wanted)
    return choice.settings


def _as_numbers(choice: SettingsChoice | None, sharings: Sequence[Sharing]) -> list[int]:
    """Return a choice as numbers, of which the first is the place of its layer, behind all of them for none."""
    if choice is None:
        return [len(LAYERS)] + [-1] * 7
    own = choice.settings
    names = PARTITIONS.index(own.partition), ROUTES.index(own.route)
    return [
        *(LAYERS.index(choice.layer), sharings.index(choice.sharing), *names),
        *(own.unit, own.stages, own.fanout, own.spread),
    ]


def _of_numbers(numbers: Sequence[int], sharings: Sequence[Sharing], rank: int) -> SettingsChoice:
    layer, sharing, partition, route, unit, stages, fanout, spread = numbers
    settings = Settings(PARTITIONS[partition], unit, stages, ROUTES[route], fanout, spread)
    return SettingsChoice(sharings[sharing], settings, LAYERS[layer], f"What rank {rank} knew.")
