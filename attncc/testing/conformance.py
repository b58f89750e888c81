"""The tests that every backend passes, as a class to subclass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from attncc import backends, targets
from attncc.backends.inputs import Inputs
from attncc.backends.reference.mask import as_broadcast, dense_mask
from attncc.errors import BackendError, ConfigError
from attncc.frontend.language import Index, where
from attncc.frontend.pattern_factory import pattern
from attncc.frontend.patterns import Pattern
from attncc.frontend.real import Real, tanh
from attncc.frontend.scores import score
from attncc.frontend.weights import Weights
from attncc.ir.condition import Condition
from attncc.planner.directions import DIRECTIONS
from attncc.runtime.api import compile
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem

LENGTH = 41
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
#: Finite scores of whole rows, whose softmax is the mean.
LARGE = (-1e30, -1e9, 1e9, torch.finfo(torch.float32).min)


@pattern
def causal(i: Index, j: Index) -> Condition:
    """One pass, full and partial tiles."""
    return j <= i


@pattern
def strided(i: Index, j: Index) -> Condition:
    """Keys that are gathered, and a window."""
    return (j <= i) & (((i - j) % 5 == 0) | (i - j < 3))


@pattern
def empty_rows(i: Index, j: Index) -> Condition:
    """Every third query sees no key."""
    return (j <= i) & (i % 3 != 0)


@pattern
def by_head(h: Index, i: Index, j: Index) -> Condition:
    """A window for each head."""
    return (j <= i) & (i - j < 4 + 9 * h)


@pattern
def by_entry(b: Index, i: Index, j: Index) -> Condition:
    """Another length in each batch entry."""
    return (j <= i) & (j < 11 + 17 * b)


@score
def weighted(score: Real, h: Index, i: Index, j: Index, *, slopes: Weights, table: Weights) -> Any:
    """A nonlinear score with weights, which masks some pairs."""
    return where((i + j) % 4 == 3, -math.inf, tanh(score / 2) * table[i, j] + slopes[h] * (j - i))


@score
def floored(score: Real, i: Index, *, floor: Weights) -> Any:
    """Every third row has one score for all keys."""
    return where(i % 3 == 0, floor[0], score)


def _weighted(scores: Tensor, weights: Sequence[Tensor]) -> Tensor:
    slopes, table = weights
    rows, cols = (torch.arange(size) for size in scores.shape[2:])
    gap = cols - rows[:, None]
    value = torch.tanh(scores / 2) * table + slopes[:, None, None] * gap
    return value.masked_fill((rows[:, None] + cols) % 4 == 3, -math.inf)


def _floored(scores: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return torch.where((torch.arange(scores.shape[2]) % 3 == 0)[:, None], weights[0][0], scores)


class BackendConformance:
    """The conformance suite: outputs, lse and all gradients against dense attention in float64.

    A backend passes if a subclass of this class does, in a module that pytest collects:

        class TestMyBackend(BackendConformance):
            backend = "my_backend"

    Attributes:
        backend: The name of the backend, which is installed and available.
        device: The torch device that the tensors are on.
        config: The configuration of every call, such as small blocks for an interpreter.
    """

    backend: str
    device: str = "cpu"
    config: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture(autouse=True)
    def _on_the_device(self) -> Iterator[None]:
        with torch.device(self.device):
            yield

    def check(self, pattern: Pattern, problem: Problem, *, q_offset: int = 0, **options: object) -> None:
        """Check attention under a pattern; `options` are `score` and `formula`, as in `check_attention`."""
        (batch, heads, q_len, _), kv_len = problem.query.shape, problem.key.shape[2]
        mask = dense_mask(pattern, q_len, kv_len, q_offset=q_offset, heads=heads, batch=batch, device=self.device)
        mask = as_broadcast(mask, pattern)
        given = {"q_offset": q_offset, "backend": self.backend, "config": self.config, **options}
        check_attention(pattern, mask, problem, **given)  # type: ignore[arg-type]

    def test_the_default_configuration_is_valid(self) -> None:
        backend = backends.known(self.backend)
        default = backend.default(Inputs(1, 2, 2, 64, 64, "fp32"), targets.target("cpu"))
        assert list(default) == list(backend.choices)
        assert set(backend.choices.values()) <= {None, *DIRECTIONS}
        backend.check(default)
        with pytest.raises(ConfigError, match="no_such_choice"):
            backend.check({"no_such_choice": 1})

    @pytest.mark.parametrize("pattern", [causal(), strided(), empty_rows(), by_head(), by_entry()], ids=str)
    def test_patterns_agree_with_the_oracle(self, pattern: Pattern) -> None:
        self.check(pattern, Problem.drawn(LENGTH, LENGTH, batch=2, heads=2, kv_heads=2))

    @pytest.mark.parametrize("length", [1, 2, 65])
    def test_lengths_agree_with_the_oracle(self, length: int) -> None:
        self.check(causal(), Problem.drawn(length, length))

    def test_grouped_heads_share_their_keys(self) -> None:
        problem = Problem.drawn(LENGTH, LENGTH, batch=2, heads=4, kv_heads=2, head_dim=24, value_dim=40)
        self.check(strided(), problem)

    @pytest.mark.parametrize(("q_len", "q_offset"), [(7, 34), (LENGTH, -9), (LENGTH, 9)])
    def test_offsets_move_the_queries(self, q_len: int, q_offset: int) -> None:
        self.check(causal(), Problem.drawn(q_len, LENGTH), q_offset=q_offset)

    @pytest.mark.parametrize("scale", [0.0, -0.5])
    def test_scales_may_be_zero_or_negative(self, scale: float) -> None:
        self.check(causal(), Problem.drawn(LENGTH, LENGTH, scale=scale))

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_dtypes_agree_with_the_oracle_or_are_refused(self, dtype: torch.dtype) -> None:
        problem = Problem.drawn(LENGTH, LENGTH, dtype=dtype)
        reason = backends.known(self.backend).refuses(problem.query, problem.value)
        if reason is None:
            self.check(causal(), problem)
        else:
            with pytest.raises(BackendError, match=f"Backend '{self.backend}' refuses"):
                self.check(causal(), problem)

    def test_views_are_taken(self) -> None:
        problem = Problem.drawn(LENGTH, LENGTH, batch=2, heads=3, kv_heads=3)
        inputs = problem.query, problem.key, problem.value
        views = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs]
        run = compile(causal(), backend=self.backend, config=self.config)
        torch.testing.assert_close(run(*views), run(*inputs))

    def test_queries_without_keys_give_zeros(self) -> None:
        leaves = Problem.drawn(LENGTH, LENGTH).leaves()
        run = compile(empty_rows(), return_lse=True, backend=self.backend, config=self.config)
        out, lse = run(*leaves)
        (d_query,) = torch.autograd.grad(out.sum(), leaves[:1])
        rows = slice(0, None, 3)
        assert not out[:, :, rows].any()
        assert not d_query[:, :, rows].any()
        assert bool((lse[:, :, rows] == -math.inf).all())

    def test_scores_and_their_weights_agree_with_the_oracle(self) -> None:
        problem = Problem.drawn(LENGTH, LENGTH, batch=2, heads=2, kv_heads=1)
        weights = torch.linspace(-0.1, 0.1, 2), torch.linspace(-2, 2, LENGTH * LENGTH).view(LENGTH, LENGTH)
        problem = problem.with_weights(weights)
        ready = weighted(slopes=weights[0], table=weights[1])
        self.check(strided(), problem, score=ready, formula=_weighted)

    @pytest.mark.parametrize("large", LARGE)
    def test_rows_of_equal_scores_average_their_values(self, large: float) -> None:
        floor = torch.tensor([large])
        problem = Problem.drawn(LENGTH, LENGTH, batch=2, heads=2).with_weights([floor])
        self.check(strided(), problem, score=floored(floor=floor), formula=_floored)

    @pytest.mark.parametrize("name", ["key", "value"])
    def test_keys_in_no_pair_may_hold_nan(self, name: str) -> None:
        """Only the gradients of these very rows may be NaN."""
        problem, seen = Problem.drawn(LENGTH - 9, LENGTH), slice(0, LENGTH - 9)
        getattr(problem, name)[:, :, LENGTH - 9 :] = math.nan
        leaves = problem.leaves()
        out = compile(causal(), backend=self.backend, config=self.config)(*leaves)
        d_query, *of_keys = torch.autograd.grad(out.sum(), leaves)
        assert all(bool(x.isfinite().all()) for x in (out, d_query, *(x[:, :, seen] for x in of_keys)))
