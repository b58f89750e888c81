"""What can be tuned: the names that the planner and a backend know, by direction, their defaults, and their checks."""

from __future__ import annotations

from collections.abc import Mapping

from attncc.backends import choices
from attncc.backends.inputs import Inputs
from attncc.backends.torch import BACKEND as TORCH
from attncc.backends.torch.config import Config as TorchConfig
from attncc.backends.triton import BACKEND as TRITON
from attncc.backends.triton import MAX_HEAD_DIM
from attncc.backends.triton.config import Config as TritonConfig
from attncc.backends.triton.defaults import ANY, BITS
from attncc.errors import ConfigError, nearest
from attncc.planner import choice
from attncc.targets import Target

Value = int | str | bool
Candidate = Mapping[str, Value]
Config = TorchConfig | TritonConfig

#: Backends that leave choices open.
BACKENDS = ("torch", "triton")
#: Whose kernels run in the backward, by the first part of a name.
_DIRECTIONS = {
    "forward": "forward",
    "backward": "backward",
    "query_gradient": "backward",
    "key_gradient": "backward",
}
_TILES = {backend.name: backend.tile for backend in (TORCH, TRITON)}


def names(backend: str, direction: str | None = None) -> tuple[str, ...]:
    """Return the names of what can be chosen, in one direction or (None) in both; raises ConfigError."""
    known = [*choice.names(), *choices.names(_any(backend))]
    return tuple(name for name in known if direction in (None, side := direction_of(name)) or side is None)


def direction_of(name: str) -> str | None:
    """Return the direction that a choice binds, None for both."""
    return _DIRECTIONS.get(name.partition(".")[0])


def default(backend: str, direction: str, inputs: Inputs, target: Target) -> dict[str, Value]:
    """Return what runs without any config, by name, for all that can be chosen in a direction; raises ConfigError."""
    chosen = _flat(_config(backend, inputs, target))
    chosen[f"{direction}.plan"] = choice.WAYS[0]
    chosen[f"{direction}.tile_m"], chosen[f"{direction}.tile_n"] = _TILES[backend]
    return {name: chosen[name] for name in names(backend, direction)}


def check(backend: str, values: Mapping[str, object]) -> None:
    """Raise ConfigError for a name or a value that neither the planner nor the backend takes."""
    rest: Mapping[str, object] = values
    for direction in choice.DIRECTIONS:
        _, rest = choice.separated(rest, direction)
    if backend == "torch":
        TorchConfig.of(rest)
    else:
        _any_blocks().changed(rest)


def _config(backend: str, inputs: Inputs, target: Target) -> Config:
    if backend == "torch":
        return TorchConfig()
    head_dim = max(inputs.head_dim, inputs.value_dim)
    if head_dim > MAX_HEAD_DIM or 8 * inputs.itemsize > max(BITS):
        raise ConfigError(
            f"{inputs.dtype} with head size {head_dim}.",
            rule=f"{backend} takes elements of {' or '.join(map(str, BITS))} bits, heads to {MAX_HEAD_DIM}.",
            fix="Tune another backend.",
        )
    return TritonConfig.default(target.gpu.arch if target.gpu else ANY, head_dim, inputs.itemsize)


def _any(backend: str) -> Config:
    if backend not in BACKENDS:
        raise ConfigError(
            f"Backend {backend!r} can't be tuned.",
            rule=f"Search spaces exist for {', '.join(BACKENDS)}.",
            fix=nearest(backend, BACKENDS),
        )
    return TorchConfig() if backend == "torch" else _any_blocks()


def _any_blocks() -> TritonConfig:
    return TritonConfig.default(ANY, 64, 2)


def _flat(config: Config) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name in choices.names(config):
        value: object = config
        for part in name.split("."):
            value = getattr(value, part)
        assert isinstance(value, int | str)
        found[name] = value
    return found
