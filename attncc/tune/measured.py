"""Measured trials: configurations timed on devices of this machine, in workers, and finals between the fastest."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attncc.frontend.scores import Score
from attncc.measure.accuracy import Accuracy, accuracy
from attncc.measure.dense import DenseTiming, DenseWorkload
from attncc.measure.timing import elapsed
from attncc.measure.workload import drawn
from attncc.planner.directions import FORWARD
from attncc.proof import causality
from attncc.runtime.api import attention
from attncc.tune.device_task import DeviceTask
from attncc.tune.devices import alone
from attncc.tune.evaluation import Config, Evaluator, Finals, Outcome, ahead
from attncc.tune.worker import Failure, Worker

#: Look-ups are off where configurations are measured, and kernels are compiled, not interpreted.
ENVIRONMENT = {"ATTNCC_CACHE": "off"}
#: A trial has hung once it takes this many times as long as the default's ...
PATIENCE = 5.0
#: ... and at least LEAST_LIMIT seconds. Where the default ran in an earlier search, it is taken for this many calls.
LEAST_LIMIT, CALLS = 60.0, 8
#: The part of the time for trials after which one of them takes no other sample.
MOST_OF_THE_TIME = 0.25
#: Seconds by which a trial may at least end after the time of all trials.
LEAST_OVERRUN = 5.0
#: Seconds for dense attention, whose calls are shortened to fit, and the part of it where there is no time left.
DENSE_LIMIT, HURRIED = 3.0, 0.25
#: Rounds of the finals that are run even where no time is left.
ROUNDS = 3
#: Bytes that are written between two calls, so that a call doesn't find its inputs in the caches, and how often they
#: are: on a GPU it takes longer than the host does to launch a call, which is not what configurations differ by.
FLUSHED = {"cpu": (1 << 26, 1), "cuda": (1 << 28, 8)}


class DeviceEvaluator(Evaluator):
    """Times configurations of a task, one at a time on each of `devices`.

    The default may take as long as it does: it is what runs without any tuning, and how long it takes is the measure of
    the limits of all others. `left` says how many seconds are left for trials. The finals are on the first device
    alone, so that contestants meet on the same one.
    """

    def __init__(
        self,
        task: DeviceTask,
        default: Config,
        seed: int,
        policy: Policy,
        devices: Sequence[str],
        left: Callable[[], float],
        on_step: Callable[[str], None],
    ) -> None:
        self._devices = devices
        self._workers = [Worker(measuring, (replace(task, device=each), seed), ENVIRONMENT) for each in devices]
        self._default, self._policy, self._left, self._on_step = default, policy, left, on_step
        self._defaults_seconds = 0.0
        self.batch = len(self._workers)

    def __enter__(self) -> DeviceEvaluator:
        for worker in self._workers:
            worker.start()
        return self

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration; there is a device for each."""
        busy = list(zip(self._workers, configs, strict=False))
        with alone(self._devices[: len(busy)], self._on_step):
            policy = replace(self._policy, seconds=max(0.0, self._left() * MOST_OF_THE_TIME))
            for worker, config in busy:
                worker.post(TimeTrial(config, best, policy))
            begin = time.monotonic()
            outcomes = [_outcome(worker.collect(self._limit(config, best))) for worker, config in busy]
            if any(map(self._is_default, configs)):
                self._defaults_seconds = time.monotonic() - begin
        return outcomes

    def _is_default(self, config: Config) -> bool:
        return config.items() <= self._default.items()

    def _limit(self, config: Config, best: float | None) -> float | None:
        """Return the seconds that a trial may take, which may end as late after all trials as the default takes."""
        if self._is_default(config):
            return None
        whole = self._defaults_seconds or CALLS * (best or 0.0)
        return min(max(LEAST_LIMIT, PATIENCE * whole), max(0.0, self._left()) + max(LEAST_OVERRUN, whole))

    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Let the contestants take turns, and check the results of the one that wins.

        A contestant that is behind the default leaves after a few rounds.
        """
        with alone(self._devices[:1], self._on_step):
            baseline = self._dense(left) if dense else None
            samples, errors = self._samples(contestants, rounds, left)
            finals = Finals(
                tuple(map(tuple, samples)),
                () if baseline is None else baseline.seconds,
                errors,
                baseline.length if baseline is not None and baseline.is_scaled else None,
            )
            while finals.winner and (text := self._error(contestants[finals.winner])):
                finals.errors[finals.winner] = text
        return finals

    def _samples(
        self, contestants: Sequence[Config], rounds: int, left: Callable[[], float]
    ) -> tuple[list[list[float]], dict[int, str]]:
        """Return the seconds of each contestant, round by round, and why those failed that did."""
        samples: list[list[float]] = [[] for _ in contestants]
        errors: dict[int, str] = {}
        standing = list(range(len(contestants)))
        for number in range(rounds):
            names = f"{len(standing)} configurations in turn" if len(standing) > 1 else "one configuration"
            self._on_step(f"finals, round {number + 1} of {rounds}: {names}")
            for index in standing:
                answer = self._workers[0].ask(TimeRound(contestants[index]), None)
                if isinstance(answer, Failure):
                    errors[index] = answer.reason
                else:
                    samples[index].append(answer)
            standing = [index for index in standing if index not in errors]
            if number + 1 >= ROUNDS:
                standing = [index for index in standing if index == 0 or index in ahead(samples)]
                if standing in ([], [0]) or left() < 0:
                    break
        return samples, errors

    def _dense(self, left: Callable[[], float]) -> DenseTiming | None:
        """Return the timing of dense attention, or None where it can't run."""
        self._on_step("dense attention, as the baseline")
        limit = DENSE_LIMIT * (1.0 if left() > DENSE_LIMIT else HURRIED)
        answer = self._workers[0].ask(TimeDense(limit), 20 * DENSE_LIMIT)
        return answer if isinstance(answer, DenseTiming) else None

    def _error(self, config: Config) -> str:
        self._on_step("checking the fastest against dense attention in float64")
        answer = self._workers[0].ask(CheckErrors(config), None)
        if isinstance(answer, Failure):
            return answer.reason
        assert isinstance(answer, Accuracy)
        return answer.excess


