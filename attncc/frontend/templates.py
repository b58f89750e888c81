"""Templates: what patterns are but for the entries of their tables, as a prepared statement is but for its values.

A declared pattern is made into a template once for all tables of a rank and kind; a Pattern is a template and the
tables that take the places of its placeholders. What planning finds out about a template holds for all of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import sympy

from attncc._util import caching
from attncc.errors import PatternError
from attncc.ir.codec import Program, fingerprint
from attncc.ir.normal import Clause, comparison, normalised
from attncc.ir.placeholders import Placeholder
from attncc.ir.predicate import Atom, Predicate, disjunction
from attncc.ir.size import check_pattern
from attncc.ir.tables import TableData, TableSymbol

#: The tables in the places of a template's placeholders, by the symbols of these.
Tables = Mapping[TableSymbol, TableData]


#: The end of a template's handle.
_MARK = "?"
_registry: weakref.WeakValueDictionary[str, PatternTemplate] = weakref.WeakValueDictionary()
#: What graphs name that made it themselves: such a template lives as long as the process.
_in_graphs: set[PatternTemplate] = set()


class PatternTemplate:
    """The subsets of a pattern, with placeholders where tables are looked up that aren't known yet.

    `page_size` isn't 0 where keys lie in pages of that size, of which two tables tell, the last ones; `page_slot` is
    the number of the first of them (attncc.frontend.pages).

    Raises PatternError if it is too large to be planned.
    """

    def __init__(self, subsets: Sequence[Predicate], page_size: int = 0, page_slot: int = 0) -> None:
        self.subsets, self.page_size, self.page_slot = tuple(subsets), page_size, page_slot
        check_pattern(disjunction(self.subsets))

    @cached_property
    def handle(self) -> str:
        """Names the template for compiled graphs, which take the tables as inputs."""
        handle = f"{self.fingerprint}{_MARK}"
        self._first = _registry.setdefault(handle, self)  # which the handle finds, so that it lives as long
        return handle

    def __reduce__(self) -> tuple[object, ...]:
        return PatternTemplate, (self.subsets, self.page_size, self.page_slot)

    @cached_property
    def predicate(self) -> Predicate:
        """The union of the subsets in normal form."""
        return normalised(disjunction(self.subsets))

    @cached_property
    def placeholders(self) -> dict[TableSymbol, Placeholder]:
        """The placeholders that are looked up, by their symbols."""
        tables = frozenset[TableData]().union(*(subset.tables for subset in self.subsets))
        return {TableSymbol(table): table for table in tables if isinstance(table, Placeholder)}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the subsets, the same in every process, and what is known of pages."""
        return fingerprint(self.program) + (f"/{self.page_size}@{self.page_slot}" if self.page_size else "")

    @property
    def slots(self) -> int:
        """The number of tables that are bound in a graph: one for each number up to the last one that is used."""
        return self.page_slot + 2 if self.page_size else slots_of(self.placeholders.values())

    @property
    def program(self) -> Program:
        """What is written down where a template leaves the process."""
        return Program("pattern", "", self.subsets)

    def check(self, tables: Sequence[TableData]) -> None:
        """Raise TableError unless tables may take the places of the placeholders, by their numbers."""
        for placeholder in self.placeholders.values():
            placeholder.check(tables[placeholder.number])

    def bound(self, tables: Sequence[TableData]) -> Tables:
        """Return the tables of a pattern that are looked up, by the placeholders that stand for them."""
        return {symbol: tables[placeholder.number] for symbol, placeholder in self.placeholders.items()}


def slots_of(placeholders: Iterable[Placeholder]) -> int:
    """Return one more than the last number of placeholders; 0 without any."""
    return max((placeholder.number + 1 for placeholder in placeholders), default=0)


def is_template(handle: str) -> bool:
    """Return whether a handle names a template."""
    return handle.endswith(_MARK)


def template_of(handle: str) -> PatternTemplate:
    """Return the template of a handle; raises PatternError for one of another process."""
    found = _registry.get(handle)
    if found is None:
        raise PatternError(
            f"The template {handle!r:.80} isn't known in this process.",
            rule="A compiled graph names the template of its pattern, which is made where the graph is.",
            fix="Compile the model in this process, or save it with torch.export, which writes the pattern down.",
        )
    return found


def handle_in_graphs(template: PatternTemplate) -> str:
    """Return the handle of a template that a graph makes, which nothing else keeps alive."""
    _in_graphs.add(template)
    return template.handle


#: What makes predicates of a template, and of numbers.
Change = Callable[..., Sequence[Predicate]]


@caching.algebra(1024)
def derived(template: PatternTemplate, change: Change, *numbers: int) -> PatternTemplate:
    """Return what becomes of a template; asking again with the same function and numbers gives the same one."""
    return PatternTemplate(change(template, *numbers))


@caching.algebra(1024)
def joined(
    templates: tuple[PatternTemplate, ...], numbers: tuple[tuple[int, ...], ...], join: Callable[..., Predicate]
) -> PatternTemplate:
    """Return the join of several templates' predicates, whose placeholders get these numbers."""
    return PatternTemplate([join(*(_renumbered(t, to) for t, to in zip(templates, numbers, strict=True)))])


def _renumbered(template: PatternTemplate, numbers: tuple[int, ...]) -> Predicate:
    """Return a template's predicate with placeholder n as placeholder numbers[n]."""
    own = template.placeholders.items()
    return put(template.predicate, {symbol: table.numbered(numbers[table.number]) for symbol, table in own})


def put(predicate: Predicate, tables: Tables) -> Predicate:
    """Return a predicate with tables in the places of its placeholders."""
    if not tables:
        return predicate
    symbols = _symbols(tables)
    return predicate.map(lambda atom: comparison(atom.relation, _put(atom.expr, symbols)) if atom.tables else atom)


def filled(predicate: Predicate, tables: Tables) -> Predicate:
    """Return what `put` does, not in normal form: to be evaluated."""
    if not tables:
        return predicate
    symbols = _symbols(tables)
    return predicate.map(lambda atom: Atom(atom.relation, _put(atom.expr, symbols)) if atom.tables else atom)


def bound_clause(clause: Clause, tables: Tables) -> Clause | None:
    """Return a clause with tables in the places of its placeholders; None where it is shown to be empty then."""
    if not tables:
        return clause
    symbols = _symbols(tables)
    found: Clause | None = Clause({})
    for form, span in clause.spans.items():
        own = _put(form, symbols)
        found = found and found.meet(Clause({own: replace(span, form=own)}))
    return found


def _symbols(tables: Tables) -> dict[TableSymbol, TableSymbol]:
    """Return what takes the placeholders' places: tables with all that is asked of them on the host."""
    return {symbol: TableSymbol(table.on_host) for symbol, table in tables.items()}


def _put(expr: sympy.Expr, symbols: dict[TableSymbol, TableSymbol]) -> sympy.Expr:
    return expr.xreplace(symbols)
