"""Export of calls: in a saved program, the texts of pattern and score stand in place of handle and key.

The texts are those of attncc.ir.codec. Tables lie beside them as tensors, constants of the program, and are identified
by their hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from cachetools import LRUCache, cached
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils._python_dispatch import _disable_current_modes

from attncc._util.tracing import constant
from attncc.errors import ExportError
from attncc.frontend.graph_templates import slots_of
from attncc.frontend.lists import Lists
from attncc.frontend.patterns import Pattern, by_handle
from attncc.frontend.score_templates import bound
from attncc.frontend.scores import Score
from attncc.frontend.templates import PatternTemplate, is_template, template_of
from attncc.ir import codec
from attncc.ir.placeholders import Placeholder
from attncc.ir.score import IDENTITY, ScoreExpression, by_key
from attncc.ir.tables import TableData
from attncc.runtime.call import AttentionCall
from attncc.runtime.versions import by_version

#: Patterns, and scores, that were read and are kept.
MOST = 1024


def is_exporting() -> bool:
    """Return whether torch.export, torch.jit.trace or make_fx is recording, for a program that is used elsewhere."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return torch.jit.is_tracing() or get_proxy_mode() is not None  # type: ignore[no-untyped-call,attr-defined]


def graph_tables(call: AttentionCall, pattern: Pattern, score: Score) -> list[Any]:
    """Return what takes the places of placeholders, of the pattern's and then of the score's, as far as it is known."""
    of_pattern = pattern.tables[: slots_of(call.pattern)] if call.is_template else ()
    return [*of_pattern, *score.tables]


def exported(call: AttentionCall, pattern: Pattern, made: Score) -> tuple[list[Tensor], AttentionCall]:
    """Return the tables of a call as tensors, and the call with the texts of its pattern and score.

    Constants come first, by their hashes, and then the tables of a pattern and score that the program makes.
    Raises ExportError for a pattern or score that can't be written, and under torch.onnx.
    """
    check_format()
    handle, score = call.pattern, call.score
    tables = [table(handle, score, n) for n in range(number_of_tables(handle, score))]
    given = graph_tables(call, pattern, made)
    tables += [slot(x) if isinstance(x, TableData) else torch.as_tensor(x) for x in given]
    return tables, call._replace(pattern=pattern_text(handle, pattern.name), score=score_text(score))


@constant
def check_format() -> None:
    """Raise ExportError where the call is recorded for ONNX."""
    if torch.onnx.is_in_onnx_export():
        raise ExportError(
            "attncc.attention was exported to ONNX.",
            rule="ONNX has no operator for it, and files of ONNX run without attncc.",
            fix="Save it with torch.export.save, or export scaled_dot_product_attention with the mask of "
            "attncc.dense_mask, which computes all pairs.",
        )


@constant
def pattern_text(handle: str, name: str) -> str:
    """Return the text of a pattern; raises ExportError unless it can be read again."""
    if _template(handle).page_size:
        raise ExportError(
            f"Pattern {name!r} of keys in pages was exported.",
            rule="A saved program holds no page table.",
            fix="Export the model on contiguous keys, or compile it with torch.compile in the process that serves it.",
        )
    return _checked(_named(handle).program._replace(name=name), _tables(handle, ""))


@constant
def score_text(key: str) -> str:
    """Return the text of a score, "" for none; raises ExportError unless it can be read again."""
    score = by_key(key)
    return "" if score is IDENTITY else _checked(score.program, score.tables)


def _checked(program: codec.Program, tables: Iterable[TableData]) -> str:
    """Return a program as text; raises ExportError unless it can be read again."""
    text = codec.written(program)
    codec.read(text, program.kind, {table.digest: table for table in tables})
    return text


@constant
def number_of_tables(handle: str, key: str) -> int:
    """Return the number of distinct tables that a pattern and a score look up."""
    return len(_tables(handle, key))


@constant
def table(handle: str, key: str, number: int) -> Tensor:
    """Return one of these tables, the same tensor each time."""
    return _constant(_tables(handle, key)[number])


@constant
def slot(table: TableData) -> Tensor:
    """Return what is put into a slot of a template, a constant of the program, the same tensor each time."""
    return _constant(table)


def _constant(data: TableData) -> Tensor:
    if data not in _constants:
        with _unrecorded():
            _constants[data] = torch.from_numpy(np.array(data.data))
    fake = torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE)
    found = _constants[data]
    if fake is not None and not fake.allow_non_fake_inputs:
        found = torch.ops.aten.lift_fresh(found)  # as make_fx records a tensor that it meets among fake ones
    return found


_constants: WeakKeyDictionary[TableData, Tensor] = WeakKeyDictionary()


