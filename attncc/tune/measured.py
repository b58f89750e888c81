"""Measured: trials timed on devices of this machine, in a worker each, and finals in which the fastest take turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

from attncc.errors import ConfigError
from attncc.measure.accuracy import Accuracy
from attncc.tune.job import Job
from attncc.tune.measurement import Checked, Policy, Timed, Turns, measuring
from attncc.tune.outcome import Config, Finals, Outcome
from attncc.tune.worker import Failure, Worker

#: Look-ups are off where configurations are measured, and kernels are compiled, not interpreted.
ENVIRONMENT = {"ATTNCC_CACHE": "off"}


class Measured:
    """Times configurations of a job, one at a time on each of `devices`; `limit` seconds are what a trial may take.

    The finals are on the first device alone, so that contestants meet on the same one.
    """

    def __init__(self, job: Job, seed: int, policy: Policy, limit: float, devices: Sequence[str]) -> None:
        self._workers = [Worker(measuring, (replace(job, device=each), seed), ENVIRONMENT) for each in devices]
        self._policy, self._limit = policy, limit
        self.batch = len(self._workers)

    def __enter__(self) -> Measured:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration; there is a device for each."""
        busy = list(zip(self._workers, configs, strict=False))
        for worker, config in busy:
            worker.post(Timed(config, best, self._policy))
        return [_outcome(worker.collect(self._limit)) for worker, _ in busy]

    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Check the contestants' results, and let those take turns that are right."""
        errors = {place: text for place, config in enumerate(contestants) if (text := self._error(config)) and place}
        standing = [place for place in range(len(contestants)) if place not in errors]
        samples: list[list[float]] = [[] for _ in contestants]
        of_dense: list[float] = []
        for number in range(rounds):
            with_dense = dense and number < 3
            seconds = self._turn((*(contestants[place] for place in standing), *([None] if with_dense else [])))
            for place, each in zip(standing, seconds, strict=False):
                samples[place].append(each)
            of_dense += seconds[len(standing) :]
            if number >= 2 and left() < 0:
                break
        return Finals(tuple(map(tuple, samples)), tuple(of_dense), errors)

    def _turn(self, contestants: tuple[Config | None, ...]) -> Sequence[float]:
        """Return the seconds of each contestant (None: dense attention), one after the other."""
        answer: Sequence[float] | Failure = self._workers[0].ask(Turns(contestants), self._limit * len(contestants))
        if isinstance(answer, Failure):
            raise ConfigError(
                f"The finals did not end: {answer.reason}.",
                rule="The fastest configurations and the default one run in turn.",
                fix="Give it more time with --budget, or look at the device.",
            )
        return answer

    def _error(self, config: Config) -> str:
        answer = self._workers[0].ask(Checked(config), self._limit)
        if isinstance(answer, Failure):
            return answer.reason
        assert isinstance(answer, Accuracy)
        return answer.excess


def _outcome(answer: Sequence[float] | Failure) -> Outcome:
    if isinstance(answer, Failure):
        return Outcome(None, reason=answer.reason)
    return Outcome(statistics.median(answer), tuple(answer))
