"""Tuning tasks: what is tuned in one search, for a backend on a device or for a schedule on many."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from attncc._util.display import Displayed
from attncc.backends.inputs import Inputs
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.frontend.patterns import Pattern
from attncc.tune import space_files
from attncc.tune.options import Effort, Efforts, TuningOptions
from attncc.tune.space import Space
from attncc.tune.tunables import Candidate, Tunables

if TYPE_CHECKING:
    from attncc.tune.evaluation import Evaluator
    from attncc.tune.search import Ranking

#: Gets the name of each step before it begins.
OnStep = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class TuningTask(ABC):
    """A pattern with inputs of given sizes, tuned in one direction or in both at once.

    The key and the environment find an earlier answer, and load nothing that runs; `ranking` and `evaluator` may load
    torch, backends and compilers.

    Attributes:
        pattern: What each query sees.
        inputs: Sizes and dtype of query, key and value.
        direction: `forward`, `backward`, or `both`.
        backend: The name of what is tuned; search spaces lie in a folder of this name.
        target: The name of the device or of the topology.
        mode: How trials are timed: `measured` or `modelled`.
        used_by: What looks the result up, as people write it.
    """

    pattern: Pattern
    inputs: Inputs
    direction: str
    backend: str
    target: str
    mode: str
    used_by: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> Key:
        """What the result is remembered under."""

    @property
    @abstractmethod
    def environment(self) -> Environment:
        """What else the result depends on."""

    @abstractmethod
    def about(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return what people want to read beside the key: the pattern, its lengths, and what runs."""

    @property
    @abstractmethod
    def efforts(self) -> Efforts:
        """What the levels of effort stand for."""

    @property
    @abstractmethod
    def tunables(self) -> Tunables:
        """What can be chosen; raises ConfigError where nothing can."""

    @property
    @abstractmethod
    def default(self) -> Candidate:
        """What runs without any config; raises ConfigError for inputs that can't run."""

    @property
    @abstractmethod
    def facts(self) -> Mapping[str, object]:
        """What rules of the search space may name besides tunables."""

    @abstractmethod
    def rank(self, space: Space, options: TuningOptions, on_step: OnStep) -> Ranking:
        """Return the feasible candidates in the order in which to try them; raises ConfigError if there are none."""

    @abstractmethod
    def evaluator(self, options: TuningOptions, left: Callable[[], float], on_step: OnStep) -> Evaluator:
        """Return what tries configurations, for as long as `left` says that there are seconds left."""

    @property
    def title(self) -> str:
        """What people call it."""
        return repr(self.pattern)

    def running(self, config: Mapping[str, object]) -> Displayed | None:
        """Return what runs under a configuration, as far as it can be shown."""
        return None

    @property
    def has_dense_baseline(self) -> bool:
        """Whether dense attention takes part in the finals."""
        return False

    @property
    def expected_error(self) -> float | None:
        """The relative error to expect of seconds; None where they are measured, or where it isn't known."""
        return None

    def allowance(self, options: TuningOptions) -> Effort:
        """Return the effort, with the trials and the seconds that were given in place of its own."""
        effort = self.efforts[options.effort]
        return replace(effort, trials=options.trials or effort.trials, seconds=options.budget or effort.seconds)

    def ranking(self, options: TuningOptions, on_step: OnStep = lambda step: None) -> Ranking:
        """Load the search space and rank its candidates; raises ConfigError if there is nothing to choose from."""
        space = space_files.load(self.tunables, self.direction, options.space).including(self.default)
        return self.rank(space, options, on_step)

    def afresh(self) -> Self:
        """Return the task without its environment: torch, once it is loaded, may count other threads."""
        return replace(self)
