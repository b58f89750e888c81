"""Executables: the plan of a pattern and a shape, lowered by a backend for a score; the last ones are kept."""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import NamedTuple

from torch import Tensor

from attncc import backends
from attncc._util import caching
from attncc._util.storage import warn_once
from attncc._util.tracing import constant, plain, shown
from attncc.backends.base import Executable
from attncc.backends.device import target_name
from attncc.backends.empty import EMPTY
from attncc.backends.inputs import Inputs
from attncc.configs import memo
from attncc.configs.lookup import Found
from attncc.errors import AttnccError, BackendError, ConfigError
from attncc.frontend.patterns import Pattern, by_handle
from attncc.ir.score import ScoreExpression, by_key
from attncc.planner.checks import check_score, check_sizes
from attncc.planner.options import PlanOptions, separated
from attncc.planner.plan import Plan
from attncc.planner.search import plan_for
from attncc.planner.shape import Shape

LOG = logging.getLogger("attncc")

Config = Mapping[str, object]
#: (backend, direction, configuration) of what was found and couldn't be lowered.
_refused: set[tuple[str, str, str]] = set()


class Call(NamedTuple):
    """How a call wants its tensors attended: a tuple, since operators take these values one by one.

    pattern: its handle. score: its key, "" for none. q_offset: position of the first query. backend: its name, "" for
    the preferred one. config: as `encoded` gives it, "" for what was tuned.
    """

    pattern: str
    score: str
    q_offset: int
    backend: str
    config: str


class Case(NamedTuple):
    """What is lowered: a pattern under a score on a shape, by a backend for a target."""

    pattern: Pattern
    score: ScoreExpression
    shape: Shape
    backend: str
    target: str


class Known(NamedTuple):
    """What ran such a call before, while it is kept elsewhere, and the look-up that it came from, if there was one."""

    executable: weakref.ref[Executable]
    tuned: memo.Remembered | None


#: Calls that are remembered, by what makes two alike; then forgotten all at once.
MOST = 4096
_known: dict[tuple[object, ...], Known] = {}


def executable_for(query: Tensor, key: Tensor, value: Tensor, direction: str, call: Call) -> Executable:
    """Return what runs a direction of a call on these tensors; see `running`. Warm it takes microseconds."""
    asked = (direction, call, query.shape, key.shape, value.shape, query.dtype, query.device)
    if (known := _known.get(asked)) is not None and (known.tuned is None or known.tuned.holds()):
        executable = known.executable()
        if executable is not None:
            return executable
    _, executable, tuned = _running(query, key, value, direction, call)
    if len(_known) >= MOST:
        _known.clear()
    _known[asked] = Known(weakref.ref(executable), tuned)
    return executable


def running(query: Tensor, key: Tensor, value: Tensor, direction: str, call: Call) -> tuple[Plan, Executable]:
    """Return the plan and what runs a direction, forward or backward, of a call on these tensors.

    Without a backend it is the first preferred one that doesn't refuse; without a configuration it is what was tuned,
    as attncc.configs finds it. Raises BackendError, and what looking up and planning do.
    """
    return _running(query, key, value, direction, call)[:2]


def _running(
    query: Tensor, key: Tensor, value: Tensor, direction: str, call: Call
) -> tuple[Plan, Executable, memo.Remembered | None]:
    pattern, score = by_handle(call.pattern), by_key(call.score)
    batch, heads, q_len, _ = query.shape
    shape = shape_for(pattern, score, q_len, key.shape[2], call.q_offset, max(1, heads), max(1, batch))
    reasons = {}
    for name in [call.backend] if call.backend else backends.preferred(query.device):
        reasons[name] = backends.get(name).refuses(query, value)
        if reasons[name] is None:
            _log_choice(name, tuple(f"{other}: {reason}" for other, reason in reasons.items() if reason))
            case = Case(pattern, score, shape, name, target_name(query.device))
            if 0 in (batch, heads):  # nothing is computed, but what can't be planned is refused
                return lowered(case, direction, call.config)[0], EMPTY, None
            if call.config:
                return *lowered(case, direction, call.config), None
            inputs = Inputs.of(query, key, value)
            tuned = memo.remembered(pattern, score.key, shape, inputs, direction, name, case.target)
            return *_as_found(tuned.found, case, direction), tuned
    raise BackendError(
        " ".join(f"Backend {name!r} refuses: {reason}." for name, reason in reasons.items()),
        fix="Name another backend, or convert the tensors.",
    )


