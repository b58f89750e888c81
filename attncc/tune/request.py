"""Tuning requests: what is asked of the autotuner."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING

from attncc.errors import ConfigError
from attncc.frontend.pattern_factory import PatternFactory
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score, ScoreFactory
from attncc.tune.options import TuningOptions

if TYPE_CHECKING:
    from attncc.distributed.topology import Topology


@dataclass(frozen=True, eq=False)
class TuningRequest(TuningOptions):
    """What is asked of the autotuner: a pattern for a device, or for the devices of a topology, with all options.

    Query is (batch, heads, q_len, head_dim), key (batch, kv_heads, kv_len, head_dim), value (batch, kv_heads, kv_len,
    value_dim).

    Attributes:
        pattern: What each query sees.
        q_len: Number of queries.
        score: As in `attncc.attention`; a backward computes the gradients of those of its weights that require one.
        topology: A shipped topology's name, a TOML file, or a Topology: one schedule is tuned for all its devices.
    """

    pattern: Pattern | PatternFactory
    q_len: int
    _: KW_ONLY
    score: Score | ScoreFactory | None = None
    topology: str | PathLike[str] | Topology | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for options that mean nothing without, or with, a topology."""
        super().__post_init__()
        on_topology = self.topology is not None
        foreign = "device" if on_topology else "topology"
        given = [
            f.name for f in fields(self) if f.metadata.get("only") == foreign and getattr(self, f.name) != f.default
        ]
        if on_topology and self.score is not None:
            given.insert(0, "score")
        if given:
            raise ConfigError(
                f"--{given[0].replace('_', '-')} {'with' if on_topology else 'without'} --topology.",
                rule="A schedule is for self-attention on the devices of a topology.",
                fix="Leave one of them out." if on_topology else "Add --topology, for example --topology 8xh100.",
            )
