"""Programs as text: the expressions of a pattern or score, as canonical JSON, and back.

A program is a list of nodes, each after its parts, which it names by their numbers:

    {"format":1,"kind":"pattern","name":"causal","nodes":[["integer","-1"],["symbol","j"],["mul",0,1],...],"roots":[5]}

Equal expressions have equal texts, in every process. Tables stand in it by name and hash. Reading evaluates and imports
nothing: nodes are built from the entries of attncc.ir.nodes, of checked sorts, sizes and depths. A text that isn't what
writing its result gives is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn

import sympy

from attncc.errors import AttnccError, ExportError
from attncc.ir import size
from attncc.ir.nodes import BY_TAG, NUMBER, MalformedError, Node, Sort, node_of
from attncc.ir.predicate import Predicate
from attncc.ir.tables import TableData

#: What the texts are written in; reading refuses others.
FORMAT = 1
#: Bytes of a text, and its nodes.
MAX_BYTES = 1 << 22
MAX_NODES = 1 << 16
#: Nodes on the longest way down an expression; attncc.ir.size has its own bound for conditions.
MAX_DEPTH = 192
#: Nodes of an expression that is written out, each part as often as it occurs: what sympy walks through.
MAX_WRITTEN = 1 << 16

#: Tables by their hashes.
Tables = Mapping[str, TableData]


class Program(NamedTuple):
    """What a text holds: predicates or one real expression, of a kind, under a name."""

    kind: str
    name: str
    roots: tuple[Any, ...]


def is_program(name: str) -> bool:
    """Return whether a name is a program's text; handles and keys never end in a brace."""
    return name.endswith("}")


def written(program: Program) -> str:
    """Return a program as text; raises ExportError for what can't be written, or is larger than what is read."""
    try:
        text = _text(program)
    except (MalformedError, RecursionError) as error:
        _refuse(program.kind, program.name, f"can't be written: {error}", _REPORT)
    if len(text) > MAX_BYTES:
        _refuse(program.kind, program.name, f"is written in {len(text):,} bytes", f"At most {MAX_BYTES:,} are read.")
    return text


def fingerprint(program: Program) -> str:
    """Return a hash of a program, the same in every process."""
    return hashlib.sha256(_text(program).encode()).hexdigest()[:32]


def read(text: str, kind: str, tables: Tables) -> Program:
    """Return the program of a kind that a text holds; raises ExportError unless it is whole and within the limits."""
    name = "?"
    try:
        document = _document(text, kind)
        name = document["name"]
        program = Program(kind, name, _built(document["nodes"], document["roots"], tables))
        if _text(program) != text:
            raise MalformedError("it isn't in the form that this version of attncc and sympy writes")
    except (MalformedError, AttnccError) as error:
        reason = error.problem.rstrip(".") if isinstance(error, AttnccError) else str(error)
        _refuse(kind, name, f"can't be read: {reason}", _WHOLE)
    except Exception as error:  # what sympy raises for parts that it was never meant to get
        _refuse(kind, name, f"can't be read: {type(error).__name__} ({error!s:.100})", _WHOLE)
    return program


_REPORT = "Programs hold the nodes that attncc.ir.nodes lists, and numbers that are finite."
_WHOLE = "A program is read as it was written, with its tables."


def _refuse(kind: str, name: str, problem: str, rule: str) -> NoReturn:
    raise ExportError(
        f"The {kind} {name!r:.80} {problem}.",
        rule=rule,
        fix="Export the model again, with this version of attncc, and load what that wrote.",
    )


def _text(program: Program) -> str:
    nodes, roots = _numbered(program.roots)
    document = {"format": FORMAT, "kind": program.kind, "name": program.name, "nodes": nodes, "roots": roots}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


@lru_cache(1024)
def constants_of(text: str) -> frozenset[str]:
    """Return the hashes of the tables that a text has as constants; none for one that `read` refuses."""
    try:
        return frozenset(node[2] for node in json.loads(text)["nodes"] if node[0] == "table")
    except (ValueError, TypeError, LookupError, RecursionError):
        return frozenset()


@lru_cache(1024)
def number_of_slots(text: str) -> int:
    """Return how many tables a text takes beside its constants: one for each number up to the last slot's."""
    try:
        return max((node[1] + 1 for node in json.loads(text)["nodes"] if node[0] == "slot"), default=0)
    except (ValueError, TypeError, LookupError, RecursionError):
        return 0


#: A node by class and value: sympy's numbers of different classes can be equal.
Key = tuple[type, Hashable]


def _numbered(roots: Sequence[Any]) -> tuple[list[list[Any]], list[int]]:
    """Return the nodes, each after its parts, and the numbers of the roots."""
    parts = _ordered(roots)
    numbers: dict[Key, int] = {}
    nodes: list[list[Any]] = []
    for root in roots:
        for key in _below(_key(root), numbers, lambda key: parts[key]):
            entry = node_of(key[1])
            numbers[key] = len(nodes)
            fields = entry.fields(key[1]) if entry.fields else [numbers[part] for part in parts[key]]
            nodes.append([entry.tag, *fields])
    return nodes, [numbers[_key(root)] for root in roots]


def _ordered(roots: Sequence[Any]) -> dict[Key, list[Key]]:
    """Return the parts of each node in the order in which they are written: that of hashes of all they are made of."""
    parts: dict[Key, list[Key]] = {}
    hashes: dict[Key, bytes] = {}

    def children(key: Key) -> list[Key]:
        entry = node_of(key[1])
        return [] if entry.fields else [_key(part) for part in entry.parts(key[1])]

    for root in roots:
        for key in _below(_key(root), hashes, children):
            entry, below = node_of(key[1]), children(key)
            parts[key] = sorted(below, key=hashes.__getitem__) if entry.unordered else below
            fields = json.dumps(entry.fields(key[1])) if entry.fields else ""
            content = b"".join([entry.tag.encode(), b":", fields.encode(), *(hashes[part] for part in parts[key])])
            hashes[key] = hashlib.sha256(content).digest()
    return parts


