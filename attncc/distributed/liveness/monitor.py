"""The monitor: a thread of each process that sends heartbeats to the store, and finds the ranks that send none."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta

from torch._C._distributed_c10d import Store

from attncc.distributed.liveness.failure_report import FailureReport, Heartbeat, blame

#: Seconds between two heartbeats; a rank that sends none for SILENCE is gone or hangs.
INTERVAL = 1.0
SILENCE = 2.5 * INTERVAL
#: Seconds that judging may take after an exchange failed; a store that answers no sooner hangs itself.
GRACE = SILENCE + 2 * INTERVAL

FAILURE_REPORT = "failure report"


@dataclass(frozen=True)
class RankInfo:
    """A process in its world; `host`: the rank whose process holds the store, None for a process outside of it."""

    rank: int
    size: int
    host: int | None


@dataclass
class Question:
    """Who holds up an exchange of `ranks` in `group`; answered without a failure report if nobody does."""

    ranks: Collection[int]
    group: str
    before: tuple[float, dict[int, Heartbeat]] | None = None  # when heartbeats were first read, and these
    answered: bool = False


class Monitor:
    """Sends heartbeats to the store of a world, from the first `enter` until nobody uses it any more.

    Only its thread touches the store: a call into a store whose host is stopped never returns.
    """

    def __init__(self, connect: Callable[[], Store], rank_info: RankInfo) -> None:
        self.rank_info = rank_info
        self.failure_report: FailureReport | None = None
        self._connect = connect
        self._process = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._entered: dict[str, int] = {}
        self._waiting: str | None = None
        self._last = ""
        self._question: Question | None = None
        self._lost = self._all_know = False
        self._users = 0
        self._thread: threading.Thread | None = None

    def acquire(self) -> None:
        """Count one more user."""
        self._users += 1

    def release(self) -> None:
        """Count one user less; the last one ends the thread, without waiting for a store that hangs."""
        self._users -= 1
        if self._users:
            return
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(INTERVAL)
        self._thread = None

    def enter(self, group: str, what: str) -> None:
        """Note that this rank comes to an exchange of `group`, which is `what`; the first one starts the thread."""
        self._entered[group] = self._entered.get(group, 0) + 1
        self._waiting, self._last = group, what
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="attncc-monitor", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        """Note that the exchange is over."""
        self._waiting = None

    def diagnose(self, ranks: Collection[int], group: str) -> FailureReport | None:
        """Return who holds up an exchange, None if nobody does; takes GRACE at most."""
        question = Question(ranks, group)
        with self._changed:
            self._question = question
            self._wake.set()
            self._changed.wait_for(lambda: self.failure_report or question.answered or self._lost, GRACE)
            self._question = None
        if self.failure_report is None and not question.answered:
            return FailureReport(self.rank_info.host, "hosts the store of the process group, which doesn't answer")
        return self.failure_report

    def linger(self) -> None:
        """Wait until the other ranks know the failure report, if the store ends with this process; SILENCE at most."""
        if self.rank_info.host == self.rank_info.rank and self.failure_report is not None:
            with self._changed:
                self._changed.wait_for(lambda: self._all_know or self._lost, SILENCE)

    def _run(self) -> None:
        try:
            store = self._connect()
            store.set_timeout(timedelta(seconds=GRACE))
            while self._users:
                self._wake.clear()
                self._tick(store)
                self._wake.wait(INTERVAL)
            if self.failure_report is not None:
                self._send_heartbeat(store)  # so that the store's host needn't linger for this rank
        except RuntimeError:  # what torch raises when the store is gone; `diagnose` says so if it matters
            with self._changed:
                self._lost = True
                self._changed.notify_all()

    def _tick(self, store: Store) -> None:
        """Send a heartbeat, look for a failure report, and work at the question if there is one."""
        self._send_heartbeat(store)
        if self.failure_report is None:
            self._listen(store)
        question = self._question
        if self.failure_report is None:
            if question is not None and not question.answered:
                self._examine(store, question)
        elif self.rank_info.host == self.rank_info.rank and not self._all_know:
            self._count_those_who_know(store, self.failure_report)

    def _send_heartbeat(self, store: Store) -> None:
        number, knows = time.monotonic_ns(), self.failure_report is not None
        heartbeat = Heartbeat(self._process, number, self._entered.copy(), self._waiting, self._last, knows)
        store.set(str(self.rank_info.rank), heartbeat.text())

    def _listen(self, store: Store) -> str:
        """Look for a failure report on this world, and return the text that is there, "" for none."""
        text = store.get(FAILURE_REPORT).decode() if store.check([FAILURE_REPORT]) else ""
        found = FailureReport.of(text) if text else None
        if found is not None and found.is_on(self.rank_info.rank, self._process):
            with self._changed:
                self.failure_report = found
                self._changed.notify_all()
        return text

    def _publish(self, store: Store, found: FailureReport) -> None:
        """Write a failure report in place of one on another world; the first on this one holds."""
        other = self._listen(store)
        if self.failure_report is None:
            store.compare_set(FAILURE_REPORT, other, found.text())
            self._listen(store)

    def _examine(self, store: Store, question: Question) -> None:
        """Read all heartbeats, and again after SILENCE; the first failure report that is written holds."""
        if question.before is None:
            question.before = time.monotonic(), self._read(store)
            return
        begin, before = question.before
        seconds = time.monotonic() - begin
        if seconds < SILENCE:
            return
        found = blame(before, self._read(store), question.ranks, question.group, seconds)
        if found is not None:
            self._publish(store, found)
        with self._changed:
            question.answered = True
            self._changed.notify_all()

    def _count_those_who_know(self, store: Store, failure_report: FailureReport) -> None:
        heartbeats = self._read(store)
        with self._changed:
            self._all_know = all(
                heartbeats[rank].knows for rank in heartbeats.keys() - {failure_report.rank, self.rank_info.rank}
            )
            self._changed.notify_all()

    def _read(self, store: Store) -> dict[int, Heartbeat]:
        """Return the last heartbeat of each rank that has sent any."""
        there = [rank for rank in range(self.rank_info.size) if store.check([str(rank)])]
        return {rank: Heartbeat.of(store.get(str(rank))) for rank in there}
