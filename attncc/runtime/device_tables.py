"""Tables on a device: the executable of a call is bound to them there, and nothing waits for the host."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from attncc import backends
from attncc._util import caching
from attncc.backends.base import Executable, Prepared
from attncc.configs.encoding import DecodedConfig, decoded
from attncc.errors import AttnccError
from attncc.frontend.patterns import Pattern
from attncc.frontend.templates import PatternTemplate
from attncc.ir.score import ScoreExpression, by_key
from attncc.ir.tables import TableSymbol
from attncc.planner.bound_checks import check_sizes
from attncc.planner.checks import HasPredicate, check_score
from attncc.planner.options import WAYS
from attncc.planner.preparation import TableKinds, kinds_of, prepare
from attncc.planner.shape import Shape
from attncc.runtime.call import AttentionCall

LOG = logging.getLogger("attncc")


def bound_executable(pattern: Pattern, shape: Shape, call: AttentionCall, direction: str) -> Executable | None:
    """Return the executable of a call whose pattern has tables on a device, for tensors there.

    None where they have to be read on the host, which the logger `attncc` says once. Raises the errors of planning.
    """
    check_sizes(pattern, shape)
    settled = decoded(call.config or "{}", direction)
    found = _prepared(pattern.template, kinds_of(pattern), shape, call.score, call.backend, settled)
    if isinstance(found, str):
        _log_reading(pattern.template.fingerprint, pattern.name, found)
        _read(pattern)
        return None
    prepared, symbols = found
    is_captured = pattern.device.type == "cuda" and torch.cuda.is_current_stream_capturing()
    key = prepared, _stream(pattern.device)
    if is_captured or key not in pattern.bindings:
        bound = prepared.bind({slot: _on(pattern, symbol) for symbol, slot in symbols.items()})
        if is_captured:  # the graph binds the tables as they are when it is replayed
            return bound
        pattern.bindings[key] = bound
    executable: Executable = pattern.bindings[key]
    return executable


@caching.algebra(256)
def _prepared(
    template: PatternTemplate,
    kinds: TableKinds,
    shape: Shape,
    score_key: str,
    backend: str,
    config: DecodedConfig,
) -> tuple[Prepared, Mapping[TableSymbol, TableSymbol]] | str:
    """Return what binds tables on their device, or why nothing does."""
    if config.planner.plan != WAYS[0]:
        return f"the alternative {config.planner.plan!r} is asked for"
    try:
        pattern = prepare(template.predicate, kinds, shape)
        score = checked_score(by_key(score_key), pattern, shape)
    except AttnccError as error:
        return error.problem
    prepared = backends.get(backend).prepare(pattern, score, config.backend)
    return f"backend {backend!r} can't bind them there" if prepared is None else (prepared, pattern.symbols)


def checked_score(score: ScoreExpression, pattern: HasPredicate, shape: Shape) -> ScoreExpression:
    """Return a score that `check_score` passes, with its tables on the host if they have to be read for that.

    The logger `attncc` says so once. Raises the errors of that check.
    """
    try:
        check_score(score, pattern, shape)
    except AttnccError as error:
        if score.is_on_host:
            raise
        _log_reading(score.outline, "a score", error.problem)
        check_score(score.on_host, pattern, shape)
        return score.on_host
    return score


def _on(pattern: Pattern, symbol: TableSymbol) -> Tensor:
    """Return a table as a tensor on the device of the others."""
    table = pattern.bound[symbol]
    found: Tensor = table.on(pattern.device) if table.tensor is None else table.tensor
    return found


def _read(pattern: Pattern) -> None:
    """Copy a pattern's tables to the host, where their claims are checked; raises TableError."""
    if any(table.is_unread for table in pattern.tables):
        for table in pattern.tables:
            assert table.entries is not None  # copies it
        if pattern.template.placeholders:
            pattern.template.check(pattern.tables)


def _stream(device: torch.device) -> int:
    """Return the stream that results of a device are made on: those of another one needn't be there yet."""
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0


@cache
def _log_reading(fingerprint: str, name: str, reason: str) -> None:
    """Say once of a template, or of the outline of a score, that its tables are copied to the host."""
    LOG.warning("The tables of %s are read on the host, which waits for the device: %s", name, reason)
