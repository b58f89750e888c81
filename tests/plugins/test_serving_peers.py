"""serving and windows against the masks of Transformers 5.24 (masking_utils.py), which its models attend with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import attncc

masking = pytest.importorskip("transformers.masking_utils")
N, BATCH = 40, 2


def mask_of(create: str, implementation: str = "sdpa", **settings: Any) -> Tensor:
    """Return the mask that a function of masking_utils creates for a model's configuration, bool (B, 1, N, N)."""
    from transformers import PretrainedConfig

    inputs = {name: settings.pop(name) for name in ("attention_mask", "block_sequence_ids") if name in settings}
    config = PretrainedConfig(**settings)
    config._attn_implementation = implementation
    embeds = torch.zeros(BATCH, N, 8)
    found: Tensor = getattr(masking, create)(config, embeds, **({"attention_mask": None, "cache": None} | inputs))
    return found


def ours(name: str, **parameters: Any) -> Tensor:
    mask = attncc.dense_mask(attncc.load(name, **parameters), N, batch=BATCH)
    return mask.reshape(-1, 1, N, N).expand(BATCH, 1, N, N)


@pytest.mark.parametrize("chunk", [1, 7, 8, N])
def test_chunks_are_those_of_llama_4(chunk: int) -> None:
    assert torch.equal(mask_of("create_chunked_causal_mask", attention_chunk_size=chunk), ours("chunked", chunk=chunk))


def test_chunks_after_padding_are_those_of_llama_4() -> None:
    """Padding on the left shifts chunks: here it is a document of its own."""
    padding, chunk = 5, 7
    present = torch.ones(BATCH, N, dtype=torch.long)
    present[:, :padding] = 0
    theirs = mask_of("create_chunked_causal_mask", attention_chunk_size=chunk, attention_mask=present)
    packed = attncc.Documents([0, padding, N]).pattern(attncc.load("chunked", chunk=chunk))
    assert torch.equal(theirs[0, 0, padding:], attncc.dense_mask(packed, N)[padding:])


@pytest.mark.parametrize("window", [1, 7, N])
def test_windows_are_those_of_gemma_and_mistral(window: int) -> None:
    theirs = mask_of("create_sliding_window_causal_mask", sliding_window=window)
    assert torch.equal(theirs, ours("sliding_window", window=window))


def test_prefixes_are_those_of_paligemma() -> None:
    """The image and the prompt are a block that sees itself, in each entry of a length of its own."""
    lengths = torch.tensor([[9], [16]])
    blocks = torch.where(torch.arange(N) < lengths, 0, -1)  # as PaliGemmaModel makes them of token_type_ids
    theirs = mask_of("create_causal_mask", block_sequence_ids=blocks)
    assert torch.equal(theirs, ours("prefix_lm", lengths=lengths[:, 0]))


@pytest.mark.parametrize("window", [1, 6])
def test_local_layers_are_those_of_modernbert(window: int) -> None:
    """`sliding_window` is half of ModernBERT's `local_attention`; positions at that distance are seen."""
    theirs = mask_of("create_bidirectional_sliding_window_mask", sliding_window=window)
    assert torch.equal(theirs, attncc.dense_mask(near(window=window), N).expand(BATCH, 1, N, N))


@attncc.pattern
def near(i, j, *, window: int):
    return abs(i - j) <= window
