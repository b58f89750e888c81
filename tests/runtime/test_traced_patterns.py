"""Patterns that are made inside of graphs: tables are inputs or buffers, and new ones need no new graph."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils.checkpoint import checkpoint

import attncc
from attncc.errors import ParameterError, PatternError, ScoreError, TableError

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore::torch.jit.TracerWarning")

LENGTH, MOST = 24, 64
WINDOW = attncc.load("sliding_window", window=7)


@attncc.pattern
def alike(i, j, *, ids: Annotated[attncc.Table, attncc.Sorted()], reach: int = 99):
    return (ids[i] == ids[j]) & (i - j < reach)


@attncc.pattern
def chosen(i, j, *, blocks: attncc.Lists):
    return (j // 4).isin(blocks[i // 4])


@attncc.pattern
def causal(i, j):
    return j <= i


@attncc.pattern
def subsets(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]), (j <= i)


class Buffered(torch.nn.Module):
    """The tables are buffers."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__()
        self.register_buffer("doc_ids", ids)

    def forward(self, x: Tensor) -> Tensor:
        return attncc.attention(x, 2 * x, x + 1, made(self.doc_ids))


class Given(torch.nn.Module):
    """The tables are inputs."""

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return attncc.attention(x, 2 * x, x + 1, made(ids))


def made(ids: Tensor) -> attncc.Pattern:
    return (alike(ids=ids, reach=9) & WINDOW | alike(ids=ids, reach=2)).causal()


def expected(x: Tensor, ids: Tensor) -> Tensor:
    gap = torch.arange(x.shape[2])[:, None] - torch.arange(x.shape[2])
    ids = ids if ids.ndim == 1 else ids[:, None]
    mask = (ids[..., :, None] == ids[..., None, :]) & (gap >= 0) & (gap < 7)
    scores = x @ (2 * x).mT / x.shape[3] ** 0.5
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), -1) @ (x + 1)


