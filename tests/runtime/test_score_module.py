"""Weights of scores under PyTorch's operations on modules: held by attncc.compile, or given at the call."""

from __future__ import annotations

import copy
import io
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc.errors import AttnccWarning, ScoreError

CAUSAL = attncc.load("causal")
HEADS = 2


class Given(nn.Module):
    """A model that has its slopes itself, and gives them at the call."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor([0.1, 0.5]))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = attncc.attention(x, x, x, CAUSAL, score=attncc.alibi, weights={"slopes": self.slopes})
        return found


def parameter() -> nn.Module:
    return SelfAttention(
        attncc.compile(CAUSAL, score=attncc.alibi, weights={"slopes": nn.Parameter(torch.tensor([0.1, 0.5]))})
    )


def captured() -> nn.Module:
    return SelfAttention(attncc.compile(CAUSAL, score=attncc.alibi(slopes=nn.Parameter(torch.tensor([0.1, 0.5])))))


def buffer() -> nn.Module:
    return SelfAttention(attncc.compile(CAUSAL, score=attncc.alibi(slopes=torch.tensor([0.1, 0.5]))))


class SelfAttention(nn.Module):
    def __init__(self, attend: nn.Module) -> None:
        super().__init__()
        self.attend = attend

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.attend(x, x, x)
        return found


MODELS: dict[str, Callable[[], nn.Module]] = {
    "given": Given,
    "parameter": parameter,
    "captured": captured,
    "buffer": buffer,
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return MODELS[request.param]()


def tokens(n: int = 12) -> Tensor:
    return torch.randn(1, HEADS, n, 8, generator=torch.Generator().manual_seed(0))


def wanted(x: Tensor, slopes: Tensor) -> Tensor:
    """Dense attention in float64."""
    gap = (torch.arange(x.shape[2]).view(-1, 1) - torch.arange(x.shape[2])).abs()
    wide = x.double()
    scores = wide @ wide.mT * 8**-0.5 - slopes.double().view(-1, 1, 1) * gap
    return scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -torch.inf).softmax(-1) @ wide


def name_of(model: nn.Module) -> str:
    [name] = model.state_dict()
    return name


def holder(model: nn.Module) -> nn.Module:
    return model.get_submodule(name_of(model).rpartition(".")[0])


def check(run: Callable[[Tensor], Tensor], slopes: Tensor) -> None:
    x = tokens()
    torch.testing.assert_close(run(x).double(), wanted(x, slopes), rtol=1e-4, atol=1e-5)


NEW = torch.tensor([0.9, 0.3])


def test_weights_are_registered_by_name(model: nn.Module) -> None:
    assert name_of(model).endswith("slopes")
    check(model, torch.tensor([0.1, 0.5]))


@pytest.mark.parametrize("assign", [False, True])
def test_loaded_state_takes_effect(model: nn.Module, assign: bool) -> None:
    model.load_state_dict({name_of(model): NEW}, assign=assign)
    check(model, NEW)


def test_gradients_reach_the_current_parameter(model: nn.Module) -> None:
    model.load_state_dict({name_of(model): NEW.clone()}, assign=True)
    slopes = dict(model.named_parameters()).get(name_of(model))
    if slopes is None:  # a buffer
        return
    x = tokens()
    [found] = torch.autograd.grad(model(x).square().sum(), slopes)
    leaf = NEW.double().requires_grad_()
    [exact] = torch.autograd.grad(wanted(x, leaf).square().sum(), leaf)
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5)


def test_functional_call_uses_its_own_weights(model: nn.Module) -> None:
    check(lambda x: torch.func.functional_call(model, {name_of(model): NEW}, (x,)), NEW)
    check(model, torch.tensor([0.1, 0.5]))


def test_parametrizations_take_effect(model: nn.Module) -> None:
    class Doubled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    torch.nn.utils.parametrize.register_parametrization(holder(model), "slopes", Doubled())
    check(model, torch.tensor([0.2, 1.0]))


def test_replicas_use_their_own_tensors(model: nn.Module) -> None:
    replica = _replicated(model, lambda x: x * 3)
    check(replica, torch.tensor([0.3, 1.5]))
    check(model, torch.tensor([0.1, 0.5]))


def test_models_made_on_meta_can_be_loaded() -> None:
    for make in MODELS.values():
        state = {name_of(make()): NEW}
        with torch.device("meta"):
            model = make()
        model.to_empty(device="cpu").load_state_dict(state)
        check(model, NEW)


def test_conversions_take_effect(model: nn.Module) -> None:
    x = tokens().double()
    found = model.double()(x)
    assert next(iter(model.state_dict().values())).dtype == torch.float64
    torch.testing.assert_close(found, wanted(x, torch.tensor([0.1, 0.5])))


def test_deep_copies_have_their_own_weights(model: nn.Module) -> None:
    other = copy.deepcopy(model)
    other.load_state_dict({name_of(model): NEW})
    check(other, NEW)
    check(model, torch.tensor([0.1, 0.5]))


def test_models_survive_pickling(model: nn.Module) -> None:
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    other = torch.load(saved, weights_only=False)
    check(other, torch.tensor([0.1, 0.5]))
    other.load_state_dict({name_of(model): NEW}, assign=True)
    check(other, NEW)


def test_models_with_a_local_score_survive_pickling() -> None:
    @attncc.score
    def local(score, h, *, gain: attncc.Weights):
        return score * gain[h]

    model = attncc.compile(CAUSAL, score=local, weights={"gain": nn.Parameter(torch.ones(HEADS))})
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    other, x = torch.load(saved, weights_only=False), tokens()
    assert torch.equal(other(x, x, x), model(x, x, x))


def test_compiled_attention_shows_its_plan_and_score() -> None:
    attend, x = attncc.compile(CAUSAL, 12, score=attncc.alibi, weights={"slopes": NEW}), tokens()
    assert attend.planned(x, x, x).shape.q_len == 12
    assert "causal()" in repr(attend)
    assert "alibi(slopes=(2,))" in repr(attend)


def test_missing_weights_and_reserved_names_are_refused() -> None:
    with pytest.raises(ScoreError, match="no tensor for its weights 'slopes'"):
        attncc.compile(CAUSAL, score=attncc.alibi)

    @attncc.score
    def halved(score, h, *, half: attncc.Weights):
        return score * half[h]

    with pytest.raises(ScoreError, match="another use for this one"):
        attncc.compile(CAUSAL, score=halved(half=NEW))


class Biased(nn.Module):
    """A score_mod that is run at each call reads the parameter that is there."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(HEADS))

    def score_mod(self, score, b, h, q_idx, kv_idx):
        return score + self.bias[h]


