"""Backends as kinds of what is tuned: the planner's choices and their own, and what runs without any config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from attncc.backends import choices
from attncc.backends.inputs import Inputs
from attncc.backends.torch import BACKEND as TORCH_BACKEND
from attncc.backends.torch.config import Config as TorchConfig
from attncc.backends.triton import BACKEND as TRITON_BACKEND
from attncc.backends.triton import MAX_HEAD_DIM
from attncc.backends.triton.config import Config as TritonConfig
from attncc.backends.triton.defaults import ANY, BITS
from attncc.errors import ConfigError, nearest
from attncc.planner import choice
from attncc.targets import Target
from attncc.tune import facts
from attncc.tune.kind import Value

Config = TorchConfig | TritonConfig

#: Whose kernels run in the backward, by the first part of a name.
_DIRECTIONS = {
    "forward": "forward",
    "backward": "backward",
    "query_gradient": "backward",
    "key_gradient": "backward",
}


@dataclass(frozen=True)
class BackendKind:
    """A backend; tile: what it cuts plans into. checked: refuses its choices. config: its default for inputs."""

    name: str
    tile: tuple[int, int]
    any_config: Config
    config: Callable[[Inputs, Target], Config]
    checked: Callable[[Mapping[str, object]], object]
    facts: tuple[str, ...] = facts.NAMES

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The planner's choices, then the backend's."""
        return (*choice.names(), *choices.names(self.any_config))

    def direction_of(self, name: str) -> str | None:
        """Return the direction that a choice binds, None for both."""
        return _DIRECTIONS.get(name.partition(".")[0])

    def check(self, values: Mapping[str, object]) -> None:
        """Raise ConfigError for a name or a value that neither the planner nor the backend takes."""
        rest: Mapping[str, object] = values
        for direction in choice.DIRECTIONS:
            _, rest = choice.separated(rest, direction)
        self.checked(rest)

    def default(self, direction: str, inputs: Inputs, target: Target) -> dict[str, Value]:
        """Return what runs without any config for each choice of a direction; raises ConfigError for other inputs."""
        chosen = _flat(self.config(inputs, target))
        chosen[f"{direction}.plan"] = choice.WAYS[0]
        chosen[f"{direction}.tile_m"], chosen[f"{direction}.tile_n"] = self.tile
        return {name: chosen[name] for name in self.names if self.direction_of(name) in (None, direction)}


def _triton(inputs: Inputs, target: Target) -> TritonConfig:
    head_dim = max(inputs.head_dim, inputs.value_dim)
    if head_dim > MAX_HEAD_DIM or 8 * inputs.itemsize > max(BITS):
        raise ConfigError(
            f"{inputs.dtype} with head size {head_dim}.",
            rule=f"triton takes elements of {' or '.join(map(str, BITS))} bits, heads to {MAX_HEAD_DIM}.",
            fix="Tune another backend.",
        )
    return TritonConfig.default(target.gpu.arch if target.gpu else ANY, head_dim, inputs.itemsize)


def _flat(config: Config) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name in choices.names(config):
        value: object = config
        for part in name.split("."):
            value = getattr(value, part)
        assert isinstance(value, int | str)
        found[name] = value
    return found


_ANY_BLOCKS = TritonConfig.default(ANY, 64, 2)
TORCH = BackendKind(
    TORCH_BACKEND.name, TORCH_BACKEND.tile, TorchConfig(), lambda inputs, target: TorchConfig(), TorchConfig.of
)
TRITON = BackendKind(TRITON_BACKEND.name, TRITON_BACKEND.tile, _ANY_BLOCKS, _triton, _ANY_BLOCKS.changed)
#: By name.
BACKENDS = {kind.name: kind for kind in (TORCH, TRITON)}


def backend_kind(name: str) -> BackendKind:
    """Return a backend's kind; raises ConfigError for one that leaves nothing open."""
    if name not in BACKENDS:
        raise ConfigError(
            f"Backend {name!r} can't be tuned.",
            rule=f"Search spaces exist for {', '.join(BACKENDS)}.",
            fix=nearest(name, BACKENDS),
        )
    return BACKENDS[name]
