"""Patterns whose tables aren't read on the host, as those of tables on a GPU are; here they may lie on the CPU."""

from __future__ import annotations

import torch

from attncc.frontend.language import Table
from attncc.frontend.lists import Lists
from attncc.frontend.patterns import Pattern
from attncc.frontend.templates import PatternTemplate
from attncc.ir.normal import comparison
from attncc.ir.placeholders import Placeholder, TableKind
from attncc.ir.predicate import Predicate
from attncc.ir.tables import TableData, TableSymbol


def unread(pattern: Pattern, device: str = "cpu") -> Pattern:
    """Return the pattern with its tables on a device, unread; those that its predicate holds are taken out first."""
    pattern = pattern if pattern.tables else lifted(pattern)
    tables = [
        (Lists if isinstance(table, Lists) else Table).unread(torch.from_numpy(table.entries).to(device), table.name)
        for table in pattern.tables
    ]
    return Pattern(pattern.template, pattern.name, pattern.parameters, tables)


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


def is_read(pattern: Pattern) -> bool:
    """Return whether entries of a table were asked for on the host."""
    return any({"data", "entries"} & table.__dict__.keys() for table in pattern.tables)
