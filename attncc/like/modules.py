"""Masks of attention modules and of models, under the names of their own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attncc.errors import ParameterError
from attncc.frontend.catalog import load
from attncc.frontend.language import Index
from attncc.frontend.pattern_factory import pattern
from attncc.frontend.patterns import Pattern
from attncc.ir.condition import Condition
from attncc.like.band import check_at_least, check_flag, named


@pattern
def windows(i: Index, j: Index, *, size: int, backward: int, forward: int) -> Condition:
    """Keys of the query's own window of `size` positions, of so many before it, and of so many after it."""
    return (i // size - backward <= j // size) & (j // size <= i // size + forward)


def local_attention(
    window_size: int,
    *,
    causal: bool = False,
    look_backward: int = 1,
    look_forward: int | None = None,
    exact_windowsize: bool = False,
) -> Pattern:
    """Return the mask of lucidrains' `LocalAttention`: windows of `window_size`, and those that it looks at.

    A query sees up to (look_backward + 1) * window_size keys. With `exact_windowsize` at most window_size *
    look_backward before its own: 257 for 256. Where `autopad=True` pads, one that isn't causal counts the padding's
    zeros as keys, too, unless it gets a `mask`; this mask has none of them.
    Source: local-attention 1.11.2, local_attention/local_attention.py.

    Raises:
        ParameterError: For a window below 1, a negative look, or a look forward under `causal`.
    """
    owner = "local_attention"
    size = check_at_least(owner, "window_size", window_size, 1)
    causal, exact = check_flag(owner, "causal", causal), check_flag(owner, "exact_windowsize", exact_windowsize)
    backward = check_at_least(owner, "look_backward", look_backward, 0)
    forward = (0 if causal else 1) if look_forward is None else check_at_least(owner, "look_forward", look_forward, 0)
    if causal and forward:
        raise ParameterError(
            f"{owner}: look_forward={forward} with causal=True.",
            rule="A causal query sees no later key.",
            fix="Leave look_forward out.",
        )
    found = windows(size=size, backward=backward, forward=forward)
    if exact:
        found = found & named(owner, left=size * backward, right=-1 if causal else size * forward)
    found = found.causal() if causal else found
    return Pattern(found.template, owner, None, found.tables)


def x_transformers(*, causal: bool = False, max_attend_past: int | None = None) -> Pattern:
    """Return the mask of x-transformers' `Attention(causal=..., max_attend_past=...)`: 257 keys for 256.

    Without `causal`, `max_attend_past` limits the keys before the query alone.
    Source: x-transformers 2.31.10, x_transformers/x_transformers.py.

    Raises:
        ParameterError: For a negative `max_attend_past`.
    """
    owner = "x_transformers"
    left = -1 if max_attend_past is None else check_at_least(owner, "max_attend_past", max_attend_past, 0)
    return named(owner, left=left, right=0 if check_flag(owner, "causal", causal) else -1, bottom_right=True)


def transformers(config: Any, layer_idx: int = 0, *, is_causal: bool | None = None) -> Pattern:
    """Return the mask of a layer of a model of Transformers, without padding and packing.

    Takes `layer_types[layer_idx]`, `sliding_window`, `attention_chunk_size`, and whether the model is a decoder. A
    causal window of 256 has 256 keys. A window of an encoder has 513 under sdpa, eager and flex, which is what this
    returns, and 511 under FlashAttention 2, which gets (255, 255). Source: Transformers 5.24, masking_utils.py,
    modeling_flash_attention_utils.py.

    Args:
        config: A configuration of Transformers, or a mapping of its fields.
        layer_idx: The number of the layer.
        is_causal: Whether no token sees what follows it. By default what the configuration says by `is_causal` or
            `is_decoder`; of those that say neither, ModernBERT's is an encoder's, and others are decoders'.

    Raises:
        ParameterError: For what is no configuration, or a type of layer, or a number, that it doesn't have.
    """
    if not any(_field(config, name, None) is not None for name in _FIELDS):
        raise ParameterError(
            f"transformers: config={config!r:.200}.",
            rule=f"A configuration says one of {', '.join(_FIELDS)}.",
            fix="Pass model.config, transformers.AutoConfig.for_model(name), or a mapping of its fields.",
        )
    kind = _layer_type(config, check_at_least("transformers", "layer_idx", layer_idx, 0))
    causal = _is_causal(config) if is_causal is None else check_flag("transformers", "is_causal", is_causal)
    if kind == "full_attention":
        return named("transformers", right=0 if causal else -1)
    if kind == "sliding_attention":
        size = check_at_least("transformers", "sliding_window", _field(config, "sliding_window", None), 1)
        return named("transformers", left=size - 1 if causal else size, right=0 if causal else size)
    size = check_at_least("transformers", "attention_chunk_size", _field(config, "attention_chunk_size", None), 1)
    chunks = load("block_diagonal", block=size)
    return chunks.causal() if causal else chunks


#: What a configuration says of a mask.
_FIELDS = ("model_type", "layer_types", "sliding_window", "attention_chunk_size", "is_causal", "is_decoder")
#: Types of models whose configurations don't say that they are encoders.
_ENCODERS = frozenset({"modernbert"})


def _is_causal(config: Any) -> bool:
    for name in ("is_causal", "is_decoder"):
        if (said := _field(config, name, None)) is not None:
            return bool(said)
    return _field(config, "model_type", "") not in _ENCODERS


#: Types of layers whose masks positions decide.
_LAYER_TYPES = ("full_attention", "sliding_attention", "chunked_attention")


def _layer_type(config: Any, layer_idx: int) -> str:
    types = _field(config, "layer_types", None)
    if types is None:
        slides = _field(config, "sliding_window", None) and _field(config, "use_sliding_window", True)
        return "sliding_attention" if slides else "full_attention"
    if not 0 <= layer_idx < len(types) or types[layer_idx] not in _LAYER_TYPES:
        found = types[layer_idx] if 0 <= layer_idx < len(types) else f"no layer {layer_idx}"
        raise ParameterError(
            f"transformers: layer_types[{layer_idx}] is {found!r}.",
            rule=f"A layer is one of {', '.join(_LAYER_TYPES)}, and its number below {len(types)}.",
            fix="Name another layer, or make the pattern of the model's mask_function by attncc.from_mask_mod.",
        )
    return str(types[layer_idx])


def _field(config: Any, name: str, default: Any) -> Any:
    return config.get(name, default) if isinstance(config, Mapping) else getattr(config, name, default)