def test_captured_parameters_warn_once() -> None:
    @attncc.score
    def kept(score, h, *, gain: attncc.Weights):
        return score * gain[h]

    x, gain = tokens(), nn.Parameter(torch.ones(HEADS))
    score = kept(gain=gain)
    with pytest.warns(AttnccWarning, match="score=kept, weights=.*gain"):
        found = attncc.attention(x, x, x, CAUSAL, score=score)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for again in (score, kept, kept(gain=gain.detach())):
            weights = {"gain": gain} if again is kept else None
            assert torch.equal(attncc.attention(x, x, x, CAUSAL, score=again, weights=weights), found)


def test_parameters_that_are_given_at_a_call_warn_nobody() -> None:
    @attncc.score
    def given(score, h, *, gain: attncc.Weights):
        return score * gain[h]

    x, options = tokens(), {"score": given, "weights": {"gain": nn.Parameter(torch.ones(HEADS))}}
    rows, table = x.transpose(1, 2), torch.arange(len(x))[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attncc.paged_attention(rows, rows, rows, table, x.shape[2], CAUSAL, **options)
        attncc.attention(x, x, x, CAUSAL, batch_invariant=True, **options)
        attncc.attention(x, x, x, CAUSAL, score=Biased().score_mod)


@pytest.mark.parametrize("make", [Given, parameter])
def test_graphs_use_the_current_weights(make: Callable[[], nn.Module]) -> None:
    torch._dynamo.reset()
    model, counter = make(), CompileCounterWithBackend("aot_eager")
    graph = torch.compile(model, fullgraph=True, backend=counter)
    check(graph, torch.tensor([0.1, 0.5]))
    model.load_state_dict({name_of(model): NEW})
    check(graph, NEW)
    assert counter.frame_count == 1
    x, slopes = tokens(), dict(model.named_parameters())[name_of(model)]
    for a, b in zip(*(torch.autograd.grad(run(x).sum(), [slopes]) for run in (graph, model)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
def test_the_documented_module_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "scores.md").read_text(encoding="utf-8")
    _, example, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(example, {"__name__": "example"})
    assert capsys.readouterr().out == "torch.Size([4, 32])\n"


def _replicated(module: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """Copy a module as torch.nn.parallel.replicate does for a device: tensors become plain attributes."""
    replica: nn.Module = module._replicate_for_data_parallel()
    for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
        setattr(replica, name, change(tensor))
    for name, child in module.named_children():
        setattr(replica, name, _replicated(child, change))
    return replica
