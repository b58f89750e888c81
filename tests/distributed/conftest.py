"""Worlds of gloo processes, started once for many tests."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # tests share helpers of this folder
START, LIMIT = 180.0, 100.0


class World:
    """Processes that run the same job at the same time; after an error or a hang they are started anew."""

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks
        self.processes: list[subprocess.Popen[str]] = []

    def run(self, job: str, *arguments: Any, limit: float = LIMIT) -> list[Any]:
        """Return what a function of jobs.py, or "module.function", returns on each rank; fails with all tracebacks."""
        if not self.processes:
            self._start()
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"job": job, "arguments": arguments}) + "\n")
            process.stdin.flush()
        answers = [self._answer(rank, limit) for rank in range(self.ranks)]
        wrong = [f"rank {r}:\n{answer['error']}" for r, answer in enumerate(answers) if "error" in answer]
        if wrong:
            self.stop()
            pytest.fail(f"{job}{arguments} failed.\n" + "\n".join(wrong), pytrace=False)
        return [answer["result"] for answer in answers]

    def _start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="attncc-world-")
        store = str(Path(self.folder.name, "store"))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.answers: list[queue.Queue[str]] = [queue.Queue() for _ in range(self.ranks)]
        for rank in range(self.ranks):
            command = [sys.executable, str(HERE / "worker.py"), str(rank), str(self.ranks), store]
            with Path(self.folder.name, f"log{rank}").open("w") as log:
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True
                )
            self.processes.append(process)
            threading.Thread(target=self._read, args=(process, self.answers[rank]), daemon=True).start()
        for rank in range(self.ranks):
            assert self._answer(rank, START) == {"ready": rank}

    @staticmethod
    def _read(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(line)

    def _answer(self, rank: int, limit: float) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self.answers[rank].get(timeout=limit))
        except queue.Empty:
            log = Path(self.folder.name, f"log{rank}").read_text()[-4000:]
            return {"error": f"No answer within {limit} s. Its log:\n{log}"}
        return answer

    def stop(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if self.processes:
            self.folder.cleanup()
        self.processes = []


@pytest.fixture(scope="session")
def world() -> Iterator[Callable[[int], World]]:
    """Return worlds by their number of ranks."""
    worlds: dict[int, World] = {}

    def of(ranks: int) -> World:
        return worlds.setdefault(ranks, World(ranks))

    yield of
    for each in worlds.values():
        each.stop()
