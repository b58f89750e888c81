"""Measured: trials timed on devices of this machine, in a worker each, and finals in which the fastest take turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

from attncc.measure.accuracy import Accuracy
from attncc.measure.dense import DenseTiming
from attncc.tune.device_lock import alone
from attncc.tune.job import Job
from attncc.tune.measurement import Checked, Dense, Once, Policy, Timed, measuring
from attncc.tune.outcome import Config, Finals, Outcome, ahead
from attncc.tune.worker import Failure, Worker

#: Look-ups are off where configurations are measured, and kernels are compiled, not interpreted.
ENVIRONMENT = {"ATTNCC_CACHE": "off"}
#: A trial has hung once it takes this many times as long as the default's ...
PATIENCE = 5.0
#: ... and at least so many seconds. Where the default ran in an earlier search, it took so many calls.
LEAST_LIMIT, CALLS = 60.0, 8
#: The part of the time for trials after which one of them takes no other sample.
MOST_OF_THE_TIME = 0.25
#: Seconds by which a trial may at least end after the time of all trials.
LEAST_OVERRUN = 5.0
#: Seconds for dense attention, whose calls are shortened to fit, and the part of it where there is no time left.
DENSE_LIMIT, HURRIED = 3.0, 0.25
#: Rounds of the finals that are run whatever time is left.
ROUNDS = 3


class Measured:
    """Times configurations of a job, one at a time on each of `devices`.

    The default may take as long as it does: it is what runs without any tuning, and how long it takes is the measure of
    the limits of all others. `left` says how many seconds are left for trials. The finals are on the first device
    alone, so that contestants meet on the same one.
    """

    def __init__(
        self,
        job: Job,
        default: Config,
        seed: int,
        policy: Policy,
        devices: Sequence[str],
        left: Callable[[], float],
        on_step: Callable[[str], None],
    ) -> None:
        self._devices = devices
        self._workers = [Worker(measuring, (replace(job, device=each), seed), ENVIRONMENT) for each in devices]
        self._default, self._policy, self._left, self._on_step = default, policy, left, on_step
        self._defaults_seconds = 0.0
        self.batch = len(self._workers)

    def __enter__(self) -> Measured:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.close()

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration; there is a device for each."""
        busy = list(zip(self._workers, configs, strict=False))
        with alone(self._devices[: len(busy)], self._on_step):
            policy = replace(self._policy, seconds=max(0.0, self._left() * MOST_OF_THE_TIME))
            for worker, config in busy:
                worker.post(Timed(config, best, policy))
            begin = time.monotonic()
            found = [_outcome(worker.collect(self._limit(config, best))) for worker, config in busy]
            if any(map(self._is_default, configs)):
                self._defaults_seconds = time.monotonic() - begin
        return found

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
            of_dense = self._dense(left) if dense else None
            samples, errors = self._samples(contestants, rounds, left)
            found = Finals(
                tuple(map(tuple, samples)),
                () if of_dense is None else of_dense.seconds,
                errors,
                of_dense.length if of_dense is not None and of_dense.is_scaled else None,
            )
            while found.winner and (text := self._error(contestants[found.winner])):
                found.errors[found.winner] = text
        return found

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
            for place in standing:
                answer = self._workers[0].ask(Once(contestants[place]), None)
                if isinstance(answer, Failure):
                    errors[place] = answer.reason
                else:
                    samples[place].append(answer)
            standing = [place for place in standing if place not in errors]
            if number + 1 >= ROUNDS:
                standing = [place for place in standing if place == 0 or place in ahead(samples)]
                if standing in ([], [0]) or left() < 0:
                    break
        return samples, errors

    def _dense(self, left: Callable[[], float]) -> DenseTiming | None:
        """Return the timing of dense attention, or None where it can't run."""
        self._on_step("dense attention, as the baseline")
        limit = DENSE_LIMIT * (1.0 if left() > DENSE_LIMIT else HURRIED)
        answer = self._workers[0].ask(Dense(limit), 20 * DENSE_LIMIT)
        return answer if isinstance(answer, DenseTiming) else None

    def _error(self, config: Config) -> str:
        self._on_step("checking the fastest against dense attention in float64")
        answer = self._workers[0].ask(Checked(config), None)
        if isinstance(answer, Failure):
            return answer.reason
        assert isinstance(answer, Accuracy)
        return answer.excess


def _outcome(answer: Sequence[float] | Failure) -> Outcome:
    if isinstance(answer, Failure):
        return Outcome(None, reason=answer.reason, is_late=answer.late)
    return Outcome(statistics.median(answer), tuple(answer))
