"""attention() and compile(): what users call, with their arguments checked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attncc import backends
from attncc.backends.device import here, target_name
from attncc.configs.encoding import Config
from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.frontend.scores import Score, ScoreFactory, as_score
from attncc.ir.score import IDENTITY
from attncc.planner.directions import check_direction
from attncc.planner.plan import Plan
from attncc.runtime import executables, export, library, operators
from attncc.runtime.arguments import checked, scale_of
from attncc.runtime.call import AttentionCall
from attncc.runtime.score_module import ScoreModule, warn_of_captured

Result = Tensor | tuple[Tensor, Tensor]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern | PatternFactory,
    *,
    score: Score | ScoreFactory | None = None,
    weights: Mapping[str, Tensor] | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    q_offset: int = 0,
    return_lse: bool = False,
    backend: str | None = None,
    config: Config | None = None,
) -> Result:
    """Return softmax attention of each query over the keys that `pattern` connects it to.

    query: (B, Hq, Nq, D); key: (B, Hkv, Nk, D); value: (B, Hkv, Nk, Dv); one floating dtype and device. With
    `enable_gqa`, Hq is a multiple of Hkv and query head h uses key head h // (Hq / Hkv). `scale` defaults to
    1/sqrt(D); its size is at most 2^23, in float64 2^52. Query row r stands at position `q_offset + r`. `score` is
    what becomes of the scaled scores before the softmax (see attncc.score), and `weights` are the tensors that it looks
    up, by name: they get gradients, and may be others at each call. `backend` names a backend, with its `config`;
    without one it is triton on a GPU and torch elsewhere (and on a GPU what triton refuses, which is logged). Without a
    `config` the one that tuning has found is used, see attncc.explain_config; `config={}` is the default one.

    Returns out, (B, Hq, Nq, Dv) in the query's dtype, and with `return_lse` also the natural-log sum of
    exponentials, (B, Hq, Nq), float32 (float64 for float64); both are differentiable. A query without keys, or whose
    scores are all -inf, gives out 0, lse -inf and zero gradients. Plans are kept for the last shapes: a second call
    plans nothing.

    Raises ShapeError, BackendError, ConfigError, PatternError, ScoreError or TableError.
    """
    chosen, bound = as_pattern(pattern), as_score(score, weights)
    warn_of_captured(bound, weights)
    call = AttentionCall.of(chosen, bound, q_offset, backend, config, scale, enable_gqa, return_lse)
    return _attended(query, key, value, call, bound)


def _attended(query: Tensor, key: Tensor, value: Tensor, call: AttentionCall, score: Score) -> Result:
    query, key, value = checked(query, key, value, call, score)
    scale, weights = scale_of(call.scale, query), score.tensors
    if export.is_exporting():
        tables, call = export.exported(call)
        out, lse, _ = library.general_attention(query, key, value, weights, tables, scale, *call.operands)
    elif call.is_composite:
        out, lse = operators.composite_attention(query, key, value, weights, scale, *call.operands)
    elif call.score != IDENTITY.key:
        out, lse, _ = library.general_attention(query, key, value, weights, [], scale, *call.operands)
    else:
        out, lse = library.attention(query, key, value, scale, *call.operands)
    return (out, lse) if call.return_lse else out


class Attention(torch.nn.Module):
    """A pattern with the arguments of a call, as a module on (query, key, value); made by `compile`.

    Which configuration was tuned is known only with the tensors' sizes, so that each call looks it up, as `attention`
    does.

    Attributes:
        pattern: The pattern.
        score: Holds the score's weights, as parameters and buffers by their names.
        call: The arguments; its score is that of the weights that `compile` got.
        plan: What runs under the given configuration, or under the default one; None without lengths.
    """

    def __init__(self, pattern: Pattern, call: AttentionCall, score: Score, plan: Plan | None = None) -> None:
        super().__init__()
        self.pattern = pattern
        self.score = ScoreModule(score)
        self.plan = plan
        self.call = call

    def _on_weights(self) -> tuple[AttentionCall, Score]:
        """Return the call and its score, on the weights that the module has now."""
        score = self.score()
        return self.call._replace(score=score.key), score

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        """Return `attention(query, key, value, pattern)` with the module's other arguments."""
        return _attended(query, key, value, *self._on_weights())

    def planned(self, query: Tensor, key: Tensor, value: Tensor, direction: str = "forward") -> Plan:
        """Return the plan that a call on such tensors runs now.

        Args:
            query: (B, Hq, Nq, D).
            key: (B, Hkv, Nk, D).
            value: (B, Hkv, Nk, Dv).
            direction: "forward" or "backward".

        Raises:
            AttnccError: What the call raises.
        """
        check_direction(direction)
        call, score = self._on_weights()
        query, key, value = checked(query, key, value, call, score)
        return executables.planned(query, key, value, direction, call)

    def extra_repr(self) -> str:
        """Return the pattern, for the printed module."""
        return repr(self.pattern)


def compile(
    pattern: Pattern | PatternFactory,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    heads: int = 1,
    batch: int = 1,
    score: Score | ScoreFactory | None = None,
    weights: Mapping[str, Tensor] | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    q_offset: int = 0,
    return_lse: bool = False,
    backend: str | None = None,
    config: Config | None = None,
) -> Attention:
    """Return a module to be called with (query, key, value) for `pattern`; given `q_len`, plan and lower it now.

    It holds the score's weights, given with the score or as `weights`: an nn.Parameter as a parameter, another tensor
    as a buffer, under names such as `score.slopes`. What was tuned for the tensors' sizes is looked up by each call, as
    in `attention` (see Attention.planned).
    `heads` and `batch` matter only to patterns and scores that depend on h or b. Options are those of `attention`.
    """
    chosen, bound = as_pattern(pattern), as_score(score, weights)
    call = AttentionCall.of(chosen, bound, q_offset, backend, config, scale, enable_gqa, return_lse)
    if q_len is None:
        return Attention(chosen, call, bound)
    device = here()
    shape = executables.shape_for(chosen, bound.expression, q_len, kv_len, call.q_offset, heads, batch)
    on_backend = call._replace(backend=call.backend or backends.preferred(device)[0])
    plan, _ = executables.lowered(on_backend, shape, target_name(device), "forward")
    return Attention(chosen, call, bound, plan)
