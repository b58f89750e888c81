"""Executables: the plan of a pattern and a shape, lowered by a backend for a score; the last ones are kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cache, lru_cache

from torch import Tensor

from attncc import backends, caching
from attncc.backends.base import Executable
from attncc.backends.device import target_name
from attncc.backends.inputs import Inputs
from attncc.configs import memo
from attncc.configs.lookup import Found
from attncc.errors import AttnccError, BackendError, ConfigError
from attncc.ir.score import ScoreExpression, by_key
from attncc.patterns import Pattern, by_handle
from attncc.planner.checks import check_score, check_sizes
from attncc.planner.choice import Choice, separated
from attncc.planner.plan import Plan
from attncc.planner.search import plan_for
from attncc.planner.shape import Shape
from attncc.storage import warn_once

LOG = logging.getLogger("attncc")

Config = Mapping[str, object]
#: (backend, direction, configuration) of what was found and couldn't be lowered.
_refused: set[tuple[str, str, str]] = set()


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
    """Return what runs a direction of a pattern (by handle) under a score (by key) on these tensors; see `running`."""
    return running(query, key, value, direction, pattern, score, q_offset, backend, config)[1]


def running(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    direction: str,
    pattern: str,
    score: str,
    q_offset: int,
    backend: str,
    config: str,
) -> tuple[Plan, Executable]:
    """Return the plan and what runs a direction of a pattern (by handle) under a score (by key) on these tensors.

    Without a `backend` it is the first preferred one that doesn't refuse; without a `config` it is what was tuned, as
    attncc.configs finds it. Raises BackendError, and what looking up and planning do.
    """
    connected, expression = by_handle(pattern), by_key(score)
    batch, heads, q_len, _ = query.shape
    found = shape_for(connected, expression, q_len, key.shape[2], q_offset, heads, batch)
    reasons = {}
    for name in [backend] if backend else backends.preferred(query.device):
        reasons[name] = backends.get(name).refuses(query, value)
        if reasons[name] is None:
            _log_choice(name, tuple(f"{other}: {reason}" for other, reason in reasons.items() if reason))
            target = target_name(query.device)
            if config:
                return lowered(connected, expression, found, name, direction, config, target)
            tuned = memo.remembered(
                connected, expression.key, found, Inputs.of(query, key, value), direction, name, target
            )
            return _as_found(tuned, connected, expression, found, name, direction, target)
    raise BackendError(
        " ".join(f"Backend {name!r} refuses: {reason}." for name, reason in reasons.items()),
        fix="Name another backend, or convert the tensors.",
    )


def _as_found(
    tuned: Found, pattern: Pattern, score: ScoreExpression, shape: Shape, backend: str, direction: str, target: str
) -> tuple[Plan, Executable]:
    """Lower under a configuration that was found; one that can't be is warned of once, and not used again."""
    refused = (backend, direction, tuned.text)
    if tuned.text and refused not in _refused:
        try:
            return lowered(pattern, score, shape, backend, direction, tuned.text, target)
        except AttnccError as error:
            problem = error.problem
    without = lowered(pattern, score, shape, backend, direction, "", target)
    if tuned.text and refused not in _refused:
        _refused.add(refused)
        warn_once(f"A configuration from {tuned.layer} is not used: {problem}", tuned.text)
    return without


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
    return Shape(q_len, kv_len, q_offset, heads, batch).narrowed(free)


def lowered(
    pattern: Pattern, score: ScoreExpression, shape: Shape, backend: str, direction: str, config: str, target: str
) -> tuple[Plan, Executable]:
    """Return the plan for a target, and a backend's executable; raises what they and the checks of the score raise.

    `direction` is `forward` or `backward`: their plans may differ. Executables run both.
    """
    choice, rest = _parted(config, direction)
    return _lowered(pattern, score, shape, backend, choice, rest, target)


@caching.by_size(lambda lowered: lowered[0].size)
def _lowered(
    pattern: Pattern, score: ScoreExpression, shape: Shape, backend: str, choice: Choice, config: str, target: str
) -> tuple[Plan, Executable]:
    found = backends.get(backend)
    plan = plan_for(pattern, shape, choice.tile(found.tile), target).preferring(choice.plan)
    check_sizes(pattern.predicate, shape)
    check_score(score, pattern.predicate, shape)
    return plan, found.lower(plan, score, _decoded(config))


@lru_cache(maxsize=1024)
def _parted(config: str, direction: str) -> tuple[Choice, str]:
    """Return the planner's choice, and what is the backend's as text."""
    choice, rest = separated(_decoded(config), direction)
    return choice, encoded(rest)


def encoded(config: Config | None) -> str:
    """Return a configuration as text, since an operator takes no mapping; "" is none, so that one is looked up."""
    if config is None:
        return ""
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"config={config!r}.",
            rule="It is a mapping from names to values.",
            fix="""For example {"forward.plan": "fused"}.""",
        )
    try:
        return json.dumps(dict(config), sort_keys=True)
    except TypeError as error:
        raise ConfigError(
            f"config={config!r}: {error}.",
            rule="Its values are numbers, texts, True or False.",
            fix="""For example {"forward.plan": "fused"}.""",
        ) from None


@lru_cache(maxsize=1024)
def _decoded(config: str) -> Mapping[str, object]:
    decoded: dict[str, object] = json.loads(config) if config else {}
    return decoded
