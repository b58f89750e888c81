"""`attncc audit`: the masks of a model of Transformers, layer by layer, against what its config declares."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from attncc.cli import options
from attncc.cli.findings_view import show_findings
from attncc.errors import AttnccError, ParameterError

#: What makes a config's model small; the masks depend on none of it.
TINY = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A folder with a config.json, or a type of model, such as llama; its weights aren't read.",
        show_default=False,
    ),
]
SeqLen = Annotated[int, typer.Option("--seq-len", "-n", min=1, help="Number of tokens.", show_default=True)]
Packed = Annotated[bool, typer.Option("--packed", help="Pack two documents into each row, by position_ids.")]
Cached = Annotated[bool, typer.Option("--cache/--no-cache", help="Run with use_cache=True, the models' default.")]
Implementation = Annotated[str, typer.Option("--attn-implementation", help="The attention that the model runs under.")]


def audit(
    model: Model,
    seq_len: SeqLen = 256,
    packed: Packed = False,
    cache: Cached = True,
    attn_implementation: Implementation = "sdpa",
    as_json: options.AsJson = False,
) -> None:
    """Prove that each layer of a Transformers model has the mask that its config declares, or tell the first wrong one.

    A small model of the config runs once. Exits with 1 unless all layers are proved.

    Example: attncc audit mistral --seq-len 256 --packed --no-cache
    """
    import torch

    from attncc.integrations.transformers.audit import audit as compare
    from attncc.integrations.transformers.names import interfaces, register

    interfaces()
    register()
    made = _small_model(model, attn_implementation)
    positions = torch.arange(seq_len)
    batch: dict[str, Any] = {"input_ids": torch.ones(1, seq_len, dtype=torch.long)}
    if packed:
        batch["position_ids"] = torch.where(positions < seq_len // 2, positions, positions - seq_len // 2)[None]
    if not cache:
        batch["use_cache"] = False
    try:
        findings = compare(made, batch)
    except AttnccError:
        raise
    except Exception as error:  # whatever Transformers raises for a model that takes something else
        raise ParameterError(
            f"The model {model!r} did not run on {seq_len} tokens: {_first_line(error)}",
            rule="The command calls a small model of the config with input_ids (1, N).",
            fix="Give a model of other inputs its batch: attncc.audit(model, batch) in Python. Or look at its config.",
        ) from error
    name = type(made).__name__
    told: dict[str, object] = {"model": name, "seq_len": seq_len, "packed": packed}
    title = f"{name} at {seq_len:,} positions"
    show_findings(findings, title=title, column="layer", told=told, as_json=as_json)


def _small_model(name: str, implementation: str) -> Any:
    """Return a small model of random weights with the layers and masks of a config."""
    from pathlib import Path

    import transformers

    try:
        if Path(name).is_dir():
            config = transformers.AutoConfig.from_pretrained(name, local_files_only=True)
        else:
            config = transformers.AutoConfig.for_model(name)
    except Exception as error:  # of other libraries, too, which check a config's fields
        raise ParameterError(
            f"The model {name!r}: {_first_line(error)}",
            rule="It is a folder with a config.json, or a type of model that Transformers knows.",
            fix="As in attncc audit mistral, or attncc audit ./my_model.",
        ) from error
    for option, value in TINY.items():
        if hasattr(config, option):
            setattr(config, option, value)
    kinds = (transformers.AutoModelForCausalLM, transformers.AutoModel)
    known = [kind for kind in kinds if type(config) in kind._model_mapping]
    if not known:
        raise ParameterError(
            f"The model {name!r}, of config {type(config).__name__}.",
            rule="A model is one that AutoModelForCausalLM or AutoModel makes of the config.",
            fix="Make it yourself, and call attncc.audit(model, batch).",
        )
    try:
        return known[0].from_config(config, attn_implementation=implementation).eval()
    except Exception as error:
        raise ParameterError(
            f"The model {name!r} under {implementation!r}: {_first_line(error)}",
            rule="A small model is made of the config, under an attention implementation that the model has.",
            fix="Give another one, as in --attn-implementation attncc, or look at the config's sizes.",
        ) from error


def _first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return textwrap.shorten(str(error) or type(error).__name__, 200, placeholder=" ...")
