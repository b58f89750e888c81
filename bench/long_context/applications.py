"""What models are trained for: text, photographs, and three tasks; each with its families, sizes and rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import attncc

from . import pixels, tasks, text
from .families import Family, families, patterned
from .model import Shape
from .training import Pace, Part, Rows

#: Steps on text, and the tokens of their windows: what a model learns in short ones serves it in long ones.
GROWTH = ((128, 256), (40, 1024), (20, 4096), (12, 8192))


def _nowhere(context: int) -> Sequence[Tensor]:
    return ()


@dataclass(frozen=True)
class Application:
    """One thing to learn.

    Attributes:
        title: In words.
        measure: What a model is judged by, an attribute of Judged.
        contexts: Tokens of a window, each a model of its own.
        families: The contestants, by name.
        shape, pace: Of every model.
        drawn: (context, rows, generator) -> rows to train on.
        held_out: (context) -> rows to judge, apart by what makes them hard.
        places: As Model takes them, by the context.
        distances: From what is asked for to where it stood, for tasks that have such distances.
    """

    title: str
    measure: str
    contexts: tuple[int, ...]
    families: Mapping[str, Family]
    shape: Shape
    pace: Pace
    drawn: Callable[[int, int, torch.Generator], Rows]
    held_out: Callable[[int], Mapping[str, Rows]]
    places: Callable[[int], Sequence[Tensor]] = _nowhere
    distances: tuple[int, ...] = ()


def _text() -> Application:
    return Application(
        "The standard library, byte by byte",
        "bits",
        (256, 1024, 4096, 8192),
        families(near=128),
        Shape(),
        Pace(tuple(Part(steps, 8192, window) for steps, window in GROWTH), Part(16, 32768, 8192)),
        text.drawn,
        lambda context: {"held out": text.held_out(context)},
    )


def _pixels() -> Application:
    def grid(context: int) -> attncc.Pattern:
        size = pixels.side(context)
        sizes = {"height": size, "width": size * pixels.CHANNELS, "kernel_h": 9, "kernel_w": 9 * pixels.CHANNELS}
        return attncc.load("neighborhood_2d", **sizes)

    def row(context: int) -> int:
        return pixels.side(context) * pixels.CHANNELS

    chosen = {
        "dense": families(near=128)["dense"],
        "window": patterned("the last 128", lambda context: attncc.load("sliding_window", window=128)),
        "strided": patterned("l = a row", lambda context: attncc.load("strided", l=row(context))),
        "fixed": patterned("l = a row, c = 8", lambda context: attncc.load("fixed", l=row(context), c=8)),
        "neighborhood": patterned("9 x 9 pixels", grid),
    }
    return Application(
        "Two photographs, channel by channel",
        "bits",
        (3072,),
        chosen,
        Shape(),
        Pace((Part(200, 3 * 3072, 3072),), Part(80, 3 * 3072, 3072)),
        pixels.drawn,
        lambda context: {"held out": pixels.held_out(context)},
        pixels.places,
    )


def _task(
    title: str,
    task: tasks.Task,
    vocabulary: int,
    distances: tuple[int, ...],
    *,
    judged: tasks.Task | None = None,
    graph_tells: bool = True,
) -> Application:
    def drawn(context: int, rows: int, draw: torch.Generator) -> Rows:
        shares = [rows // len(distances) + (n < rows % len(distances)) for n in range(len(distances))]
        parts = [
            task(context, share, distance, draw) for share, distance in zip(shares, distances, strict=True) if share
        ]
        tokens, targets = (torch.cat(each) for each in zip(*parts, strict=True))
        return tokens, targets

    def held_out(context: int) -> Mapping[str, Rows]:
        draw = torch.Generator().manual_seed(1_000_000)
        return {str(distance): (judged or task)(context, 64, distance, draw) for distance in distances}

    shape = Shape(vocabulary, layers=2, heads=2, width=64, hidden=256)
    told = distances if graph_tells else ()
    pace = Pace((Part(300, 8192, 512),), Part(100, 8192, 512))
    return Application(title, "right", (512,), families(near=32), shape, pace, drawn, held_out, distances=told)


def applications() -> dict[str, Application]:
    """Return all of them, by name."""
    return {
        "text": _text(),
        "pixels": _pixels(),
        "copying": _task("Copying", tasks.copying, tasks.VOCABULARY, tasks.DISTANCES),
        "recall": _task("Associative recall", tasks.recall, tasks.VOCABULARY, tasks.DISTANCES),
        "listops": _task(
            "ListOps",
            tasks.listops,
            tasks.LISTOPS_VOCABULARY,
            (16, 64, 256),
            judged=tasks.whole(tasks.listops),
            graph_tells=False,
        ),
    }


def quick() -> dict[str, Application]:
    """Return them for a look: the shortest context, and few steps; no model gets far."""
    return {name: _shortened(each, each.contexts[0]) for name, each in applications().items()}


def _shortened(application: Application, context: int) -> Application:
    tokens = application.pace.shared[0].tokens
    shared, last = (Part(steps, tokens, context) for steps in (8, 2))
    return replace(
        application, contexts=(context,), pace=replace(application.pace, shared=(shared,), last=last, warmup=2)
    )
