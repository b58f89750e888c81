"""Models of Transformers under torch.compile: one graph, with the numbers and gradients of eager calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc.errors import AttnccError, PatternError, ShapeError

transformers = pytest.importorskip("transformers", minversion="5.0")

from attncc.integrations.transformers import register  # noqa: E402
from attncc.integrations.transformers.attention import attend  # noqa: E402
from attncc.integrations.transformers.masks import pattern_mask  # noqa: E402
from attncc.integrations.transformers.traced import TracedMask, recorded_pattern  # noqa: E402

N = 32
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
TOKENS = torch.randint(3, 64, (2, N), generator=torch.Generator().manual_seed(1))
PADDING = torch.ones_like(TOKENS)
PADDING[1, :7] = 0


@pytest.fixture(autouse=True)
def forgetting() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def llama(**options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SMALL | {"num_hidden_layers": 1}, **options)
    return transformers.LlamaForCausalLM._from_config(config, attn_implementation=register())


def gemma() -> Any:
    torch.manual_seed(0)
    window = {"sliding_window": 9, "head_dim": 8, "attn_logit_softcapping": 2.0}
    config = transformers.Gemma2Config(**SMALL, **window)
    return transformers.Gemma2ForCausalLM._from_config(config, attn_implementation=register())


def packed(first: int) -> dict[str, Any]:
    positions = torch.cat([torch.arange(first), torch.arange(N - first)])[None].expand(2, -1)
    return {"position_ids": positions, "use_cache": False}


def trained(model: Callable[..., Any], parameters: list[torch.Tensor], **inputs: Any) -> tuple[torch.Tensor, ...]:
    """Return the logits of what isn't padding, and all gradients."""
    logits = model(TOKENS, **inputs).logits[inputs.get("attention_mask", torch.ones_like(TOKENS)).bool()]
    return logits, *torch.autograd.grad(logits.sum(), parameters)


@pytest.mark.parametrize(
    ("made", "inputs"),
    [(llama, {}), (llama, packed(15)), (llama, {"attention_mask": PADDING}), (gemma, {"use_cache": False})],
    ids=["with a cache", "packed", "padded", "windows and a soft cap"],
)
def test_a_compiled_model_is_one_graph(made: Callable[[], Any], inputs: dict[str, Any]) -> None:
    model = made()
    parameters = list(model.parameters())
    wanted = trained(model, parameters, **inputs)
    found = trained(torch.compile(model, backend="aot_eager", fullgraph=True), parameters, **inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_one_graph_is_for_all_documents_and_a_joined_pattern() -> None:
    model = llama()
    model.set_attn_implementation(register("strided(l=4)"))
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    with torch.no_grad():
        for first in (15, 3, 31):
            found, wanted = (one(TOKENS, **packed(first)).logits for one in (compiled, model))
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert counter.frame_count == 1


def test_a_graph_returns_weights_too() -> None:
    torch.manual_seed(0)
    query = torch.randn(1, 2, 8, 4)

    def weighed(query: torch.Tensor) -> Any:
        return attend(torch.nn.Module(), query, query, query, pattern_mask(1, 8, 8), output_attentions=True)

    found, wanted = torch.compile(weighed, backend="eager", fullgraph=True)(query), weighed(query)
    torch.testing.assert_close(found, wanted)


def t5() -> Any:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 4, "vocab_size": 64}
    config = transformers.T5Config(**sizes, dropout_rate=0.0, decoder_start_token_id=0)
    return transformers.T5ForConditionalGeneration._from_config(config, attn_implementation=register())


def deepseek() -> Any:
    torch.manual_seed(0)
    ranks = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
    indexer = {"index_topk": 4, "index_head_dim": 16, "index_n_heads": 2, "first_k_dense_replace": 1}
    few = {"num_hidden_layers": 1, "num_key_value_heads": 4, "moe_intermediate_size": 16}
    config = transformers.DeepseekV32Config(**SMALL | few | ranks | indexer)
    return transformers.DeepseekV32ForCausalLM._from_config(config, attn_implementation=register())


def test_biases_and_selected_keys_are_in_the_graph_where_queries_stand_at_their_own_rows() -> None:
    torch.manual_seed(0)
    query, bias = torch.randn(2, 2, 8, 4), torch.randn(1, 2, 8, 8, requires_grad=True)
    listed = torch.randint(0, 8, (2, 8, 3), dtype=torch.int32)

    def adjusted(query: torch.Tensor, bias: torch.Tensor, first: int) -> Any:
        mask = pattern_mask(2, 8, 8, first)
        options = {"position_bias": bias, "indices": listed, "softcap": 3.0}
        return attend(torch.nn.Module(), query, query, query, mask, **options)[0]

    graph = torch.compile(adjusted, backend="aot_eager", fullgraph=True)
    found, wanted = (each(query, bias, 0) for each in (graph, adjusted))
    torch.testing.assert_close(found, wanted)
    of_bias = [torch.autograd.grad(each.square().sum(), bias)[0] for each in (found, wanted)]
    torch.testing.assert_close(*of_bias)
    torch._dynamo.reset()
    with torch.no_grad():  # after a cache, outside of the graph
        torch.testing.assert_close(torch.compile(adjusted, backend="eager")(query, bias, 2), adjusted(query, bias, 2))


