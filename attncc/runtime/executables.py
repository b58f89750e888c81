"""Executables: the plan of a pattern and a shape, lowered by a backend for a score; the last ones are kept."""

from __future__ import annotations

import logging
import math
import weakref
from collections import deque
from functools import cache, partial
from operator import itemgetter
from typing import Any, NamedTuple

from torch import Tensor

from attncc import backends
from attncc._util import caching
from attncc._util.storage import warn_once
from attncc.backends.base import Executable, FindsMaxScores
from attncc.backends.device import target_name
from attncc.backends.empty import EMPTY
from attncc.backends.inputs import Inputs
from attncc.configs.encoding import DecodedConfig, decoded
from attncc.configs.lookup import bucket, looked_up
from attncc.configs.result import LookupResult
from attncc.errors import AttnccError, BackendError
from attncc.frontend.pages import Pages
from attncc.frontend.patterns import Pattern, by_handle
from attncc.frontend.templates import PatternTemplate
from attncc.ir.score import ScoreExpression, by_key
from attncc.planner.bound_checks import check_sizes
from attncc.planner.plan import Plan
from attncc.planner.search import plan_for, plan_of_one
from attncc.planner.shape import Shape
from attncc.runtime.call import AttentionCall
from attncc.runtime.device_tables import bound_executable, checked_score

LOG = logging.getLogger("attncc")

#: Calls that are remembered; then all are forgotten at once.
MOST = 4096
#: By direction, call and tensors' sizes: the executable, and the look-up of its configuration, if there was one.
_executables: dict[tuple[object, ...], tuple[weakref.ref[Executable], LookupResult | None]] = {}
#: The last executables of a single query, which nothing else keeps: those that the layers of a model share.
_steps: deque[Executable] = deque(maxlen=64)
#: By template, then by direction, score, backend and tensors' sizes but for lengths: what is settled once.
_prepared: weakref.WeakKeyDictionary[PatternTemplate, dict[tuple[object, ...], PreparedCall]] = (
    weakref.WeakKeyDictionary()
)
#: What a plan is lowered for: the names of backend and target, and the configuration.
Where = tuple[str, str, DecodedConfig]
#: (backend, direction, configuration) of look-ups that couldn't be lowered.
_refused: set[tuple[str, str, str]] = set()


def executable_for(query: Tensor, key: Tensor, value: Tensor, direction: str, call: AttentionCall) -> Executable:
    """Return the executable of a direction of a call on these tensors; see `planned`. Warm it takes microseconds."""
    alike = (direction, call, query.shape, key.shape, value.shape, query.dtype, query.device)
    if (remembered := _executables.get(alike)) is not None:
        reference, tuned = remembered
        if (tuned is None or tuned.is_current) and (executable := reference()) is not None:
            return executable
    pattern = by_handle(call.pattern)
    if (bound := _on_device(pattern, query, key, value, direction, call)) is not None:
        return bound
    _, executable, tuned = _run(pattern, query, key, value, direction, call)
    if query.shape[2] == 1:
        _steps.append(executable)
    if len(_executables) >= MOST:
        _executables.clear()
    _executables[alike] = weakref.ref(executable, partial(_forget, alike)), tuned
    return executable


def _forget(alike: tuple[object, ...], _: object, kept: dict[tuple[object, ...], Any] = _executables) -> None:
    """Forget a call whose executable is freed, also while the interpreter takes modules down."""
    kept.pop(alike, None)


