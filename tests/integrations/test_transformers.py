"""Models of Transformers 5 run as they are: logits, gradients and generated tokens equal those of eager attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

transformers = pytest.importorskip("transformers", minversion="5.0")

from attncc.integrations.transformers import register  # noqa: E402

N, VOCABULARY = 40, 64
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9, "head_dim": 8}

#: Small models of each family, by its config and the model's class.
FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llama": lambda: (transformers.LlamaConfig(**SMALL), transformers.LlamaForCausalLM),
    "mistral": lambda: (transformers.MistralConfig(**SMALL, sliding_window=9), transformers.MistralForCausalLM),
    "gemma 2": lambda: (
        transformers.Gemma2Config(**SMALL, **ALTERNATING, attn_logit_softcapping=2.0, query_pre_attn_scalar=8),
        transformers.Gemma2ForCausalLM,
    ),
    "gemma 3": lambda: (transformers.Gemma3TextConfig(**SMALL, **ALTERNATING), transformers.Gemma3ForCausalLM),
    "qwen 2": lambda: (transformers.Qwen2Config(**SMALL), transformers.Qwen2ForCausalLM),
    "qwen 3": lambda: (transformers.Qwen3Config(**SMALL, head_dim=8), transformers.Qwen3ForCausalLM),
    "gpt-oss": lambda: (
        transformers.GptOssConfig(**SMALL, **ALTERNATING, num_local_experts=2, num_experts_per_tok=2),
        transformers.GptOssForCausalLM,
    ),
    "llama 4": lambda: (
        transformers.Llama4TextConfig(
            **SMALL,
            intermediate_size_mlp=32,
            head_dim=8,
            attention_chunk_size=16,
            num_local_experts=2,
            layer_types=["chunked_attention", "full_attention"],
        ),
        transformers.Llama4ForCausalLM,
    ),
    "deepseek 3.2": lambda: (
        transformers.DeepseekV32Config(
            **SMALL | {"num_key_value_heads": 4},
            **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
            **{"index_topk": 8, "index_head_dim": 16, "index_n_heads": 2, "n_routed_experts": 4, "n_group": 1},
            **{"topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1},
        ),
        transformers.DeepseekV32ForCausalLM,
    ),
    "gpt-2": lambda: (
        transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=128, attn_pdrop=0.0, pad_token_id=0
        ),
        transformers.GPT2LMHeadModel,
    ),
    "bert": lambda: (
        transformers.BertConfig(**SMALL, attention_probs_dropout_prob=0.0),
        transformers.BertForMaskedLM,
    ),
    "modernbert": lambda: (
        transformers.ModernBertConfig(
            **SMALL,
            local_attention=8,
            layer_types=["full_attention", "sliding_attention"],
            cls_token_id=1,
            sep_token_id=2,
        ),
        transformers.ModernBertForMaskedLM,
    ),
    "t5": lambda: (
        transformers.T5Config(
            vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0
        ),
        transformers.T5ForConditionalGeneration,
    ),
}
DECODERS = [name for name in FAMILIES if name not in ("bert", "modernbert", "t5")]


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    register()


def small(family: str, implementation: str = "eager") -> Any:
    torch.manual_seed(0)
    config, kind = FAMILIES[family]()
    model = kind._from_config(config, attn_implementation=implementation).eval()
    assert model.config._attn_implementation == implementation
    return model


def tokens(batch: int = 2, n: int = N) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (batch, n), generator=torch.Generator().manual_seed(1))


def batch(family: str, kind: str) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return a model's inputs, and which tokens aren't padding."""
    ids = tokens()
    padding = torch.ones_like(ids)
    inputs = {"input_ids": ids}
    if kind in ("left", "right"):
        padding[1, slice(0, 7) if kind == "left" else slice(-7, None)] = 0
        inputs["attention_mask"] = padding
    if kind == "packed":
        inputs["position_ids"] = torch.cat([torch.arange(13), torch.arange(N - 13)]).expand(2, N)
    if family == "t5":
        inputs["decoder_input_ids"] = ids.flip(1)
        padding = torch.ones_like(ids)
    elif family in DECODERS:
        inputs["use_cache"] = False
    return inputs, padding.bool()


def results(model: Any, inputs: dict[str, torch.Tensor], kept: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield logits at what isn't padding, and the gradient of each parameter."""
    model.zero_grad()
    logits = model(**inputs).logits[kept]
    yield "logits", logits.detach()
    torch.nn.functional.cross_entropy(logits, inputs["input_ids"][kept]).backward()
    yield from ((name, parameter.grad) for name, parameter in model.named_parameters() if parameter.grad is not None)


def kinds(family: str) -> list[str]:
    return ["whole", "left", "right", *["packed"] * (family in DECODERS)]


@pytest.mark.parametrize(("family", "kind"), [(family, kind) for family in FAMILIES for kind in kinds(family)])
def test_logits_and_gradients_are_those_of_eager(family: str, kind: str) -> None:
    own, model = small(family), small(family, "attncc")
    inputs, kept = batch(family, kind)
    wanted, found = (dict(results(each, inputs, kept)) for each in (own, model))
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            found[name], value, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("family", [*DECODERS, "t5"])
def test_generated_tokens_are_those_of_eager(family: str, cache: str) -> None:
    own, model = small(family), small(family, "attncc")
    padding = torch.ones(2, 12, dtype=torch.long)
    padding[1, :5] = 0
    options = {"max_new_tokens": 32, "do_sample": False, "cache_implementation": cache, "attention_mask": padding}
    wanted, found = (each.generate(tokens(n=12), **options) for each in (own, model))
    assert wanted.shape == (2, 33 if family == "t5" else 44)
    assert torch.equal(found, wanted)
