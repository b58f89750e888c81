"""The probe: processes exchange messages and compute, by themselves and all at once, to measure a host's links."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F

from attncc.distributed.links.fit import PATTERNS, SIZES, Exchanged, Links, sends
from attncc.errors import DistributedError

#: Steps that a measurement takes, for a progress bar.
STEPS = len(PATTERNS) * len(SIZES) + 2
#: Seconds that the repetitions of a step take, and how many these are.
SECONDS, LEAST, MOST = 0.5, 5, 60
HEADS, LENGTH, HEAD_DIM = 4, 2048, 64
LIMIT = timedelta(seconds=120)
#: Seconds that a process may take to end when it has nothing left to do.
ENDING = 5.0

Report = Callable[[str], None]


def measure(report: Report) -> Links:
    """Measure the world that this process is in; `report` is called with each step's name on its rank 0. Collective."""
    exchanged = []
    for pattern in PATTERNS:
        for size in SIZES:
            _say(report, f"{pattern}, {size:,} bytes")
            exchanged.append(_exchanged(pattern, size))
    _say(report, "one process computes")
    alone = _rate(dist.get_rank() == 0)
    _say(report, "all processes compute")
    together = _rate(True)
    return Links(dist.get_world_size(), torch.get_num_threads(), tuple(exchanged), alone, together)


def measure_world(report: Report) -> Links | None:
    """Measure the world that torchrun has started; None on all ranks but the first. Raises DistributedError."""
    if os.environ["LOCAL_WORLD_SIZE"] != os.environ["WORLD_SIZE"]:
        raise DistributedError(
            "The world has several nodes.",
            rule="The links of one host are measured at a time.",
            fix="Run it on each host by itself.",
        )
    dist.init_process_group("gloo", timeout=LIMIT)
    try:
        _check(dist.get_world_size())
        links = measure(report)
        return links if dist.get_rank() == 0 else None
    finally:
        dist.destroy_process_group()


def measure_host(processes: int, report: Report) -> Links:
    """Start processes, measure the links between them, and end them. Raises DistributedError if one fails."""
    _check(processes)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="attncc-links-") as folder:
        arguments = (processes, str(Path(folder, "store")), sender)
        ranks = [context.Process(target=_process, args=(rank, *arguments), daemon=True) for rank in range(processes)]
        try:
            with _interrupts_ignored():  # also by the processes that start now: Ctrl-C is for this one to answer
                for each in ranks:
                    each.start()
            links = _heard(ranks, receiver, report)
            for each in ranks:
                each.join(ENDING)
            return links
        finally:
            _end([each for each in ranks if each.pid is not None])


def _end(ranks: Sequence[BaseProcess]) -> None:
    """Stop all, then kill them: one that still ran would print a traceback about its peer's lost connection."""
    with _interrupts_ignored():  # between the two, or a stopped one would be waited for at exit
        for each in ranks:
            if each.is_alive() and each.pid is not None:
                os.kill(each.pid, signal.SIGSTOP)
        for each in ranks:
            each.kill()
            each.join()


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C; only the main thread can say so, and only it is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)  # None: not set from Python


def _heard(ranks: Sequence[BaseProcess], receiver: Connection, report: Report) -> Links:
    """Return what rank 0 says at last; before that it names its steps."""
    while True:
        failed = [number for number, each in enumerate(ranks) if each.exitcode]
        if failed:
            raise DistributedError(
                f"Process {failed[0]} of the measurement failed.",
                rule="All of them measure until the end.",
                fix="Its output above says why.",
                rank=failed[0],
            )
        if receiver.poll(0.1):
            message: str | Links = receiver.recv()
            if isinstance(message, Links):
                return message
            report(message)


def _check(processes: int) -> None:
    if processes < 2:
        raise DistributedError(
            f"{processes} process.", rule="Links are between two processes, or more.", fix="Ask for 2 or more."
        )


def _process(rank: int, processes: int, store: str, sender: Connection) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // processes))
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=processes, timeout=LIMIT)
    links = measure(sender.send)
    if rank == 0:
        sender.send(links)
    dist.destroy_process_group()


def _say(report: Report, step: str) -> None:
    if dist.get_rank() == 0:
        report(step)


def _exchanged(pattern: str, size: int) -> Exchanged:
    rank, processes = dist.get_rank(), dist.get_world_size()
    given = [size * sends(pattern, rank, target, processes) for target in range(processes)]
    taken = [size * sends(pattern, source, rank, processes) for source in range(processes)]
    out, into = (torch.zeros(sum(sizes), dtype=torch.uint8) for sizes in (given, taken))
    return Exchanged(pattern, size, _timed(lambda: dist.all_to_all_single(into, out, taken, given)))


def _rate(takes_part: bool) -> float:
    """Return the FLOP/s of each process that takes part, at the pace of the slowest."""
    x = torch.randn(1, HEADS, LENGTH, HEAD_DIM)
    seconds = _timed(lambda: F.scaled_dot_product_attention(x, x, x, is_causal=True) if takes_part else None)
    pairs = HEADS * LENGTH * (LENGTH + 1) / 2
    return 4 * HEAD_DIM * pairs / float(torch.tensor(seconds).median())


def _timed(call: Callable[[], object]) -> tuple[float, ...]:
    """Return the seconds of repeated calls, of each until the slowest process had done."""
    _elapsed(call)  # to connect, and to warm up
    first = torch.tensor([_elapsed(call), _elapsed(call)], dtype=torch.float64)
    dist.all_reduce(first, dist.ReduceOp.MAX)
    count = min(MOST, max(LEAST, int(SECONDS / float(first.min()))))
    seconds = torch.tensor([_elapsed(call) for _ in range(count)], dtype=torch.float64)
    dist.all_reduce(seconds, dist.ReduceOp.MAX)
    return tuple(seconds.tolist())


def _elapsed(call: Callable[[], object]) -> float:
    dist.barrier()
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
