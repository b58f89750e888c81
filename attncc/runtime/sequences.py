"""Arguments of sequences: offsets and numbers of keys, a number for all batch entries or one for each."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from attncc._util.tracing import is_recording, plain
from attncc.errors import ShapeError
from attncc.frontend.documents import Documents
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.frontend.sequences import Sequences, placed_in_graph, score_in_graph
from attncc.ir.arrays import as_array
from attncc.ir.score import IDENTITY
from attncc.runtime.versions import Content, array_of, content

#: Integers: a number for all batch entries, or a list, array or tensor (B,) with one for each.
Lengths = Any


def is_of_each(given: Lengths) -> bool:
    """Return whether an argument has an entry for each sequence, and isn't one number."""
    if isinstance(given, int):  # under torch.compile it may stand for one, and has no attributes
        return False
    return isinstance(given, list | tuple) or bool(getattr(given, "ndim", 0))


def placed(
    pattern: Pattern, score: Score, query: Tensor, key: Tensor, q_offset: Lengths, kv_len: Lengths | None
) -> tuple[Pattern, Score, Lengths]:
    """Return a call's pattern, score and offset, one number, for sequences with these offsets and numbers of keys.

    In a batch without entries the pattern stays what it is. Raises what `sequences_of` does.
    """
    own_offset, offset = (q_offset, 0) if is_of_each(q_offset) else (None, q_offset)
    if is_recording():
        columns = columns_in_graph(query.shape[0], query.device, q_offset=own_offset, kv_len=kv_len)
        if kv_len is not None:
            torch._assert_async((columns["kv_len"] <= key.shape[2]).all(), "kv_len has more keys than the tensors.")
        return placed_in_graph(pattern, columns), score_in_graph(score, columns), offset
    if not query.shape[0]:
        for name, numbers in (("q_offset", q_offset), ("kv_len", 0 if kv_len is None else kv_len)):
            content_of_each(numbers, name, 0)
        return pattern, score, offset
    sequences = sequences_of(query, key, own_offset, kv_len)
    return sequences.pattern(pattern), placed_score(score, sequences), offset


def placed_score(score: Score, sequences: Sequences | Documents) -> Score:
    """Return the score of a call that is `score` of each sequence's own positions; one that changes nothing stays."""
    return score if score.key == IDENTITY.key else sequences.score(score)


def columns_in_graph(batch: int, device: torch.device, **given: Lengths | None) -> dict[str, Tensor]:
    """Return the arguments that there are as values of the graph that is recorded, (B,), by name; raises ShapeError."""
    columns = {name: _column(x, batch, device) for name, x in given.items() if x is not None}
    for name, column in columns.items():
        if column.ndim != 1 or column.shape[0] != batch:
            _refuse_shape(name, tuple(map(plain, column.shape)), plain(batch))
    return columns


def _column(given: Lengths, batch: int, device: torch.device) -> Tensor:
    if not is_of_each(given):
        return torch.full((batch,), given, dtype=torch.int64, device=device)
    return given if isinstance(given, Tensor) else torch.as_tensor(given, device=device)


def sequences_of(query: Tensor, key: Tensor, q_offset: Lengths | None, kv_len: Lengths | None) -> Sequences:
    """Return the sequences of a batch, the same ones for the same numbers.

    Raises ShapeError for what has no entry for each sequence, and for more keys than there are.
    """
    batch, keys = query.shape[0], key.shape[2]
    given = (("q_offset", q_offset), ("kv_len", kv_len))
    sequences = _sequences(
        *(None if numbers is None else content_of_each(numbers, name, batch) for name, numbers in given)
    )
    if sequences.kv_len is not None and sequences.kv_len.max(initial=0) > keys:
        raise ShapeError(
            f"kv_len has {sequences.kv_len.max()}, and there are {keys} keys.",
            rule="No sequence has more keys than the tensors.",
            fix="Count the keys of each sequence, those of this call among them.",
        )
    return sequences


def content_of_each(given: Lengths, name: str, batch: int) -> Content:
    """Return the contents of an argument with an entry for each of the batch's sequences; a number stands for all."""
    found = content(given if is_of_each(given) else np.full(batch, as_array(given)))
    if found[2] != (batch,):
        _refuse_shape(name, found[2], batch)
    return found


def _refuse_shape(name: str, shape: tuple[int, ...], batch: int) -> NoReturn:
    raise ShapeError(
        f"{name} has shape {shape}, and there are {batch} batch entries.",
        rule="It is a number, or (B,), one for each entry of the batch.",
        fix="Give one for each sequence, in the order of the batch.",
    )


@lru_cache(maxsize=64)
def _sequences(q_offset: Content | None, kv_len: Content | None) -> Sequences:
    return Sequences(*(None if given is None else array_of(given) for given in (q_offset, kv_len)))
