"""Measures one contestant at one length in a process of its own; started by the command:

python -m bench.peers.cell TASK NAME LENGTH SECONDS GIGABYTES

prints its figures as JSON.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch

from attncc.measure.memory import peak
from attncc.measure.timing import elapsed

from .contestants import Contestant, Run, contestant

CPU = torch.device("cpu")
#: Calls of a direction, at most, and seconds of a first call from which it counts: compilers take less.
MOST_ROUNDS, LONG = 5, 10.0
#: A length that isn't measured.
WARM = 1024


def measured(each: Contestant, length: int, seconds: float) -> dict[str, object]:
    """Return seconds, and bytes held above inputs; a direction stops after a quarter of `seconds`."""
    called(each.prepare(WARM), each.leaves(WARM), each.is_trained)  # imports, and what is made once in a process
    leaves = each.leaves(length)
    begin = time.perf_counter()
    run = each.prepare(length)
    prepared = time.perf_counter() - begin
    plain = [leaf.detach() for leaf in leaves]
    found: dict[str, object] = {"prepare_s": prepared, "forward_s": timed(lambda: run(*plain), seconds / 4)}
    if not each.is_trained:
        return found | {"peak_bytes": peak(lambda: run(*plain), CPU)}

    def both() -> None:
        called(run, leaves, backward=True)

    held: list[int] = []
    first = elapsed(lambda: held.append(peak(both, CPU)), CPU)
    taken = first if first > LONG else timed(both, seconds / 4)
    return found | {"forward_backward_s": taken, "peak_bytes": held[0]}


def called(run: Run, leaves: Sequence[torch.Tensor], backward: bool) -> None:
    """Run forward, and backward if there is one."""
    out = run(*(leaves if backward else [leaf.detach() for leaf in leaves]))
    if backward:
        torch.autograd.grad(out, leaves, torch.ones_like(out))


def timed(run: Callable[[], object], seconds: float) -> float:
    """Return the median of the seconds of a few calls. The first isn't counted, unless it is long."""
    first = elapsed(run, CPU)
    samples = [first] if first > LONG else []
    begin = time.perf_counter()
    while not samples or (first <= LONG and len(samples) < MOST_ROUNDS and time.perf_counter() - begin < seconds):
        samples.append(elapsed(run, CPU))
    return statistics.median(samples)


def main(task: str, name: str, length: str, seconds: str, gigabytes: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (int(float(gigabytes) * 1e9),) * 2)
    try:
        print(json.dumps(measured(contestant(task, name), int(length), float(seconds))))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        print(json.dumps({"skipped": f"out of memory: {gigabytes} GB of addresses"}))


if __name__ == "__main__":
    main(*sys.argv[1:])
