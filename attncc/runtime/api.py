"""attention() and compile(): what users call, with their arguments checked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attncc import backends
from attncc.backends.device import here, target_name
from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.frontend.scores import Score, ScoreFactory, as_score
from attncc.ir.score import IDENTITY
from attncc.planner.directions import check_direction
from attncc.planner.plan import Plan
from attncc.runtime import executables, export, library, operators
from attncc.runtime.arguments import Options, check_backend, offset_of, scale_of
from attncc.runtime.executables import Case, Config
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
    options = Options(bound, scale, enable_gqa, q_offset, return_lse, backend, executables.encoded(config))
    return _attended(query, key, value, chosen, options)


def _attended(query: Tensor, key: Tensor, value: Tensor, pattern: Pattern, options: Options) -> Result:
    query, key, value = options.checked(query, key, value)
    scale, call, weights = scale_of(options.scale, query), options.call(pattern), options.score.tensors
    if export.is_exporting():
        tables, call = export.exported(call)
        out, lse, _ = library.general_attention(query, key, value, weights, tables, scale, *call)
    elif options.is_composite:
        out, lse = operators.composite_attention(query, key, value, weights, scale, call)
    elif call.score != IDENTITY.key:
        out, lse, _ = library.general_attention(query, key, value, weights, [], scale, *call)
    else:
        out, lse = library.attention(query, key, value, scale, *call)
    return (out, lse) if options.return_lse else out


class Attention(torch.nn.Module):
    """A pattern with its options, as a module that is called with (query, key, value); made by `compile`.

    score: holds the score's weights, as parameters and buffers by their names. plan: what runs under the given
    configuration, or under the default one: which one was tuned is known only with the tensors' sizes, so that each
    call looks it up, as `attention` does; `planned` says what it comes to.
    """

    def __init__(self, pattern: Pattern, options: Options, plan: Plan | None = None) -> None:
        super().__init__()
        self.pattern = pattern
        self.score = ScoreModule(options.score)
        self.plan = plan
        self._others = options[1:]

    @property
    def options(self) -> Options:
        """The options of a call, the score on the weights that the module has now."""
        return Options(self.score(), *self._others)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        """Return `attention(query, key, value, pattern)` under the options."""
        return _attended(query, key, value, self.pattern, self.options)

    def planned(self, query: Tensor, key: Tensor, value: Tensor, direction: str = "forward") -> Plan:
        """Return the plan that a call on such tensors runs now; `direction` is forward or backward.

        Raises what the call does.
        """
        check_direction(direction)
        options = self.options
        query, key, value = options.checked(query, key, value)
        return executables.running(query, key, value, direction, options.call(self.pattern))[0]

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
    q_offset = offset_of(q_offset)
    options = Options(bound, scale, enable_gqa, q_offset, return_lse, backend, executables.encoded(config))
    if q_len is None:
        return Attention(chosen, options)
    check_backend(backend)
    device, expression = here(), options.score.expression
    shape = executables.shape_for(chosen, expression, q_len, kv_len, q_offset, heads, batch)
    case = Case(chosen, expression, shape, backend or backends.preferred(device)[0], target_name(device))
    plan, _ = executables.lowered(case, "forward", options.config)
    return Attention(chosen, options, plan)
