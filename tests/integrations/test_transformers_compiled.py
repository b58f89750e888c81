"""Models of Transformers under torch.compile: one graph, with the numbers and gradients of eager calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc.errors import AttnccError

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


def test_biases_are_computed_outside_of_graphs() -> None:
    """A bias is made a score of by a function that torch.compile doesn't trace; the mask crosses the break."""
    torch.manual_seed(0)
    query = torch.randn(1, 2, 8, 4)
    bias, ids = torch.randn(1, 2, 8, 8), torch.arange(8)[None] // 3

    def biased(query: torch.Tensor, ids: torch.Tensor) -> Any:
        def same(b: Any, h: Any, i: Any, j: Any) -> Any:
            return ids[b, i] == ids[b, j]

        mask = pattern_mask(1, 8, 8, mask_function=same)
        return attend(torch.nn.Module(), query, query, query, mask, position_bias=bias)[0]

    found, wanted = torch.compile(biased, backend="eager")(query, ids), biased(query, ids)
    torch.testing.assert_close(found, wanted)
    torch._dynamo.reset()
    with pytest.raises(AttnccError, match="drops attention weights"):
        torch.compile(lambda q: attend(torch.nn.Module(), q, q, q, None, dropout=0.5), backend="eager")(query)


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