def test_an_error_of_a_compiled_model_says_what_is_wrong() -> None:
    query = torch.randn(1, 2, 8, 4)
    with pytest.raises(AttnccError, match="drops attention weights"):
        torch.compile(lambda q: attend(torch.nn.Module(), q, q, q, None, dropout=0.5), backend="eager")(query)
    with pytest.raises(ShapeError, match="A mask of 8 queries and 6 keys, for 8 and 8"):
        torch.compile(lambda q: attend(torch.nn.Module(), q, q, q, pattern_mask(1, 8, 6))[0], backend="eager")(query)
    with pytest.raises(PatternError, match="adds its mask to scores"):
        query + TracedMask(attncc.load("causal"), 0, (1, 1, 8, 8))
    with pytest.raises(PatternError, match="reads dtype of its mask"):
        TracedMask(attncc.load("causal"), 0, (1, 1, 8, 8)).dtype  # noqa: B018
    assert not hasattr(TracedMask(attncc.load("causal"), 0, (1, 1, 8, 8)), "mask_mod")


def test_a_mask_that_comes_into_a_graph_leaves_it_where_it_is_computed_with() -> None:
    held, scores = pattern_mask(1, 8, 8), torch.zeros(1, 2, 8, 8)
    for use in (lambda mask: scores + mask, lambda mask: scores + mask[:, :, :, :8].to(scores.dtype)):
        with pytest.raises(AttnccError, match="as with numbers"):
            torch.compile(use, backend="eager")(held)
    found = torch.compile(lambda mask: scores.masked_fill(~mask, 1.0), backend="eager")(held)
    assert torch.equal(found, scores.masked_fill(~held, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize(("made", "inputs"), [(t5, {"decoder_input_ids": TOKENS}), (deepseek, {})])
def test_models_with_biases_and_indexers_are_one_graph(made: Callable[[], Any], inputs: dict[str, Any]) -> None:
    model = made()
    parameters = [each for name, each in model.named_parameters() if "indexer" not in name and "gate" not in name]
    wanted, found = (
        trained(one, parameters, use_cache=False, **inputs)
        for one in (model, torch.compile(model, backend="aot_eager", fullgraph=True))
    )
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_steps_with_a_static_cache_are_one_graph() -> None:
    model = llama().eval()
    model.set_attn_implementation(register("strided(l=4)"))
    counter = CompileCounterWithBackend("eager")
    step = torch.compile(model, backend=counter, fullgraph=True)
    cache = transformers.StaticCache(config=model.config, max_cache_len=24)
    name = "past_key_values" if "cache" not in inspect.signature(model.forward).parameters else "cache"
    with torch.no_grad():
        wanted = model(TOKENS[:, :8], attention_mask=PADDING[:, :8], use_cache=False).logits
        model(TOKENS[:, :5], attention_mask=PADDING[:, :5], **{name: cache})
        for n in (5, 6):
            found = step(TOKENS[:, n : n + 1], attention_mask=PADDING[:, :24], **{name: cache}).logits
            torch.testing.assert_close(found[:, 0], wanted[:, n], rtol=1e-5, atol=1e-5)
    assert counter.frame_count == 1


def test_recorded_operations_are_those_of_the_function() -> None:
    ids = torch.arange(N) // 5
    flags = torch.arange(N)[None] % 3 == 0

    boolean = {"dtype": torch.bool}

    def mask_mod(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        near = (abs(q_idx - kv_idx) <= 3) | ((q_idx + 2 * kv_idx) % 7 == 1) ^ (5 - kv_idx > -q_idx)
        others = (kv_idx // 4 != q_idx // 4) & (1 + q_idx >= kv_idx) & flags[b, kv_idx].to(q_idx.device)
        return (
            near & q_idx.new_ones((), **boolean) | others & (ids[q_idx] == ids[kv_idx]) | q_idx.new_zeros((), **boolean)
        )

    wanted = attncc.dense_mask(mask_mod, N)
    recorded = TracedMask(recorded_pattern(mask_mod), 0, (1, 1, N, N))
    assert torch.equal(attncc.dense_mask(recorded.bound(), N), wanted)
