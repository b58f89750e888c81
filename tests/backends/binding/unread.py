"""Patterns and scores whose tables aren't read on the host, as those on a GPU; here they may lie on the CPU."""

from __future__ import annotations

import torch

from attncc.frontend.language import Table
from attncc.frontend.lists import Lists
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.frontend.templates import PatternTemplate
from attncc.ir.normal import comparison
from attncc.ir.placeholders import Placeholder, TableKind
from attncc.ir.predicate import Predicate
from attncc.ir.tables import TableData, TableSymbol


def unread(pattern: Pattern, device: str = "cpu") -> Pattern:
    """Return the pattern with its tables on a device, unread; those that its predicate holds are taken out first."""
    pattern = pattern if pattern.tables else lifted(pattern)
    tables = [unread_table(table, device) for table in pattern.tables]
    return Pattern(pattern.template, pattern.name, pattern.parameters, tables)


def unread_score(score: Score, device: str = "cpu") -> Score:
    """Return a bound score with its tables on a device, unread."""
    tables = {table: unread_table(table, device) for table in score.expression.tables}
    return Score.of(score.expression.with_tables(tables), score.weights)


def unread_table(table: TableData, device: str = "cpu") -> TableData:
    """Return a table on a device, unread."""
    kind = Lists if table.is_lists else Table
    return kind.unread(torch.from_numpy(table.entries).to(device), table.name)


def lifted(pattern: Pattern) -> Pattern:
    """Return the pattern with placeholders where its predicate holds tables."""
    held = {table.digest: table for subset in pattern.subsets for table in subset.tables}
    tables = [held[digest] for digest in sorted(held)]
    symbols = {TableSymbol(table): TableSymbol(_placeholder(table, n)) for n, table in enumerate(tables)}

    def put(predicate: Predicate) -> Predicate:
        return predicate.map(lambda atom: comparison(atom.relation, atom.expr.xreplace(symbols)))

    return Pattern(PatternTemplate([put(subset) for subset in pattern.subsets]), pattern.name, None, tables)


def _placeholder(table: TableData, number: int) -> Placeholder:
    return Placeholder(table.name, number, TableKind.of(table))


def is_read(owner: Pattern | Score) -> bool:
    """Return whether entries of a table were asked for on the host."""
    tables = owner.tables if isinstance(owner, Pattern) else owner.expression.tables
    return any({"data", "entries"} & table.__dict__.keys() for table in tables)
