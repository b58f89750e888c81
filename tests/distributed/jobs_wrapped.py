"""Jobs with a model in torch's wrappers; all ranks have its parameters and score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from cases import N, biased, compiled, patterns
from comparison import refused
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import attncc

HEADS, WIDTH = 4, 8
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


class Model(nn.Module):
    """Tokens (1, n, WIDTH) to projections, attention of the heads `mine` under a score with weights, and a sum."""

    def __init__(self, mine: slice = slice(None)) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.project = nn.Linear(WIDTH, 3 * HEADS * WIDTH, bias=False)
        self.project.weight.data.normal_(generator=generator)
        self.slopes = nn.Parameter(torch.linspace(0.1, 0.5, HEADS))
        self.mine = mine
        self.attend: Attention | None = None

    @property
    def score(self) -> attncc.Score:
        score: attncc.Score = biased(slopes=self.slopes)
        return score

    def forward(self, x: Tensor) -> Tensor:
        parts = self.project(x).view(1, -1, 3, HEADS, WIDTH).permute(2, 0, 3, 1, 4)
        assert self.attend is not None
        return self.attend(*parts[:, :, self.mine]).square().sum()


def tokens() -> Tensor:
    return torch.randn(1, N, WIDTH, generator=torch.Generator().manual_seed(1))


def wanted(pattern: attncc.Pattern) -> dict[str, Tensor]:
    """Return the gradients of one process."""
    model = Model()
    model.attend = lambda q, k, v: attncc.attention(q, k, v, pattern, score=model.score)
    model(tokens()).backward()
    return {name: x.grad for name, x in model.named_parameters() if x.grad is not None}


def on_a_mesh(name: str, dims: dict[str, int]) -> tuple[Model, Tensor, dict[str, Tensor]]:
    """Return a model on a rank, its tokens, and the gradients of one process."""
    pattern = patterns()[name]
    mesh = init_device_mesh("cpu", tuple(dims.values()), mesh_dim_names=tuple(dims))
    model = Model()
    options: dict[str, Any] = {"heads": HEADS, "head_dim": WIDTH, "dtype": "fp32", "score": model.score}
    op = attncc.distributed.compile(pattern, N, mesh=mesh, **options)
    part = op.mesh.part("heads", HEADS)
    model.mine, model.attend = slice(part.start, part.stop), op
    return model, op.shard(tokens(), heads=None, sequence=1), wanted(pattern)


def data_parallel(name: str, dims: dict[str, int]) -> None:
    """Means over ranks, of a score's weights as of all others: times the ranks, the gradients of one process."""
    model, own, alone = on_a_mesh(name, dims)
    wrapped = DistributedDataParallel(model)
    wrapped(own).backward()
    for each, x in model.named_parameters():
        assert x.grad is not None
        compare(each, x.grad * dist.get_world_size(), alone[each])


def fully_sharded(name: str) -> None:
    """The attention looks up the score's weights where they were when it was compiled: they stay whole."""
    model, own, alone = on_a_mesh(name, {"sequence": dist.get_world_size()})
    fully_shard(model, ignored_params={model.slopes})
    model(own).backward()
    assert model.slopes.grad is not None
    dist.all_reduce(model.slopes.grad.div_(dist.get_world_size()))
    projected: Any = model.project.weight.grad
    for name, found in (("slopes", model.slopes.grad), ("project.weight", projected.full_tensor())):
        compare(name, found * dist.get_world_size(), alone[name])


def fully_sharded_with_its_weights(name: str) -> None:
    """FSDP makes them whole for the forward of the model that holds the attention."""
    model, own, alone = on_a_mesh(name, {"sequence": dist.get_world_size()})
    fully_shard(model)
    model(own).backward()
    for each, x in model.named_parameters():
        assert x.grad is not None
        compare(each, x.grad.full_tensor() * dist.get_world_size(), alone[each])


def sharded_weights() -> None:
    """They are refused at compilation, with a fix."""
    model = Model()
    fully_shard(model)
    refused(lambda: compiled(heads=HEADS, score=model.score), "'slopes'", "ignored_params")


def compare(name: str, found: Tensor, alone: Tensor) -> None:
    most = 1e-5 * float(alone.abs().max())
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=most, msg=lambda text: f"{name}: {text}")
