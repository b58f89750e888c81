"""Audit: the masks that a model of Transformers really uses, layer by layer, against what its config declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attncc.errors import AttnccError
from attncc.frontend.flex import from_mask_mod
from attncc.integrations.transformers.names import interfaces
from attncc.proof.finding import Finding


@dataclass(frozen=True)
class AttentionUse:
    """What one attention module was called with.

    Attributes:
        module: The module.
        mask: Its mask, in whatever form its implementation takes one.
        sizes: (B, Hq, Nq, Nk).
        causal: Whether, without a mask, a query sees no key after it.
    """

    module: Any
    mask: Any
    sizes: tuple[int, int, int, int]
    causal: bool

    def seen(self) -> Tensor:
        """Return the pairs that the module connects, bool (1 or B, 1 or Hq, Nq, Nk)."""
        from attncc.integrations.transformers.masks import PatternMask

        batch, heads, q_len, kv_len = self.sizes
        mask = self.mask
        if mask is None:
            ones = torch.ones(1, 1, q_len, kv_len, dtype=torch.bool)
            return ones.tril() if self.causal and q_len > 1 else ones
        if hasattr(mask, "mask_mod"):
            pattern = from_mask_mod(mask.mask_mod)
            mask = PatternMask.of(pattern, (batch, q_len, kv_len), 0, torch.device("cpu"))
        if isinstance(mask, PatternMask):
            return mask.dense(heads).cpu()
        if mask.ndim != 4:
            raise AttnccError(
                f"{type(self.module).__name__} got a mask of shape {tuple(mask.shape)}.",
                rule="An audit reads masks of four dimensions; kernels of others make theirs inside.",
                fix='Audit the model under attn_implementation="sdpa".',
            )
        kept: Tensor = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
        return kept.cpu()


@dataclass(frozen=True)
class DeclaredBatch:
    """What a batch and a config say of each pair: numbers of documents and positions in them, (B, N), and padding."""

    documents: Tensor
    positions: Tensor
    real: Tensor

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> DeclaredBatch:
        """Read `attention_mask` (B, N) and `position_ids`: a step other than 1 begins a document."""
        shape = batch["input_ids"].shape
        mask, positions = batch.get("attention_mask"), batch.get("position_ids")
        real = torch.ones(shape, dtype=torch.bool) if mask is None else mask.bool().cpu()
        if positions is None or mask is not None:
            padding = (real.cumsum(1) == 0).sum(1, keepdim=True)
            return cls(torch.zeros(shape, dtype=torch.long), torch.arange(shape[1]) - padding, real)
        positions = positions.cpu().expand(shape)
        steps = torch.diff(positions, prepend=positions[:, :1] - 1)
        return cls((steps != 1).cumsum(1), positions, real)

    def pairs(self, module: Any) -> tuple[str, Tensor | None]:
        """Return what a module's config declares, in words and as bool (B, 1, N, N); None for what isn't known."""
        config, number = module.config, getattr(module, "layer_idx", None)
        window, chunk = (getattr(config, name, None) or 0 for name in ("sliding_window", "attention_chunk_size"))
        types = getattr(config, "layer_types", None)
        default = "sliding_attention" if window else "chunked_attention" if chunk else "full_attention"
        kind = types[number] if types is not None and number is not None else default
        rows, columns = self.positions[:, None, :, None], self.positions[:, None, None, :]
        causal = bool(getattr(module, "is_causal", True)) and getattr(config, "is_causal", True) is not False
        kinds: dict[str, Callable[[], tuple[str, Tensor]]] = {
            "full_attention": lambda: ("all keys", torch.ones_like(rows == columns)),
            "sliding_attention": lambda: (f"a window of {window}", abs(rows - columns) < window + (not causal)),
            "chunked_attention": lambda: (f"chunks of {chunk}", rows // chunk == columns // chunk),
        }
        if kind not in kinds:
            return f"{kind}, which isn't known", None
        words, seen = kinds[kind]()
        seen = seen & (self.documents[:, None, :, None] == self.documents[:, None, None, :])
        seen = seen & self.real[:, None, None, :]
        parts = [words, *["causal"] * causal, *["documents apart"] * bool(self.documents.any())]
        return ", ".join([*parts, *["padding hidden"] * (not self.real.all())]), seen.tril() if causal else seen


def audit(model: Any, batch: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Compare the mask that each attention layer of a model of Transformers uses with what its config declares.

    The model runs once on the batch. The config declares all keys, a window or chunks by layer, and whether layers are
    causal. The batch declares padding (`attention_mask`) and packed documents (`position_ids` that begin again): no
    query may see padding, or a key of another document. Every pair is compared, but for queries that are padding. So
    the result is a proof for lengths, padding and documents like the batch's.

    Args:
        model: The model, under any attention implementation but "eager" and flash attention's.
        batch: What the model is called with; `input_ids` are (B, N), and there is no cache yet.

    Returns:
        One finding for each layer, in order. A refuted one has the first pair that differs as its counterexample: `b`,
        `i`, `j`, and `h` where heads differ. `holds` is None for layers of a kind that isn't known.

    Raises:
        AttnccError: Transformers 5 isn't installed, the model or the batch is something else, no attention of the model
            went through its AttentionInterface, or masks can't be read.
    """
    tokens = batch.get("input_ids") if isinstance(batch, Mapping) else None
    if not hasattr(model, "config") or not isinstance(tokens, Tensor) or tokens.ndim != 2:
        shape = f"input_ids of shape {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else "no input_ids"
        raise AttnccError(
            f"An audit of {type(model).__name__} with {shape}.",
            rule="A model of Transformers, with its config, is called with a batch whose input_ids are (B, N).",
            fix='Pass {"input_ids": torch.ones(1, 256, dtype=torch.long)}, for example.',
        )
    with _recorded() as uses, torch.no_grad():
        model(**batch)
    if not uses:
        raise AttnccError(
            f"{type(model).__name__} called no registered attention under {model.config._attn_implementation!r}.",
            rule="An audit reads what is passed to AttentionInterface; eager attention doesn't go through it.",
            fix='Call model.set_attn_implementation("sdpa"), or another one, first.',
        )
    declared = DeclaredBatch.of(batch)
    return tuple(_finding(number, use, declared) for number, use in enumerate(uses))


