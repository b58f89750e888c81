"""An audit proves the masks of a model's layers, and tells the first pair that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import attncc
from attncc.cli.app import app
from attncc.errors import AttnccError

transformers = pytest.importorskip("transformers", minversion="5.0")

from attncc.integrations.transformers import register  # noqa: E402

N = 32
SMALL = {
    **{"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": None},
}
ALTERNATING = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 9, "head_dim": 8}


def gemma(implementation: str = "sdpa") -> Any:
    config = transformers.Gemma3TextConfig(**SMALL, **ALTERNATING)
    return transformers.Gemma3ForCausalLM._from_config(config, attn_implementation=implementation).eval()


def batch(kind: str) -> dict[str, Any]:
    inputs: dict[str, Any] = {"input_ids": torch.ones(2, N, dtype=torch.long)}
    if kind in ("left", "right"):
        inputs["attention_mask"] = torch.ones(2, N, dtype=torch.long)
        inputs["attention_mask"][1, slice(0, 5) if kind == "left" else slice(-5, None)] = 0
    if kind == "packed":
        inputs["position_ids"] = torch.cat([torch.arange(12), torch.arange(N - 12)]).expand(2, N)
        inputs["use_cache"] = False
    return inputs


@pytest.mark.parametrize("implementation", ["sdpa", "attncc"])
@pytest.mark.parametrize("kind", ["whole", "left", "right", "packed"])
def test_masks_that_are_right_are_proved(kind: str, implementation: str) -> None:
    register()
    findings = attncc.audit(gemma(implementation), batch(kind))
    assert [(finding.name, finding.verdict) for finding in findings] == [("layer 0", "proved"), ("layer 1", "proved")]
    assert "window of 9" in findings[0].detail
    assert "all keys" in findings[1].detail


def test_packed_documents_leak_with_a_cache() -> None:
    findings = attncc.audit(gemma(), batch("packed") | {"use_cache": True})
    assert [finding.counterexample for finding in findings] == [{"b": 0, "i": 12, "j": 4}, {"b": 0, "i": 12, "j": 0}]
    assert findings[1].detail.startswith("query 12 sees key 0 in batch entry 0; declared: all keys, causal, documents")


def test_a_hidden_pair_is_told() -> None:
    [_, finding] = attncc.audit(gemma(register("sliding_window(window=20)")), batch("whole"))
    assert finding.counterexample == {"b": 0, "i": 20, "j": 0}
    assert "does not see key 0" in finding.detail


def test_chunks_and_bidirectional_layers_are_known() -> None:
    chunked = transformers.Llama4TextConfig(
        **SMALL,
        **{"intermediate_size_mlp": 32, "head_dim": 8, "attention_chunk_size": 16, "num_local_experts": 2},
        layer_types=["chunked_attention", "full_attention"],
    )
    bert = transformers.BertConfig(**SMALL)
    modern = transformers.ModernBertConfig(
        **SMALL, local_attention=8, layer_types=["full_attention", "sliding_attention"], cls_token_id=1, sep_token_id=2
    )
    models = (
        (transformers.Llama4ForCausalLM, chunked),
        (transformers.BertForMaskedLM, bert),
        (transformers.ModernBertForMaskedLM, modern),
    )
    for kind, config in models:
        model = kind._from_config(config, attn_implementation="sdpa").eval()
        for inputs in (batch("whole"), batch("left")):
            findings = attncc.audit(model, inputs)
            assert [finding.verdict for finding in findings] == ["proved"] * 2, findings


@pytest.mark.parametrize("given", [{}, None, {"inputs_embeds": torch.ones(1, 4, 32)}, {"input_ids": torch.ones(4)}])
def test_a_batch_without_tokens_is_refused(given: Any) -> None:
    with pytest.raises(AttnccError, match="input_ids"):
        attncc.audit(gemma(), given)
    with pytest.raises(AttnccError, match="Linear"):
        attncc.audit(torch.nn.Linear(2, 2), batch("whole"))


def test_eager_attention_is_not_read() -> None:
    with pytest.raises(AttnccError, match="called no registered attention under 'eager'"):
        attncc.audit(gemma("eager"), batch("whole"))


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["audit", *arguments])


def test_the_command_reads_a_folder(tmp_path: Path) -> None:
    transformers.Gemma3TextConfig(**SMALL, **ALTERNATING).save_pretrained(tmp_path)
    found = run(str(tmp_path), "--seq-len", "32", "--packed", "--no-cache", "--json")
    assert found.exit_code == 0
    said = json.loads(found.stdout)
    assert said["model"] == "Gemma3ForCausalLM"
    assert [finding["verdict"] for finding in said["findings"]] == ["proved", "proved"]


def test_the_command_tells_a_leak(tmp_path: Path) -> None:
    transformers.LlamaConfig(**SMALL).save_pretrained(tmp_path)
    found = run(str(tmp_path), "--seq-len", "32", "--packed")
    assert found.exit_code == 1
    assert "query 16 sees key 0" in found.stdout


def test_the_command_refuses_what_is_no_model(tmp_path: Path) -> None:
    assert "Unrecognized model identifier" in str(run("no_such_model").exception)
    transformers.Gemma2Config(**SMALL).save_pretrained(tmp_path)
    assert "--attn-implementation attncc" in str(run(str(tmp_path)).exception)
    assert "did not run on 20 tokens" in str(run("vit", "--seq-len", "20").exception)
    (tmp_path / "config.json").write_text('{"model_type": "mistral", "sliding_window": "x"}')
    assert "sliding_window" in str(found := run(str(tmp_path)).exception)
    assert isinstance(found, AttnccError)
    assert run("llama", "--seq-len", "0").exit_code == 2
