"""The monitor: a thread of each process that gives signs of life in the store, and asks there who gives none."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta

from torch._C._distributed_c10d import Store

from attncc.distributed.liveness.verdict import Beat, Verdict, blame

#: Seconds between two signs of life; a rank that gives none for SILENCE is gone or hangs.
INTERVAL = 1.0
SILENCE = 2.5 * INTERVAL
#: Seconds that judging may take after an exchange failed; a store that answers no sooner hangs itself.
GRACE = SILENCE + 2 * INTERVAL

VERDICT = "verdict"


@dataclass(frozen=True)
class Seat:
    """The place of a process in its world; `host`: the rank whose process holds the store, None for another process."""

    rank: int
    size: int
    host: int | None


@dataclass
class Question:
    """Who holds up an exchange of `ranks` in `group`; answered without a verdict if nobody does."""

    ranks: Collection[int]
    group: str
    before: tuple[float, dict[int, Beat]] | None = None  # when beats were first read, and they
    answered: bool = False


class Monitor:
    """Beats in the store of a world, from the first `enter` until nobody uses it any more.

    Only its thread touches the store: a call into a store whose host is stopped never returns.
    """

    def __init__(self, connect: Callable[[], Store], seat: Seat) -> None:
        self.seat = seat
        self.verdict: Verdict | None = None
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

    def judge(self, ranks: Collection[int], group: str) -> Verdict | None:
        """Return who holds up an exchange, None if nobody does; takes GRACE at most."""
        question = Question(ranks, group)
        with self._changed:
            self._question = question
            self._wake.set()
            self._changed.wait_for(lambda: self.verdict or question.answered or self._lost, GRACE)
            self._question = None
        if self.verdict is None and not question.answered:
            return Verdict(self.seat.host, "hosts the store of the process group, which doesn't answer")
        return self.verdict

    def linger(self) -> None:
        """Wait until the other ranks know the verdict, if the store ends with this process; SILENCE at most."""
        if self.seat.host == self.seat.rank and self.verdict is not None:
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
            if self.verdict is not None:
                self._beat(store)  # so that the store's host needn't linger for this rank
        except RuntimeError:  # what torch raises when the store is gone; `judge` says so if it matters
            with self._changed:
                self._lost = True
                self._changed.notify_all()

    def _tick(self, store: Store) -> None:
        """Give a sign of life, hear a verdict, and work at the question if there is one."""
        self._beat(store)
        if self.verdict is None:
            self._listen(store)
        question = self._question
        if self.verdict is None:
            if question is not None and not question.answered:
                self._examine(store, question)
        elif self.seat.host == self.seat.rank and not self._all_know:
            self._count_those_who_know(store, self.verdict)

    def _beat(self, store: Store) -> None:
        number, knows = time.monotonic_ns(), self.verdict is not None
        beat = Beat(self._process, number, self._entered.copy(), self._waiting, self._last, knows)
        store.set(str(self.seat.rank), beat.text())

    def _listen(self, store: Store) -> str:
        """Look for a verdict on this world, and return the text that is there, "" for none."""
        text = store.get(VERDICT).decode() if store.check([VERDICT]) else ""
        found = Verdict.of(text) if text else None
        if found is not None and found.is_on(self.seat.rank, self._process):
            with self._changed:
                self.verdict = found
                self._changed.notify_all()
        return text

    def _publish(self, store: Store, found: Verdict) -> None:
        """Write a verdict in the place of one on another world; the first on this one holds."""
        other = self._listen(store)
        if self.verdict is None:
            store.compare_set(VERDICT, other, found.text())
            self._listen(store)

    def _examine(self, store: Store, question: Question) -> None:
        """Read all beats; once more after SILENCE, and judge by what has changed: the first verdict of all holds."""
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

    def _count_those_who_know(self, store: Store, verdict: Verdict) -> None:
        beats = self._read(store)
        with self._changed:
            self._all_know = all(beats[rank].knows for rank in beats.keys() - {verdict.rank, self.seat.rank})
            self._changed.notify_all()

    def _read(self, store: Store) -> dict[int, Beat]:
        """Return the last beat of each rank that has given any."""
        there = [rank for rank in range(self.seat.size) if store.check([str(rank)])]
        return {rank: Beat.of(store.get(str(rank))) for rank in there}