def _finding(number: int, use: AttentionUse, declared: DeclaredBatch) -> Finding:
    name = f"layer {getattr(use.module, 'layer_idx', number)}"
    words, wanted = declared.pairs(use.module)
    if wanted is None:
        return Finding(name, None, words)
    if wanted.shape[-2:] != use.sizes[2:]:
        return Finding(name, None, f"{use.sizes[2]} queries and {use.sizes[3]} keys aren't those of the batch")
    seen = use.seen()
    wrong = ((seen != wanted) & declared.real[:, None, :, None]).nonzero()
    if not len(wrong):
        return Finding(name, True, words)
    b, h, i, j = wrong[0].tolist()
    sees = bool(seen.expand(len(wanted), -1, -1, -1)[b, h, i, j])
    place = {"b": b, "i": i, "j": j} | ({"h": h} if seen.shape[1] > 1 else {})
    detail = f"query {i} {'sees' if sees else 'does not see'} key {j} in batch entry {b}; declared: {words}"
    return Finding(name, False, detail, place)


@contextmanager
def _recorded() -> Iterator[list[AttentionUse]]:
    """Record what attention modules are called with, for as long as the context lasts."""
    uses: list[AttentionUse] = []
    attentions, _ = interfaces()
    own = dict(attentions())

    def recording(attend: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(
            module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, *args: Any, **options: Any
        ) -> Any:
            causal = options.get("is_causal")
            causal = bool(getattr(module, "is_causal", True) if causal is None else causal)
            uses.append(AttentionUse(module, mask, (*query.shape[:3], key.shape[2]), causal))
            return attend(module, query, key, value, mask, *args, **options)

        return recorded

    try:
        for name, attend in own.items():
            attentions.register(name, recording(attend))
        yield uses
    finally:
        for name, attend in own.items():
            attentions.register(name, attend)
