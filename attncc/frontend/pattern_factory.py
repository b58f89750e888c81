"""Declared patterns: functions under `@attncc.pattern`, which are called with parameters to get a pattern."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, overload

from attncc._util.tracing import is_recording, plain
from attncc.errors import PatternError
from attncc.frontend.declarations import Declaration
from attncc.frontend.declared import template_for
from attncc.frontend.graph_templates import declared_handle, is_graph_value, slot_of
from attncc.frontend.language import Index, Table
from attncc.frontend.lists import Lists
from attncc.frontend.patterns import Pattern, TracedPattern
from attncc.frontend.surroundings import surroundings
from attncc.ir.condition import Condition, predicate_of
from attncc.ir.placeholders import TableKind
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import BY_NAME


@dataclass(frozen=True, eq=False)
class PatternFactory(Declaration):
    """What `@attncc.pattern` makes of a function: call it with parameters to get a `Pattern`.

    Attributes:
        name: The function's name.
        doc: The function's documentation.
        parameters: The declared parameters, with types, defaults and limits.
        example: Makes parameters that show the pattern at a number of positions; None where they are drawn.
    """

    example: Callable[..., Mapping[str, Any]] | None = None

    kind = "pattern"
    error = PatternError
    returns = "conditions on positions"
    known_symbols: ClassVar[Mapping[str, Index]] = {name: Index.of(symbol) for name, symbol in BY_NAME.items()}
    known_types = (int, bool, Table, Lists)

    def __call__(self, **values: Any) -> Pattern:
        """Return the pattern for these parameters; raises ParameterError, TableError or PatternError."""
        if is_recording():
            return self._traced(values)
        checked = self.checked(values)
        tables, kinds, others = [], [], []
        for item in checked.items():
            name, value = item
            if isinstance(value, (Table, Lists)):
                tables.append(value)
                kinds.append((name, TableKind.of(value, self.parameter(name).claims)))
            else:
                others.append(item)
        template = template_for(self, tuple(others), tuple(kinds), surroundings(self.function)) if kinds else None
        if template is None:
            return Pattern(self.subsets(checked), self.name, checked)
        return Pattern(template, self.name, checked, tables)

    def _traced(self, values: Mapping[str, Any]) -> TracedPattern:
        """Return the pattern for parameters that may be values of the graph that is recorded."""
        tables = {name: value for name, value in values.items() if is_graph_value(value)}
        ordered = [p.name for p in self.parameters if p.name in tables] or sorted(tables)
        slots = tuple([slot_of(name, tables[name]) for name in ordered])
        others = {name: plain(value) for name, value in values.items() if name not in tables}
        handle = declared_handle(self, slots, tuple(others), *others.values())
        return TracedPattern(handle, [tables[name] for name in ordered], self.name)

    def subsets(self, parameters: Mapping[str, Any]) -> list[Predicate]:
        """Return the predicates that the function makes of checked parameters; raises PatternError."""
        result = self.evaluated(parameters)
        subsets = result if isinstance(result, tuple | list) else (result,)
        if not subsets or not all(isinstance(subset, Condition | bool) for subset in subsets):
            raise PatternError(
                f"Pattern {self.name!r} returned {result!r}.",
                rule="A pattern returns one comparison, or a tuple of them, one for each subset.",
                fix="Return the predicate, as in `return (j <= i) & (i - j < window)`.",
            )
        return [predicate_of(subset) for subset in subsets]


@overload
def pattern(function: Callable[..., Any]) -> PatternFactory: ...
@overload
def pattern(
    function: None = None, *, example: Callable[..., Mapping[str, Any]]
) -> Callable[[Callable[..., Any]], PatternFactory]: ...
def pattern(function: Any = None, *, example: Callable[..., Mapping[str, Any]] | None = None) -> Any:
    """Declare an attention pattern (decorator).

    Args:
        function: Names the symbols that it uses among i, j, h, b, n_q, n_k. Every other parameter is annotated with
            int, bool, `attncc.Table` or `attncc.Lists`; an int may have limits, `Annotated[int, Bounds(minimum=1)]`.
            The function returns one condition, or a tuple of them, one for each subset A^(m).
        example: `@attncc.pattern(example=...)`: takes a number of positions, and parameters of the pattern by their
            names, and returns parameters that the pattern requires, of which `attncc show` makes a picture where it
            isn't given them. Without it they are drawn at random.

    Returns:
        The declared pattern, to be called with its parameters.

    Raises:
        PatternError: For a parameter without a usable annotation.
    """
    if function is None:
        return lambda declared: replace(PatternFactory.of(declared), example=example)
    return PatternFactory.of(function)