def _key(node: Any) -> Key:
    return type(node), node


def _below(root: Key, done: Mapping[Key, Any], parts: Callable[[Key], Sequence[Key]]) -> list[Key]:
    """Return what isn't done of a node and all below it, each once and after its parts."""
    order: list[Key] = []
    seen: set[Key] = set()
    waiting: list[tuple[Key, bool]] = [(root, False)]
    while waiting:
        key, expanded = waiting.pop()
        if expanded:
            order.append(key)
        elif key not in seen and key not in done:
            seen.add(key)
            waiting.append((key, True))
            waiting += [(part, False) for part in reversed(parts(key))]
    return order


def _document(text: str, kind: str) -> dict[str, Any]:
    """Return the JSON of a program, its outermost parts checked."""
    if len(text) > MAX_BYTES:
        raise MalformedError(f"it has {len(text):,} bytes, and at most {MAX_BYTES:,} are read")
    document = json.loads(text)
    wanted = {"format": int, "kind": str, "name": str, "nodes": list, "roots": list}
    if not isinstance(document, dict) or document.keys() != wanted.keys():
        raise MalformedError(f"its parts are not {', '.join(wanted)}")
    for part, type_ in wanted.items():
        if type(document[part]) is not type_:
            raise MalformedError(f"its {part} is {document[part]!r:.60}")
    if document["format"] != FORMAT or document["kind"] != kind:
        found = f"a {document['kind']:.20} of format {document['format']}"
        raise MalformedError(f"it is {found}, and a {kind} of format {FORMAT} is wanted")
    if len(document["nodes"]) > MAX_NODES:
        raise MalformedError(f"it has {len(document['nodes']):,} nodes, and at most {MAX_NODES:,} are read")
    return document


class _Part(NamedTuple):
    """A node that was built: its sort, depth, and nodes written out, and whether it is one number everywhere."""

    value: Any
    sort: Sort
    depth: int
    written: int
    fixed: bool


def _built(nodes: Sequence[Any], roots: Sequence[Any], tables: Tables) -> tuple[Any, ...]:
    """Build all nodes, in order; raises MalformedError and what the language raises."""
    built: list[_Part] = []
    for number, node in enumerate(nodes):
        if not isinstance(node, list) or not node or not isinstance(node[0], str) or node[0] not in BY_TAG:
            raise MalformedError(f"node {number} is {node!r:.60}, which is none that this version of attncc knows")
        entry, rest = BY_TAG[node[0]], node[1:]
        try:
            built.append(_leaf(entry, rest, tables) if entry.fields else _joined(entry, _parts(rest, built)))
        except MalformedError as error:
            raise MalformedError(f"node {number} ({entry.tag}): {error}") from None
    return tuple(part.value for part in _parts(roots, built))


def _parts(numbers: Sequence[Any], built: Sequence[_Part]) -> list[_Part]:
    for number in numbers:
        if type(number) is not int or not 0 <= number < len(built):
            raise MalformedError(f"{number!r:.60} is not the number of a node before it")
    return [built[number] for number in numbers]


def _leaf(entry: Node, fields: list[Any], tables: Tables) -> _Part:
    fixed = entry.rule((), ()) & Sort.REAL and entry.tag != "score"
    return _Part(entry.build(*_found(entry, fields, tables)), entry.rule((), ()), 0, 1, bool(fixed))


def _found(entry: Node, fields: list[Any], tables: Tables) -> list[Any]:
    """Return the fields of a leaf, the name and hash of a table replaced by the table."""
    if entry.tag != "table":
        return fields
    name, digest = fields
    if not isinstance(name, str) or not isinstance(digest, str) or digest not in tables:
        raise MalformedError(f"none of the tables beside it is {name!r:.40}, whose hash is {digest!s:.12}")
    return [TableData(tables[digest], name)]


def _joined(entry: Node, parts: list[_Part]) -> _Part:
    values, sorts = [part.value for part in parts], [part.sort for part in parts]
    sort = entry.rule(values, sorts)
    if not sort:
        raise MalformedError(f"it doesn't take {', '.join(map(_sorts, sorts)) or 'nothing'}")
    condition = any((part.sort | sort) & Sort.CONDITION for part in parts)  # a leaf of the expression it stands in
    depth = 0 if condition else 1 + max(part.depth for part in parts)
    written = 1 if condition else 1 + sum(part.written for part in parts)
    for number, most, what in ((depth, MAX_DEPTH, "nests {:,} nodes"), (written, MAX_WRITTEN, "is {:,} nodes")):
        if number > most:
            raise MalformedError(f"it {what.format(number)}, and at most {most:,} are read")
    entry.check(*values)
    value = entry.build(*values)
    fixed = bool(sort & NUMBER) and all(part.fixed for part in parts)
    _check(value, sort, fixed)
    return _Part(value, sort, depth, written, fixed)


def _sorts(sort: Sort) -> str:
    return str(sort.name).lower().replace("|", " or ")


def _check(value: Any, sort: Sort, fixed: bool) -> None:
    """Check what was built as the language does, and that numbers stay finite before more is made of them."""
    if isinstance(value, Predicate):
        size.check_condition(value)
    elif sort & (Sort.INDEX | Sort.QUOTIENT):
        size.checked(value)
    if fixed and value is not sympy.S.NegativeInfinity and not (value.is_real and math.isfinite(float(value))):
        raise MalformedError(f"it is the number {value!s:.60}")
