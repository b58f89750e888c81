"""The comparison on several GPUs runs on processes of a CPU, and checks its own results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "four_gpus.py"


def test_ranks_are_timed_beside_one_device_and_the_survey() -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = ["--device", "cpu", "--seq-len", "256", "--heads", "2", "--rounds", "1", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*torchrun, str(SCRIPT), *options], capture_output=True, text=True, env=environment, timeout=280
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert (found["ranks"], found["survey_times_dense"]) == (2, 40.0)
    assert set(found["seconds"]["forward"]) == {"strided on 2", "strided on 1", "flash on 1", "vanilla on 1"}
    assert set(found["seconds"]["forward and backward"]) == {"strided on 2", "strided on 1", "flash on 1"}
    assert all(each > 0 for ways in found["seconds"].values() for each in ways.values())


def test_a_start_without_torchrun_says_so() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RANK"}
    run = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment, timeout=280)
    assert run.returncode == 1
    assert "torchrun" in run.stderr
