"""Start-up: the time that attncc's import adds to torch's, and that of the command line's help."""

from __future__ import annotations

import subprocess
import sys
import time

from attncc.measure.timing import Timing

ROUNDS = 7


def test_import_adds_little_to_importing_torch(benchmark, bar) -> None:
    program = "import time, torch\nbegin = time.perf_counter()\nimport attncc\nprint(time.perf_counter() - begin)"
    samples: list[float] = []

    def run() -> None:
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        samples.append(float(found.stdout))

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    what = "import attncc, beyond import torch"
    taken = Timing(tuple(samples[1:]))
    bar(what, taken.median, "at most 0.3 s", f"{taken.spread:.0%}")


def test_help_appears_within_half_a_second(benchmark, bar) -> None:
    samples: list[float] = []

    def run() -> None:
        begin = time.perf_counter()
        program = "from attncc.cli import main; main()"
        subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, check=True)
        samples.append(time.perf_counter() - begin)

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    taken = Timing(tuple(samples[1:]))
    bar("attncc --help in all", taken.median, "at most 0.5 s", f"{taken.spread:.0%}")