def _outcome(answer: Sequence[float] | Failure) -> Outcome:
    if isinstance(answer, Failure):
        return Outcome(None, reason=answer.reason, is_late=answer.late)
    return Outcome(statistics.median(answer), tuple(answer))


@dataclass(frozen=True)
class Policy:
    """How often a configuration is called: until the samples' spread is small, within bounds.

    Attributes:
        least: Samples at least.
        most: Samples at most.
        spread: Half the range over the median, at which it's enough.
        hopeless: A first sample this many times slower than the best configuration so far is the only one.
        seconds: No other sample is taken after them.
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


class Measurement(Protocol):
    """What a worker is asked to measure; it travels to the worker, which answers it at its bench."""

    def answer(self, bench: Bench) -> Any:
        """Return the answer."""
        ...


@dataclass(frozen=True)
class TimeTrial:
    """Time a configuration, given the best median so far: seconds of calls, after one that plans and compiles."""

    config: Config
    best: float | None
    policy: Policy

    def answer(self, bench: Bench) -> list[float]:
        """Return the samples."""
        call = bench.call(self.config)
        samples: list[float] = []
        call()
        while not samples or not self.policy.enough(samples, self.best):
            samples.append(bench.sample(call))
        return samples


@dataclass(frozen=True)
class TimeRound:
    """Time one call of a configuration, which takes turns with others; its first call isn't counted."""

    config: Config

    def answer(self, bench: Bench) -> float:
        """Return the seconds."""
        name = repr(self.config)
        if name not in bench.warm:
            bench.warm[name] = bench.call(self.config)
            bench.warm[name]()
        return bench.sample(bench.warm[name])


