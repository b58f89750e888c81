"""Attention as Transformers calls it: from a module's tensors and mask to `attncc.attention`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from attncc._util.tracing import is_recording
from attncc.errors import AttnccError, PatternError, ShapeError
from attncc.frontend.biases import softcap
from attncc.frontend.catalog import load
from attncc.frontend.flex import from_mask_mod, tabulated
from attncc.frontend.language import Index
from attncc.frontend.lists import Lists
from attncc.frontend.pattern_factory import pattern as declared_pattern
from attncc.frontend.patterns import Pattern
from attncc.frontend.real import Real
from attncc.frontend.scores import Score
from attncc.frontend.scores import score as declared_score
from attncc.frontend.weights import Weights
from attncc.integrations.transformers.elements import MaskElements
from attncc.integrations.transformers.masks import PatternMask
from attncc.integrations.transformers.traced import TracedMask
from attncc.ir.condition import Condition
from attncc.runtime.api import attention

#: Arguments of modules whose attention is something else than these masks tell.
_FOREIGN = ("block_table", "sinks", "block_indices")


def attend(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    """Return attention for a module of Transformers; registered as an AttentionInterface. See `_attend`.

    It is part of a graph where the mask is. What is added to scores, or selected of keys, has a row for each query, so
    that queries stand at their own rows then, as they do without a cache.
    """
    has_rows = any([options.get(name) is not None for name in ("position_bias", "indices")])  # noqa: C419
    is_in_graph = isinstance(attention_mask, TracedMask) and (not has_rows or attention_mask.is_from_start)
    run = _attend if is_in_graph else _outside_of_graphs
    return run(module, query, key, value, attention_mask, **options)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    indices: Tensor | None = None,
    output_attentions: bool | None = None,
    *,
    joined: Pattern | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """Return attention for a module of Transformers.

    A query without keys, as padding on the left is, gives 0.

    Args:
        module: The attention module; `is_causal` and its config are read.
        query: (B, Hq, Nq, D).
        key: (B, Hkv, Nk, D).
        value: (B, Hkv, Nk, Dv).
        attention_mask: What `pattern_mask` made; or a mask of the caller's own, (B, 1 or Hq, Nq, Nk), boolean (True is
            seen) or floating-point (it is added to the scores); or a BlockMask; or None.
        dropout: The probability of dropping an attention weight: 0.
        scaling: The factor of the scores; None for 1/sqrt(D).
        is_causal: Whether, where there is no mask, a query sees no key after it; None for the module's own.
        softcap: Brings the scaled scores between -softcap and softcap.
        s_aux: Sinks, (Hq,).
        position_bias: Added to the scores, (1 or B, Hq, Nq, Nk).
        indices: The keys that an indexer has selected for each query, integers (B, Nq, K), negative ones for none.
        output_attentions: Return the weights, too, at the cost of (B, Hq, Nq, Nk).
        joined: A pattern that a pair must be of, too.
        others: What doesn't change the result, such as `sliding_window`, which the mask has.

    Returns:
        (out, weights): (B, Nq, Hq, Dv), and (B, Hq, Nq, Nk) or None.

    Raises:
        AttnccError: For dropout, and for arguments of attention that isn't softmax over a mask.
    """
    _refuse(module, dropout, others)
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    pattern, q_offset, added = _visible(attention_mask, query, key, causal, joined)
    if indices is not None:
        pattern = pattern & _selected(tokens=indices, first=q_offset)
    bias = position_bias if added is None else added if position_bias is None else position_bias + added
    score = _score(softcap, bias, q_offset)
    shared = query.shape[1] != key.shape[1]

    def attended(values: Tensor) -> Any:
        options: dict[str, Any] = {"scale": scaling, "enable_gqa": shared, "q_offset": q_offset}
        return attention(query, key, values, pattern, score=score, sink=s_aux, **options)

    weights = None
    if output_attentions:
        ones = torch.eye(key.shape[2], dtype=value.dtype, device=value.device)
        weights = attended(ones.expand(*key.shape[:2], -1, -1))
    return attended(value).transpose(1, 2).contiguous(), weights


_outside_of_graphs = torch.compiler.disable(_attend)  # type: ignore[no-untyped-call]


def _visible(
    mask: Any, query: Tensor, key: Tensor, causal: bool, joined: Pattern | None
) -> tuple[Pattern, Any, Tensor | None]:
    """Return the pattern of a mask, the position of the first query, and what the mask adds to scores.

    The position is a number, or a tensor (B,) in a graph.
    """
    if isinstance(mask, PatternMask | TracedMask):
        _check_mask(mask, query, key)
    if isinstance(mask, PatternMask):
        return mask.pattern, mask.q_offset, None
    if isinstance(mask, TracedMask):
        return (mask.pattern if is_recording() else mask.bound()), mask.q_offset, None
    if joined is not None and query.shape[2] != key.shape[2]:
        raise PatternError(
            f"{query.shape[2]} queries and {key.shape[2]} keys, with {'no mask' if mask is None else 'a mask'} made "
            "outside of Transformers' functions for masks.",
            rule="A pattern is joined to it where queries and keys are the same positions: what is first isn't said.",
            fix="Pass the attention_mask of two dimensions to the model, or join the pattern to the mask yourself.",
        )
    if isinstance(mask, MaskElements):
        mask = mask.bool().as_subclass(Tensor)
    added = None
    if mask is None:
        pattern = load("causal" if causal and query.shape[2] > 1 else "full")
    elif hasattr(mask, "mask_mod"):
        pattern = from_mask_mod(mask.mask_mod)
    elif mask.dtype == torch.bool:
        pattern = tabulated(mask=mask.expand(query.shape[0], -1, -1, -1))
    else:
        pattern, added = load("full"), mask
    return pattern if joined is None else pattern & joined, 0, added


@declared_pattern
def _selected(i: Index, j: Index, *, tokens: Lists, first: int) -> Condition:
    """The keys that are listed for each query, (B, Nq, K); the first query stands at position `first`."""
    return j.isin(tokens[i - first])


@declared_score
def _biased(score: Real, b: Index, h: Index, i: Index, j: Index, *, bias: Weights, first: int) -> Real:
    """The score and a bias, (1 or B, 1 or H, 1 or Nq, 1 or Nk); the first query stands at position `first`."""
    places = zip(bias.shape, (b, h, i - first, j), strict=True)
    return score + bias[tuple(0 if size == 1 else place for size, place in places)]


def _check_mask(mask: PatternMask | TracedMask, query: Tensor, key: Tensor) -> None:
    """Raise ShapeError unless a mask has a row for each query, and a column for each key."""
    if mask.shape[2] != query.shape[2] or mask.shape[3] < key.shape[2]:
        raise ShapeError(
            f"A mask of {mask.shape[2]} queries and {mask.shape[3]} keys, for {query.shape[2]} and {key.shape[2]}.",
            rule="Transformers makes a mask for the lengths of the tensors, those of the cache included.",
            fix="Pass the attention_mask of two dimensions to the model, or none.",
        )


def _score(cap: float | None, bias: Tensor | None, q_offset: int) -> Score | None:
    """Return the score that caps first, and then adds a bias; None for neither."""
    capped = None if cap is None else softcap(cap=cap)
    if bias is None:
        return capped
    added = _biased(bias=bias, first=q_offset)
    return added if capped is None else capped.then(added)


def _refuse(module: torch.nn.Module, dropout: float, others: dict[str, Any]) -> None:
    """Raise AttnccError for what would change the result and isn't computed."""
    if dropout:
        options = _dropout_options(module, dropout)
        raise AttnccError(
            f"{type(module).__name__} drops attention weights with probability {dropout}.",
            rule="attncc drops none: attention would differ from what the config says.",
            fix=f"Train without: pass {', '.join(f'{name}=0.0' for name in options)} to the config or from_pretrained.",
        )
    foreign = [name for name in _FOREIGN if others.get(name) is not None]
    if foreign:
        raise AttnccError(
            f"{type(module).__name__} passes {', '.join(foreign)} to its attention.",
            rule="attncc computes softmax attention over masks, with soft caps, sinks (s_aux) and biases.",
            fix='Load this model with attn_implementation="eager".',
        )


def _dropout_options(module: torch.nn.Module, dropout: float) -> list[str]:
    """Return the names of a config's options with which a module drops attention weights."""
    options = getattr(getattr(module, "config", None), "__dict__", {})
    named = [name for name, value in options.items() if "drop" in name and value == dropout]
    return [name for name in named if "att" in name] or named or ["attention_dropout"]
