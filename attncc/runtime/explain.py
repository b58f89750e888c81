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
from attncc.frontend.accepted import AnyPattern, AnyScore, accepted_pattern, accepted_score
from attncc.frontend.patterns import Pattern
from attncc.planner.directions import BOTH, ways
from attncc.planner.shape import Shape
from attncc.runtime.executables import shape_for


@dataclass(frozen=True)
class Explained:
    """The look-up of one direction.

    Attributes:
        key: What was looked up.
        found: The configuration, and where it is from.
    """

    key: Key
    found: LookupResult

    def __str__(self) -> str:
        config = ", ".join(f"{name}={value}" for name, value in self.found.config.items())
        return f"{self.key.direction} ({self.key.backend} on {self.key.target}): {self.found}\n  {config or 'default'}"

    def why_miss(self, most: int = 3) -> list[Miss]:
        """Return the entries that come nearest, with the fields of key and environment in which they differ."""
        return why_miss(self.key, most=most) if backends.is_tuned(self.key.backend) else []

    def describe(self) -> dict[str, object]:
        """Return the look-up as JSON-able data."""
        return {"key": self.key.describe(), "digest": self.key.digest, **self.found.describe()}


@dataclass(frozen=True)
class Explanation:
    """The look-ups of a pattern at a shape; str() says them in sentences.

    Attributes:
        pattern: The pattern.
        shape: Its lengths, heads and batch entries, as far as it depends on them.
        directions: The look-up of each direction.
    """

    pattern: Pattern
    shape: Shape
    directions: tuple[Explained, ...]

    def __str__(self) -> str:
        head = f"{self.pattern!r}, {self.shape.q_len:,} queries, {self.shape.kv_len:,} keys"
        return "\n".join([head, *map(str, self.directions)])

    def describe(self) -> dict[str, object]:
        """Return the explanation as JSON-able data."""
        lengths = {"q_len": self.shape.q_len, "kv_len": self.shape.kv_len}
        found = {each.key.direction: each.describe() for each in self.directions}
        return {"pattern": repr(self.pattern), **lengths, "directions": found}


def explain_config(
    pattern: AnyPattern,
    q_len: int,
    kv_len: int | None = None,
    *,
    heads: int = 8,
    kv_heads: int | None = None,
    head_dim: int = 64,
    value_dim: int | None = None,
    batch: int = 1,
    dtype: str = "fp32",
    score: AnyScore = None,
    q_offset: int = 0,
    backend: str | None = None,
    target: str | None = None,
    direction: str = BOTH,
) -> Explanation:
    """Return which configuration `attention` would run with, where it is from, and its speed-up. Nothing runs.

    Args:
        pattern: A pattern, or a declared one that needs no parameters.
        q_len: Queries.
        kv_len: Keys, by default q_offset + q_len.
        heads: Query heads.
        kv_heads: Key heads, by default as many.
        head_dim: Elements of a query and a key.
        value_dim: Elements of a value, by default head_dim.
        batch: Batch entries.
        dtype: "fp64", "fp32", "bf16" or "fp16".
        score: A score on its weights, or None.
        q_offset: The position of the first query.
        backend: A backend's name, by default the one that `attention` prefers.
        target: A target's name, by default this machine's.
        direction: "forward", "backward" or "both".

    Returns:
        The explanation, with a part for each direction.

    Raises:
        ShapeError: Sizes that can't be.
        ConfigError: An unknown direction or target, or what ATTNCC_CACHE says.
        BackendError: An unknown backend.
        PatternError: `pattern` isn't a pattern.
        TableError: A table that doesn't fit the lengths.
    """
    chosen, expression = accepted_pattern(pattern), accepted_score(score).expression
    inputs = Inputs.given(batch, heads, kv_heads, head_dim, value_dim, dtype)
    shape = shape_for(chosen, expression, q_len, kv_len, q_offset, heads, batch)
    name, place = _runs_on(backend, target)
    keys = [Key.of(chosen, expression.outline, shape, inputs, each, name, place) for each in ways(direction)]
    is_tuned = backends.is_tuned(name)
    return Explanation(chosen, shape, tuple(Explained(key, find(key) if is_tuned else LookupResult()) for key in keys))


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
