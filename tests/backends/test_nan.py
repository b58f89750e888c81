"""NaN in the inputs: rows in no pair never matter; docs/backends.md states how far others spread."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

import attncc
from attncc import backends

LENGTH, BAD = 40, 30
BACKENDS = [name for name, problem in backends.report() if problem is None]
NAMES = ("out", "dQ", "dK", "dV")
PAGE = Path(__file__).parents[2] / "docs" / "backends.md"


@attncc.pattern
def padded(i, j, *, n: int):
    """No keys and no queries from n on."""
    return (j <= i) & (j < n) & (i < n)


@attncc.pattern
def padded_left(i, j, *, n: int):
    return (j <= i) & (j >= n)


@attncc.pattern
def lengths(b, i, j, *, n: attncc.Table):
    return (j < n[b]) & (j <= i)


@attncc.pattern
def padded_window(i, j, *, w: int, n: int):
    """The last rows see no key."""
    return (j <= i) & (i - j < w) & (j < n)


@attncc.pattern
def padded_columns(i, j, *, n: int):
    """A residual, so that the dense plan is as cheap as others."""
    return (abs(i % 8 - j % 8) <= 1) & (j < n)


#: (pattern, queries, unseen keys).
PADDED = {
    "keys beyond the queries": (attncc.load("causal"), BAD, slice(BAD, None)),
    "keys and queries at the end": (padded(n=BAD), LENGTH, slice(BAD, None)),
    "keys and rows without any": (padded_window(w=8, n=15), LENGTH, slice(15, None)),
    "keys at the start": (padded_left(n=5), LENGTH, slice(0, 5)),
    "other lengths in each entry": (lengths(n=torch.tensor([BAD, 25])), LENGTH, slice(BAD, None)),
}


def poisoned(kind: str, rows: slice, queries: int = LENGTH) -> list[torch.Tensor]:
    """Return query, key and value with NaN in some rows of one of them."""
    generator = torch.Generator().manual_seed(0)
    found = [torch.randn(2, 1, n, 16, generator=generator) for n in (queries, LENGTH, LENGTH)]
    found[("query", "key", "value").index(kind)][:, :, rows] = math.nan
    return [x.requires_grad_() for x in found]


def results(
    inputs: list[torch.Tensor], pattern: attncc.Pattern, backend: str, score: attncc.Score | None = None
) -> dict[str, torch.Tensor]:
    out = attncc.attention(*inputs, pattern, score=score, backend=backend)
    return dict(zip(NAMES, (out, *torch.autograd.grad(out.sum(), inputs)), strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", PADDED)
@pytest.mark.parametrize("kind", ["key", "value"])
@pytest.mark.parametrize("scored", [False, True])
def test_nan_in_unseen_keys_and_values_does_not_spread(backend: str, case: str, kind: str, scored: bool) -> None:
    pattern, queries, rows = PADDED[case]
    score = attncc.softcap(cap=20.0) if scored else None
    found = results(poisoned(kind, rows, queries), pattern, backend, score)
    if backend == "triton" and kind == "value" and not scored:  # the rows themselves, as the page says
        found["dK"][:, :, rows] = 0.0
    for name, x in found.items():
        assert x.isfinite().all(), name


@pytest.mark.parametrize("way", ["dense", "split"])
@pytest.mark.parametrize("kind", ["key", "value"])
def test_nan_in_unseen_keys_does_not_spread_under_any_plan(kind: str, way: str) -> None:
    inputs = poisoned(kind, slice(BAD, None))
    config = {"forward.plan": way, "backward.plan": way}
    out = attncc.attention(*inputs, padded_columns(n=BAD), backend="torch", config=config)
    assert all(x.isfinite().all() for x in (out, *torch.autograd.grad(out.sum(), inputs)))


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_nan_in_queries_without_keys_does_not_spread(backend: str) -> None:
    found = results(poisoned("query", slice(BAD, None)), padded(n=BAD), backend)
    assert all(x.isfinite().all() for x in found.values())


def reach(kind: str, backend: str) -> str:
    """Say which rows of each result have NaN where row 20 of 64 is NaN, under the causal pattern with tiles of 16."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, 1, 64, 16, generator=generator) for _ in range(3)]
    inputs[("query", "key", "value").index(kind)][:, :, 20] = math.nan
    blocks = {f"{each}.block_{axis}": 16 for each in ("forward", "query_gradient", "key_gradient") for axis in "mn"}
    config = blocks if backend == "triton" else {}
    leaves = [x.requires_grad_() for x in inputs]
    out = attncc.attention(*leaves, attncc.load("causal"), backend=backend, config=config)
    found = (out, *torch.autograd.grad(out.sum(), leaves))
    return ", ".join(f"{name} {_rows(x[0, 0].isnan().any(-1))}" for name, x in zip(NAMES, found, strict=True))


def _rows(bad: torch.Tensor) -> str:
    where = bad.nonzero().flatten().tolist()
    if not where:
        return "none"
    ends = f"{where[0]}" if len(where) == 1 else f"{where[0]}-{where[-1]}"
    return ends if len(where) == where[-1] - where[0] + 1 else f"{ends} ({len(where)})"


@pytest.mark.filterwarnings("ignore:All-NaN slice")  # Triton's interpreter
@pytest.mark.parametrize("kind", ["query", "key", "value"])
def test_documentation_states_how_far_nan_spreads(kind: str) -> None:
    found = [reach(kind, backend) for backend in ("reference", "torch", "triton")]
    assert f"| {kind} | {' | '.join(found)} |" in PAGE.read_text(encoding="utf-8"), found
