"""Jobs and subjects: what is tuned, as it is remembered, and as the search sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.frontend.patterns import Pattern
from attncc.tune.kind import Candidate

if TYPE_CHECKING:
    from attncc.tune.options import Options
    from attncc.tune.outcome import Evaluator
    from attncc.tune.search import Ranked
    from attncc.tune.space import Space


OnStep = Callable[[str], None]


class Job(Protocol):
    """What is tuned in one direction: all that finding an earlier answer needs."""

    @property
    def pattern(self) -> Pattern: ...

    @property
    def title(self) -> str:
        """What people call it."""
        ...

    @property
    def direction(self) -> str: ...

    @property
    def backend(self) -> str:
        """The name of its kind (attncc.tune.kind)."""
        ...

    @property
    def target(self) -> str: ...

    @property
    def key(self) -> Key:
        """What the result is remembered under."""
        ...

    @property
    def used_by(self) -> str:
        """What looks the result up, as people write it."""
        ...

    @property
    def environment(self) -> Environment:
        """What else the result depends on."""
        ...

    def about(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return what people want to read beside the key: the pattern, its lengths, and what runs."""
        ...

    def afresh(self) -> Self:
        """Return the job without what it knows of a process that has loaded less."""
        ...


class Subject(Protocol):
    """A job with what the search needs to know of it."""

    @property
    def job(self) -> Job: ...

    @property
    def options(self) -> Options:
        """How it is tuned."""
        ...

    @property
    def on_step(self) -> OnStep:
        """Gets the name of each step before it begins."""
        ...

    @property
    def default(self) -> Candidate:
        """What runs without any config; raises ConfigError where nothing does."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """What rules may name besides choices."""
        ...

    @property
    def dense(self) -> bool:
        """Whether dense attention takes part in the finals."""
        ...

    @property
    def expected_error(self) -> float | None:
        """The relative error to expect of seconds, None where they are measured or it isn't known."""
        ...

    def ranked(self, space: Space) -> Sequence[Ranked]:
        """Return the feasible candidates in the order in which to try them; raises ConfigError if there are none."""
        ...

    def proposed(self) -> Sequence[Candidate]:
        """Return candidates to try right after the default, whatever time is left: what runs without tuning else."""
        ...

    def evaluator(self, left: Callable[[], float]) -> Evaluator:
        """Return what tries configurations, for as long as `left` says that there are seconds left."""
        ...
