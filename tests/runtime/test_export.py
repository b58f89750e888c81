"""Exported models carry their patterns: they run in another process with equal results."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from exported_models import IDS, LENGTH, MODELS, Documents, inputs, window
from torch.fx.experimental.proxy_tensor import make_fx

import attncc
from attncc.errors import AttnccWarning, ExportError
from attncc.ir.codec import written

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore::torch.jit.TracerWarning")

LOADER = Path(__file__).parents[1] / "exporting" / "load_exported.py"
#: Tolerance for sums of doubles in another order.
CLOSE = 1e-12


def exported(model: torch.nn.Module, strict: bool = False, dynamic: bool = True) -> torch.export.ExportedProgram:
    length = {2: torch.export.Dim("length", min=5, max=LENGTH)} if dynamic else None
    return torch.export.export(model, (inputs(),), strict=strict, dynamic_shapes={"x": length})


def load(folder: Path, *names: str) -> dict[str, float]:
    """Load files in another process, and return how far from the expected values each is."""
    command = [sys.executable, str(LOADER), str(folder), *names]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not found.returncode, found.stderr
    distances: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return distances


def save_values(folder: Path, name: str, *lengths: int) -> None:
    model = MODELS[name]()
    parts = [inputs()[:, :, :n].contiguous() for n in lengths]
    torch.save([(x, model.expected(x)) for x in parts], folder / f"{name}.values")


SAVED = [f"{name}-{how}.pt2" for name in MODELS for how in ("strict", "free")] + ["documents-traced.pt"]


@pytest.fixture(scope="module")
def distances(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("exported")
    for name, model in MODELS.items():
        save_values(folder, name, LENGTH, 11)
        for how in ("strict", "free"):
            torch.export.save(exported(model(), how == "strict"), folder / f"{name}-{how}.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Documents(), (inputs(),)).save(str(folder / "documents-traced.pt"))
    return load(folder, *SAVED)


@pytest.mark.parametrize("name", SAVED)
def test_exported_programs_run_in_another_process(name: str, distances: dict[str, float]) -> None:
    """At the exported length and at another one."""
    assert distances[name] < CLOSE


@pytest.mark.slow
def test_programs_compiled_ahead_of_time_carry_their_pattern(tmp_path: Path) -> None:
    save_values(tmp_path, "documents", LENGTH)
    package = str(tmp_path / "documents-compiled.pt2")
    torch._inductor.aoti_compile_and_package(exported(Documents(), dynamic=False), package_path=package)
    assert load(tmp_path, "documents-compiled.pt2")["documents-compiled.pt2"] < CLOSE


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    return exported(Documents())


def test_programs_hold_tables_as_constants_and_no_handle(program: torch.export.ExportedProgram) -> None:
    [call] = [node for node in program.graph.nodes if node.target is torch.ops.attncc.general_attention.default]
    assert [x.split(",")[0] for x in call.args if isinstance(x, str) and x] == ['{"format":1', '{"format":1']
    assert any(torch.equal(constant, IDS) for constant in program.constants.values())


@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_of_a_program_agree_with_dense_attention(
    program: torch.export.ExportedProgram, compiled: bool
) -> None:
    module = program.module()
    call = torch.compile(module, backend="aot_eager", fullgraph=True) if compiled else module
    found, wanted = (inputs().requires_grad_() for _ in range(2))
    call(found).square().sum().backward()
    Documents().expected(wanted).square().sum().backward()
    torch.testing.assert_close(found.grad, wanted.grad)


def test_decompositions_keep_the_pattern(program: torch.export.ExportedProgram) -> None:
    x = inputs()
    torch.testing.assert_close(program.run_decompositions().module()(x), Documents().expected(x))


def tampered(program: torch.export.ExportedProgram, table: torch.Tensor) -> torch.nn.Module:
    """Return a program as a module, with another table in the place of IDS."""
    module = program.module()
    for part in module.modules():
        for name, constant in [*part.named_buffers(recurse=False), *vars(part).items()]:
            if isinstance(constant, torch.Tensor) and torch.equal(constant, IDS):
                setattr(part, name, table)
                return module
    raise AssertionError("the program has no such table")


def test_programs_with_other_tables_are_refused(program: torch.export.ExportedProgram) -> None:
    with pytest.raises(ExportError, match="none of the tables beside it is 'ids'"):
        tampered(program, 1 - IDS)(inputs())


def test_tables_changed_after_a_call_are_refused(program: torch.export.ExportedProgram) -> None:
    table = IDS.clone()
    module = tampered(program, table)
    module(inputs())
    table[0, 0] = 9
    with pytest.raises(ExportError, match="none of the tables beside it is 'ids'"):
        module(inputs())


class Learned(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        slopes = torch.nn.Parameter(torch.tensor([0.5, 0.25], dtype=torch.float64))
        self.attention = attncc.compile(window(reach=6), score=attncc.alibi(slopes=slopes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x)


@pytest.mark.parametrize("strict", [False, True])
def test_weights_of_a_module_become_parameters_of_the_program(strict: bool) -> None:
    model, x = Learned(), inputs()
    module = exported(model, strict).module()
    with torch.no_grad():
        for parameters in (model.parameters(), module.parameters()):
            [slopes] = parameters
            slopes.mul_(3)
    found, wanted = module(x), model(x)
    torch.testing.assert_close(found, wanted)
    found.square().sum().backward()
    wanted.square().sum().backward()
    [found_slopes], [slopes] = module.parameters(), model.parameters()
    torch.testing.assert_close(found_slopes.grad, slopes.grad)


def operator_arguments() -> list[Any]:
    x, call = inputs(), attncc.compile(window(reach=3)).call
    return [x, x, x, [], [], 0.25, *call.operands]


@pytest.mark.parametrize("part", ["pattern", "score"])
def test_malformed_programs_are_refused(part: str) -> None:
    arguments = operator_arguments()
    arguments[6:8] = ["{}", ""] if part == "pattern" else [written(window(reach=3).program), "{}"]
    with pytest.raises(ExportError, match=f"The {part} .* can't be read"):
        torch.ops.attncc.general_attention(*arguments)


GRAPH = """
import sys, torch, attncc
import torch._dynamo  # without it torch.load of a graph fails
sys.path.insert(0, sys.argv[1])
from exported_models import inputs
graph = torch.load(sys.argv[2], weights_only=False)
print(graph(inputs()).sum().item())
"""


def test_graphs_of_make_fx_run_in_another_process(tmp_path: Path) -> None:
    x = inputs()
    torch.save(make_fx(attended(tables=True))(x), tmp_path / "graph.pt")
    command = [sys.executable, "-c", GRAPH, str(LOADER.parent), str(tmp_path / "graph.pt")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert float(found) == attended(tables=True)(x).sum().item()


@pytest.mark.parametrize("tables", [False, True])
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_graphs_of_make_fx_outlive_their_pattern(mode: str, tables: bool) -> None:
    def recorded(x: torch.Tensor) -> tuple[list[Any], list[torch.Tensor]]:
        run = attended(tables)

        def gradient(x: torch.Tensor) -> torch.Tensor:
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(run(leaf).square().sum(), leaf)[0]

        return [make_fx(f, tracing_mode=mode)(x) for f in (run, gradient)], [run(x), gradient(x)]

    x = inputs()
    graphs, wanted = recorded(x)
    gc.collect()
    torch.testing.assert_close([graph(x) for graph in graphs], wanted)


def test_inputs_that_make_fx_makes_constants_of_are_warned_of() -> None:
    x, kept = inputs(), attncc.load("document", ids=IDS)
    with pytest.warns(AttnccWarning, match="constants of its graph"):
        make_fx(lambda x, ids: attncc.attention(x, x, x, attncc.load("document", ids=ids)))(x, IDS.clone())
    with pytest.warns(AttnccWarning, match="constants of its graph"):
        make_fx(lambda x, n: attncc.attention(x, x, x, kept, kv_len=n))(x, torch.tensor(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_fx(lambda x: attncc.attention(x, x, x, attncc.load("document", ids=IDS)))(x)


def attended(tables: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return attention to a pattern that nothing else has, with or without tables."""
    reach = attncc.load("document", ids=IDS) & window(reach=9) if tables else window(reach=11)
    return lambda x: attncc.attention(x, x, x, reach)


