"""Masks and arguments of Transformers' attention: what a mask holds, other patterns, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

import attncc
from attncc.errors import AttnccError, ParameterError, PatternError, ShapeError

transformers = pytest.importorskip("transformers", minversion="5.0")

from attncc.integrations.transformers import register  # noqa: E402
from attncc.integrations.transformers.attention import attend  # noqa: E402
from attncc.integrations.transformers.masks import PatternMask, pattern_mask  # noqa: E402

N = 32
SIZES = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {"num_key_value_heads": 2, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None}


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    register()


def llama(implementation: str, **options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, **HEADS, **options)
    return transformers.LlamaForCausalLM._from_config(config, attn_implementation=implementation).eval()


def mistral(implementation: str) -> Any:
    torch.manual_seed(0)
    config = transformers.MistralConfig(**SIZES, **HEADS, sliding_window=9)
    return transformers.MistralForCausalLM._from_config(config, attn_implementation=implementation).eval()


def tokens(n: int = N) -> torch.Tensor:
    return torch.randint(3, 64, (2, n), generator=torch.Generator().manual_seed(1))


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def mask(pattern: str, n: int = N, **parameters: Any) -> torch.Tensor:
    return attncc.dense_mask(attncc.load(pattern, **parameters).causal(), n).expand(2, 1, n, n)


def test_a_pattern_is_joined_to_the_models_mask() -> None:
    name = register("strided(l=4)")
    assert name == "attncc:strided(l=4)"
    found, wanted = llama(name)(tokens()), llama("sdpa")(tokens(), attention_mask=mask("strided", l=4))
    close(found.logits, wanted.logits)
    found.logits.sum().backward()


def test_a_pattern_is_registered_under_a_name() -> None:
    name = register("mine", attncc.load("strided", l=4).union())
    padding = torch.ones(2, N, dtype=torch.long)
    padding[1, :5] = 0
    seen = mask("strided", l=4) & padding.bool()[:, None, None]
    positions = (padding.cumsum(1) - 1).clamp(min=0)
    wanted = llama("sdpa")(tokens(), seen, position_ids=positions)
    found = llama(name)(tokens(), padding, position_ids=positions)
    close(found.logits[padding.bool()], wanted.logits[padding.bool()])


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_joined_pattern_moves_with_a_sliding_cache(cache: str) -> None:
    model, own = mistral(register("fixed(l=4, c=1)")), mistral("sdpa")
    options = {"max_new_tokens": 24, "do_sample": False, "cache_implementation": cache}
    sequence = model.generate(tokens(8), attention_mask=torch.ones(2, 8, dtype=torch.long), **options)
    window = mask("fixed", 32, l=4, c=1) & mask("sliding_window", 32, window=9)
    logits = own(sequence, attention_mask=window).logits
    assert torch.equal(sequence[:, 8:], logits.argmax(-1)[:, 7:-1])


def test_packed_documents_stay_apart_under_a_pattern() -> None:
    model = llama(register("strided(l=4)"))
    positions = torch.cat([torch.arange(12), torch.arange(N - 12)]).expand(2, N)
    first, second = tokens(), tokens().clone()
    second[:, :12] = 7
    logits = [model(ids, position_ids=positions, use_cache=False).logits[:, 12:] for ids in (first, second)]
    close(*logits)


def test_a_pattern_is_not_joined_to_cross_attention() -> None:
    config = transformers.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4)
    model = transformers.T5ForConditionalGeneration._from_config(config, attn_implementation=register("strided(l=4)"))
    with pytest.raises(PatternError, match="is_encoder_decoder=True"):
        model.eval()(tokens(), decoder_input_ids=tokens())


@pytest.mark.parametrize("name", ["", "no_such_pattern", "strided(l=4", "strided(m=4)", "strided(l)"])
def test_names_that_are_no_pattern_are_refused(name: str) -> None:
    with pytest.raises((PatternError, ParameterError)):
        register(name)


def test_a_pattern_needs_a_name() -> None:
    with pytest.raises(ParameterError, match="has no name"):
        register(pattern=attncc.load("causal"))


def test_weights_are_those_of_eager() -> None:
    found, wanted = (llama(name)(tokens(), output_attentions=True).attentions for name in ("attncc", "eager"))
    assert len(found) == len(wanted) == 2
    for ours, theirs in zip(found, wanted, strict=True):
        close(ours, theirs)


@pytest.mark.parametrize("kind", ["boolean", "added", "heads", "block mask"])
def test_masks_of_the_caller_run(kind: str) -> None:
    seen = mask("strided", l=4)
    if kind == "heads":
        seen = torch.cat([seen, mask("causal")], 1).repeat(1, 2, 1, 1)
    given: Any = seen
    if kind == "added":
        given = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
    if kind == "block mask":
        pattern = seen[0, 0]
        given = create_block_mask(lambda b, h, i, j: pattern[i, j], None, None, N, N, device="cpu")
    found = llama("attncc")(tokens(), attention_mask=given).logits
    close(found, llama("sdpa")(tokens(), attention_mask=seen).logits)


def test_dropout_is_refused_with_the_option_to_set() -> None:
    model = llama("attncc", attention_dropout=0.1)
    assert model(tokens()).logits.isfinite().all()
    with pytest.raises(AttnccError, match=r"drops attention weights(?s:.*)attention_dropout=0\.0"):
        model.train()(tokens())


def test_attention_that_masks_do_not_tell_is_refused() -> None:
    attend = transformers.AttentionInterface()["attncc"]
    query = torch.randn(1, 2, 8, 4)
    with pytest.raises(AttnccError, match="block_indices"):
        attend(torch.nn.Module(), query, query, query, None, block_indices=torch.zeros(1))


def test_another_transformers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers.masking_utils, "sdpa_mask", lambda batch_size, cache_position: None)
    with pytest.raises(AttnccError, match=f"Transformers {transformers.__version__} is installed"):
        register()


def test_a_mask_for_other_lengths_is_refused() -> None:
    attend = transformers.AttentionInterface()["attncc"]
    query = torch.randn(1, 2, 8, 4)
    with pytest.raises(ShapeError, match="4 queries and 8 keys"):
        attend(torch.nn.Module(), query, query, query, pattern_mask(1, 4, 8))


def test_rows_of_padding_give_zero() -> None:
    padding = torch.ones(1, 8, dtype=torch.bool)
    padding[:, :3] = False
    attend = transformers.AttentionInterface()["attncc"]
    query = torch.randn(1, 2, 8, 4)
    out, _ = attend(torch.nn.Module(), query, query, query, pattern_mask(1, 8, 8, attention_mask=padding))
    assert out.shape == (1, 8, 2, 4)
    assert not out[:, :3].any()
    assert out[:, 3:].all()


def test_a_mask_takes_no_memory_and_turns_dense_where_it_is_computed_with() -> None:
    held = pattern_mask(2, 1 << 20, 1 << 20)
    assert isinstance(held, PatternMask)
    assert held.shape == (2, 1, 1 << 20, 1 << 20)
    assert (held.dim(), held.dtype, held.device.type) == (4, torch.bool, "cpu")
    assert "PatternMask(" in repr(held)
    small = pattern_mask(2, 4, 6, q_offset=2)
    wanted = torch.ones(4, 6, dtype=torch.bool).tril(2).expand(2, 1, 4, 6)
    assert torch.equal(~small, ~wanted)
    assert torch.equal(small[:, :, :, :3], wanted[..., :3])
    assert torch.equal(torch.cat([small, small], -1), torch.cat([wanted, wanted], -1))
    assert not isinstance(small & wanted, PatternMask)
    assert torch.equal(small.int(), wanted.int())


def test_a_mask_keeps_its_pattern_through_what_keeps_its_elements() -> None:
    held = pattern_mask(2, 4, 6, q_offset=2)
    for kept in (held.contiguous(), held.clone(), held.detach(), held.to("cpu"), held.to(torch.bool)):
        assert isinstance(kept, PatternMask)
        assert (kept.pattern, kept.q_offset, kept.shape) == (held.pattern, 2, held.shape)
    assert not isinstance(held.to(torch.float32), PatternMask)


def test_a_pattern_is_not_joined_where_positions_are_not_known() -> None:
    attend = transformers.AttentionInterface()[register("strided(l=4)")]
    query, key = torch.randn(1, 2, 1, 4), torch.randn(1, 2, 8, 4)
    with pytest.raises(PatternError, match="1 queries and 8 keys, with no mask"):
        attend(torch.nn.Module(), query, key, key, None)


def test_a_function_that_symbols_do_not_run_is_looked_at_pair_by_pair(caplog: pytest.LogCaptureFixture) -> None:
    def odd(b: Any, h: Any, q_idx: Any, kv_idx: Any) -> Any:
        return (torch.arange(3) * 2 == kv_idx - q_idx + 2).any()

    held = pattern_mask(2, 6, 6, mask_function=odd)
    assert "pair by pair" in caplog.text
    gap = torch.arange(6) - torch.arange(6)[:, None]
    assert torch.equal(held.dense()[0, 0], (gap == -2) | (gap == 0) | (gap == 2))


@pytest.mark.parametrize(
    "use",
    [
        lambda mask, scores: scores + mask,
        lambda mask, scores: scores + mask[:, :, :, :N].to(scores.dtype),
        lambda mask, scores: torch.cat([mask, scores[:, :1].bool()], -1),
        lambda mask, scores: torch.nn.functional.pad(mask, (0, 4)),
        lambda mask, scores: mask[:, 0, 0] < 0,
    ],
)
def test_a_model_that_takes_its_mask_for_numbers_is_refused(use: Any) -> None:
    with pytest.raises(AttnccError, match='attn_implementation="eager"'):
        use(pattern_mask(2, N, N), torch.zeros(2, 4, N, N))


def test_elements_of_a_mask_are_a_mask_for_attention() -> None:
    made = pattern_mask(2, N, N)
    scores = torch.zeros(2, 4, N, N)
    for hidden in (~made, made == 0, 1 - made.float() > 0):
        assert torch.equal(scores.masked_fill(hidden, 1.0)[1, 1].bool(), torch.ones(N, N).triu(1).bool())
    q, k, v = torch.randn(3, 2, 4, N, 8)
    module = torch.nn.Module()
    for part in (made & made, made[:, :, :, :N], (made & made).float()):
        close(attend(module, q, k, v, part)[0], attend(module, q, k, v, made)[0])


def test_a_model_with_attention_and_masks_of_its_own_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    config = transformers.DebertaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    transformers.DebertaModel._from_config(config, attn_implementation="attncc")
    assert "DebertaModel under attn_implementation='attncc': it has attention of its own" in caplog.text
    with pytest.raises(AttnccError, match="DebertaModel under attn_implementation='attncc:causal'"):
        transformers.DebertaModel._from_config(config, attn_implementation=register("causal"))


def test_a_model_with_attention_of_its_own_on_masks_of_transformers_is_refused() -> None:
    """Such attention takes the masks that eager attention has. MPT's hides the pairs of a boolean one."""
    config = transformers.MptConfig(vocab_size=64, d_model=32, n_layers=1, n_heads=4)
    with pytest.raises(
        AttnccError, match="MptForCausalLM under attn_implementation='attncc': it has attention of its own"
    ):
        transformers.MptForCausalLM._from_config(config, attn_implementation="attncc")


def test_a_model_that_looks_its_attention_up_by_name_is_refused() -> None:
    config = transformers.FalconConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    with pytest.raises(AttnccError, match="FalconModel under attn_implementation='attncc'"):
        transformers.FalconModel._from_config(config, attn_implementation="attncc")
    register()  # a second time checks once
    assert transformers.FalconModel._from_config(config, attn_implementation="eager")
