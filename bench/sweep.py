"""Time every feasible configuration of strided l=128 at N = 16,384, forward, for bench/test_tuning.py to replay:

    python bench/sweep.py

writes bench/sweeps/strided_forward.json. Configurations are timed in rounds, in a new random order for each, so that
other load affects them alike; the figure of each is its median.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
from pathlib import Path

from rich.progress import track

import attncc
from attncc._util import storage
from attncc._util.machine import machine, versions
from attncc.tune.autotune import tasks_of
from attncc.tune.measured import Policy, TimeTrial, measuring
from attncc.tune.request import TuningRequest
from attncc.tune.worker import Failure, Worker

RECORDED = Path(__file__).parent / "sweeps" / "strided_forward.json"
REQUEST = TuningRequest(attncc.load("strided", l=128), 16384, direction="fwd", target="cpu")
ROUNDS = 5
#: One call to warm up, and one that counts.
ONCE = Policy(least=1, most=1)


def main() -> None:
    """Record the sweep."""
    (task,) = tasks_of(REQUEST)
    ranking = task.ranking(REQUEST)
    points = [each.point for each in ranking.ranked]
    samples: dict[tuple[int, ...], list[float]] = {each: [] for each in points}
    with tempfile.TemporaryDirectory() as folder, Worker(measuring, (task, 0), {"ATTNCC_CACHE_DIR": folder}) as worker:
        for number in range(ROUNDS):
            random.Random(number).shuffle(points)
            for each in track(points, description=f"round {number + 1} of {ROUNDS}"):
                answer = worker.ask(TimeTrial(ranking.space.candidate(each), None, ONCE), 60.0)
                if isinstance(answer, Failure):
                    raise RuntimeError(answer.reason)
                samples[each] += answer
    rows = [{"config": ranking.space.candidate(each), "seconds": statistics.median(samples[each])} for each in samples]
    about = {"pattern": repr(task.pattern), "machine": machine(), "versions": versions(("attncc", "torch"))}
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"about": {json.dumps(about)},\n"rounds": {ROUNDS}, "rows": [\n{lines}\n]}}\n'
    storage.write(RECORDED, text.encode())


if __name__ == "__main__":
    main()