CACHED = """
import sys, torch, attncc
from torch._dynamo.utils import counters
sys.path.insert(0, sys.argv[1])
from exported_models import window, inputs
pattern, score, x = window(reach=int(sys.argv[2])), attncc.softcap(cap=float(sys.argv[3])), inputs()
run = torch.compile(lambda q: attncc.attention(q, q, q, pattern, score=score), fullgraph=True)
gap = torch.arange(x.shape[2])[:, None] - torch.arange(x.shape[2])
cap = float(sys.argv[3])
scores = cap * torch.tanh(x @ x.transpose(-1, -2) * x.shape[3] ** -0.5 / cap)
mask = (gap < 0) | (gap >= int(sys.argv[2]))
expected = torch.softmax(scores.masked_fill(mask, -float("inf")), -1) @ x
print(float((run(x) - expected).abs().max()), counters["inductor"]["fxgraph_cache_hit"])
"""


@pytest.mark.slow
def test_cached_graphs_run_the_pattern_of_this_process(tmp_path: Path) -> None:
    """The cache of torch.compile reuses a graph for an equal pattern and score only."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    for reach, cap, hit in (("3", "2.0", "0"), ("3", "2.0", "1"), ("5", "2.0", "0"), ("3", "4.0", "0")):
        command = [sys.executable, "-c", CACHED, str(LOADER.parent), reach, cap]
        found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
        assert float(found[0]) < CLOSE
        assert found[1] == hit


def test_onnx_is_refused() -> None:
    warnings.simplefilter("ignore")  # until the end of the test, as pytest has it
    with pytest.raises(ExportError, match="exported to ONNX"):
        torch.onnx.export(Documents(), (inputs(),), "unused.onnx", dynamo=False)


@pytest.fixture
def world_of_one() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("world_of_one")
@pytest.mark.parametrize("strict", [False, True])
def test_distributed_operators_are_refused(strict: bool) -> None:
    class Distributed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attncc.distributed.compile(window(reach=3), LENGTH, heads=2, head_dim=8, dtype="fp32")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x)

    with pytest.raises(ExportError, match="other process has"):
        torch.export.export(Distributed(), (inputs().float(),), strict=strict)
