"""Executables: the plan of a pattern and a shape, lowered by a backend for a score; the last ones are kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cache, lru_cache

from torch import Tensor

from attncc import backends
from attncc.backends.base import Executable
from attncc.backends.device import target_name
from attncc.errors import BackendError, ConfigError
from attncc.ir.score import ScoreExpression, by_key
from attncc.ir.symbols import B, H
from attncc.patterns import Pattern, by_handle
from attncc.planner.checks import check_score, check_sizes
from attncc.planner.choice import Choice, separated
from attncc.planner.plan import Plan
from attncc.planner.search import plan_for
from attncc.planner.shape import Shape

LOG = logging.getLogger("attncc")

Config = Mapping[str, object]


def executable_for(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    direction: str,
    pattern: str,
    score: str,
    q_offset: int,
    backend: str,
    config: str,
) -> Executable:
    """Return what runs a direction of a pattern (by handle) under a score (by key) on these tensors.

    Without a `backend` it is the first preferred one that doesn't refuse. Raises BackendError, and what planning does.
    """
    connected, expression = by_handle(pattern), by_key(score)
    batch, heads, q_len, _ = query.shape
    found = shape_for(connected, expression, q_len, key.shape[2], q_offset, heads, batch)
    reasons = {}
    for name in [backend] if backend else backends.preferred(query.device):
        reasons[name] = backends.get(name).refuses(query, value)
        if reasons[name] is None:
            _log_choice(name, tuple(f"{other}: {reason}" for other, reason in reasons.items() if reason))
            return lowered(connected, expression, found, name, direction, config, target_name(query.device))[1]
    raise BackendError(
        " ".join(f"Backend {name!r} refuses: {reason}." for name, reason in reasons.items()),
        fix="Name another backend, or convert the tensors.",
    )


@cache
def _log_choice(name: str, refusals: tuple[str, ...]) -> None:
    """Say once that a backend runs because another one refused."""
    if refusals:
        LOG.warning("attention runs on backend %r (%s)", name, "; ".join(refusals))


def shape_for(
    pattern: Pattern, score: ScoreExpression, q_len: int, kv_len: int, q_offset: int, heads: int, batch: int
) -> Shape:
    """Return the shape with heads and batch entries counted only where the pattern or the score depends on them."""
    free = pattern.predicate.free | score.free
    return Shape(q_len, kv_len, q_offset, heads if H in free else 1, batch if B in free else 1)


def lowered(
    pattern: Pattern, score: ScoreExpression, shape: Shape, backend: str, direction: str, config: str, target: str
) -> tuple[Plan, Executable]:
    """Return the plan for a target, and a backend's executable; raises what they and the checks of the score raise.

    `direction` is `forward` or `backward`: their plans may differ. Executables run both.
    """
    choice, rest = separated(_decoded(config), direction)
    return _lowered(pattern, score, shape, backend, choice, encoded(rest), target)


@lru_cache(maxsize=32)
def _lowered(
    pattern: Pattern, score: ScoreExpression, shape: Shape, backend: str, choice: Choice, config: str, target: str
) -> tuple[Plan, Executable]:
    found = backends.get(backend)
    plan = plan_for(pattern, shape, choice.tile(found.tile), target).preferring(choice.plan)
    check_sizes(pattern.predicate, shape)
    check_score(score, pattern.predicate, shape)
    return plan, found.lower(plan, score, _decoded(config))


def encoded(config: Config | None) -> str:
    """Return a configuration as text, since an operator takes no mapping."""
    if not config:
        return ""
    if not isinstance(config, Mapping):
        raise ConfigError(f"config={config!r}.", rule="It is a mapping from names to values.")
    try:
        return json.dumps(dict(config), sort_keys=True)
    except TypeError as error:
        raise ConfigError(
            f"config={config!r}: {error}.", rule="Its values are numbers, texts, True or False."
        ) from None


@lru_cache(maxsize=32)
def _decoded(config: str) -> Mapping[str, object]:
    decoded: dict[str, object] = json.loads(config) if config else {}
    return decoded
