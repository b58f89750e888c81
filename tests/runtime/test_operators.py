"""The operators under torch's transforms, and their outputs."""

from __future__ import annotations

import pytest
import torch

import attncc


@pytest.mark.parametrize("with_weights", [False, True])
def test_forward_mode_is_refused(with_weights: bool) -> None:
    causal, x = attncc.load("causal"), torch.randn(1, 2, 7, 4)

    def by_query(q: torch.Tensor) -> torch.Tensor:
        return attncc.attention(q, x, x, causal)

    def by_slopes(slopes: torch.Tensor) -> torch.Tensor:
        return attncc.attention(x, x, x, causal, score=attncc.alibi(slopes=slopes))

    call, at = (by_slopes, attncc.alibi_slopes(2)) if with_weights else (by_query, x)
    with pytest.raises(attncc.AttnccError, match="forward mode"):
        torch.func.jvp(call, (at,), (at,))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(at, at)
        with pytest.raises(attncc.AttnccError, match="forward mode"):
            call(dual)


@pytest.mark.parametrize("transform", ["grad", "vjp", "jacrev", "hessian"])
def test_reverse_mode_of_torch_func_is_refused_with_a_fix(transform: str) -> None:
    query = torch.randn(1, 1, 8, 4)

    def total(x: torch.Tensor) -> torch.Tensor:
        return attncc.attention(x, query, query, attncc.load("causal")).sum()

    made = getattr(torch.func, transform)
    with pytest.raises(attncc.AttnccError, match=r"(?s)transform of torch\.func.*torch\.autograd\.functional\.vjp"):
        made(total, query) if transform == "vjp" else made(total)(query)
    found = torch.autograd.functional.vjp(total, query)[1]  # the fix in the message
    assert found.shape == query.shape


def test_attention_on_constants_runs_inside_transforms() -> None:
    query = torch.randn(1, 1, 8, 4)
    found = torch.func.grad(lambda x: (x * attncc.attention(query, query, query, attncc.load("causal"))).sum())(query)
    assert torch.equal(found, attncc.attention(query, query, query, attncc.load("causal")))


def test_vmap_is_refused_with_a_fix() -> None:
    query = torch.randn(3, 1, 1, 8, 4)
    with pytest.raises(attncc.AttnccError, match=r"(?s)torch\.vmap.*into B"):
        torch.vmap(lambda x: attncc.attention(x, x, x, attncc.load("causal")))(query)


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_outputs_may_be_changed_in_place(backend: str) -> None:
    """As with scaled_dot_product_attention, whose backward needs its output too; the reference's doesn't."""
    query = torch.randn(1, 1, 8, 4, requires_grad=True)
    out, lse = attncc.attention(query, query, query, attncc.load("causal"), return_lse=True, backend=backend)
    assert not out._is_view()
    assert not lse._is_view()
    with torch.no_grad():
        out += 1
    if backend == "reference":
        out.sum().backward()
        return
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()