@contextmanager
def _unrecorded() -> Iterator[None]:
    """Make tensors that are constants of the program that is being recorded."""
    state = torch._C._get_tracing_state()  # of torch.jit.trace
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        with _disable_current_modes():
            yield
    finally:
        torch._C._set_tracing_state(state)  # type: ignore[attr-defined]


def _named(handle: str) -> Pattern | PatternTemplate:
    return template_of(handle) if is_template(handle) else by_handle(handle)


def _template(handle: str) -> PatternTemplate:
    return template_of(handle) if is_template(handle) else by_handle(handle).template


def _tables(handle: str, key: str) -> list[TableData]:
    """Return the tables of a pattern and a score that are constants, by their hashes."""
    parts = [*(subset.tables for subset in _named(handle).subsets), by_key(key).tables]
    constants = (data for data in frozenset[TableData]().union(*parts) if not data.is_placeholder)
    by_digest = {data.digest: data for data in constants}
    return [by_digest[digest] for digest in sorted(by_digest)]


def referents(call: AttentionCall) -> tuple[object, ...]:
    """Return the pattern and score that a call names; none for an exported call."""
    return (
        ()
        if codec.is_program(call.pattern) or is_template(call.pattern)
        else (by_handle(call.pattern), by_key(call.score))
    )


def resolved(call: AttentionCall, tables: Sequence[Tensor]) -> tuple[AttentionCall, tuple[object, ...]]:
    """Return a call with handle and key, and the pattern and score that it names, for the caller to keep alive.

    Texts are read when they are first seen, and tables are compared with their hashes. Raises ExportError for damaged
    texts and tables.
    """
    if not codec.is_program(call.pattern):
        if not tables and not is_template(call.pattern):
            return call, ()
        template = template_of(call.pattern) if is_template(call.pattern) else None
        own = template.slots if template else 0
        pattern = _bound(template, "traced", tables[:own]) if template else by_handle(call.pattern)
        score = _bound_score(by_key(call.score), tables[own:])
        return call._replace(pattern=pattern.handle, score=score.key), (pattern, score)
    number = len(codec.constants_of(call.pattern) | codec.constants_of(call.score))
    own = number + codec.number_of_slots(call.pattern)
    constants = {table.digest: table for table in map(_data, tables[:number])}
    pattern, score = _pattern(call.pattern, constants), _score(call.score, constants)
    if pattern.template.placeholders:
        pattern = _bound(pattern.template, pattern.name, tables[number:own])
    score = _bound_score(score, tables[own:])
    return call._replace(pattern=pattern.handle, score=score.key), (pattern, score)


def _bound(template: PatternTemplate, name: str, tensors: Sequence[Tensor]) -> Pattern:
    """Return a template's pattern for tables of these entries; raises TableError unless they are of its kinds."""
    of = _read if template.page_size else _table_of  # pages are looked at on the host
    tables = _tables_of(template.placeholders.values(), tensors, of)
    template.check(tables)
    return Pattern(template, name, None, tables)


def _bound_score(score: ScoreExpression, tensors: Sequence[Tensor]) -> ScoreExpression:
    """Return a score for tables of these entries; raises TableError unless they are of its kinds."""
    placeholders = score.placeholders
    return bound(score, tuple(_tables_of(placeholders, tensors, _read))) if placeholders else score


def _tables_of(
    placeholders: Iterable[Placeholder], tensors: Sequence[Tensor], of: Callable[[Tensor, bool], TableData]
) -> list[TableData]:
    lists = {placeholder.number for placeholder in placeholders if placeholder.is_lists}
    return [of(x, n in lists) for n, x in enumerate(tensors)]


def _by_content(text: str, tables: codec.Tables) -> tuple[object, ...]:
    return text, frozenset(tables)


@cached(LRUCache(MOST), key=_by_content, lock=Lock())
def _pattern(text: str, tables: codec.Tables) -> Pattern:
    return Pattern.of(codec.read(text, "pattern", tables))


@cached(LRUCache(MOST), key=_by_content, lock=Lock())
def _score(text: str, tables: codec.Tables) -> ScoreExpression:
    return ScoreExpression.of(codec.read(text, "score", tables)) if text else IDENTITY


def _read(tensor: Tensor, is_lists: bool) -> TableData:
    """Return the table that an input of a graph is, read on the host and kept."""
    return _lists(tensor) if is_lists else _data(tensor)


def _table_of(tensor: Tensor, is_lists: bool) -> TableData:
    """Return the same of a pattern. On a device it is neither read nor kept: CUDA graphs record what it becomes."""
    if tensor.device.type == "cpu":
        return _read(tensor, is_lists)
    return Lists(tensor) if is_lists else TableData.unread(tensor)


@by_version
def _data(tensor: Tensor) -> TableData:
    """Return the table that a tensor holds."""
    return TableData(tensor)


@by_version
def _lists(tensor: Tensor) -> TableData:
    """Return the lists that a tensor holds."""
    return Lists(tensor)
