"""Jobs that use an operator as training code does."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import torch.distributed as dist
from cases import N, biased, compiled
from comparison import refused
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import attncc
from attncc.distributed import Settings

OPTIONS: dict[str, Any] = {"heads": 2, "head_dim": 8, "dtype": "fp32"}


def whole() -> Tensor:
    return torch.randn(1, 2, N, 8, generator=torch.Generator().manual_seed(0))


def own(op: Any) -> Tensor:
    return op.shard(whole()).requires_grad_()


@attncc.score
def warmed(score, *, temperature: attncc.Weights):
    return score * temperature


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slopes = torch.nn.Parameter(torch.tensor([0.1, 0.5]))
        self.attention = compiled(**OPTIONS, score=biased(slopes=self.slopes))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x, x, x)
        return out


def copied_with_its_model() -> None:
    model = Model()
    other = copy.deepcopy(model)
    assert other.attention.score().tensors[0] is other.slopes
    x = own(model.attention)
    assert torch.equal(other(x), model(x))
    with torch.no_grad():
        other.slopes.mul_(2)
    assert not torch.equal(other(x), model(x)), "a copy has weights of its own"
    other(x).sum().backward()
    assert model.slopes.grad is None
    assert other.slopes.grad is not None
    assert copy.copy(model.attention) is model.attention


def held_weights_that_torch_replaces() -> None:
    new = torch.tensor([0.9, 0.3])
    op = compiled(**OPTIONS, score=biased, weights={"slopes": torch.nn.Parameter(torch.tensor([0.1, 0.5]))})
    inputs = [own(op).detach()] * 3
    wanted = compiled(**OPTIONS, score=biased(slopes=new))(*inputs)
    assert not torch.equal(op(*inputs), wanted)
    assert torch.equal(torch.func.functional_call(op, {"score.slopes": new}, tuple(inputs)), wanted)
    again = op.replanned(attncc.load("causal"))
    op.load_state_dict({"score.slopes": new}, assign=True)
    assert torch.equal(op(*inputs), wanted)
    assert torch.equal(again(*inputs), wanted), "one that was planned anew has the same weights"
    op(*inputs).sum().backward()
    assert op.score.slopes.grad is not None


def numbers_as_weights() -> None:
    temperature = torch.tensor(0.3, requires_grad=True)
    op = compiled(**OPTIONS, score=warmed, weights={"temperature": temperature})
    x, y = own(op), whole()
    op(x, x, x).square().sum().backward()
    dist.all_reduce(temperature.grad)
    alone = temperature.detach().requires_grad_()
    out = attncc.attention(y, y, y, attncc.load("causal"), score=warmed, weights={"temperature": alone})
    out.square().sum().backward()
    torch.testing.assert_close(temperature.grad, alone.grad, rtol=1e-4, atol=1e-4)


def pickled() -> None:
    refused(lambda: pickle.dumps(compiled()), "61 tokens on 4 sequence", "state_dict")


def differentiated_twice(spread: int) -> None:
    op = compiled(heads=4, settings=Settings(spread=spread))
    x = op.shard(torch.randn(1, 4, N, 8)).requires_grad_()
    (found,) = torch.autograd.grad(op(x, x, x).sum(), x, create_graph=True)
    refused(lambda: torch.autograd.grad(found.square().sum(), x), "first derivatives only", error=attncc.AttnccError)
    (plain,) = torch.autograd.grad(op(x, x, x).sum(), x)
    assert torch.equal(plain, found.detach())


def transformed() -> None:
    op = compiled(**OPTIONS)
    x = own(op).detach()
    mapped, differentiated = (transform(lambda x: op(x, x, x).sum()) for transform in (torch.vmap, torch.func.grad))
    refused(lambda: mapped(x[None]), "torch.func", error=attncc.AttnccError)
    refused(lambda: differentiated(x), "torch.func", error=attncc.AttnccError)


def checkpointed(reentrant: bool) -> None:
    op = compiled(**OPTIONS)
    kept, made_again = own(op), own(op)
    op(kept, kept, kept).square().sum().backward()
    checkpoint(op, made_again, made_again, made_again, use_reentrant=reentrant).square().sum().backward()
    assert torch.equal(kept.grad, made_again.grad)


def two_in_turn() -> None:
    """Forwards of two attentions, twice each, before the backward of all."""
    first, second = compiled(**OPTIONS), compiled(attncc.load("full"), **OPTIONS, settings=Settings(route="ring"))
    x, y = own(first), whole().requires_grad_()
    total = torch.stack([op(x, x, x).square().sum() for op in (first, second, first, second)]).sum()
    total.backward()
    patterns = [attncc.load("causal"), attncc.load("full")] * 2
    torch.stack([attncc.attention(y, y, y, pattern).square().sum() for pattern in patterns]).sum().backward()
    torch.testing.assert_close(x.grad, first.shard(y.grad), rtol=1e-4, atol=1e-4)


def in_compiled_code() -> None:
    op = compiled(**OPTIONS)
    x, y = own(op), own(op)
    graph = torch.compile(lambda x: op(2 * x, x, x) + 1, backend="aot_eager")
    graph(x).sum().backward()
    (op(2 * y, y, y) + 1).sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def options_refused() -> None:
    topology = "gloo"
    for options, word in (
        ({"settings": {"unit": 4}}, "Settings"),
        ({"schedule": "contiguous"}, "op.schedule"),
        ({"topology": topology}, "Topology.load"),
        ({"dtype": "float32"}, "fp32"),
        ({"dtype": torch.float32}, "fp32"),
        ({"heads": 2, "kv_heads": 0}, "kv_heads=0"),
        ({"heads": 1.5}, "heads=1.5"),
        ({"scale": float("nan")}, "finite"),
        ({"backend": "nope"}, "Unknown backend"),
        ({"backend": 3}, "name of a backend"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"timeout": float("nan")}, "timeout=nan"),
        ({"timeout": "10"}, "timeout='10'"),
    ):
        refused(lambda options=options: compiled(**options), word, error=attncc.AttnccError)
    for length in ("61", None, 2.0):
        wrong = lambda length=length: attncc.distributed.compile(attncc.load("causal"), length)  # noqa: E731
        refused(wrong, "q_len", error=attncc.ShapeError)


def shards_refused() -> None:
    op = compiled()
    for x, dims in (
        (None, {}),
        (torch.zeros(N), {}),
        (torch.zeros(1, 1, N), {"sequence": 3}),
        (torch.zeros(1, 1, N), {"heads": 0}),
    ):
        refused(lambda x=x, dims=dims: op.shard(x, **dims), error=attncc.ShapeError)
    longer = torch.zeros(1, 1, len(op.positions()) + 1, 8)
    refused(lambda: op.unshard(longer), "owns", error=attncc.ShapeError)
    for rank in ("0", 1.5, True, -1, dist.get_world_size()):
        refused(lambda rank=rank: op.positions(rank), "rank=")


def sizes_that_differ() -> None:
    """Other batch sizes or dtypes; gloo would leave rows unwritten."""
    op = compiled(**OPTIONS)
    x = own(op).detach()
    outliers = dist.get_rank() == 2
    for other in (torch.cat([x, x]), x.double(), torch.cat([x, x], 1), torch.cat([x, x], 3)):
        mine = other if outliers else x
        refused(lambda mine=mine: op(mine, mine, mine), "rank 2 has", "rank 3 has batch 1, 2 heads of 8")
    op(x, x, x)


def destroyed_group() -> None:
    """Runs last in its world."""
    op = compiled(**OPTIONS)
    dist.destroy_process_group()
    for again in (lambda: op.replanned(attncc.load("full")), lambda: copy.deepcopy(op)):
        with pytest.raises(attncc.DistributedError, match="destroyed"):
            again()


def more_stages_than_units() -> int:
    op = compiled(**OPTIONS, settings=Settings("zigzag", stages=10**9))
    x = own(op)
    op(x, x, x).sum().backward()
    rounds: int = op.schedule.rounds
    return rounds