def max_scores_for(query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> FindsMaxScores:
    """Return an executable of the call that finds the greatest scores, of another backend where its own finds none.

    The other one is the first that takes tensors of any device, as it is without a configuration.
    """
    found = executable_for(query, key, value, "forward", call)
    for other in backends.preferred(query.device):
        if isinstance(found, FindsMaxScores):
            return found
        found = executable_for(query, key, value, "forward", call._replace(backend=other, config=""))
    if isinstance(found, FindsMaxScores):
        return found
    raise BackendError(
        f"No backend for {query.device} finds max_scores.",
        rule="It takes a backend whose executables have `max_scores` (attncc.backends.base).",
        fix="Leave return_max_scores out, or pass backend='reference'.",
    )


def _on_device(
    pattern: Pattern, query: Tensor, key: Tensor, value: Tensor, direction: str, call: AttentionCall
) -> Executable | None:
    """Return the executable of a call whose tables lie on the tensors' device; None where they are on the host."""
    if pattern.device != query.device or 0 in (*query.shape[:3], key.shape[2]):
        return None
    prepared = _prepared_for(pattern, query, key, value, direction, call)
    shape = Shape(query.shape[2], key.shape[2], call.q_offset, prepared.heads, prepared.batch)
    return bound_executable(pattern, shape, call._replace(backend=prepared.backend), direction)


def planned(query: Tensor, key: Tensor, value: Tensor, direction: str, call: AttentionCall) -> Plan:
    """Return the plan of a direction, forward or backward, of a call on these tensors.

    Without a backend it is for the first preferred one that doesn't refuse, without a configuration under the tuned
    one. Raises BackendError, and the errors of the look-up and of planning.
    """
    return _run(by_handle(call.pattern), query, key, value, direction, call)[0]


def _run(
    pattern: Pattern,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    direction: str,
    call: AttentionCall,
) -> tuple[Plan, Executable, LookupResult | None]:
    """Return the plan of a call, its executable, and the look-up of its configuration, if there was one."""
    prepared = _prepared_for(pattern, query, key, value, direction, call)
    pages = Pages.of(pattern)
    kv_len = key.shape[2] if pages is None else pages.positions
    shape = Shape(query.shape[2], kv_len, call.q_offset, prepared.heads, prepared.batch)
    if prepared.inputs is None:  # nothing is computed, but what can't be planned is refused
        return prepared.lowered(pattern, shape, call.config)[0], EMPTY, None
    if call.config:
        return *prepared.lowered(pattern, shape, call.config), None
    tuned = prepared.tuned_for(pattern, shape)
    return *_lowered_as_tuned(prepared, pattern, shape, tuned), tuned


class PreparedCall(NamedTuple):
    """A direction of a call but for its lengths, offset and tables: what holds for all of them, settled once.

    Attributes:
        score: The score's expression.
        direction: "forward" or "backward".
        backend: The name of the backend.
        target: The name of the target.
        inputs: The sizes of tensors; None where there are no heads or batch entries.
        heads: The number of heads, 1 where neither pattern nor score depends on them.
        batch: The same of batch entries.
        tuned: The last look-ups of configurations, by what they depend on besides.
    """

    score: ScoreExpression
    direction: str
    backend: str
    target: str
    inputs: Inputs | None
    heads: int
    batch: int
    tuned: dict[tuple[int, int, int | None], LookupResult]

    @classmethod
    def of(
        cls, pattern: Pattern, query: Tensor, key: Tensor, value: Tensor, direction: str, call: AttentionCall
    ) -> PreparedCall:
        """Return what is settled for a call on such tensors; raises BackendError."""
        score = by_key(call.score)
        batch, heads, *_ = query.shape
        shape = shape_for(pattern, score, 0, 0, 0, max(1, heads), max(1, batch))
        backend, target = backend_for(query, value, call.backend), target_name(query.device)
        inputs = None if 0 in (batch, heads) else Inputs.of(query, key, value)
        return cls(score, direction, backend, target, inputs, shape.heads, shape.batch, {})

    def tuned_for(self, pattern: Pattern, shape: Shape) -> LookupResult:
        """Return the configuration of a pattern and shape, as `configs.lookup.looked_up` does."""
        alike = bucket(pattern, shape)
        found = self.tuned.get(alike)
        if found is None or not found.is_current:
            assert self.inputs is not None
            given = self.score.outline, shape, self.inputs, self.direction, self.backend, self.target
            found = self.tuned[alike] = looked_up(pattern, *given)
        return found

    def lowered(self, pattern: Pattern, shape: Shape, config: str) -> tuple[Plan, Executable]:
        """Return the plan and the executable of a pattern and shape under a configuration, given as text."""
        chosen = decoded(config or "{}", self.direction)
        return _of(pattern, self.score, shape, self.backend, self.target, chosen)


def _prepared_for(
    pattern: Pattern, query: Tensor, key: Tensor, value: Tensor, direction: str, call: AttentionCall
) -> PreparedCall:
    batch, heads, _, dim = query.shape
    sizes = batch, heads, dim, key.shape[1], value.shape[3], query.dtype, query.device
    alike = direction, call.score, call.backend, sizes
    calls = _prepared.get(pattern.template)
    if calls is None:
        calls = _prepared[pattern.template] = {}
    if (found := calls.get(alike)) is None:
        if len(calls) >= MOST:
            calls.clear()
        found = calls[alike] = PreparedCall.of(pattern, query, key, value, direction, call)
    return found


def backend_for(query: Tensor, value: Tensor, name: str) -> str:
    """Return the named backend, or without a name the first preferred one, that takes these tensors."""
    reasons: dict[str, str] = {}
    for candidate in [name] if name else backends.preferred(query.device):
        reason = backends.get(candidate).refuses(query, value)
        if reason is None:
            _log_choice(candidate, tuple(f"{other}: {reason}" for other, reason in reasons.items()))
            return candidate
        reasons[candidate] = reason
    raise BackendError(
        " ".join(f"Backend {name!r} refuses: {reason}." for name, reason in reasons.items()),
        fix="Name another backend, or convert the tensors.",
    )


def _lowered_as_tuned(
    prepared: PreparedCall, pattern: Pattern, shape: Shape, tuned: LookupResult
) -> tuple[Plan, Executable]:
    """Lower under a configuration that was looked up; one that can't be is warned of once, and not used again."""
    refused = (prepared.backend, prepared.direction, tuned.text)
    if not tuned.text or refused in _refused:
        return prepared.lowered(pattern, shape, "")
    try:
        return prepared.lowered(pattern, shape, tuned.text)
    except AttnccError as error:
        problem = error.problem
    without = prepared.lowered(pattern, shape, "")
    _refused.add(refused)
    warn_once(f"A configuration from {tuned.layer} is not used: {problem}", tuned.text)
    return without


@cache
def _log_choice(name: str, refusals: tuple[str, ...]) -> None:
    """Say once that a backend runs because another one refused."""
    if refusals:
        LOG.warning("attention runs on backend %r (%s)", name, "; ".join(refusals))


def _log_dense(plan: Plan) -> None:
    """Say that a plan computes all pairs of some heads, since that is cheaper or was asked for."""
    if any(group.alternatives[0].name == "dense" for group in plan.groups):
        LOG.info("%r computes all pairs with a mask: no plan that skips tiles is predicted to be faster", plan)


def shape_for(
    pattern: Pattern, score: ScoreExpression, q_len: int, kv_len: int | None, q_offset: int, heads: int, batch: int
) -> Shape:
    """Return the shape with heads and batch entries counted only where the pattern or the score depends on them.

    Without `kv_len` the keys end where the queries do.
    """
    free = pattern.free | score.free
    return Shape.of(q_len, kv_len, q_offset, heads, batch).narrowed(free)


def lowered(call: AttentionCall, shape: Shape, target: str, direction: str) -> tuple[Plan, Executable]:
    """Return the plan of a call, which names its backend, and the executable; nothing is looked up.

    Plans of forward and backward may differ; an executable runs both. Raises the errors of planning, of lowering and of
    the score's checks.
    """
    pattern, score = by_handle(call.pattern), by_key(call.score)
    return _of(pattern, score, shape, call.backend, target, decoded(call.config or "{}", direction))


def _of(pattern: Pattern, score: ScoreExpression, shape: Shape, *rest: *Where) -> tuple[Plan, Executable]:
    """Return the plan and the executable that are kept, or new ones: a step of decoding makes them in less time."""
    if shape.q_len == 1:
        return _newly_lowered(pattern, score, shape, *rest)
    return _lowered(pattern, score, shape, *rest)[0]


def _by_content(pattern: Pattern, score: ScoreExpression, *rest: object) -> tuple[object, ...]:
    return pattern.handle, score.key, *rest


@caching.by_size(itemgetter(1), _by_content)
def _lowered(
    pattern: Pattern, score: ScoreExpression, shape: Shape, backend: str, target: str, config: DecodedConfig
) -> tuple[tuple[Plan, Executable], int]:
    """Return the plan and the executable, and how much they stand for; the executable keeps the score's tables."""
    found = _newly_lowered(pattern, score, shape, backend, target, config)
    return found, found[0].size + sum(math.prod(table.shape) for table in score.tables)


def _newly_lowered(
    pattern: Pattern, score: ScoreExpression, shape: Shape, backend: str, target: str, config: DecodedConfig
) -> tuple[Plan, Executable]:
    lowering = backends.get(backend)
    tile = config.planner.tile(lowering.tile)
    plan = plan_of_one(pattern, shape, tile, target)
    if plan is None:
        plan = plan_for(pattern, shape, tile, target).preferring(config.planner.plan)
        _log_dense(plan)
    check_sizes(pattern, shape)
    return plan, lowering.lower(plan, checked_score(score, pattern, shape), config.backend)
