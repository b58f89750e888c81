"""A Llama-shaped model of Transformers with a window: its own attention with the mask, and attncc's."""

from __future__ import annotations

import pytest
import torch
from test_attention import CPU, forward, in_turns, spread, tensors
from torch.nn.functional import scaled_dot_product_attention

import attncc
from attncc.integrations.transformers import register
from attncc.measure.timing import elapsed

transformers = pytest.importorskip("transformers", minversion="5.0")

LENGTH, WINDOW = 8192, 256


def model(implementation: str):
    """A model of Mistral, which is Llama's with a window."""
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        **{"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4, "vocab_size": 1024},
        **{"num_attention_heads": 8, "num_key_value_heads": 8, "sliding_window": WINDOW},
    )
    return transformers.MistralForCausalLM._from_config(config, attn_implementation=implementation).eval()


@torch.no_grad()
def test_a_window_in_a_model_is_faster_than_its_own_attention(benchmark, bar) -> None:
    models = model(register()), model("sdpa")
    ids = torch.randint(0, 1024, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    last = [each(ids, logits_to_keep=1, use_cache=False).logits for each in models]
    torch.testing.assert_close(*last, rtol=1e-4, atol=1e-5)
    prefills = [lambda each=each: elapsed(lambda: each(ids, logits_to_keep=1, use_cache=False), CPU) for each in models]
    ours, theirs = in_turns(benchmark, *prefills, rounds=3)
    what = "Transformers, 4 layers of 8 heads of 64, 256-window, prefill of 8,192, against its sdpa with the mask"
    bar(what, theirs.median / ours.median, "at least 2 x", spread(ours, theirs))


@torch.no_grad()
def test_a_window_is_faster_than_attention_with_the_mask(benchmark, bar) -> None:
    pattern = attncc.load("sliding_window", window=WINDOW)
    mask = attncc.dense_mask(pattern, LENGTH)
    contestants = (
        lambda q, k, v: attncc.attention(q, k, v, pattern),
        lambda q, k, v: scaled_dot_product_attention(q, k, v, attn_mask=mask),
    )
    ours, theirs = in_turns(benchmark, *(forward(run, tensors(LENGTH)) for run in contestants), rounds=3)
    bar("the same, attention alone", theirs.median / ours.median, "at least 2 x", spread(ours, theirs))
