"""Measurements: a direction of attention timed on a device of this machine, under one configuration after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attncc.frontend.scores import Score
from attncc.measure.accuracy import Accuracy, accuracy
from attncc.measure.dense import DenseBaseline, DenseTiming
from attncc.measure.timing import elapsed
from attncc.measure.workload import DTYPES
from attncc.planner.directions import FORWARD
from attncc.proof import causality
from attncc.runtime.api import attention
from attncc.tune.job import Job

#: Bytes that are written between two calls, so that a call doesn't find its inputs in the caches, and how often they
#: are: on a GPU it takes longer than the host does to launch a call, which is not what configurations differ by.
FLUSHED = {"cpu": (1 << 26, 1), "cuda": (1 << 28, 8)}

Config = Mapping[str, object]


@dataclass(frozen=True)
class Policy:
    """How often a configuration is called: until the samples' spread is small, within bounds.

    least, most: samples; spread: half the range over the median, at which it's enough; hopeless: a first sample this
    many times slower than the best configuration so far is the only one. seconds: no other sample is taken after them.
    """

    least: int = 3
    most: int = 7
    spread: float = 0.03
    hopeless: float = 1.5
    seconds: float = math.inf

    def enough(self, samples: list[float], best: float | None) -> bool:
        """Return whether the samples say enough, given the best median so far."""
        if sum(samples) >= self.seconds:
            return True
        if best is not None and min(samples) > self.hopeless * best:
            return True
        if len(samples) < self.least:
            return False
        ordered = sorted(samples)
        half = (ordered[-1] - ordered[0]) / 2
        return len(samples) >= self.most or half <= self.spread * ordered[len(ordered) // 2]


@dataclass(frozen=True)
class Timed:
    """A question: time a configuration, given the best median so far."""

    config: Config
    best: float | None
    policy: Policy


@dataclass(frozen=True)
class Once:
    """A question: time a configuration once, which takes turns with others."""

    config: Config


@dataclass(frozen=True)
class Dense:
    """A question: time dense attention, for about so many seconds."""

    limit: float


@dataclass(frozen=True)
class Checked:
    """A question: the error of a configuration against dense attention in float64, and what is allowed."""

    config: Config


def measuring(job: Job, seed: int) -> Callable[[Any], Any]:
    """Set a worker up: its inputs; return what answers Timed, Once, Dense and Checked."""
    bench = _Bench(job, seed)

    def answer(question: Timed | Once | Dense | Checked) -> Any:
        match question:
            case Timed():
                return bench.timed(question)
            case Once():
                return bench.once(question.config)
            case Dense():
                return bench.dense(question.limit)
            case Checked():
                return bench.checked(question.config)

    return answer


class _Bench:
    """Inputs of a job on its device, and calls of one direction on them."""

    def __init__(self, job: Job, seed: int) -> None:
        self.job = job
        self.device = torch.device(job.device)
        self.query, self.key, self.value, self.grad = _tensors(job, seed)
        self.score = job.score.on(
            [x.to(self.device).detach().requires_grad_(x.requires_grad) for x in job.score.tensors]
        )
        nbytes, self.flushes = FLUSHED[self.device.type]
        self.flushed = torch.empty(nbytes // 4, device=self.device)
        self._calls: dict[str, Callable[[], object]] = {}

    def timed(self, question: Timed) -> list[float]:
        """Return seconds of repeated calls, after one that plans, lowers and compiles."""
        call = self._call(question.config)
        samples: list[float] = []
        call()
        while not samples or not question.policy.enough(samples, question.best):
            samples.append(self._sample(call))
        return samples

    def once(self, config: Config) -> float:
        """Return the seconds of one call; each contestant's first call isn't counted."""
        name = repr(config)
        if name not in self._calls:
            self._calls[name] = self._call(config)
            self._calls[name]()
        return self._sample(self._calls[name])

    def dense(self, limit: float) -> DenseTiming:
        """Time dense attention: causal where the pattern sees no later key, which halves its work."""
        shape = self.job.shape
        is_causal = shape.q_len == shape.kv_len and bool(causality.prove(self.job.pattern, shape).holds)
        baseline = DenseBaseline(shape.q_len, shape.kv_len, is_causal)
        attend = partial(scaled_dot_product_attention, is_causal=is_causal, enable_gqa=True)
        return baseline.timed(lambda length: self._dense(attend, length, baseline.keys(length)), self._sample, limit)

    def checked(self, config: Config) -> Accuracy:
        """Return the errors of out and all gradients."""
        score = self.score.on([x.detach().requires_grad_() for x in self.score.tensors])
        attend = self._attend(config, score)
        return accuracy(attend, self.query, self.key, self.value, self.job.pattern, self.job.shape, score=score)

    def _sample(self, call: Callable[[], object]) -> float:
        for _ in range(self.flushes):
            self.flushed.zero_()
        return elapsed(call, self.device)

    def _attend(self, config: Config, score: Score) -> Callable[[Tensor, Tensor, Tensor], Any]:
        return partial(
            attention,
            pattern=self.job.pattern,
            score=score,
            q_offset=self.job.shape.q_offset,
            enable_gqa=True,
            backend=self.job.backend,
            config=config,
        )

    def _call(self, config: Config) -> Callable[[], object]:
        tensors = [self.query, self.key, self.value, self.grad]
        return self._directed(self._attend(config, self.score), tensors, self.score.tensors)

    def _dense(self, attend: Callable[..., Any], queries: int, keys: int) -> Callable[[], object]:
        """Return a call of dense attention over the first queries and keys."""
        lengths = (queries, keys, keys, queries)
        tensors = (self.query, self.key, self.value, self.grad)
        return self._directed(attend, [x[:, :, :length] for x, length in zip(tensors, lengths, strict=True)])

    def _directed(
        self, attend: Callable[..., Any], tensors: Sequence[Tensor], weights: Sequence[Tensor] = ()
    ) -> Callable[[], object]:
        """Return a call of the job's direction on query, key, value and gradient; a backward's forward runs now."""
        *inputs, grad = tensors
        if self.job.direction == FORWARD:
            return partial(_without_gradients, attend, *inputs)
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = attend(*leaves)
        wanted = [*leaves, *(x for x in weights if x.requires_grad)]
        return lambda: torch.autograd.grad(out, wanted, grad, retain_graph=True)


def _without_gradients(attend: Callable[..., Any], *inputs: Tensor) -> Any:
    with torch.no_grad():
        return attend(*inputs)


def _tensors(job: Job, seed: int) -> list[Tensor]:
    """Return query, key, value and the output's gradient, from a normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    inputs, shape = job.inputs, job.shape
    sizes = [
        (inputs.heads, shape.q_len, inputs.head_dim),
        (inputs.kv_heads, shape.kv_len, inputs.head_dim),
        (inputs.kv_heads, shape.kv_len, inputs.value_dim),
        (inputs.heads, shape.q_len, inputs.value_dim),
    ]
    drawn = (torch.randn(inputs.batch, *size, generator=generator, device="cpu") for size in sizes)
    return [x.to(job.device, DTYPES[inputs.dtype]) for x in drawn]