@dataclass(frozen=True)
class TimeDense:
    """Time dense attention, for about `limit` seconds: causal where the pattern sees no later key, half the work."""

    limit: float

    def answer(self, bench: Bench) -> DenseTiming:
        """Return the timing."""
        shape = bench.task.shape
        is_causal = shape.q_len == shape.kv_len and bool(causality.prove(bench.task.pattern, shape).holds)
        baseline = DenseWorkload(shape.q_len, shape.kv_len, is_causal)
        attend = partial(scaled_dot_product_attention, is_causal=is_causal, enable_gqa=True)

        def caller(length: int) -> Callable[[], object]:
            lengths = (length, baseline.keys(length), baseline.keys(length), length)
            parts = [x[:, :, :each] for x, each in zip(bench.tensors, lengths, strict=True)]
            return bench.directed(attend, parts)

        return baseline.timed(caller, bench.sample, self.limit)


@dataclass(frozen=True)
class CheckErrors:
    """Compare a configuration's output and gradients with dense attention in float64."""

    config: Config

    def answer(self, bench: Bench) -> Accuracy:
        """Return the errors of out and all gradients, and what is allowed."""
        query, key, value, _ = bench.tensors
        score = bench.score.on([x.detach().requires_grad_() for x in bench.score.tensors])
        attend = bench.attend(self.config, score)
        return accuracy(attend, query, key, value, bench.task.pattern, bench.task.shape, score=score)


def measuring(task: DeviceTask, seed: int) -> Callable[[Measurement], Any]:
    """Set a worker up; return what answers its questions."""
    bench = Bench(task, seed)
    return lambda question: question.answer(bench)


class Bench:
    """Random inputs of a task on its device, and calls of one direction on them.

    Attributes:
        tensors: Query, key, value and the output's gradient.
        warm: Calls of configurations that were called before.
    """

    def __init__(self, task: DeviceTask, seed: int) -> None:
        self.task = task
        self.device = torch.device(task.device)
        self.tensors = drawn(task.inputs, task.shape.q_len, task.shape.kv_len, seed, task.device)
        self.score = task.score.on(
            [x.to(self.device).detach().requires_grad_(x.requires_grad) for x in task.score.tensors]
        )
        nbytes, self._flushes = FLUSHED[self.device.type]
        self._flushed = torch.empty(nbytes // 4, device=self.device)
        self.warm: dict[str, Callable[[], object]] = {}

    def sample(self, call: Callable[[], object]) -> float:
        """Return the seconds of a call, which finds nothing in the caches."""
        for _ in range(self._flushes):
            self._flushed.zero_()
        return elapsed(call, self.device)

    def call(self, config: Config) -> Callable[[], object]:
        """Return a call of the task's direction under a configuration."""
        return self.directed(self.attend(config, self.score), self.tensors, self.score.tensors)

    def attend(self, config: Config, score: Score) -> Callable[[Tensor, Tensor, Tensor], Any]:
        """Return attention under a configuration and a score."""
        return partial(
            attention,
            pattern=self.task.pattern,
            score=score,
            q_offset=self.task.shape.q_offset,
            enable_gqa=True,
            backend=self.task.backend,
            config=config,
        )

    def directed(
        self, attend: Callable[..., Any], tensors: Sequence[Tensor], weights: Sequence[Tensor] = ()
    ) -> Callable[[], object]:
        """Return a call of the task's direction on query, key, value and gradient; a backward's forward runs now."""
        *inputs, grad = tensors
        if self.task.direction == FORWARD:
            return partial(torch.no_grad()(attend), *inputs)
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = attend(*leaves)
        wanted = [*leaves, *(x for x in weights if x.requires_grad)]
        return lambda: torch.autograd.grad(out, wanted, grad, retain_graph=True)
