"""Patterns: connectivity sets A_i^(m), declared as predicates over query position i and key position j."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from types import FunctionType, MethodType
from typing import Any, cast

import sympy

from attncc._util.display import Displayed
from attncc._util.tracing import constant, is_recording, plain, shown
from attncc.errors import ExportError, PatternError
from attncc.frontend import algebra
from attncc.frontend.declarations import Declaration
from attncc.frontend.graph_templates import (
    check_untraced,
    derived_handle,
    handle_of,
    joined_handle,
)
from attncc.frontend.templates import Change, PatternTemplate, Tables, derived, joined, put, template_of
from attncc.ir.codec import Program
from attncc.ir.normal import digest, normalised
from attncc.ir.predicate import Predicate, disjunction
from attncc.ir.symbols import B
from attncc.ir.tables import TableData

#: What plain functions are, such as those for FlexAttention.
MODS = (FunctionType, MethodType, partial)
_registry: weakref.WeakValueDictionary[str, Pattern] = weakref.WeakValueDictionary()
#: Patterns with tables by their local handles, which are all different: one is made for each step of decoding.
_local: dict[str, weakref.ref[Pattern]] = {}
#: What local handles have in them, so that in another process they name nothing; and their numbers.
_PROCESS, _numbers = secrets.token_hex(8), itertools.count()


class Pattern(Displayed):
    """An attention pattern: one or several connectivity sets A_i^(m); attention sees their union.

    Patterns combine with `&`, `|` and `~`.

    Attributes:
        template: The predicate of each set, with placeholders for tables.
        tables: The tables that take their places, by the numbers of the placeholders.
        name: What the pattern is called in messages and pictures: its declaration's name, or how it was made of others.
        parameters: The values that the declared function was called with.
        local_handle: Names the pattern in calls of this process: the handle, or with tables its own, without a hash.
        graph_handle: Names the pattern in compiled graphs, whose inputs its tables are: the template's handle; without
            tables the pattern's own.
        batch_entries: Where batch entries are planned one by one (attncc.frontend.apart), the pattern of each as that
            of a batch of one, and the number of keys that it is planned for; else empty.
    """

    def __init__(
        self,
        subsets: Sequence[Predicate] | PatternTemplate,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        tables: Sequence[TableData] = (),
        batch_entries: Sequence[tuple[Pattern, int]] = (),
    ) -> None:
        check_untraced(name)
        self.template = subsets if isinstance(subsets, PatternTemplate) else PatternTemplate(subsets)
        self.tables = tuple(tables)
        self.batch_entries = tuple(batch_entries)
        self.name = name
        self.parameters = dict(parameters or {})
        if not self.tables:
            self.graph_handle = self.local_handle = self.handle
            return
        self.graph_handle = self.template.handle
        self.local_handle = local = f"{name}@{_PROCESS}/{next(_numbers)}"
        _local[local] = weakref.ref(self, partial(_local.pop, local))  # which gets the reference for a default

    @cached_property
    def handle(self) -> str:
        """Names the pattern in graphs, also of other processes, by its contents; an absent one is named by none."""
        handle = f"{self.name}#{self._fingerprint}"
        first = _registry.setdefault(handle, self)
        self._first = None if first is self else first  # which the handle finds, so that it lives as long
        return handle

    @property
    def _fingerprint(self) -> str:
        if not self.tables:
            return self.template.fingerprint
        parts = [self.template.fingerprint, *(table.identity for table in self.tables)]
        of_tables = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]
        return f"{of_tables}/apart" if self.batch_entries else of_tables

    @cached_property
    def bound(self) -> Tables:
        """The tables that are looked up, by the symbols of the template's placeholders."""
        return self.template.bound(self.tables)

    @property
    def device(self) -> Any:
        """Where tables lie that aren't read on the host; None where there are none, or on several devices."""
        devices = set()
        for table in self.looked_up:
            if table.tensor is not None:
                devices.add(table.tensor.device)
        return devices.pop() if len(devices) == 1 else None

    @cached_property
    def bindings(self) -> dict[object, Any]:
        """What backends have made of the tables on their device, for as long as the pattern lives."""
        return {}

    @cached_property
    def subsets(self) -> tuple[Predicate, ...]:
        """The predicate of each set, with the tables in it."""
        return tuple(put(subset, self.bound) for subset in self.template.subsets)

    @property
    def program(self) -> Program:
        """What is written down where a pattern leaves the process."""
        return Program("pattern", self.name, self.subsets)

    @classmethod
    def of(cls, program: Program) -> Pattern:
        """Return the pattern of a program that was read; raises ExportError for one that is none."""
        if not program.roots or not all(isinstance(root, Predicate) for root in program.roots):
            raise ExportError(
                f"The pattern {program.name!r:.80} that was read has no subsets, or one that isn't a condition.",
                rule="A pattern is one condition or more.",
                fix="Export the model again.",
            )
        return cls(program.roots, program.name)

    @cached_property
    def predicate(self) -> Predicate:
        """The union of the subsets in normal form. Equal keys mean equal predicates, free symbols included."""
        return normalised(disjunction(self.subsets)) if self.tables else self.template.predicate

    @cached_property
    def key(self) -> str:
        """SHA-256 of the predicate, in every process; equal sets have equal keys as far as the normal form tells."""
        return digest(self.predicate)

    @property
    def free(self) -> frozenset[sympy.Symbol]:
        """The symbols that the pattern depends on, whatever its tables hold; batch entries have pages of their own."""
        free = self.template.predicate.free
        return free | {B} if self.template.page_size else free

    @property
    def looked_up(self) -> Collection[TableData]:
        """The tables that the predicate looks up."""
        return self.bound.values() if self.tables else self.template.predicate.tables

    def union(self) -> Pattern:
        """Return the pattern in which every head sees all subsets (Child et al. 2019, section 4.2, merged heads)."""
        return self._derived(algebra.united, "{}.union()")

    def heads(self) -> Pattern:
        """Return the pattern in which head h sees subset h mod p (Child et al. 2019, section 4.2)."""
        return self._derived(algebra.turned, "{}.heads()")

    def layers(self, n: int) -> Pattern:
        """Return subset n mod p, for residual block n (Child et al. 2019, section 4.2, interleaved).

        Args:
            n: The number of the block.

        Raises:
            PatternError: If `n` isn't an integer.
        """
        if not isinstance(n, int):
            raise PatternError(
                f"layers({n!r}).",
                rule="It takes the number of a residual block, an integer.",
                fix="For the first block write .layers(0).",
            )
        return self._derived(algebra.subset, f"{{}}.layers({n})", n)

    def causal(self) -> Pattern:
        """Return the pattern without the keys after each query: j <= i in every subset."""
        return self._derived(algebra.without_future, "{}.causal()")

    def _derived(self, change: Change, written: str, *numbers: int) -> Pattern:
        if is_recording():
            handle = derived_handle(self.template_handle, change, *map(plain, numbers))
            return TracedPattern(handle, self.tables, _derived_name(written, self.name))
        return Pattern(derived(self.template, change, *numbers), _derived_name(written, repr(self)), None, self.tables)

    @property
    def template_handle(self) -> str:
        """The template's handle, for a graph that makes other patterns of this one."""
        return self.graph_handle if self.tables else handle_of(self.template)

    def __and__(self, other: Pattern | Callable[[], Pattern]) -> Pattern:
        return joined_patterns([self, as_pattern(other)], algebra.both, algebra.intersection)

    def __or__(self, other: Pattern | Callable[[], Pattern]) -> Pattern:
        return joined_patterns([self, as_pattern(other)], algebra.either, algebra.union)

    def __rand__(self, other: Callable[[], Pattern]) -> Pattern:
        return as_pattern(other) & self

    def __ror__(self, other: Callable[[], Pattern]) -> Pattern:
        return as_pattern(other) | self

    def __invert__(self) -> Pattern:
        return self._derived(algebra.others, "~{}")

    def __reduce__(self) -> tuple[object, ...]:
        """A copy, in this process or another one, has the same handle, by which it is found."""
        return _copied, (self.template, self.name, self.parameters, self.tables, self.batch_entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and (self is other or self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        if not self.name.isidentifier():
            return self.name  # which says what it was made of
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{self.name}({arguments})"


class TracedPattern(Pattern):
    """A pattern that is made inside of a graph that torch.compile, torch.export or torch.jit.trace records.

    It is the handle of a template, a constant of the graph, and the tensors that take the placeholders' places when the
    graph runs. What has to know their entries raises PatternError.
    """

    def __init__(self, handle: str, tables: Sequence[Any], name: str) -> None:
        self.graph_handle = self.handle = self.local_handle = handle
        self.tables = tuple(tables)
        self.batch_entries = ()
        self.name = name
        self.parameters = {}

    @cached_property
    def template(self) -> PatternTemplate:  # type: ignore[override]
        return template_of(self.handle)

    @property
    def template_handle(self) -> str:
        return self.handle

    @property
    def bound(self) -> Tables:
        raise PatternError(
            f"Pattern {self.name!r} is made inside of a graph, where the entries of its tables aren't known yet.",
            rule="Such a pattern is for attncc.attention, in the same graph.",
            fix="Make the pattern outside of it to plan, to picture or to compare it.",
        )

    key = looked_up = subsets = predicate = bound  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def _copied(*arguments: Any) -> Pattern:
    found = Pattern(*arguments)
    _registry.setdefault(found.handle, found)
    return found


def as_pattern(value: object) -> Pattern:
    """Return `value` as a pattern: a Pattern, or a declared pattern that needs no parameters."""
    if isinstance(value, Pattern):
        return value
    if isinstance(value, Declaration) and value.kind == "pattern":
        return cast(Callable[[], Pattern], value)()
    if hasattr(value, "shape"):
        raise PatternError(
            f"A {type(value).__name__} of shape {tuple(map(plain, value.shape))} is not a pattern.",
            rule="A pattern is a predicate; a mask is a table that a predicate looks up.",
            fix="Declare `def masked(i, j, *, mask: attncc.Table): return mask[i, j]` under @attncc.pattern, "
            "and pass masked(mask=...).",
        )
    if isinstance(value, MODS):
        name = getattr(value, "__name__", type(value).__name__)
        raise PatternError(
            f"{name!r} is a plain function.",
            rule="`&`, `|` and `~` combine patterns.",
            fix=f"Write attncc.from_mask_mod({name}), if it takes b, h, q_idx, kv_idx; attncc's own stand under "
            "@attncc.pattern.",
        )
    raise PatternError(
        f"{shown(value)} ({type(value).__name__}) is not a pattern.",
        rule="A pattern is made by a function under @attncc.pattern, or by attncc.load(name, ...).",
        fix="Call the declared pattern with its parameters, as in strided(l=128), or attncc.from_mask_mod(function).",
    )


def by_handle(handle: str) -> Pattern:
    """Return the living pattern with this handle, or local handle; raises PatternError if it is gone."""
    here = _local.get(handle)
    found = _registry.get(handle) if here is None else here()
    if found is None:
        raise PatternError(
            f"Pattern {handle!r:.120} no longer exists.",
            rule="A compiled graph refers to its pattern by handle, which doesn't keep it alive or carry it elsewhere.",
            fix="Keep the pattern in a variable or module attribute while the graph is used, or torch.export both.",
        )
    return found


def joined_patterns(
    patterns: Sequence[Pattern], join: Callable[..., Predicate], written: Callable[[Sequence[str]], str]
) -> Pattern:
    """Return the join of patterns; a table that several of them look up is one table of the result."""
    if is_recording():
        return _joined_in_graph(patterns, join, _joined_name(written, *[p.name for p in patterns]))
    tables = {table.identity: table for p in patterns for table in p.tables}
    numbers = {identity: number for number, identity in enumerate(tables)}
    own = tuple(tuple(numbers[table.identity] for table in p.tables) for p in patterns)
    template = joined(tuple(p.template for p in patterns), own, join)
    return Pattern(template, written([*map(repr, patterns)]), None, tuple(tables.values()))


def _joined_in_graph(patterns: Sequence[Pattern], join: Callable[..., Predicate], name: str) -> TracedPattern:
    """Return the same where it is a graph that joins them; one tensor of several of them is one table."""
    tables: list[Any] = []
    numbers = []
    for p in patterns:
        own = []
        for table in p.tables:
            known = [n for n, other in enumerate(tables) if other is table]
            own.append(known[0] if known else len(tables))
            if not known:
                tables.append(table)
        numbers.append(tuple(own))
    return TracedPattern(joined_handle(join, tuple(numbers), *[p.template_handle for p in patterns]), tables, name)


@constant
def _derived_name(written: str, own: str) -> str:
    return written.format(algebra.enclosed(own, "&|~"))


@constant
def _joined_name(written: Callable[[Sequence[str]], str], *names: str) -> str:
    return written(names)
