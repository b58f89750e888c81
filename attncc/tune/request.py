"""Requests: what is asked of the autotuner, for a device or for many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Generic, TypeVar

from attncc.backends.inputs import ITEMSIZES, Inputs
from attncc.frontend.patterns import Pattern, PatternFactory
from attncc.planner.directions import BACKWARD, BOTH, BY_SHORT_NAME, FORWARD, SHORT_NAMES, ways
from attncc.tune.budget import Budget
from attncc.tune.listener import SILENT, Listener
from attncc.tune.options import Manner, Options, require
from attncc.tune.remembered import remembered
from attncc.tune.result import Result, Results
from attncc.tune.subject import Job, Subject

#: The jobs that a kind of request makes.
J = TypeVar("J", bound=Job)
#: Shares of the time by direction: a backward's calls take about twice as long as a forward's.
WEIGHTS = {FORWARD: 1.0, BACKWARD: 2.0}


@dataclass(frozen=True)
class Asked(Manner, ABC, Generic[J]):
    """A pattern, sizes and a direction (fwd, bwd or both) to tune.

    Sizes are those of query (batch, heads, q_len, head_dim), key (batch, kv_heads, Nk, head_dim) and value
    (batch, kv_heads, Nk, value_dim); dtype is fp32, bf16, fp16 or fp64 (None: fp32 on a CPU, bf16 on a GPU).
    Raises ConfigError, ShapeError, PatternError, BackendError or TopologyError for what can't be tuned.
    """

    pattern: Pattern | PatternFactory
    q_len: int
    _: KW_ONLY
    heads: int = 8
    kv_heads: int | None = None
    head_dim: int = 64
    value_dim: int | None = None
    batch: int = 1
    dtype: str | None = None
    direction: str = SHORT_NAMES[BOTH]

    def __post_init__(self) -> None:
        super().__post_init__()
        require("direction", self.direction, BY_SHORT_NAME)
        if self.dtype is not None:
            require("dtype", self.dtype, ITEMSIZES)

    @property
    def ways(self) -> tuple[str, ...]:
        """The directions that are asked for."""
        return ways(BY_SHORT_NAME[self.direction])

    @property
    @abstractmethod
    def options(self) -> Options:
        """How each job is tuned."""

    @property
    @abstractmethod
    def jobs(self) -> Sequence[J]:
        """What is tuned."""

    @abstractmethod
    def subject(self, job: J, listener: Listener = SILENT) -> Subject:
        """Return one of the jobs as the search sees it, having loaded what runs it."""

    def inputs(self, on_gpu: bool) -> Inputs:
        """Return the sizes of query, key and value."""
        dtype = self.dtype or ("bf16" if on_gpu else "fp32")
        return Inputs.given(self.batch, self.heads, self.kv_heads, self.head_dim, self.value_dim, dtype)

    def answered(self, listener: Listener = SILENT) -> Results:
        """Return what was found before, and tune the rest, each in its share of the time.

        Where the listener cancels it, jobs that have not begun are left out.
        """
        options, jobs = self.options, list(self.jobs)
        budget = Budget(options.allowance.seconds, listener.is_cancelled)
        found: list[Result] = []
        for at, job in enumerate(jobs):
            if budget.is_cancelled:
                break
            weights = [WEIGHTS.get(each.direction, 1.0) for each in jobs[at:]]
            share = budget.share(weights[0] / sum(weights))
            found.append(answer(job, options, partial(self.subject, listener=listener), listener, share))
        return Results(found, budget.is_cancelled)


def answer(job: J, options: Options, subject: Callable[[J], Subject], listener: Listener, budget: Budget) -> Result:
    """Return what was found before of a job, or tune what it is to the search."""
    found = None if options.force else remembered(job, options)
    if found is None:
        listener.on_step(job, "loading what runs it")
        from attncc.tune.tuning import tune  # it loads the sampler, and subjects what they run: a memory needs neither

        found = tune(subject(job.afresh()), listener, budget)
    listener.on_result(found)
    return found