def _as_found(tuned: Found, case: Case, direction: str) -> tuple[Plan, Executable]:
    """Lower under a configuration that was found; one that can't be is warned of once, and not used again."""
    refused = (case.backend, direction, tuned.text)
    if tuned.text and refused not in _refused:
        try:
            return lowered(case, direction, tuned.text)
        except AttnccError as error:
            problem = error.problem
    without = lowered(case, direction, "")
    if tuned.text and refused not in _refused:
        _refused.add(refused)
        warn_once(f"A configuration from {tuned.layer} is not used: {problem}", tuned.text)
    return without


@cache
def _log_choice(name: str, refusals: tuple[str, ...]) -> None:
    """Say once that a backend runs because another one refused."""
    if refusals:
        LOG.warning("attention runs on backend %r (%s)", name, "; ".join(refusals))


def _log_dense(plan: Plan) -> None:
    """Say that a plan computes all pairs of some heads, which is a choice that was cheaper, or was asked for."""
    if any(group.alternatives[0].name == "dense" for group in plan.groups):
        LOG.info("%r computes all pairs with a mask: no plan that skips tiles is predicted to be faster", plan)


def shape_for(
    pattern: Pattern, score: ScoreExpression, q_len: int, kv_len: int | None, q_offset: int, heads: int, batch: int
) -> Shape:
    """Return the shape with heads and batch entries counted only where the pattern or the score depends on them.

    Without `kv_len` the keys end where the queries do.
    """
    free = pattern.predicate.free | score.free
    return Shape.of(q_len, kv_len, q_offset, heads, batch).narrowed(free)


def lowered(case: Case, direction: str, config: str) -> tuple[Plan, Executable]:
    """Return the plan of a case, and its backend's executable; raises what they and the checks of the score raise.

    `direction` is `forward` or `backward`: their plans may differ. Executables run both.
    """
    choice, rest = _parted(config, direction)
    return _lowered(case, choice, rest)


@caching.by_size(lambda lowered: lowered[0].size)
def _lowered(case: Case, choice: PlanOptions, config: str) -> tuple[Plan, Executable]:
    pattern, score, shape, backend, target = case
    found = backends.get(backend)
    plan = plan_for(pattern, shape, choice.tile(found.tile), target).preferring(choice.plan)
    check_sizes(pattern.predicate, shape)
    check_score(score, pattern.predicate, shape)
    _log_dense(plan)
    return plan, found.lower(plan, score, _decoded(config))


@lru_cache(maxsize=1024)
def _parted(config: str, direction: str) -> tuple[PlanOptions, str]:
    """Return the planner's options, and what is the backend's as text."""
    choice, rest = separated(_decoded(config), direction)
    return choice, encoded(rest)


def encoded(config: Config | None) -> str:
    """Return a configuration as text, since an operator takes no mapping; "" is none, so that one is looked up."""
    if config is None:
        return ""
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"config={shown(config)}.",
            rule="It is a mapping from names to values.",
            fix="""For example {"forward.plan": "fused"}.""",
        )
    names = tuple(config)
    return _encoded(names, *(plain(config[name]) for name in names))


@constant
def _encoded(names: tuple[str, ...], *values: object) -> str:
    config = dict(zip(names, values, strict=True))
    try:
        return json.dumps(config, sort_keys=True)
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
