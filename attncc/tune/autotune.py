"""autotune(): the best configuration for a pattern, a shape and a target, found once and remembered."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from attncc import backends
from attncc.errors import ConfigError
from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.frontend.scores import Score, ScoreFactory, as_score
from attncc.planner.checks import check_score
from attncc.planner.shape import Shape
from attncc.targets import target as find_target
from attncc.tune.job import Job
from attncc.tune.listener import SILENT, Listener
from attncc.tune.options import EFFORTS, MODES, Options, require
from attncc.tune.place import AUTO, located
from attncc.tune.request import Asked
from attncc.tune.result import Results

if TYPE_CHECKING:
    from attncc.tune.backend_subject import BackendSubject


@dataclass(frozen=True, kw_only=True)
class Request(Asked[Job]):
    """What is asked of the autotuner, for a device.

    score: as in `attncc.attention`; a backward computes the gradients of those of its weights that require one. kv_len,
    q_offset: keys, if not as many as queries, and the position of the first query. target: a name from `attncc
    targets`, or `auto` for the device at hand. mode: `measured` for a device of this machine, `modelled` for one that
    isn't here. trials are those of each direction; the time is over all of them.
    """

    score: Score | ScoreFactory | None = None
    kv_len: int | None = None
    q_offset: int = 0
    target: str = AUTO
    backend: str | None = None
    mode: str | None = None

    @property
    def options(self) -> Options:
        """How each job is tuned."""
        mode = _mode(self.mode, *located(self.target))
        return Options(mode=mode, efforts=EFFORTS[mode], **self.manner())

    @property
    def jobs(self) -> list[Job]:
        """What is tuned, one job for each direction."""
        target, device = located(self.target)
        facts = find_target(target)
        score = as_score(self.score)
        job = Job(
            pattern=as_pattern(self.pattern),
            shape=Shape.of(self.q_len, self.kv_len, self.q_offset, self.heads, self.batch),
            inputs=self.inputs(facts.gpu is not None),
            direction="",
            backend=self.backend or backends.preferred_for(facts),
            target=target,
            device=device,
            score=score.on([x.detach().requires_grad_(x.requires_grad) for x in score.tensors]),
        )
        check_score(job.score.expression, job.pattern.predicate, job.planned_shape)
        return [replace(job, direction=each) for each in self.ways]

    def subject(self, job: Job, listener: Listener = SILENT) -> BackendSubject:
        """Return one of the jobs as the search sees it; it loads the backends."""
        from attncc.tune.backend_subject import BackendSubject

        return BackendSubject(job, self.options, partial(listener.on_step, job))


def autotune(
    pattern: Pattern | PatternFactory,
    q_len: int,
    *,
    listener: Listener = SILENT,
    **choices: Any,
) -> Results:
    """Find the best plan and configuration of `pattern`, and remember it: `attncc.attention` uses it from then on.

    `choices` are the fields of attncc.tune.autotune.Request: score, heads, head_dim, dtype, target, effort, ...
    With a `topology` (a name, a file or a Topology) they are those of attncc.tune.schedules.request.ScheduleRequest,
    and `attncc.distributed.compile` uses what is found. What was tuned as hard before is returned at once.
    `listener` hears each step, trial and result (attncc.tune.listener.Listener), and may end it early.
    """
    if "topology" not in choices:
        return Request(pattern, q_len, **choices).answered(listener)
    from attncc.tune.schedules.request import ScheduleRequest

    return ScheduleRequest(pattern, q_len, **choices).answered(listener)


def _mode(mode: str | None, target: str, device: str) -> str:
    chosen = mode or ("measured" if device else "modelled")
    require("mode", chosen, MODES)
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
