"""attention() and compile(): what users call, with their arguments checked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from attncc import backends
from attncc.backends.device import here, target_name
from attncc.configs.encoding import Config
from attncc.frontend.accepted import AnyPattern, AnyScore, accepted_pattern, accepted_score
from attncc.frontend.apart import apart
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.planner.directions import check_direction
from attncc.planner.plan import Plan
from attncc.runtime import executables
from attncc.runtime.arguments import check_tensors, check_types, checked
from attncc.runtime.batch_invariant import BatchPart, one_by_one, runs_together
from attncc.runtime.call import AttentionCall, Result
from attncc.runtime.dispatch import run_call
from attncc.runtime.score_module import ScoreModule, warn_of_captured
from attncc.runtime.sequences import Lengths, is_of_each, placed, placed_score, sequences_of
from attncc.runtime.sinks import check_kind, check_sink


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: AnyPattern,
    *,
    score: AnyScore = None,
    weights: Mapping[str, Tensor] | None = None,
    sink: Tensor | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    q_offset: Lengths = 0,
    kv_len: Lengths | None = None,
    return_lse: bool = False,
    return_max_scores: bool = False,
    batch_invariant: bool = False,
    backend: str | None = None,
    config: Config | None = None,
) -> Result:
    """Return softmax attention of each query over the keys that `pattern` connects it to.

    Plans are kept for the last shapes: a second call plans nothing. A query without keys, or whose scores are all -inf,
    gives out 0, lse -inf (with a sink: the sink) and zero gradients. Both results are differentiable.

    Args:
        query: (B, Hq, Nq, D), of one floating dtype and device with key and value.
        key: (B, Hkv, Nk, D).
        value: (B, Hkv, Nk, Dv).
        pattern: A pattern, or a declared one that needs no parameters.
        score: What becomes of the scaled scores before the softmax (see attncc.score); None leaves them as they are.
        weights: The tensors that the score looks up, by name. They get gradients, and may be others at each call.
        sink: A learned logit for each query head, (Hq,), of any floating dtype: one more term of the softmax, whose
            value is 0 (gpt-oss). It may be (B, Hq) or (B, Hq, Nq), too, or a number, (); sizes of 1 are repeated. 0 is
            the softmax with 1 in its denominator, and -inf is no sink.
        scale: The factor of the scores, by default 1/sqrt(D); its size is at most 2^23, in float64 2^52.
        enable_gqa: Let Hq be a multiple of Hkv: query head h uses key head h // (Hq / Hkv).
        q_offset: The position of the first query: row r stands at q_offset + r. A number, or one for each sequence of
            the batch: a list, or an array or tensor (B,). One on a GPU is waited for. In a graph it is an input.
        kv_len: The number of keys, where fewer count than there are, as in caches that are padded on the right: a
            number, or one for each sequence. Patterns know it as n_k.
        return_lse: Return lse beside out.
        return_max_scores: Return the greatest score of each row, too, as FlexAttention does: after the score, and
            without the sink. It takes a second pass over the products of queries and keys, on a CPU about as long as
            the forward, and in triton's place PyTorch's own products. It has no derivative.
        batch_invariant: Compute each batch entry as if it were alone, so that its results are the same, bit for bit, in
            every batch. It runs under the default configuration, whatever was tuned. On triton the batch is one call;
            elsewhere, with tables on a GPU, and with `return_max_scores`, each entry takes a call of its own.
        backend: A backend's name. By default triton on a GPU and torch elsewhere, and on a GPU for what triton refuses,
            which is logged.
        config: The backend's and the planner's options. By default what tuning has found (see attncc.explain_config);
            {} asks for the default ones.

    Returns:
        out, (B, Hq, Nq, Dv) in the query's dtype; with `return_lse` (out, lse), lse being the natural-log sum of
        exponentials, the sink's included, (B, Hq, Nq), float32 (float64 for float64). With `return_max_scores` the
        greatest scores are the last of the tuple, in lse's shape and dtype; they are -inf for rows without keys.

    Raises:
        ShapeError: Tensors, sink, scale or offset don't fit together.
        BackendError: The backend is unknown or unavailable, or refuses the tensors.
        ConfigError: The configuration is wrong, or ATTNCC_CACHE=assert finds none.
        PatternError: `pattern` isn't a pattern, or can't be planned.
        ScoreError: `score` isn't a score, lacks weights, or computes what isn't finite.
        TableError: A table or weights don't fit the tensors.
    """
    chosen, bound = accepted_pattern(pattern), accepted_score(score, weights)
    warn_of_captured(score, weights)
    options = scale, enable_gqa, return_lse, return_max_scores
    if batch_invariant and isinstance(query, Tensor) and len(query):
        call = AttentionCall.of(chosen, bound, 0, backend, config or {}, *options)
        return _batch_invariant(query, key, value, call, chosen, bound, sink, q_offset, kv_len)
    if kv_len is not None or is_of_each(q_offset):
        check_types(query, key, value)
        chosen, bound, q_offset = placed(chosen, bound, query, key, q_offset, kv_len)
    call = AttentionCall.of(chosen, bound, q_offset, backend, config, *options)
    return run_call(query, key, value, call, chosen, bound, sink)


def _batch_invariant(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    call: AttentionCall,
    pattern: Pattern,
    score: Score,
    sink: Tensor | None,
    q_offset: Lengths,
    kv_len: Lengths | None,
) -> Result:
    """Return the results of a call on the entries of a batch: together, each as if it were alone, or one by one."""
    check_types(query, key, value)
    check_tensors(query, key, value, enable_gqa=True)
    if sink is not None:
        check_sink(sink, query)
    sequences = sequences_of(query, key, q_offset, key.shape[2] if kv_len is None else kv_len)
    if runs_together(query, key, value, call, pattern):
        pattern, score = apart(pattern, sequences), placed_score(score, sequences)
        return run_call(query, key, value, call.on(pattern, score), pattern, score, sink)

    def alone(part: BatchPart) -> Result:
        offset, n = (int(column[0]) for column in part.sequences.columns.values())
        tensors = query[part.entries], key[part.entries, :, :n], value[part.entries, :, :n]
        own_call = call.on(part.pattern, part.score, offset)
        return run_call(*tensors, own_call, part.pattern, part.score, part.sink)

    return one_by_one(alone, BatchPart(slice(None), sequences, pattern, score, sink))


class AttentionModule(torch.nn.Module):
    """A pattern with the arguments of a call, as a module on (query, key, value); made by `compile`.

    Which configuration was tuned is known only with the tensors' sizes, so that each call looks it up, as `attention`
    does.

    Attributes:
        pattern: The pattern.
        score: Holds the score's weights, as parameters and buffers by their names.
        sink: The sink, a parameter or buffer; None for none.
        call: The arguments; its score is that of the weights that `compile` got.
        plan: What runs under the given configuration, or under the default one; None without lengths.
    """

    sink: Tensor | None

    def __init__(
        self, pattern: Pattern, call: AttentionCall, score: Score, sink: Tensor | None, plan: Plan | None = None
    ) -> None:
        super().__init__()
        self.pattern = pattern
        self.score = ScoreModule(score)
        if sink is None or isinstance(sink, torch.nn.Parameter):
            self.sink = sink
        else:
            self.register_buffer("sink", sink)
        self.plan = plan
        self.call = call

    def _on_weights(self) -> tuple[AttentionCall, Score]:
        """Return the call and its score, on the weights that the module has now."""
        score = self.score()
        return self.call._replace(score=score.key), score

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        """Return `attention(query, key, value, pattern)` with the module's other arguments."""
        call, score = self._on_weights()
        return run_call(query, key, value, call, self.pattern, score, self.sink)

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
        query, key, value = checked(query, key, value, call, score, self.sink)
        return executables.planned(query, key, value, direction, call)

    def extra_repr(self) -> str:
        """Return the pattern, for the printed module."""
        return repr(self.pattern)


