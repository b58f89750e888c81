"""autotune(): the best configuration for a pattern, a shape and a target, found once and remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncc.backends.inputs import ITEMSIZES, Inputs
from attncc.errors import ConfigError, nearest
from attncc.patterns import Pattern, PatternFactory, as_pattern
from attncc.planner.shape import Shape
from attncc.targets import target as find_target
from attncc.tune.job import Job
from attncc.tune.options import EFFORTS, Options
from attncc.tune.place import AUTO, located
from attncc.tune.remembered import remembered
from attncc.tune.result import Result, Results

#: Directions by the name that people give them.
DIRECTIONS = {"fwd": ("forward",), "bwd": ("backward",), "both": ("forward", "backward")}
MODES = tuple(EFFORTS)

if TYPE_CHECKING:
    from attncc.tune.search import Progress

OnProgress = Callable[[Job, "Progress"], None]


@dataclass(frozen=True)
class Request:
    """What is asked of the autotuner.

    Sizes are those of query (batch, heads, q_len, head_dim), key (batch, kv_heads, kv_len, head_dim) and value
    (batch, kv_heads, kv_len, value_dim); dtype is fp32, bf16, fp16 or fp64 (None: fp32 on a CPU, bf16 on a GPU).
    target: a name from `attncc targets`, or `auto` for the device at hand. mode: `measured` for a device of this
    machine, `modelled` for one that isn't here. budget: seconds over all of `direction` (fwd, bwd or both); trials:
    the number for each. space: a TOML file that adds to the shipped search space. storage: the URL of a database that
    several hosts share. force: tune again what was tuned before. effort: quick or full.

    Raises ConfigError, ShapeError, PatternError or BackendError for what can't be tuned.
    """

    pattern: Pattern | PatternFactory
    q_len: int
    kv_len: int | None = None
    q_offset: int = 0
    heads: int = 8
    kv_heads: int | None = None
    head_dim: int = 64
    value_dim: int | None = None
    batch: int = 1
    dtype: str | None = None
    target: str = AUTO
    direction: str = "both"
    backend: str | None = None
    mode: str | None = None
    effort: str = "quick"
    budget: float | None = None
    trials: int | None = None
    workers: int = 2
    seed: int = 0
    space: Path | None = None
    storage: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        _require("direction", self.direction, DIRECTIONS)
        if self.dtype is not None:
            _require("dtype", self.dtype, ITEMSIZES)
        _require("effort", self.effort, EFFORTS[MODES[0]])
        for name in ("budget", "trials", "workers"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} {value!r}.", rule="It is more than 0.")

    @property
    def options(self) -> Options:
        """How each job is tuned."""
        share = None if self.budget is None else self.budget / len(DIRECTIONS[self.direction])
        return Options(
            mode=_mode(self.mode, *located(self.target)),
            effort=self.effort,
            budget=share,
            trials=self.trials,
            workers=self.workers,
            seed=self.seed,
            space=self.space,
            storage=self.storage,
            force=self.force,
        )

    @property
    def jobs(self) -> list[Job]:
        """What is tuned, one job for each direction."""
        target, device = located(self.target)
        on_gpu = find_target(target).gpu is not None
        dtype = self.dtype or ("bf16" if on_gpu else "fp32")
        key_heads, value_dim = self.kv_heads or self.heads, self.value_dim or self.head_dim
        keys = self.q_offset + self.q_len if self.kv_len is None else self.kv_len
        job = Job(
            pattern=as_pattern(self.pattern),
            shape=Shape(self.q_len, keys, self.q_offset, self.heads, self.batch),
            inputs=Inputs(self.batch, self.heads, key_heads, self.head_dim, value_dim, dtype),
            direction="",
            backend=self.backend or ("triton" if on_gpu else "torch"),
            target=target,
            device=device,
        )
        return [replace(job, direction=each) for each in DIRECTIONS[self.direction]]

    def answered(self, on_progress: OnProgress) -> Results:
        """Return what was found before, and tune the rest."""
        options = self.options
        return Results([_answer(job, options, on_progress) for job in self.jobs])


def autotune(
    pattern: Pattern | PatternFactory,
    q_len: int,
    *,
    on_progress: OnProgress = lambda job, progress: None,
    **choices: Any,
) -> Results:
    """Find the best plan and configuration of `pattern`, and remember it: `attncc.attention` uses it from then on.

    `choices` are the fields of attncc.tune.autotune.Request: heads, head_dim, dtype, target, direction, effort, ...
    What was tuned as hard before is returned at once. `on_progress` gets each trial.
    """
    return Request(pattern, q_len, **choices).answered(on_progress)


def _answer(job: Job, options: Options, on_progress: OnProgress) -> Result:
    found = None if options.force else remembered(job, options)
    if found is None:
        from attncc.tune.tuning import tune  # it loads the backends and the sampler, which a memory doesn't need

        found = tune(job, options, partial(on_progress, job))
    return found


def _mode(mode: str | None, target: str, device: str) -> str:
    chosen = mode or ("measured" if device else "modelled")
    _require("mode", chosen, MODES)
    if chosen == "measured" and not device:
        raise ConfigError(
            f"Target {target!r} can't be measured: it isn't in this machine.",
            rule="Only a device at hand is measured.",
            fix="Use --mode modelled, or run it there.",
        )
    if chosen == "modelled" and find_target(target).gpu is None:
        raise ConfigError(
            f"Target {target!r} can't be modelled.",
            rule="The model reads the machine code of GPU kernels.",
            fix="Use --mode measured.",
        )
    return chosen


def _require(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ConfigError(
            f"{name} {value!r}.", rule=f"It is one of {', '.join(known)}.", fix=nearest(str(value), known)
        )
