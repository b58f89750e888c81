"""Options of tuning: sizes, what runs, and how hard to search, for keyword arguments and for the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attncc.errors import ConfigError, check_known
from attncc.planner.directions import BOTH, BY_SHORT_NAME, SHORT_NAMES

if TYPE_CHECKING:
    from attncc.backends.inputs import Inputs

#: Efforts from little to much.
LEVELS = ("quick", "full")
MODES = ("measured", "modelled")
#: The target that is the device at hand.
AUTO = "auto"
#: Seeds of numpy, which the sampler takes, are below this.
SEEDS = 1 << 32

#: Metadata of the options that mean nothing with, or without, a topology.
ON_DEVICE, ON_TOPOLOGY = {"only": "device"}, {"only": "topology"}


@dataclass(frozen=True)
class Effort:
    """How hard to look: trials of a direction, seconds in all, finalists beside the default, rounds of the finals."""

    trials: int
    seconds: float
    finalists: int
    rounds: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TuningOptions:
    """What to tune for, and how; `attncc tune` takes its options, and their help, from here.

    Attributes:
        kv_len: Number of keys, if it differs from the number of queries.
        q_offset: Position of the first query, such as the number of keys in a cache before it.
        heads: Number of query heads.
        kv_heads: Number of key heads; it divides the number of query heads, and is the same unless given.
        head_dim: Size of a query or key head.
        value_dim: Size of a value head, if it differs from that of the key.
        batch: Number of batch entries.
        dtype: Element type: fp32, bf16, fp16 or fp64. Without it: fp32, on a GPU bf16.
        direction: fwd, bwd or both. Both are tuned one after the other; a schedule is tuned for both at once.
        target: A name from `attncc targets`, or auto for the device at hand.
        backend: The backend to tune. Without it: torch, on a GPU triton.
        mode: measured: trials run on this machine. modelled: kernels are compiled for a GPU, which needn't be here, and
            a model of their machine code predicts the time. Without it: measured if the target is here.
        effort: quick, for about a minute, or full, for half an hour.
        budget: Time for all directions together, in seconds, in place of the effort's; 5m or 1h on the command line.
        trials: Trials of each direction, in place of the effort's. More of them go on where fewer ended.
        workers: Processes that compile, or GPUs of one kind that measure.
        seed: Seed of the search and of the inputs.
        space: A TOML file that adds to the search space; search_spaces/README.md has the form.
        storage: URL of a database in which several hosts share the trials, such as sqlite:///trials.db.
        force: Tune again what was tuned before.
        ranks: How many of the topology's devices to use, the first ones.
        mesh: Shards as batch x heads x sequence, such as 1x2x4. Without it they are tuned, too.
        measure: Under torchrun: simulate, then run the best schedules on all ranks and keep the fastest.
    """

    kv_len: int | None = field(default=None, metadata=ON_DEVICE)
    q_offset: int = field(default=0, metadata=ON_DEVICE)
    heads: int = 8
    kv_heads: int | None = None
    head_dim: int = 64
    value_dim: int | None = None
    batch: int = 1
    dtype: str | None = None
    direction: str = SHORT_NAMES[BOTH]
    target: str = field(default=AUTO, metadata=ON_DEVICE)
    backend: str | None = field(default=None, metadata=ON_DEVICE)
    mode: str | None = field(default=None, metadata=ON_DEVICE)
    effort: str = LEVELS[0]
    budget: float | None = None
    trials: int | None = None
    workers: int = 2
    seed: int = 0
    space: Path | None = None
    storage: str | None = None
    force: bool = False
    ranks: int | None = field(default=None, metadata=ON_TOPOLOGY)
    mesh: tuple[int, int, int] | None = field(default=None, metadata=ON_TOPOLOGY)
    measure: bool = field(default=False, metadata=ON_TOPOLOGY)

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that an option can't have."""
        check_known("direction", self.direction, BY_SHORT_NAME)
        check_known("effort", self.effort, LEVELS)
        if self.dtype is not None:
            from attncc.backends.inputs import ITEMSIZES  # not above: every command of the CLI imports this file

            check_known("dtype", self.dtype, ITEMSIZES)
        if self.mode is not None:
            check_known("mode", self.mode, MODES)
        if self.budget is not None:
            _require_positive("budget", self.budget, Real, "a number of seconds")
        for name in ("trials", "workers", "ranks"):
            if (value := getattr(self, name)) is not None or name == "workers":
                _require_positive(name, value, int, "an integer")
        if not isinstance(self.seed, int) or not 0 <= self.seed < SEEDS:
            raise ConfigError(f"seed {self.seed!r}.", rule="It is at least 0 and below 2^32.", fix="For example 0.")

    def inputs(self, on_gpu: bool) -> Inputs:
        """Return the sizes of query, key and value."""
        from attncc.backends.inputs import Inputs

        dtype = self.dtype or ("bf16" if on_gpu else "fp32")
        return Inputs.given(self.batch, self.heads, self.kv_heads, self.head_dim, self.value_dim, dtype)


#: What the levels of effort stand for.
Efforts = Mapping[str, Effort]


def _require_positive(name: str, value: Any, kind: type, what: str) -> None:
    """Raise ConfigError unless a value is a number of a kind, and more than 0."""
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not is_number or not value > 0:
        raise ConfigError(
            f"{name} {value!r}.", rule=f"It is {what}, more than 0.", fix="Give a positive number, or leave it out."
        )