def compile(
    pattern: AnyPattern,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    heads: int = 1,
    batch: int = 1,
    score: AnyScore = None,
    weights: Mapping[str, Tensor] | None = None,
    sink: Tensor | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    q_offset: int = 0,
    return_lse: bool = False,
    return_max_scores: bool = False,
    backend: str | None = None,
    config: Config | None = None,
) -> AttentionModule:
    """Return a module on (query, key, value) for `pattern`; given `q_len`, plan and lower it now.

    The module holds the score's weights under names such as `score.slopes`, and the sink as `sink`: an nn.Parameter as
    a parameter, another tensor as a buffer. What was tuned for the tensors' sizes is looked up by each call, as in
    `attention` (see AttentionModule.planned).

    Args:
        pattern: A pattern, or a declared one that needs no parameters.
        q_len: Queries; without them nothing is planned yet.
        kv_len: Keys, by default q_offset + q_len.
        heads: Query heads; they matter only to patterns and scores that depend on h.
        batch: Batch entries; they matter only to patterns and scores that depend on b.
        score: As in `attention`; its weights are given here.
        weights: As in `attention`.
        sink: As in `attention`.
        scale: As in `attention`.
        enable_gqa: As in `attention`.
        q_offset: As in `attention`.
        return_lse: As in `attention`.
        return_max_scores: As in `attention`.
        backend: As in `attention`.
        config: As in `attention`.

    Returns:
        The module.

    Raises:
        AttnccError: What `attention` raises, but for what is wrong with tensors.
    """
    chosen, bound = accepted_pattern(pattern), accepted_score(score, weights)
    call = AttentionCall.of(chosen, bound, q_offset, backend, config, scale, enable_gqa, return_lse, return_max_scores)
    call = call._replace(pattern=chosen.handle)  # which copies of the module find their copies of the pattern by
    if sink is not None:
        check_kind(sink)
    if q_len is None:
        return AttentionModule(chosen, call, bound, sink)
    device = here()
    shape = executables.shape_for(chosen, bound.expression, q_len, kv_len, call.q_offset, heads, batch)
    on_backend = call._replace(backend=call.backend or backends.preferred(device)[0])
    plan, _ = executables.lowered(on_backend, shape, target_name(device), "forward")
    return AttentionModule(chosen, call, bound, sink, plan)