def inputs(length: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(B, H, N, D), and documents (N,)."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 2, length, 8, dtype=torch.float64, generator=generator)
    return x, torch.randint(0, 4, (length,), generator=generator).sort().values


CASES = [(length, seed) for length in (LENGTH, 31, 11) for seed in range(2)]


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_takes_its_tables_as_inputs(strict: bool) -> None:
    length = torch.export.Dim("length", min=2, max=MOST)
    shapes = {"x": {2: length}, "ids": {0: length}}
    program = torch.export.export(Given(), inputs(LENGTH), strict=strict, dynamic_shapes=shapes).module()
    for case in CASES:
        x, ids = inputs(*case)
        torch.testing.assert_close(program(x, ids), expected(x, ids))


@pytest.mark.parametrize("strict", [False, True])
def test_a_program_has_its_tables_as_buffers(strict: bool) -> None:
    x, ids = inputs(LENGTH)
    program = torch.export.export(Buffered(ids), (x,), strict=strict)
    assert list(program.graph_signature.inputs_to_buffers.values()) == ["doc_ids"]
    module, other = program.module(), inputs(LENGTH, 3)[1]
    torch.testing.assert_close(module(x), expected(x, ids))
    module.load_state_dict({"doc_ids": other})
    torch.testing.assert_close(module(x), expected(x, other))


LOADER = """
import json, sys
import attncc
import torch
cases = torch.load(sys.argv[2])
module = torch.export.load(sys.argv[1]).module()
print(json.dumps([float((module(*given) - out).abs().max()) for *given, out in cases]))
"""


def test_a_saved_program_runs_new_tables_in_another_process(tmp_path: Path) -> None:
    length = torch.export.Dim("length", min=2, max=MOST)
    shapes = {"x": {2: length}, "ids": {0: length}}
    torch.export.save(torch.export.export(Given(), inputs(LENGTH), dynamic_shapes=shapes), tmp_path / "given.pt2")
    torch.save([(*inputs(*case), expected(*inputs(*case))) for case in CASES], tmp_path / "cases")
    command = [sys.executable, "-c", LOADER, str(tmp_path / "given.pt2"), str(tmp_path / "cases")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert max(json.loads(found.splitlines()[-1])) < 1e-12


def test_a_traced_function_takes_its_tables_as_inputs() -> None:
    x, ids = inputs(LENGTH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(lambda x, ids: Given()(x, ids), (x, ids))
    other = inputs(LENGTH, 5)[1]
    torch.testing.assert_close(traced(x, other), expected(x, other))


@pytest.mark.parametrize("change", ["falls", "rank", "dtype", "length"])
def test_a_program_refuses_a_table_of_another_kind(change: str) -> None:
    length, own = torch.export.Dim("length", max=MOST), torch.export.Dim("own", max=MOST)
    shapes = {"x": {2: length}, "ids": {0: own}}
    x, ids = inputs(LENGTH)
    call = next(
        n for n in torch.export.export(Given(), (x, ids), dynamic_shapes=shapes).graph.nodes if n.target is OPERATOR
    )
    texts = [argument for argument in call.args if isinstance(argument, str)]
    wrong, message = {
        "falls": (ids.flip(0), "'ids' has 2 at .*, after 3"),
        "rank": (ids[None].expand(2, -1), r"integers of shape \(n, n\), and takes the place of integers of shape"),
        "dtype": (ids > 1, "has booleans of shape"),
        "length": (ids[:5], "has 5 entries"),
    }[change]
    with pytest.raises(TableError, match=message):
        OPERATOR(x, x, x, [], [wrong], 1.0, texts[0], texts[1], 0, *texts[2:])


OPERATOR = torch.ops.attncc.general_attention.default


def compiled(function: Callable[..., Any], **options: Any) -> tuple[Callable[..., Any], CompileCounterWithBackend]:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    return torch.compile(function, fullgraph=True, backend=counter, **options), counter


def check(function: Callable[..., Any], *given: Tensor, wanted: Callable[..., Any] = expected) -> None:
    x = given[0].requires_grad_()
    found, by_hand = function(*given), wanted(*given)
    torch.testing.assert_close(found, by_hand)
    for one, other in zip(*(torch.autograd.grad(out.sin().sum(), x) for out in (found, by_hand)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("way", ["argument", "buffer"])
def test_one_graph_serves_all_tables_and_lengths(way: str) -> None:
    call, counter = compiled(Given() if way == "argument" else lambda x, ids: Buffered(ids)(x), dynamic=True)
    for case in CASES:
        check(call, *inputs(*case))
    assert counter.frame_count == 1


def test_a_buffer_that_changes_in_place_needs_no_graph() -> None:
    x, ids = inputs(LENGTH)
    model = Buffered(ids.clone())
    call, counter = compiled(model)
    for seed in range(3):
        model.doc_ids.copy_(inputs(LENGTH, seed)[1])
        check(call, x, wanted=lambda x: expected(x, model.doc_ids))
    assert counter.frame_count == 1


def test_gradients_go_through_checkpoints_in_a_graph() -> None:
    call, counter = compiled(lambda x, ids: checkpoint(Given(), x, ids, use_reentrant=False))
    for seed in range(2):
        check(call, *inputs(LENGTH, seed))
    assert counter.frame_count == 1


def test_gradients_go_through_eager_checkpoints() -> None:
    check(lambda x, ids: checkpoint(Given(), x, ids, use_reentrant=False), *inputs(LENGTH))


def test_parameters_by_functional_call() -> None:
    x, ids = inputs(LENGTH)
    model, other = Buffered(ids), inputs(LENGTH, 4)[1]
    call, _ = compiled(lambda x, ids: torch.func.functional_call(model, {"doc_ids": ids}, (x,)))
    check(call, x, other)
    check(lambda x, ids: torch.func.functional_call(model, {"doc_ids": ids}, (x,)), x, other)


def test_a_table_by_vmap_is_refused_by_name() -> None:
    x, ids = inputs(LENGTH)
    with pytest.raises(TableError, match="can't be read as a table"):
        torch.func.vmap(Given(), in_dims=(None, 0))(x, ids[None])


ways: dict[str, Callable[[Tensor], attncc.Pattern]] = {
    "union": lambda ids: subsets(ids=ids).union(),
    "heads": lambda ids: subsets(ids=ids).heads(),
    "layers": lambda ids: subsets(ids=ids).layers(2),
    "not": lambda ids: alike(ids=ids).__invert__() & causal,  # torch.compile has no ~ of objects
    "per head": lambda ids: attncc.per_head([alike(ids=ids), causal]),
    "without tables": lambda ids: causal() & WINDOW,
    "lists": lambda ids: chosen(blocks=ids[:6, None]) | causal,
    "batch": lambda ids: alike(ids=torch.stack([ids, ids // 2])),
    "outside": lambda ids: alike(ids=ids) & OUTSIDE,
}
OUTSIDE = alike(ids=torch.arange(MOST) // 3)


@pytest.mark.parametrize("way", ways)
def test_a_graph_may_combine_patterns(way: str) -> None:
    def call(x: Tensor, ids: Tensor) -> Tensor:
        return attncc.attention(x, x, x, ways[way](ids))

    x, ids = inputs(LENGTH)
    in_graph, counter = compiled(call)
    program = torch.export.export(AsModule(call), (x, ids)).module()
    for seed in range(3):
        ids = inputs(LENGTH, seed)[1]
        check(in_graph, x, ids, wanted=call)
        torch.testing.assert_close(program(x, ids), call(x, ids))
    assert counter.frame_count == 1


class AsModule(torch.nn.Module):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return self.function(x, ids)


@attncc.pattern
def looking(i, j, *, ids: attncc.Table):
    return (i - j < int(ids.data.max())) & (ids[i] == ids[j])


WRONG: dict[str, tuple[Callable[[Tensor], Any], type[Exception], str]] = {
    "floats": (lambda ids: alike(ids=ids / 2), TableError, "'ids' has dtype torch.float"),
    "tensor for a number": (lambda ids: alike(ids=ids, reach=ids), ParameterError, "declared as int"),
    "unknown name": (lambda ids: alike(idz=ids), ParameterError, "has no parameter 'idz'"),
    "missing": (lambda ids: alike(reach=3), ParameterError, "needs ids"),
    "entries": (lambda ids: looking(ids=ids), PatternError, "aren't known yet"),
    "plan": (lambda ids: alike(ids=ids).key, PatternError, "is made inside of a graph"),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_of_patterns_in_graphs_are_told_whole(name: str) -> None:
    make, kind, message = WRONG[name]
    x, ids = inputs(LENGTH)
    call, _ = compiled(lambda x, ids: attncc.attention(x, x, x, made) if (made := make(ids)) else x)
    with pytest.raises(kind, match=message):
        call(x, ids)


def test_a_claim_is_checked_where_a_graph_runs() -> None:
    call, _ = compiled(Given())
    x, ids = inputs(LENGTH)
    call(x, ids)
    with pytest.raises(TableError, match="'ids' has 2 at"):
        call(x, ids.flip(0))


@attncc.score
def marked(score, i, j, *, marks: Annotated[attncc.Table, attncc.Bounds(minimum=0)], deep: attncc.Lists, far: float):
    return attncc.where(j.isin(deep[i]), score - far, score) - marks[i] / 4


@attncc.score
def shifted(score, j, *, marks: attncc.Table, slopes: attncc.Weights):
    return attncc.where(marks[j] == 1, score, score - slopes)


@attncc.score
def peeking(score, i, *, marks: attncc.Table):
    return score * int(marks.data.max())


def with_score(x: Tensor, ids: Tensor) -> Tensor:
    score = marked(deep=ids[:, None], marks=ids, far=2.0).then(shifted(marks=ids % 2, slopes=x[0, 0, 0, 0]))
    return attncc.attention(x, 2 * x, x + 1, causal, score=score)


def with_both(x: Tensor, ids: Tensor) -> Tensor:
    return attncc.attention(x, x, x, alike(ids=ids), score=marked(marks=ids, deep=ids[:, None], far=3.0))


@pytest.mark.parametrize("call", [with_score, with_both])
def test_scores_take_tables_of_a_graph(call: Callable[[Tensor, Tensor], Tensor]) -> None:
    in_graph, counter = compiled(call)
    program = torch.export.export(AsModule(call), inputs(LENGTH)).module()
    for seed in range(3):
        x, ids = inputs(LENGTH, seed)
        check(in_graph, x, ids, wanted=call)
        torch.testing.assert_close(program(x, ids), call(x, ids))
    assert counter.frame_count == 1


def test_a_claim_of_a_score_is_checked_where_a_graph_runs() -> None:
    in_graph, _ = compiled(with_both)
    x, ids = inputs(LENGTH)
    in_graph(x, ids)
    with pytest.raises(TableError, match="'marks' has -1 at"):
        in_graph(x, ids - 1)


def test_a_score_that_asks_for_entries_is_told_whole() -> None:
    in_graph, _ = compiled(lambda x, ids: attncc.attention(x, x, x, causal, score=peeking(marks=ids)))
    with pytest.raises(ScoreError, match="aren't known yet"):
        in_graph(*inputs(LENGTH))


def test_patterns_of_graphs_are_named_as_they_are_written() -> None:
    def named(ids: Tensor, x: Tensor) -> Tensor:
        either = causal() | alike(ids=ids)
        names.extend(p.name for p in (either & causal(), either.causal(), attncc.per_head([causal, either])))
        return x + 1

    names: list[str] = []
    given = torch.zeros(LENGTH, dtype=torch.int64), torch.zeros(1)
    torch.compile(named, backend="eager", fullgraph=True)(*given)
    assert names == ["(causal | alike) & causal", "(causal | alike).causal()", "per_head([causal, causal | alike])"]
