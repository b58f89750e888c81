"""attention() and compile(): what users call, with their arguments checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from attncc import backends, executables, operators
from attncc.backends.base import accumulation_dtype
from attncc.backends.device import here, target_name
from attncc.errors import BackendError, ShapeError, TableError
from attncc.executables import Config
from attncc.ir.weights import Weights
from attncc.patterns import Pattern, PatternFactory, as_pattern
from attncc.planner.choice import check_direction
from attncc.planner.plan import Plan
from attncc.scores import Score, ScoreFactory, as_score

Result = Tensor | tuple[Tensor, Tensor]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: Pattern | PatternFactory,
    *,
    score: Score | ScoreFactory | None = None,
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
    what becomes of the scaled scores before the softmax (see attncc.score); its weights get gradients. `backend` names
    a backend, with its `config`; without one it is triton on a GPU and torch elsewhere (and on a GPU what triton
    refuses, which is logged). Without a `config` the one that tuning has found is used, see attncc.explain_config;
    `config={}` is the default one.

    Returns out, (B, Hq, Nq, Dv) in the query's dtype, and with `return_lse` also the natural-log sum of
    exponentials, (B, Hq, Nq), float32 (float64 for float64); both are differentiable. A query without keys, or whose
    scores are all -inf, gives out 0, lse -inf and zero gradients. Plans are kept for the last shapes: a second call
    plans nothing.

    Raises ShapeError, BackendError, ConfigError, PatternError, ScoreError or TableError.
    """
    chosen, scored = as_pattern(pattern), as_score(score)
    query, key, value = _checked(query, key, value, scored, enable_gqa, q_offset, backend)
    factor = scale_of(scale, query)
    options = (chosen.handle, scored.key, factor, q_offset, backend or "", executables.encoded(config))
    if scored.tensors:
        out, lse = operators.weighted_attention(query, key, value, scored.tensors, *options)
    else:
        out, lse = operators.attention(query, key, value, *options)
    return (out, lse) if return_lse else out


@dataclass(frozen=True)
class Attention:
    """A pattern with its options, as a reusable callable of (query, key, value); made by `compile`.

    plan: what runs under the given configuration, or under the default one: which one was tuned is known only with the
    tensors' sizes, so that each call looks it up, as `attention` does; `planned` says what it comes to.
    """

    pattern: Pattern
    options: Mapping[str, Any] = field(default_factory=dict)
    plan: Plan | None = None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        """Return `attention(query, key, value, pattern, **options)`."""
        return attention(query, key, value, self.pattern, **self.options)

    def planned(self, query: Tensor, key: Tensor, value: Tensor, direction: str = "forward") -> Plan:
        """Return the plan that a call on such tensors runs now; `direction` is forward or backward.

        Raises what the call does.
        """
        options, score = self.options, as_score(self.options.get("score"))
        offset, backend = options.get("q_offset", 0), options.get("backend")
        check_direction(direction)
        query, key, value = _checked(query, key, value, score, options.get("enable_gqa", False), offset, backend)
        text = executables.encoded(options.get("config"))
        call = (direction, self.pattern.handle, score.key, offset, backend or "", text)
        return executables.running(query, key, value, *call)[0]


def compile(
    pattern: Pattern | PatternFactory,
    q_len: int | None = None,
    kv_len: int | None = None,
    *,
    heads: int = 1,
    batch: int = 1,
    score: Score | ScoreFactory | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    q_offset: int = 0,
    return_lse: bool = False,
    backend: str | None = None,
    config: Config | None = None,
) -> Attention:
    """Return a callable of (query, key, value) for `pattern`; given `q_len`, plan and lower it now.

    What was tuned for the tensors' sizes is looked up by each call, as in `attention` (see Attention.planned).
    `heads` and `batch` matter only to patterns and scores that depend on h or b. Options are those of `attention`.
    """
    chosen, scored = as_pattern(pattern), as_score(score)
    options = {
        "score": score if score is None else scored,
        "scale": scale,
        "enable_gqa": enable_gqa,
        "q_offset": q_offset,
        "return_lse": return_lse,
        "backend": backend,
        "config": config,
    }
    if q_len is None:
        return Attention(chosen, options)
    device = here()
    name = backend or backends.preferred(device)[0]
    keys = q_offset + q_len if kv_len is None else kv_len
    shape = executables.shape_for(chosen, scored.expression, q_len, keys, q_offset, heads, batch)
    text = executables.encoded(config)
    plan, _ = executables.lowered(chosen, scored.expression, shape, name, "forward", text, target_name(device))
    return Attention(chosen, options, plan)


def _checked(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score: Score,
    enable_gqa: bool,
    q_offset: int,
    backend: str | None,
) -> list[Tensor]:
    """Return the tensors as autocast has them; raises unless they, and a score's weights, fit together."""
    check_types(query, key, value, backend)
    operators.check_transforms(query, key, value, *score.tensors)
    query, key, value = autocast(query, key, value)
    check_tensors(query, key, value, enable_gqa, q_offset)
    check_weights(score.weights, query)
    return [query, key, value]


