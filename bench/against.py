"""Compare two checkouts of attncc: plan, prepare and run, in alternating rounds:

    git worktree add /tmp/old 0198237
    python bench/against.py /tmp/old --rounds 7

prints, for each case of contestant.py and for some commands, this checkout's seconds, the other's, and the median of
the ratios of the rounds with their spread (half the distance between the smallest and the largest). Seconds are those
of a processor, so that other work of the machine counts little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
CONTESTANT = HERE / "contestant.py"
GROUPS = ("planned", "run", "warm", "commands")
PROGRAM = "from attncc.cli import main; main()"
TUNE = "tune strided -p l=128 --seq-len 4096 --trials 4 --json"
COMMANDS = {
    "import attncc": [sys.executable, "-c", "import torch, attncc; attncc.attention"],
    "attncc --help": [sys.executable, "-c", PROGRAM, "--help"],
    "second attncc tune of a key": [sys.executable, "-c", PROGRAM, *TUNE.split()],
    **{
        f"attncc partition {name} on 64 ranks, N = 1,048,576": [
            *(sys.executable, "-c", PROGRAM, "partition", name, "-p", parameter),
            *("--seq-len", "1048576", "--topology", "64xh100", "--direction", "fwd"),
        ]
        for name, parameter in (("sliding_window", "window=256"), ("strided", "l=1024"))
    },
}


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--groups", nargs="*", choices=GROUPS, default=list(GROUPS))
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        sides = [_environment(root, Path(folder)) for root in (HERE.parent, options.other)]
        if "commands" in options.groups:
            for side in sides:
                _command(COMMANDS["second attncc tune of a key"], side)
        for number in range(options.rounds):
            for group in options.groups:
                turns = [0, 1] if number % 2 == 0 else [1, 0]
                taken = {turn: _taken(group, sides[turn]) for turn in turns}
                for name in taken[0].keys() & taken[1].keys():
                    rows.setdefault(name, []).append((taken[0][name], taken[1][name]))
    for name, pairs in sorted(rows.items()):
        print(_row(name, pairs))


def _environment(root: Path, folder: Path) -> dict[str, str]:
    """Return the environment in which a checkout is imported, with a cache of its own."""
    paths = [root, *sorted(path for path in (root / "plugins").iterdir() if path.is_dir())]
    cache = folder / root.name
    own = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "ATTNCC_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **own}


def _taken(group: str, environment: Mapping[str, str]) -> dict[str, float]:
    """Return the seconds of each case of a group."""
    if group == "commands":
        return {name: _command(command, environment) for name, command in COMMANDS.items()}
    found = subprocess.run(
        [sys.executable, CONTESTANT, group], env=environment, cwd="/", capture_output=True, text=True, check=True
    )
    taken: dict[str, float] = json.loads(found.stdout)
    return taken


def _command(command: list[str], environment: Mapping[str, str]) -> float:
    """Return the seconds of processors that a command takes in all."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=environment, cwd="/", capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _row(name: str, pairs: list[tuple[float, float]]) -> str:
    own, other = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = [mine / max(theirs, 1e-9) for mine, theirs in pairs]
    spread = (max(ratios) - min(ratios)) / 2
    return f"| {name} | {own:.4g} ms | {other:.4g} ms | {statistics.median(ratios):.2f} x | {spread:.2f} |"


if __name__ == "__main__":
    main()
