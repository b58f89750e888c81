"""Layers with a memory: whole sequences equal steps of any size, and both are what the papers say, in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import attncc
from attncc.nn import (
    Block,
    CompressiveMemory,
    GatedBlock,
    InfiniAttention,
    LanguageModel,
    LearnedCompression,
    MemorySizes,
    SegmentRecurrent,
    auxiliary_losses,
)
from attncc.nn.functional.compression import maximum, mean, most_used
from attncc.nn.functional.relative import sinusoids

B, N, E, H, D = 2, 40, 16, 4, 4
SIZES = MemorySizes(segment=6, memory=12, compressed=5, ratio=3)
CHUNKS = (1, 7, 64)

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "recurrent": lambda: SegmentRecurrent(E, H, segment=6, memory=9),
    "recurrent, window": lambda: SegmentRecurrent(E, H, segment=1, memory=9, position_dim=6, bias=True),
    "recurrent, no memory": lambda: SegmentRecurrent(E, H, segment=6, memory=0),
    "mean": lambda: CompressiveMemory(E, H, SIZES, compression=mean, num_key_heads=2),
    "maximum": lambda: CompressiveMemory(E, H, SIZES, compression=maximum, bias=True),
    "most used": lambda: CompressiveMemory(E, H, SIZES, compression=most_used, counts_usage=True, rotary=True),
    "learned": lambda: CompressiveMemory(E, H, SIZES, compression=LearnedCompression(D, 3), rotary=True),
    "infini": lambda: InfiniAttention(E, H, segment=6, rotary=True),
    "infini, linear": lambda: InfiniAttention(E, H, segment=6, delta=False, bias=True),
}
#: One of each class.
CLASSES = ("recurrent", "learned", "infini")


def made(name: str) -> nn.Module:
    """Return a layer in float64, all of whose parameters are drawn."""
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return layer


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def stepped(layer: nn.Module, x: Tensor, chunk: int) -> Tensor:
    """Return the outputs of steps of `chunk` tokens, end to end."""
    past, outs = None, []
    for part in x.split(chunk, 1):
        out, past = layer.step(part, past)
        outs.append(out)
    return torch.cat(outs, 1)


def with_gradients(run: Callable[[Tensor], Tensor], layer: nn.Module) -> list[Tensor]:
    leaf = drawn(B, N, E).requires_grad_()
    out = run(leaf)
    leaves = [leaf, *layer.parameters()]
    return [out, *torch.autograd.grad(out, leaves, drawn(*out.shape, seed=9), materialize_grads=True)]


def check_alike(ours: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("name", LAYERS)
def test_steps_of_any_size_equal_the_whole(name: str, chunk: int) -> None:
    layer = made(name)
    check_alike(
        with_gradients(lambda x: stepped(layer, x, chunk), layer),
        with_gradients(layer, layer),
    )


# Transformer-XL


def by_segments(layer: SegmentRecurrent, x: Tensor) -> Tensor:
    """Return equations of section 3.2 and 3.3, one segment after the other, in plain PyTorch."""
    outs, weight = [], layer.relative.weight.view(H, D, -1)
    u, v = layer.content_bias.unsqueeze(1), layer.position_bias.unsqueeze(1)
    r = sinusoids(N + 1, weight.shape[-1], dtype=torch.float64)
    for start in range(0, N, layer.segment):
        own = x[:, start : start + layer.segment]
        context = torch.cat([x[:, max(0, start - layer.memory) : start].detach(), own], 1)
        query, key, value = (
            part.unflatten(-1, (H, D)).transpose(1, 2)
            for part in (layer.query(own), layer.key(context), layer.value(context))
        )
        n, m = query.shape[2], key.shape[2]
        distance = torch.arange(m - n, m)[:, None] - torch.arange(m)
        of_distance = torch.einsum("bhid,hde,ije->bhij", query + v, weight, r[distance.clamp(min=0)])
        scores = ((query + u) @ key.mT + of_distance) / D**0.5
        weights = scores.masked_fill(distance < 0, -torch.inf).softmax(-1)
        outs.append(layer.out((weights @ value).transpose(1, 2).flatten(2)))
    return torch.cat(outs, 1)


@pytest.mark.parametrize("name", ["recurrent", "recurrent, window", "recurrent, no memory"])
def test_a_recurrent_layer_is_the_papers_segment_after_segment(name: str) -> None:
    layer = made(name)
    check_alike(with_gradients(layer, layer), with_gradients(lambda x: by_segments(layer, x), layer))


@pytest.mark.parametrize("chunk", CHUNKS)
def test_an_evaluation_equals_one_long_window(chunk: int) -> None:
    trained, x = made("recurrent"), drawn(B, N, E)
    layer = SegmentRecurrent(E, H, segment=1, memory=24).double()
    layer.load_state_dict(trained.state_dict())
    whole = SegmentRecurrent(E, H, segment=N, memory=0).double()
    whole.load_state_dict(trained.state_dict())
    windows = [x[:, max(0, last - 25) : last] for last in range(1, N + 1)]
    with torch.no_grad():
        wanted = torch.cat([whole(window)[:, -1:] for window in windows], 1)
        torch.testing.assert_close(stepped(layer, x, chunk), wanted, rtol=1e-10, atol=1e-10)


def test_a_state_holds_no_more_than_its_memory_and_no_history() -> None:
    layer, past = made("recurrent"), None
    for part in drawn(B, N, E).requires_grad_().split(7, 1):
        _, past = layer.step(part, past)
        assert past.shape[1] < 12 + 6
    _, past = layer.step(drawn(B, 48 - N, E), past)
    assert past.shape == (B, 12, E)
    assert not past.requires_grad


# Compressive Transformers


def test_the_compression_loss_is_that_of_segments_that_leave() -> None:
    layer, x = made("learned"), drawn(B, N, E)
    losses, past = [], None
    for start in range(0, N - N % 6, 6):
        query, key, value = (part.detach() for part in layer._heads(x[:, start : start + 6], start))
        pairs = [] if past is None else past
        past = [*pairs, (key, value)]
        if len(past) == 3:
            old, past = past[0], past[1:]
            new = layer.compression(*old, None, 3)
            out = [(query @ k.mT / D**0.5).softmax(-1) @ v for k, v in (old, new)]
            losses.append((out[0] - out[1]).square().mean())
    torch.testing.assert_close(layer.auxiliary_loss(x), torch.stack(losses).mean(), rtol=1e-10, atol=1e-10)


def test_the_auxiliary_loss_trains_the_compression_alone() -> None:
    model = language_model("learned")
    with auxiliary_losses(model) as losses:
        model(torch.zeros(B, N, dtype=torch.int64))
    sum(losses).backward()
    assert len(losses) == 2
    trained = {name.split(".")[-2] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {"compression"}
    assert not any(module._forward_hooks for module in model.modules())


def test_a_sequence_that_nothing_leaves_has_no_auxiliary_loss() -> None:
    assert made("learned").auxiliary_loss(drawn(B, 17, E)) == 0
    assert made("learned").auxiliary_loss(drawn(B, 18, E)) > 0


def test_a_learned_compression_begins_as_the_mean() -> None:
    key, value = drawn(B, H, 12, D), drawn(B, H, 12, D, seed=1)
    for ours, wanted in zip(
        LearnedCompression(D, 3).double()(key, value, None, 3), mean(key, value, None, 3), strict=True
    ):
        torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-6)  # a third of float32


# models


def language_model(name: str, block: type[nn.Module] = Block) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(256, E, [block(E, LAYERS[name]()) for _ in range(2)]).double()


@pytest.mark.parametrize("block", [Block, GatedBlock])
@pytest.mark.parametrize("name", CLASSES)
def test_a_model_goes_on_from_its_states(name: str, block: type[nn.Module]) -> None:
    model = language_model(name, block)
    tokens = torch.randint(0, 256, (B, N), generator=torch.Generator().manual_seed(0))
    check_alike([stepped(model, tokens, 7)], [model(tokens)])


def test_training_on_a_whole_sequence_is_training_on_its_segments() -> None:
    model = language_model("recurrent")
    tokens = torch.randint(0, 256, (B, N), generator=torch.Generator().manual_seed(0))
    whole = torch.autograd.grad(model(tokens).square().sum(), list(model.parameters()))
    past = None
    for part in tokens.split(6, 1):
        logits, past = model.step(part, past)
        logits.square().sum().backward()
    check_alike([p.grad for p in model.parameters()], list(whole))


@pytest.mark.parametrize("name", CLASSES)
def test_a_memory_compiles_into_one_graph(name: str) -> None:
    layer, x = made(name), drawn(B, N, E)
    torch.compiler.reset()
    check_alike([torch.compile(layer, fullgraph=True, backend="eager")(x)], [layer(x)])


@pytest.mark.parametrize("name", LAYERS)
def test_memories_run_in_mixed_precision(name: str) -> None:
    layer, x = made(name).float(), drawn(B, N, E).float()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    torch.testing.assert_close(out.float(), layer(x), rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SegmentRecurrent(E, 3), "num_heads=3"),
        (lambda: SegmentRecurrent(E, H, segment=0), "segment=0"),
        (lambda: SegmentRecurrent(E, H, memory=-1), "memory=-1"),
        (lambda: SegmentRecurrent(E, H, position_dim=0), "position_dim=0"),
        (lambda: SegmentRecurrent(E, H, position_dim=3)(torch.zeros(B, N, E)), "size=3"),
        (lambda: InfiniAttention(E, H, segment=0), "segment=0"),
        (lambda: CompressiveMemory(E, H, MemorySizes(6, 12, 5, 4)), "ratio=4"),
        (lambda: CompressiveMemory(E, H, SIZES, compression=most_used)(torch.zeros(B, N, E)), "usage=None"),
        (lambda: LearnedCompression(D, 0), "ratio=0"),
    ],
)
def test_bad_sizes_of_memories_are_named(make: Callable[[], object], named: str) -> None:
    with pytest.raises(attncc.AttnccError, match=named):
        make()
