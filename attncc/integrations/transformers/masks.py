"""Masks: what Transformers passes from its models to attention, as a tensor that holds a pattern."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import (
    and_masks,
    causal_mask_function,
    padding_mask_function,
    prepare_padding_mask,
)

from attncc._util.tracing import is_tracing
from attncc.backends.reference.mask import dense_mask
from attncc.errors import PatternError
from attncc.frontend.flex import from_mask_mod
from attncc.frontend.patterns import Pattern
from attncc.frontend.sequences import from_position
from attncc.integrations.transformers.elements import MaskElements, refuse_numbers
from attncc.integrations.transformers.traced import TracedMask, recorded_pattern
from attncc.ir.symbols import B, H

#: mask_function(b, h, q_idx, kv_idx).
MaskMod = Callable[..., Any]
logger = logging.getLogger("attncc")
#: Methods of tensors that tell what a tensor is, and nothing of its elements.
_TELLING = frozenset(
    {"_is_view", "dim", "size", "numel", "stride", "__len__", "is_floating_point", "is_complex", "nelement"}
)
#: Those that keep the elements, of which `.to(dtype)` keeps booleans alone.
_KEEPING = frozenset({"contiguous", "clone", "detach", "to", "cpu", "cuda"})


class PatternMask(Tensor):
    """A boolean mask (B, 1, Nq, Nk) that holds a pattern in place of its elements.

    Transformers passes tensors of four dimensions on as masks that are ready, through caches and `generate()`. This one
    has the memory of a single element. Whatever computes with it, or reads an element, gets the dense mask, which
    refuses to be taken for numbers; torch.compile leaves the graph for that.

    Attributes:
        pattern: The pattern; query row r stands at q_offset + r, key row at its own number.
        q_offset: The position of the first query.
    """

    pattern: Pattern
    q_offset: int

    @classmethod
    def of(cls, pattern: Pattern, shape: tuple[int, int, int], q_offset: int, device: torch.device) -> PatternMask:
        """Return the mask of a pattern; the shape is (B, Nq, Nk)."""
        batch, q_len, kv_len = shape
        element = torch.zeros((), dtype=torch.bool, device=device)
        mask: PatternMask = Tensor._make_subclass(cls, element.expand(batch, 1, q_len, kv_len))
        mask.pattern, mask.q_offset = pattern, q_offset
        return mask

    def dense(self, heads: int = 1) -> Tensor:
        """Return the mask as elements, bool (B, 1 or `heads`, Nq, Nk): True where a query sees a key."""
        batch, _, q_len, kv_len = self.shape
        sizes: dict[str, Any] = {"q_offset": self.q_offset, "batch": batch, "heads": heads, "device": self.device}
        mask = dense_mask(self.pattern, q_len, kv_len, **sizes)
        for axis, symbol in enumerate((B, H)):
            if symbol not in self.pattern.free:
                mask = mask.unsqueeze(axis)
        return mask.expand(batch, -1, q_len, kv_len)

    @classmethod
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in _TELLING or name == "__get__":
            with torch._C.DisableTorchFunctionSubclass():
                told = function(*args, **(kwargs or {}))
            if not isinstance(told, Tensor):
                return told
        if name in _KEEPING:
            with torch._C.DisableTorchFunctionSubclass():
                kept = function(args[0][:1, :, :1, :1], *args[1:], **(kwargs or {}))
            if kept.dtype == torch.bool:
                batch, _, q_len, kv_len = args[0].shape
                return cls.of(args[0].pattern, (batch, q_len, kv_len), args[0].q_offset, kept.device)
        given = _dense(args)
        refuse_numbers(function, given)
        return function(*given, **_dense(dict(kwargs or {})))

    def __repr__(self, **_: object) -> str:  # type: ignore[override]
        return f"PatternMask({self.pattern!r}, shape={tuple(self.shape)}, q_offset={self.q_offset})"


def _dense(value: Any) -> Any:
    """Return arguments of a function of torch with dense masks in the places of masks that hold patterns."""
    if isinstance(value, PatternMask):
        return MaskElements.of(value.dense())
    if isinstance(value, tuple | list):
        return type(value)(_dense(each) for each in value)
    return {name: _dense(each) for name, each in value.items()} if isinstance(value, dict) else value


def pattern_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int | Tensor = 0,
    mask_function: MaskMod = causal_mask_function,
    attention_mask: Tensor | None = None,
    device: torch.device | str = "cpu",
    config: Any = None,
    *,
    joined: Pattern | None = None,
    **_: object,
) -> PatternMask | TracedMask:
    """Return a mask that a model of Transformers asks for; registered as an AttentionMaskInterface.

    In a graph it is a `TracedMask`, but for caches that have dropped keys: torch.compile leaves the graph there.

    Args:
        batch_size: B.
        q_length: Nq.
        kv_length: Nk, those of a static cache that aren't written yet included.
        q_offset: The position of the first query.
        kv_offset: The position of the first key: a sliding cache has dropped those before.
        mask_function: The pairs, by (b, h, q_idx, kv_idx): the model's own mask, packed documents included.
        attention_mask: Which keys aren't padding, bool (B, keys so far).
        device: Where query and key are.
        config: The model's.
        joined: A pattern that a pair must be of, too.

    Raises:
        PatternError: The model has cross-attention, and a pattern is to be joined.
    """
    if joined is not None:
        _refuse_cross_attention(config)
    lengths = batch_size, q_length, kv_length
    if is_tracing() and not isinstance(kv_offset, Tensor) and not kv_offset:
        if isinstance(q_offset, Tensor):  # which the cache writes to before attention reads it
            q_offset = q_offset.clone().expand(batch_size)
        return _traced(lengths, q_offset, mask_function, attention_mask, device, joined, hasattr(config, "index_topk"))
    made: PatternMask = _made(lengths, q_offset, kv_offset, mask_function, attention_mask, device, joined)
    return made


def _traced(
    lengths: tuple[int, int, int],
    q_offset: int | Tensor,
    mask_function: MaskMod,
    attention_mask: Tensor | None,
    device: torch.device | str,
    joined: Pattern | None,
    is_read: bool,
) -> TracedMask:
    """Return the mask in a graph; whether a batch has padding isn't known there."""
    batch_size, q_length, kv_length = lengths
    padding = prepare_padding_mask(attention_mask, kv_length, 0)
    if padding is not None:
        mask_function = and_masks(mask_function, padding_mask_function(padding[:, :kv_length]))
    pattern = recorded_pattern(mask_function)
    if joined is not None:
        pattern = pattern & joined
    mask = TracedMask(pattern, q_offset, (batch_size, 1, q_length, kv_length))
    return mask._replace(elements=_elements(mask, mask_function, device, joined)) if is_read else mask


