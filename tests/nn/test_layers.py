"""Layers of models: each is what its paper says, in float64, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import attncc
from attncc.nn import (
    Attention,
    Block,
    ChunkedFeedForward,
    FeedForward,
    GatedBlock,
    GruGate,
    LanguageModel,
    MixtureOfExperts,
    ReversibleStack,
    SeparableTransition,
    UniversalStack,
    auxiliary_losses,
)
from attncc.nn.heads import split_heads
from attncc.nn.rotary import rotated
from attncc.nn.universal import Halted, position_encodings

B, N, E, H = 2, 24, 16, 4
WINDOW = attncc.load("sliding_window", window=6)


def hidden(*, seed: int = 0) -> Tensor:
    return torch.randn(B, N, E, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def outputs(run, leaf: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    leaf = leaf.clone().requires_grad_()
    out = run(leaf)
    grad = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(9))
    return [out, *torch.autograd.grad(out, [leaf, *parameters], grad)]


def assert_alike(ours: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(ours, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


# attention and models


def test_attention_is_dense_attention_between_its_projections() -> None:
    torch.manual_seed(0)
    layer = Attention(E, H, WINDOW, num_key_heads=2, rotary=True, sinks=True, bias=True).double()
    nn.init.normal_(layer.sink)
    mask = attncc.dense_mask(WINDOW, N)

    def densely(x: Tensor) -> Tensor:
        query = rotated(split_heads(layer.query(x), H), 0)
        key = rotated(split_heads(layer.key(x), 2), 0).repeat_interleave(2, 1)
        value = split_heads(layer.value(x), 2).repeat_interleave(2, 1)
        scores = (query @ key.mT / (E // H) ** 0.5).masked_fill(~mask, -torch.inf)
        sink = layer.sink.view(1, H, 1, 1).expand(B, H, N, 1)
        shares = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
        return layer.out((shares @ value).transpose(1, 2).flatten(2))

    parameters = list(layer.parameters())
    assert_alike(outputs(layer, hidden(), parameters), outputs(densely, hidden(), parameters))


def test_scores_of_a_model_have_parameters() -> None:
    layer = Attention(E, H, WINDOW, score=attncc.alibi, score_weights={"slopes": attncc.alibi_slopes(H)})
    layer(torch.randn(B, N, E)).sum().backward()
    assert layer.score_weights["slopes"].grad.abs().min() > 0


def model() -> LanguageModel:
    torch.manual_seed(0)
    blocks = [Block(E, Attention(E, H, WINDOW, num_key_heads=2, rotary=True)) for _ in range(2)]
    return LanguageModel(32, E, blocks).double()


def test_steps_of_any_size_give_what_one_pass_gives() -> None:
    whole, tokens = model(), torch.randint(0, 32, (B, N), generator=torch.Generator().manual_seed(0))
    wanted = whole(tokens)
    for size in (1, 7, N):
        past, found = None, []
        for part in tokens.split(size, 1):
            logits, past = whole.step(part, past)
            found.append(logits)
        torch.testing.assert_close(torch.cat(found, 1), wanted, rtol=1e-10, atol=1e-10)


def test_a_language_model_learns() -> None:
    small, tokens = model().float(), torch.arange(N).expand(B, N) % 5
    optimizer = torch.optim.Adam(small.parameters(), 1e-2)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(small(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_language_model_compiles_into_one_graph() -> None:
    small, tokens = model().float(), torch.arange(N).expand(B, N) % 5
    compiled = torch.compile(small, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens), small(tokens))


# memory


def branches(dropout: float = 0.0) -> list[tuple[nn.Module, nn.Module]]:
    torch.manual_seed(0)
    f = [nn.Sequential(nn.LayerNorm(E), Attention(E, H, WINDOW), nn.Dropout(dropout)).double() for _ in range(3)]
    g = [nn.Sequential(nn.LayerNorm(E), FeedForward(E), nn.Dropout(dropout)).double() for _ in range(3)]
    return list(zip(f, g, strict=True))


def test_a_reversible_stack_has_the_gradients_of_the_stored_one() -> None:
    stack = ReversibleStack(branches())

    def stored(x: Tensor) -> Tensor:
        first = second = x
        for f, g in zip(stack.f, stack.g, strict=True):
            first = first + f(second)
            second = second + g(first)
        return (first + second) / 2

    parameters = list(stack.parameters())
    assert_alike(outputs(stack, hidden(), parameters), outputs(stored, hidden(), parameters))


def test_a_reversible_stack_draws_its_dropout_again() -> None:
    stack = ReversibleStack(branches(dropout=0.5)).train()
    parameters = list(stack.parameters())

    def seeded(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return stack(x)

    ours = outputs(seeded, hidden(), parameters)
    epsilon, direction = 1e-6, hidden(seed=5)
    moved = [seeded(hidden() + sign * epsilon * direction) for sign in (1, -1)]
    grad = torch.randn(moved[0].shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    slope = ((moved[0] - moved[1]) * grad).sum() / (2 * epsilon)
    torch.testing.assert_close((ours[1] * direction).sum(), slope, rtol=1e-6, atol=1e-6)


def saved_bytes(run) -> int:
    """Return the bytes that autograd keeps for the backward pass of a run."""
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run()
    return sum(kept.values())


def test_activations_of_a_reversible_stack_are_those_of_one_layer() -> None:
    def kept(depth: int) -> int:
        layers = [(nn.Linear(E, E, bias=False), nn.Linear(E, E, bias=False)) for _ in range(depth)]
        stack, x = ReversibleStack(layers), torch.randn(B, N, E)
        return saved_bytes(lambda: stack(x.requires_grad_()))

    assert kept(24) == kept(6)


def test_chunks_of_a_feed_forward_layer_are_exact_and_keep_less() -> None:
    whole = FeedForward(E).double()
    parameters, wanted = list(whole.parameters()), outputs(whole, hidden(), list(whole.parameters()))
    x, kept = hidden().requires_grad_(), {}
    for chunk in (1, 5, 8, N):
        chunked = ChunkedFeedForward(whole, chunk)
        assert_alike(outputs(chunked, hidden(), parameters), wanted)
        kept[chunk] = saved_bytes(lambda run=chunked: run(x))
    assert kept[8] < saved_bytes(lambda: whole(x)) / 2


# depth


def test_fixed_steps_of_a_universal_stack_are_a_tied_transformer() -> None:
    torch.manual_seed(0)
    block = Block(E, Attention(E, H, WINDOW), SeparableTransition(E)).double()
    stack = UniversalStack(E, block, 3).double()

    def tied(x: Tensor) -> Tensor:
        for step in range(3):
            x = block(x + position_encodings(N, E, x) + position_encodings(8, E, x)[step])
        return x

    parameters = list(block.parameters())
    assert_alike(outputs(stack, hidden(), parameters), outputs(tied, hidden(), parameters))


def test_positions_halt_by_themselves_and_ponder_has_gradients() -> None:
    torch.manual_seed(0)
    stack = UniversalStack(E, FeedForward(E), 6, halts=True).double()
    nn.init.normal_(stack.halting.weight, std=2.0)
    found = stack(hidden())
    assert isinstance(found, Halted)
    steps = found.ponder.floor()
    assert steps.unique().numel() > 1
    assert steps.min() >= 1
    assert found.ponder.max() <= 7
    found.ponder.mean().backward()
    assert stack.halting.weight.grad.abs().max() > 0


def test_halting_weights_of_a_position_sum_to_one() -> None:
    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones_like(x)

    found = UniversalStack(E, Same(), 5, halts=True)(torch.randn(B, N, E))
    torch.testing.assert_close(found.hidden, torch.ones(B, N, E))


def test_a_separable_transition_sees_no_later_token() -> None:
    layer, x = SeparableTransition(E).double(), hidden().requires_grad_()
    layer(x)[:, 10].sum().backward()
    assert x.grad[:, 11:].abs().max() == 0
    assert x.grad[:, 8:11].abs().amax((0, 2)).min() > 0


# gates and experts


def test_a_gated_block_is_near_the_identity_at_the_beginning() -> None:
    torch.manual_seed(0)
    x = torch.randn(B, N, E)
    far, near = (GatedBlock(E, Attention(E, H, WINDOW), bias=bias)(x) for bias in (0.0, 8.0))
    assert (near - x).abs().mean() < 0.01 * x.abs().mean()
    assert (far - x).abs().mean() > 10 * (near - x).abs().mean()


def test_a_gate_interpolates_between_stream_and_candidate() -> None:
    gate = GruGate(E).double()
    stream, branch = hidden(), hidden(seed=1)
    of_branch, of_stream = gate.of_branch(branch).chunk(3, -1), gate.of_stream(stream).chunk(2, -1)
    reset = torch.sigmoid(of_branch[0] + of_stream[0])
    update = torch.sigmoid(of_branch[1] + of_stream[1] - 2.0)
    candidate = torch.tanh(of_branch[2] + gate.of_reset(reset * stream))
    torch.testing.assert_close(gate(stream, branch), torch.lerp(stream, candidate, update))


def experts(n: int) -> list[nn.Module]:
    torch.manual_seed(0)
    return [FeedForward(E) for _ in range(n)]


def test_a_mixture_without_limits_is_the_weighted_sum_of_chosen_experts() -> None:
    mixture = MixtureOfExperts(E, experts(4), top_k=2, capacity_factor=float("inf")).double()

    def densely(x: Tensor) -> Tensor:
        shares = mixture.router(x).softmax(-1)
        best = shares.topk(2, -1)
        weights = torch.zeros_like(shares).scatter(-1, best.indices, best.values / best.values.sum(-1, keepdim=True))
        every = torch.stack([expert(x) for expert in mixture.experts], -1)
        return (every * weights.unsqueeze(-2)).sum(-1)

    parameters = list(mixture.parameters())
    assert_alike(outputs(mixture, hidden(), parameters), outputs(densely, hidden(), parameters))


def test_experts_take_their_capacity_first_choices_first() -> None:
    mixture = MixtureOfExperts(E, experts(4), top_k=1, capacity_factor=1.0).double()
    nn.init.zeros_(mixture.router.weight)  # all tokens choose the first expert, which takes a quarter of them
    found = mixture.mixed(hidden())
    torch.testing.assert_close(found.dropped, torch.tensor(0.75))
    assert found.hidden.flatten(0, 1)[B * N // 4 :].abs().max() == 0
    torch.testing.assert_close(found.load_loss, torch.tensor(1.0, dtype=torch.float64))  # equal probabilities


@pytest.mark.parametrize("way", ["a call", "functional_call", "a checkpoint"])
def test_the_loss_of_a_mixture_is_of_its_one_routing(way: str) -> None:
    mixture = MixtureOfExperts(E, experts(4), balance=0.5).double()
    routings: list[Tensor] = []
    mixture.router.register_forward_hook(lambda *call: routings.append(call[2]))
    weight, x = mixture.router.weight.detach().clone().mul_(2).requires_grad_(), hidden()
    with auxiliary_losses(mixture) as losses:
        if way == "a call":
            mixture(x)
        elif way == "functional_call":
            torch.func.functional_call(mixture, {"router.weight": weight}, (x,))
        else:
            checkpoint(mixture, x, use_reentrant=False)
        (loss,), (_,) = losses, routings
        own = weight if way == "functional_call" else mixture.router.weight
        grad = torch.autograd.grad(loss, own)[0]
    shares = (x.flatten(0, 1) @ own.mT).softmax(-1)
    wanted = 4 * (nn.functional.one_hot(shares.argmax(-1), 4).double().mean(0) * shares.mean(0)).sum() / 2
    torch.testing.assert_close((loss, grad), (wanted, torch.autograd.grad(wanted, own)[0]))


@pytest.mark.parametrize("way", ["a call", "functional_call"])
def test_losses_inside_a_reversible_stack_have_their_gradients(way: str) -> None:
    """They are those of the same branches, added up as they stand."""
    mixtures = [MixtureOfExperts(E, experts(4), balance=0.5).double() for _ in range(2)]
    pairs = [(nn.Linear(E, E).double(), mixtures[0]), (mixtures[1], nn.Linear(E, E).double())]
    stack, x = ReversibleStack(pairs), hidden().requires_grad_()
    lent = {name: p.detach().mul(1.5).requires_grad_() for name, p in stack.named_parameters()}
    with auxiliary_losses(stack) as losses:
        out = stack(x) if way == "a call" else torch.func.functional_call(stack, lent, (x,))
    own = list(stack.parameters() if way == "a call" else lent.values())
    found = torch.autograd.grad(out.square().mean() + 3 * losses[0] + 5 * losses[1], [x, *own], allow_unused=True)
    with torch.no_grad():
        for p, value in zip(stack.parameters(), own, strict=True):
            p.copy_(value)
    first = second = x
    with auxiliary_losses(nn.ModuleList(mixtures)) as wanted:
        for f, g in pairs:
            first = first + f(second)
            second = second + g(first)
    total = ((first + second) / 2).square().mean() + 3 * wanted[0] + 5 * wanted[1]
    torch.testing.assert_close(losses, wanted)
    torch.testing.assert_close(found, torch.autograd.grad(total, [x, *stack.parameters()], allow_unused=True))


def test_a_layer_in_two_places_has_one_loss_for_each_call() -> None:
    mixture = MixtureOfExperts(E, experts(4)).double()
    with auxiliary_losses(nn.Sequential(mixture, mixture)) as losses:
        nn.Sequential(mixture, mixture)(hidden())
    assert len(losses) == 2
