"""Train the byte model of bytes_lm.py on several processes, which share the tokens of each window.

Run `python examples/distributed_lm.py --help`, or start it with torchrun. It needs attncc, and runs on a CPU.

Every process has the whole model and some of the tokens. Only attention needs the tokens of other processes:
attncc.distributed moves the rows that the pattern needs, and no others. The losses are those of one process. With
--checkpoint a run continues from the last checkpoint, also after torchrun has restarted it because a process died.
"""

from __future__ import annotations

import io
import json
import math
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
import typer
from bytes_lm import (
    AsJson,
    Batch,
    ByteModel,
    Context,
    Corpus,
    Count,
    History,
    LearningRate,
    Parameters,
    PatternName,
    Seed,
    Settings,
    Width,
    drawn,
    evaluate,
    is_evaluated,
    optimiser_of,
    pattern_of,
    progress_bar,
    read_corpus,
    report,
)
from torch import Tensor, nn

import attncc
import attncc.distributed
from attncc._util import storage
from attncc.distributed.liveness.liveness import Liveness


class Team:
    """The processes that share each window: their attention, and sums over all of them."""

    def __init__(self, pattern: attncc.Pattern, settings: Settings, timeout: float) -> None:
        self.tokens = settings.batch * settings.context
        self.attention = attncc.distributed.compile(
            pattern,
            settings.context,
            heads=settings.heads,
            batch=settings.batch,
            head_dim=settings.width // settings.heads,
            dtype="fp32",
            timeout=timeout,
        )
        self.positions = self.attention.positions()
        world = dist.group.WORLD
        assert world is not None
        self.liveness = Liveness(world, timeout)

    def model(self, settings: Settings) -> ByteModel:
        """Return the model of bytes_lm.py, for the tokens of this process."""
        model = ByteModel(settings, self._attend)
        model.turns = model.turns[self.positions]
        return model

    def share(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the part of this process's tokens in the bits per byte of whole windows, (B, N)."""
        logits, wanted = model(inputs[:, self.positions]).flatten(0, 1), targets[:, self.positions].flatten()
        return F.cross_entropy(logits, wanted, reduction="sum") / inputs.numel() / math.log(2)

    def bits(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the bits per byte of whole windows, on every process."""
        return self._added("the sum of losses", self.share(model, inputs, targets).detach())

    def add_up(self, model: nn.Module, share: Tensor) -> float:
        """Add up the gradients of all processes, and return the bits per byte of whole windows."""
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        parts = [share.detach()[None], *(gradient.flatten() for gradient in gradients)]
        total = self._added("the sum of gradients", torch.cat(parts))
        for gradient, part in zip(gradients, total.split([part.numel() for part in parts])[1:], strict=True):
            gradient.copy_(part.view_as(gradient))
        return float(total[0])

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = self.attention(query, key, value)
        assert isinstance(out, Tensor)  # a tuple only with return_lse=True
        return out

    def _added(self, what: str, x: Tensor) -> Tensor:
        with self.liveness.guard(what):
            dist.all_reduce(x)
        return x


@dataclass
class Training:
    """The content of a checkpoint; `run` is a text that identifies the run."""

    run: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    draw: torch.Generator
    history: History = field(default_factory=History)

    def save(self, path: Path) -> None:
        """Write a checkpoint in one step, so that there is always a complete one."""
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule")}
        content = io.BytesIO()
        torch.save({**parts, "run": self.run, "draw": self.draw.get_state(), "history": asdict(self.history)}, content)
        storage.write(path, content.getvalue())

    def load(self, path: Path) -> None:
        """Continue from a checkpoint; raises ConfigError if it belongs to another run."""
        found: dict[str, Any] = torch.load(path, weights_only=True)
        if found["run"] != self.run:
            raise attncc.ConfigError(
                f"{path} is of another run: {found['run']}",
                rule=f"This one is {self.run}",
                fix="Name another file, or delete this one.",
            )
        for name in ("model", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(found[name])
        self.draw.set_state(found["draw"])
        self.history = History(**found["history"])


def train(team: Team, training: Training, corpus: Corpus, settings: Settings) -> Iterator[History]:
    """Take the remaining steps; yield the history after each."""
    model, history, seconds = training.model, training.history, []
    bits_of = partial(team.bits, model)
    for step in range(len(history.train) + 1, settings.steps + 1):
        begin = time.perf_counter()
        share = team.share(model, *drawn(corpus.train, settings, training.draw))
        training.optimizer.zero_grad()
        torch.autograd.backward(share)
        history.train.append(team.add_up(model, share))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        training.optimizer.step()
        training.schedule.step()
        seconds.append(time.perf_counter() - begin)
        timed = seconds[1:] or seconds
        history.tokens_per_second = team.tokens * len(timed) / sum(timed)
        if is_evaluated(step, settings.steps):
            history.held_out.append((step, evaluate(bits_of, corpus.held_out, settings.context)))
        yield history


def work(pattern: attncc.Pattern, settings: Settings, checkpoint: Path | None, every: int, timeout: float) -> History:
    """Train as one of the processes."""
    corpus = read_corpus(Path(sysconfig.get_paths()["stdlib"]), settings.context + 1)
    team = Team(pattern.causal(), settings, timeout)
    torch.manual_seed(settings.seed)
    model = team.model(settings)
    draw = torch.Generator().manual_seed(settings.seed)
    training = Training(f"{pattern!r}, {settings}", model, *optimiser_of(model, settings), draw)
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
    with shown(settings.steps) as show:
        for step, history in enumerate(train(team, training, corpus, settings), start=len(training.history.train) + 1):
            if checkpoint is not None and dist.get_rank() == 0 and (step % every == 0 or step == settings.steps):
                training.save(checkpoint)
            show(history)
    return training.history


@contextmanager
def shown(steps: int) -> Iterator[Callable[[History], None]]:
    """Show progress on the first process."""
    if dist.get_rank():
        yield lambda history: None
        return
    with progress_bar(steps) as show:
        yield show


def meet() -> None:
    """Join the other processes that torchrun has started on this host.

    torchrun keeps one store for all attempts. Addresses of an earlier attempt would keep the next one from connecting
    (torch 2.13), so each attempt has a prefix of its own. On several hosts the numbers of attempts may differ: set
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 there instead.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    hosts = rank == 0 and os.environ["TORCHELASTIC_USE_AGENT_STORE"] != "True"
    store = dist.TCPStore(address, port, size, is_master=hosts)
    attempt = dist.PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    dist.init_process_group("gloo", store=attempt, rank=rank, world_size=size)


def launch(processes: int, restarts: int) -> None:
    """Start this program in a number of processes, as torchrun does."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    options = ["--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    try:
        torchrun([*options, __file__, *sys.argv[1:]])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        sys.exit(f"error: process {rank} failed first, with exit status {failure.exitcode}.")


def main(
    processes: Annotated[int, typer.Option(min=1, help="Processes to start; under torchrun, ignored.")] = 2,
    pattern: PatternName = "strided",
    param: Parameters = None,
    steps: Count = Settings.steps,
    context: Context = Settings.context,
    batch: Batch = Settings.batch,
    layers: Count = Settings.layers,
    heads: Count = Settings.heads,
    width: Width = Settings.width,
    learning_rate: LearningRate = Settings.learning_rate,
    seed: Seed = Settings.seed,
    checkpoint: Annotated[Path | None, typer.Option(help="A file to write, and to continue from.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 20,
    restarts: Annotated[int, typer.Option("--max-restarts", min=0, help="Restarts after a process has died.")] = 0,
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds until a hanging process counts as dead.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Train a byte-level language model on the Python standard library's sources, on several processes.

    Example: python examples/distributed_lm.py --processes 4 --steps 50 --checkpoint lm.pt --max-restarts 2
    """
    settings = Settings(context, layers, heads, width, steps, batch, learning_rate, seed)
    chosen = pattern_of(pattern, param)
    if not dist.is_torchelastic_launched():
        launch(processes, restarts)
        return
    meet()
    history = work(chosen.union(), settings, checkpoint, every, timeout)
    size, first = dist.get_world_size(), dist.get_rank() == 0
    dist.destroy_process_group()
    if first and as_json:
        run = {"pattern": repr(chosen), "processes": size, "settings": asdict(settings)}
        print(json.dumps({**run, **asdict(history)}))
    elif first:
        report(f"{chosen!r}, {context:,} tokens of context on {size} processes", history)


if __name__ == "__main__":
    try:
        typer.run(main)
    except attncc.AttnccError as error:
        sys.exit(f"error: {error}")
