"""The operators as torch.library sees them: schema, outputs without data, autograd, and under torch.compile."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import attncc
from attncc import operators

PATTERN = attncc.load("strided", l=4)
SCORE = attncc.alibi(slopes=torch.tensor([0.5, 0.25]))


def tensors() -> list[torch.Tensor]:
    return [torch.randn(1, 2, 13, 8, requires_grad=True) for _ in range(3)]


def test_attention_is_what_its_schema_says() -> None:
    call = (PATTERN.handle, "", 0, "torch", "")
    torch.library.opcheck(operators.attention, (*tensors(), 0.5, *call))


def test_weighted_attention_is_what_its_schema_says() -> None:
    call = (PATTERN.handle, SCORE.key, 0, "torch", "")
    weights = [x.requires_grad_() for x in SCORE.tensors]
    torch.library.opcheck(operators.weighted_attention, (*tensors(), weights, 0.5, *call))


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_results_share_no_memory_with_what_came_in(backend: str) -> None:
    query, key, value = tensors()
    out, lse = operators.attention(query, key, value, 0.5, PATTERN.handle, "", 0, backend, "")
    gradients = torch.autograd.grad(out.sum() + lse.sum(), (query, key, value))
    places = [x.untyped_storage().data_ptr() for x in (query, key, value, out, lse, *gradients)]
    assert len(set(places)) == len(places)


def test_a_call_does_not_import_the_compiler_of_graphs() -> None:
    """torch._dynamo takes seconds to import."""
    program = """
import sys
import attncc, torch
x = torch.randn(1, 1, 20, 8, requires_grad=True)
attncc.attention(x, x, x, attncc.load("causal")).sum().backward()
print("torch._dynamo" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