def autocast(*tensors: Tensor) -> list[Tensor]:
    """Cast as autocast does for scaled_dot_product_attention: all but float64 to the region's dtype."""
    device = tensors[0].device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device)
    return [x if x.dtype == torch.float64 else x.to(dtype) for x in tensors]


def scale_of(scale: float | None, query: Tensor) -> float:
    """Return the scale that is meant; raises ShapeError unless the tensors' sums have digits for it."""
    if scale is None:
        return 1.0 / math.sqrt(query.shape[-1])
    check_scale(scale)
    most = 1.0 / torch.finfo(accumulation_dtype(query.dtype)).eps
    if abs(scale) > most:
        raise ShapeError(
            f"scale={scale!r} for {query.dtype}.",
            rule=f"Its size is at most {most:.3g}: beyond that, scores that differ by less than 1 are rounded to one.",
            fix="Divide the query by what makes the scale so large, or use float64.",
        )
    return float(scale)


def check_scale(scale: object) -> None:
    """Raise ShapeError unless a scale is a finite number."""
    if not isinstance(scale, numbers.Real) or not math.isfinite(scale):
        raise ShapeError(
            f"scale={scale!r}.",
            rule="The scale is a finite number; NaN or infinity makes every output NaN.",
            fix="Multiply the query by a tensor, and pass scale=1.0." if isinstance(scale, Tensor) else "",
        )


def check_types(query: object, key: object, value: object, backend: object) -> None:
    """Raise ShapeError or BackendError for arguments that aren't strided tensors and a name."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if not isinstance(x, Tensor) or x.layout != torch.strided:
            kind = f"tensor with layout {x.layout}" if isinstance(x, Tensor) else type(x).__name__
            raise ShapeError(
                f"{name} is a {kind}.",
                rule="query, key and value are strided tensors (B, H, N, D).",
                fix="Convert it first, for example with .to_dense().",
            )
    check_backend(backend)


def check_backend(backend: object) -> None:
    """Raise BackendError unless it is a name, or None."""
    if not isinstance(backend, str | None):
        raise BackendError(
            f"backend={backend!r}.", rule="It is the name of a backend, or None.", fix="Write backend='torch'."
        )


def check_tensors(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool, q_offset: int) -> None:
    """Raise ShapeError unless the tensors fit together."""
    shapes = f"query {tuple(query.shape)}, key {tuple(key.shape)}, value {tuple(value.shape)}"
    if not query.ndim == key.ndim == value.ndim == 4 or 0 in (*query.shape[:2], query.shape[3], key.shape[1]):
        raise ShapeError(
            f"{shapes}.",
            rule="All three are (B, H, N, D) with B, H and D of at least 1.",
            fix="Add the dimensions that are missing, as in x[None].",
        )
    if key.shape[:3] != value.shape[:3] or query.shape[0] != key.shape[0] or query.shape[3] != key.shape[3]:
        raise ShapeError(
            f"{shapes}.",
            rule="query is (B, Hq, Nq, D), key (B, Hkv, Nk, D) and value (B, Hkv, Nk, Dv): B, D, Hkv and Nk agree.",
            fix="Heads come before positions: a tensor (B, N, H, D) is given as x.transpose(1, 2).",
        )
    if query.dtype != key.dtype or query.dtype != value.dtype:
        raise ShapeError(
            f"dtypes {query.dtype}, {key.dtype}, {value.dtype}.",
            rule="All three have one dtype.",
            fix="Convert them first, for example with .to(query.dtype).",
        )
    if query.device != key.device or query.device != value.device:
        raise ShapeError(
            f"devices {query.device}, {key.device}, {value.device}.",
            rule="All three are on one device.",
            fix="Move them first, for example with .to(query.device).",
        )
    if not query.dtype.is_floating_point:
        raise ShapeError(f"dtype {query.dtype}.", rule="The tensors are floating-point.", fix="Convert with .float().")
    _check_heads(query.shape[1], key.shape[1], enable_gqa)
    if not isinstance(q_offset, int) or isinstance(q_offset, bool) or q_offset < 0:
        raise ShapeError(
            f"q_offset={q_offset!r}.",
            rule="It is the position of the first query, an integer from 0.",
            fix="With a cache of n keys before the queries, give n.",
        )


def check_weights(weights: Sequence[Weights], query: Tensor) -> None:
    """Raise TableError unless a score's weights lie where the query does."""
    for entry in weights:
        if entry.tensor.device != query.device:
            raise TableError(
                f"Weights {entry.name!r} are on {entry.tensor.device}, query on {query.device}.",
                rule="A score's weights are on the tensors' device.",
                fix=f"Move them first: .to({str(query.device)!r}).",
            )


def _check_heads(query_heads: int, key_heads: int, enable_gqa: bool) -> None:
    if query_heads == key_heads:
        return
    if query_heads % key_heads:
        raise ShapeError(
            f"{query_heads} query heads on {key_heads} key heads.",
            rule="The number of query heads is a multiple of the number of key heads.",
            fix="Repeat the key heads, or give fewer of them.",
        )
    if not enable_gqa:
        raise ShapeError(
            f"{query_heads} query heads on {key_heads} key heads.",
            rule="Fewer key heads than query heads is grouped-query attention.",
            fix="Pass enable_gqa=True if that is meant.",
        )
