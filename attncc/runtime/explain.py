"""explain_config(): which configuration attention() would run with, where it is from, and how good it is."""

from __future__ import annotations

from dataclasses import dataclass

from attncc import backends, targets
from attncc.backends.device import here, target_name
from attncc.backends.inputs import Inputs
from attncc.configs.key import Key
from attncc.configs.lookup import find
from attncc.configs.misses import Miss, why_miss
from attncc.configs.result import LookupResult
from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.frontend.scores import Score, ScoreFactory, as_score
from attncc.planner.directions import BOTH, ways
from attncc.planner.shape import Shape
from attncc.runtime.executables import shape_for


@dataclass(frozen=True)
class Explained:
    """What is found for one direction."""

    key: Key
    found: LookupResult

    def __str__(self) -> str:
        config = ", ".join(f"{name}={value}" for name, value in self.found.config.items())
        return f"{self.key.direction} ({self.key.backend} on {self.key.target}): {self.found}\n  {config or 'default'}"

    def why_miss(self, most: int = 3) -> list[Miss]:
        """Return the entries that come nearest, with the fields of key and environment in which they differ."""
        return why_miss(self.key, most=most) if backends.is_tuned(self.key.backend) else []

    def describe(self) -> dict[str, object]:
        """Return it as JSON-able data."""
        return {"key": self.key.describe(), "digest": self.key.digest, **self.found.describe()}


@dataclass(frozen=True)
class Explanation:
    """What is found for each direction; str() says it in sentences."""

    pattern: Pattern
    shape: Shape
    directions: tuple[Explained, ...]

    def __str__(self) -> str:
        head = f"{self.pattern!r}, {self.shape.q_len:,} queries, {self.shape.kv_len:,} keys"
        return "\n".join([head, *map(str, self.directions)])

    def describe(self) -> dict[str, object]:
        """Return it as JSON-able data."""
        lengths = {"q_len": self.shape.q_len, "kv_len": self.shape.kv_len}
        found = {each.key.direction: each.describe() for each in self.directions}
        return {"pattern": repr(self.pattern), **lengths, "directions": found}


def explain_config(
    pattern: Pattern | PatternFactory,
    q_len: int,
    kv_len: int | None = None,
    *,
    heads: int = 8,
    kv_heads: int | None = None,
    head_dim: int = 64,
    value_dim: int | None = None,
    batch: int = 1,
    dtype: str = "fp32",
    score: Score | ScoreFactory | None = None,
    q_offset: int = 0,
    backend: str | None = None,
    target: str | None = None,
    direction: str = BOTH,
) -> Explanation:
    """Return which configuration `attention` would run with on such tensors, where it is from, and its speed-up.

    `kv_len` defaults to q_offset + q_len, `kv_heads` to heads, `value_dim` to head_dim; `dtype` is fp64, fp32, bf16 or
    fp16. `backend` and `target` default to this machine's, `direction` (forward, backward or both) to
    both. Nothing is run or tuned.

    Raises ShapeError, ConfigError, BackendError, PatternError or TableError.
    """
    chosen, expression = as_pattern(pattern), as_score(score).expression
    inputs = Inputs.given(batch, heads, kv_heads, head_dim, value_dim, dtype)
    shape = shape_for(chosen, expression, q_len, kv_len, q_offset, heads, batch)
    name, place = _runs_on(backend, target)
    made = [Key.of(chosen, expression.key, shape, inputs, each, name, place) for each in ways(direction)]
    return Explanation(chosen, shape, tuple(Explained(key, _found(key)) for key in made))


def _runs_on(backend: str | None, target: str | None) -> tuple[str, str]:
    """Return the backend and the target, those of this machine where they aren't named."""
    device = here()
    place = target_name(device) if target is None else targets.target(target).name
    if backend is not None:
        backends.check(backend)
        return backend, place
    if place == target_name(device):
        return backends.preferred(device)[0], place
    return backends.preferred_for(targets.target(place)), place


def _found(key: Key) -> LookupResult:
    return find(key) if backends.is_tuned(key.backend) else LookupResult()