def _elements(mask: TracedMask, mask_function: MaskMod, device: torch.device | str, joined: Pattern | None) -> Tensor:
    """Return the mask of all pairs, (B, 1, Nq, Nk), for a model that reads it. A joined pattern leaves the graph."""
    b, _, q, k = (torch.arange(n, device=device) for n in mask.shape)
    first = mask.q_offset[:, None, None, None] if isinstance(mask.q_offset, Tensor) else mask.q_offset
    found: Tensor = mask_function(b[:, None, None, None], 0, q[:, None] + first, k)
    if joined is not None:
        found = found & _joined_elements(joined, mask.q_offset, len(q), len(k), device)
    return found.expand(mask.shape)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _joined_elements(
    joined: Pattern, q_offset: int | Tensor, q_len: int, kv_len: int, device: torch.device | str
) -> Tensor:
    offsets = q_offset.tolist() if isinstance(q_offset, Tensor) else [q_offset]
    return torch.cat([PatternMask.of(joined, (1, q_len, kv_len), n, torch.device(device)).dense() for n in offsets])


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _made(
    lengths: tuple[int, int, int],
    q_offset: int | Tensor,
    kv_offset: int | Tensor,
    mask_function: MaskMod,
    attention_mask: Tensor | None,
    device: torch.device | str,
    joined: Pattern | None,
) -> PatternMask:
    batch_size, q_length, kv_length = lengths
    kv_offset = int(kv_offset)
    first = int(q_offset) - kv_offset
    padding = prepare_padding_mask(attention_mask, kv_length, kv_offset)
    own = padding if padding is None else padding[:, kv_offset : kv_offset + kv_length]
    mask_mod = _placed(mask_function, kv_offset, batch_size, device) if kv_offset else mask_function
    mask_mod = mask_mod if own is None or bool(own.all()) else and_masks(mask_mod, padding_mask_function(own))
    pattern = _pattern(mask_mod, (first + q_length, kv_length), batch_size)
    if joined is not None:
        pattern = pattern & from_position(joined, kv_offset)
    return PatternMask.of(pattern, (batch_size, q_length, kv_length), first, torch.device(device))


def _placed(mask_function: MaskMod, kv_offset: int, batch: int, device: torch.device | str) -> MaskMod:
    """Return a mask function of positions that count from `kv_offset`.

    The offset is a table, equal for all batch entries: what is made of the function serves the next step, too.
    """
    start = torch.full((batch,), kv_offset, device=device)

    def from_there(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        return mask_function(b, h, q_idx + start[b], kv_idx + start[b])

    return from_there


def _refuse_cross_attention(config: Any) -> None:
    """Raise PatternError for models of which some masks are of queries and keys of two sequences."""
    crossing = [name for name in ("is_encoder_decoder", "add_cross_attention") if getattr(config, name, False)]
    if crossing:
        raise PatternError(
            f"A pattern is joined to the masks of {type(config).__name__}, which has {crossing[0]}=True.",
            rule="A pattern relates positions of one sequence; in cross-attention the keys are another one's.",
            fix='Use attn_implementation="attncc", which runs such a model as it is.',
        )


def _pattern(mask_mod: MaskMod, lengths: tuple[int, int], batch: int) -> Pattern:
    """Return the pattern of a mask function; one that can't run with symbols is called with all positions."""
    try:
        return from_mask_mod(mask_mod)
    except PatternError as error:
        logger.warning("A mask of Transformers is looked at pair by pair, %d x %d. %s", *lengths, error.problem)
        return from_mask_mod(mask_mod, dense=lengths, batch=batch)
