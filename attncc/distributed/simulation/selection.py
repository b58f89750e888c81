"""Selection: settings that were given, that tuning or simulation found, or the default ones; and which it was."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from attncc._util.storage import warn_once
from attncc.backends.inputs import Inputs
from attncc.configs import validation
from attncc.configs.density import rough_density
from attncc.configs.environment import SCHEDULES, Environment
from attncc.configs.key import Key
from attncc.configs.lookup import find
from attncc.distributed.schedules.settings import RENAMED, Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.errors import ConfigError, TopologyError, nearest
from attncc.frontend.patterns import Pattern
from attncc.ir.score import IDENTITY
from attncc.planner.directions import BOTH
from attncc.planner.shape import Shape

if TYPE_CHECKING:
    from attncc.distributed.topology import Topology

#: Dimensions of a mesh in a configuration; the parts of the sequence are the ranks that are left.
MESH = ("mesh.batch", "mesh.heads", "mesh.spread")
#: Batch and head shards of a mesh that isn't to be chosen.
Fixed = tuple[int, int]
#: Simulated choices that are kept; then all are forgotten at once.
MOST = 256
#: By what `_alike` returns.
_simulated: dict[tuple[object, ...], SettingsChoice] = {}
_OWN = tuple(each.name for each in fields(Settings) if each.name != "spread")


@dataclass(frozen=True)
class SettingsChoice:
    """How ranks share what there is, the settings, and what said so.

    Attributes:
        layer: `given`, `tuned`, `simulated` or `default`.
        text: The same for people.
    """

    sharing: Sharing
    settings: Settings
    layer: str
    text: str


def settings_for(
    pattern: Pattern,
    length: int,
    inputs: Inputs,
    sharings: Iterable[Sharing],
    *,
    settings: Settings | None = None,
    topology: Topology | None = None,
) -> SettingsChoice:
    """Return the settings for self-attention over `length` tokens, and which layer they are from.

    The layers are `settings`, if they are given. With a topology they are what `known` finds, and then the fastest in
    simulation. Without one there are the defaults. Raises what `known` and planning raise.

    Args:
        sharings: How the ranks may share what there is, the usual way first; all have one number of batch and head
            shards.
    """
    sharings = list(sharings)
    if settings is not None:
        return SettingsChoice(sharings[0], settings, "given", "The settings that were given.")
    if topology is None:
        return SettingsChoice(sharings[0], Settings(), "default", "The default settings: no topology was given.")
    wanted = pattern, length, inputs, sharings, topology
    return known(*wanted) or simulated(*wanted)


def known(
    pattern: Pattern, length: int, inputs: Inputs, sharings: list[Sharing], topology: Topology
) -> SettingsChoice | None:
    """Return the settings that this process needn't simulate for, if there are any.

    They are the winner of `attncc tune --topology` for this pattern, sizes and devices, if it shares in one of these
    ways. Winners for both directions come before those of a forward alone, and winners for this mesh before those for
    any. Where there is no winner, they are what was simulated for other tables of about one density.
    Raises TopologyError for another number of devices than ranks, and what ATTNCC_CACHE=assert raises.
    """
    if topology.count != sharings[0].ranks:
        raise TopologyError(
            f"{sharings[0].ranks} ranks on the {topology.count} devices of {topology.name!r}.",
            rule="Each device has one rank.",
            fix=f"Take part of it: topology.subset({sharings[0].ranks}).",
        )
    wanted = pattern, length, inputs, sharings, topology
    return _tuned(*wanted) or _simulated.get(_alike(*wanted))


def keep(choice: SettingsChoice, *wanted: Any) -> None:
    """Keep what was simulated for the arguments of `known`, which then finds it."""
    if choice.layer == "simulated":
        if len(_simulated) >= MOST:
            _simulated.clear()
        _simulated[_alike(*wanted)] = choice


def _alike(
    pattern: Pattern, length: int, inputs: Inputs, sharings: list[Sharing], topology: Topology
) -> tuple[object, ...]:
    """Return what a simulated choice is kept by: all that it depends on, but for tables only their rough density."""
    density = rough_density(pattern, Shape.of(length, heads=inputs.heads, batch=inputs.batch).narrowed(pattern.free))
    return pattern.template.fingerprint, density, length, inputs, tuple(sharings), topology.digest


def _tuned(
    pattern: Pattern, length: int, inputs: Inputs, sharings: list[Sharing], topology: Topology
) -> SettingsChoice | None:
    mesh, missed = (sharings[0].batch, sharings[0].heads), None
    for direction, fixed in itertools.product((BOTH, "forward"), (mesh, None)):
        try:
            found = find(key_of(pattern, length, inputs, topology, direction, fixed), environment_of(topology, fixed))
        except ConfigError as error:  # ATTNCC_CACHE asserts a winner: one of the others will do
            missed = missed or error
            continue
        if found.entry is None or found.source == "nearest" or "facts" in found.differences:
            continue  # simulation knows more than another length's winner, or another topology's
        try:
            sharing, settings = parsed(fixing(fixed) | dict(found.config), topology.count)
        except ConfigError as error:
            warn_once(f"The configuration from {found.layer} is not used: {validation.said(error)}", found.text)
            continue
        if sharing in sharings:
            return SettingsChoice(sharing, settings, "tuned", str(found))
    if missed is not None:
        raise missed
    return None


def simulated(
    pattern: Pattern, length: int, inputs: Inputs, sharings: list[Sharing], topology: Topology
) -> SettingsChoice:
    """Return the settings that are the fastest in simulation, the same in every process, and keep them."""
    from attncc.distributed.simulation.choose import choose
    from attncc.distributed.simulation.pricing import best
    from attncc.distributed.simulation.scenario import Scenario

    scenario = Scenario(pattern, length, inputs, topology)
    found = best(scenario, choose(scenario, sharings))
    said = f"The fastest in simulation on {topology.name}, {found.seconds:.3g} s forward and backward."
    settings = replace(found.settings, spread=found.sharing.ulysses_degree)
    choice = SettingsChoice(found.sharing, settings, "simulated", said)
    keep(choice, pattern, length, inputs, sharings, topology)
    return choice


def key_of(
    pattern: Pattern, length: int, inputs: Inputs, topology: Topology, direction: str, mesh: Fixed | None = None
) -> Key:
    """Return what a winner is remembered under; `direction` is one of DIRECTIONS, or BOTH."""
    shape = Shape.of(length, heads=inputs.heads, batch=inputs.batch).narrowed(pattern.free)
    return Key.of(pattern, IDENTITY.key, shape, inputs, direction, SCHEDULES, _name(topology, mesh))


def environment_of(topology: Topology, mesh: Fixed | None = None) -> Environment:
    """Return what else a winner depends on."""
    return Environment.of_topology(_name(topology, mesh), topology.digest)


def fixing(mesh: Fixed | None) -> dict[str, int | str]:
    """Return the part of a configuration that a mesh fixes."""
    return {} if mesh is None else dict(zip(MESH, mesh, strict=False))


def described(settings: Settings, sharing: Sharing) -> dict[str, int | str]:
    """Return a configuration as data: names of MESH and of Settings."""
    own = asdict(settings)
    return dict(zip(MESH, (sharing.batch, sharing.heads, sharing.ulysses_degree), strict=True)) | {
        n: own[n] for n in _OWN
    }


def parsed(config: Mapping[str, object], ranks: int) -> tuple[Sharing, Settings]:
    """Return what a configuration describes, for `ranks` ranks; what it leaves out has its default.

    Raises ConfigError for names and values that no configuration has, and a mesh that doesn't divide the ranks.
    """
    values = described(Settings(), Sharing()) | dict(config)
    unknown = values.keys() - {*MESH, *_OWN}
    if unknown:
        raise ConfigError(
            f"Unknown config key {min(unknown)!r}.",
            rule=f"Keys are {', '.join((*MESH, *_OWN))}.",
            fix=nearest(min(unknown), (*MESH, *_OWN)),
        )
    partition = values["partition"]
    if isinstance(partition, str):
        values["partition"] = RENAMED.get(partition, partition)  # files of before keep their meaning, without a warning
    batch, heads, degree = (_size(name, values[name]) for name in MESH)
    settings = Settings(spread=degree, **{name: values[name] for name in _OWN})  # type: ignore[arg-type]
    if ranks % (batch * heads * degree):
        raise ConfigError(
            f"A mesh of {batch} x {heads} x parts x {degree} for {ranks} ranks.",
            rule="The product of its dimensions is the number of ranks.",
            fix="Change the mesh, or the number of ranks.",
        )
    return Sharing(batch, heads, ranks // (batch * heads * degree), degree), settings


def _size(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(
            f"config {name}={value!r}.", rule="It is an integer of at least 1.", fix="Change it, or leave it out for 1."
        )
    return value


def _name(topology: Topology, mesh: Fixed | None) -> str:
    """Return what keys have as their target: a topology's name, and the batch and head shards of a mesh."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", topology.name)[:40].lstrip(".-") or "_"
    return name if mesh is None else f"{name}.{mesh[0]}x{mesh[1]}"
