"""The call of attention: all that it is asked for besides tensors, by value."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import torch

from attncc import backends
from attncc._util.tracing import shown
from attncc.configs.encoding import Config, encoded
from attncc.errors import BackendError, ShapeError
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.frontend.templates import is_template
from attncc.ir.symbols import MAX_POSITION

#: What attention returns: out, or out with lse and the greatest scores.
Result = torch.Tensor | tuple[torch.Tensor, ...]
#: What operators take of a call, in the order of their schemas: handles and texts, constants of a graph, and q_offset.
Operands = tuple[str, str, int, str, str]


class AttentionCall(NamedTuple):
    """One call of attention, by value: what operators take, and what is settled before they are called.

    A tuple of plain values, since torch.compile traces through the making of it. The pattern and the score are named,
    so that whoever makes a call keeps them alive; q_offset alone is a value of a graph's run time.

    Attributes:
        pattern: The pattern's handle, that of its template in compiled graphs, or its program where it was exported
            (attncc.runtime.export).
        score: The key of the score's expression, "" for none, or its program.
        q_offset: The position of the first query.
        backend: The backend's name, "" for the preferred one.
        config: The configuration as text (attncc.configs.encoding), "" for what was tuned.
        scale: The factor of the scores, None for 1/sqrt(D).
        enable_gqa: Whether there may be fewer key heads than query heads.
        return_lse: Whether the result has lse beside out.
        return_max_scores: Whether it has the greatest score of each row, too.
    """

    pattern: str
    score: str
    q_offset: int
    backend: str
    config: str
    scale: float | None = None
    enable_gqa: bool = False
    return_lse: bool = False
    return_max_scores: bool = False

    @classmethod
    def of(
        cls,
        pattern: Pattern,
        score: Score,
        q_offset: int = 0,
        backend: str | None = None,
        config: Config | None = None,
        scale: float | None = None,
        enable_gqa: bool = False,
        return_lse: bool = False,
        return_max_scores: bool = False,
    ) -> AttentionCall:
        """Return the call with arguments as attncc.attention takes them.

        Raises ShapeError for an offset that isn't a position, and BackendError for a backend that isn't a name. Raises
        ConfigError for a configuration that isn't a mapping to plain values, and ScoreError for a score without its
        weights.
        """
        check_backend(backend)
        text = encoded(config)  # now, since the caller may change the mapping later
        offset = offset_of(q_offset)
        kept = scale, enable_gqa, return_lse, return_max_scores
        return cls(_named(pattern), score.key, offset, backend or "", text, *kept)

    def on(self, pattern: Pattern, score: Score, q_offset: int = 0) -> AttentionCall:
        """Return the call of another pattern, score and position with the same options."""
        return self._replace(pattern=_named(pattern), score=score.key, q_offset=q_offset)

    @property
    def is_template(self) -> bool:
        """Whether the call names a template, whose tables are inputs of the graph that is recorded."""
        return is_template(self.pattern)

    @property
    def operands(self) -> Operands:
        """What operators take of the call."""
        return self[:5]

    @property
    def is_composite(self) -> bool:
        """Whether the call is made of torch's own operations; in a compiled graph it is the operator all the same."""
        return not torch.compiler.is_compiling() and backends.is_composite(self.backend)


def _named(pattern: Pattern) -> str:
    """Return what names a pattern here: in a graph that torch.compile records for this process, or outside of one."""
    is_recorded = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    return pattern.graph_handle if is_recorded else pattern.local_handle


def check_backend(backend: object) -> None:
    """Raise BackendError unless it is a name, or None."""
    if not (backend is None or isinstance(backend, str)):
        raise BackendError(
            f"backend={shown(backend)}.", rule="It is the name of a backend, or None.", fix="Write backend='torch'."
        )


def offset_of(q_offset: Any) -> int:
    """Return the position of the first query; raises ShapeError for what isn't one."""
    if type(q_offset) is int and -MAX_POSITION < q_offset < MAX_POSITION:
        return q_offset
    try:
        whole: Any = q_offset if isinstance(q_offset, int | torch.SymInt) else operator.index(q_offset)
    except TypeError:
        whole = MAX_POSITION
    if isinstance(q_offset, bool) or not -MAX_POSITION < whole < MAX_POSITION:
        raise ShapeError(
            f"q_offset={shown(q_offset)}.",
            rule="It is the position of the first query, an integer above -2^31 and below 2^31.",
            fix="With a cache of n keys before the queries, give n.",
        )
    return whole  # type: ignore[no-any-return]  # under torch.compile it may stand for an integer
