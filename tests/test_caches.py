"""Caches: each one of attncc has a row in docs/design.md, with its key, bound, invalidation and memory."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "attncc"
#: Decorators of functions that remember results; `algebra` and `by_size` are those of attncc._util.caching.
DECORATORS = {"cache", "lru_cache", "cached", "algebra", "by_size"}


def caches() -> Iterator[str]:
    """Yield the caches of attncc: remembering functions, weak collections, and collections that modules begin empty."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name in [*_in(tree, ""), *_empty(tree)]:
            yield f"{module}.{name}"


def _in(scope: ast.AST, prefix: str) -> Iterator[str]:
    for node in ast.iter_child_nodes(scope):
        name = f"{prefix}{node.name}" if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
        if isinstance(node, ast.FunctionDef) and any(_called(each) in DECORATORS for each in node.decorator_list):
            yield name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value and _called(node.value).startswith("Weak"):
            yield f"{prefix}{_target(node)}"
        is_method = isinstance(scope, ast.ClassDef)  # what it sets is the object's
        yield from _in(node, f"{name}." if name and not is_method else prefix)


def _empty(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        is_assigned = isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        if is_assigned and (ast.unparse(node.value) in ("{}", "[]", "set()") or _called(node.value) == "deque"):
            yield _target(node)


def _called(node: ast.expr) -> str:
    """Return the last name of what an expression calls or is: `lru_cache` for `@functools.lru_cache(maxsize=1)`."""
    return ast.unparse(node.func if isinstance(node, ast.Call) else node).rpartition(".")[2]


def _target(node: ast.Assign | ast.AnnAssign) -> str:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return ast.unparse(target).removeprefix("self.")


def test_every_cache_has_a_row_in_the_tables() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^## Caches$(.*?)^### On the disk$", text, re.M | re.S)
    listed = re.findall(r"^\| `([\w.]+)` \|", section, re.M)
    assert sorted(listed) == sorted(caches())


def test_every_row_has_a_key_a_bound_an_invalidation_and_a_memory() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^## Caches$(.*?)^## ", text, re.M | re.S)
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if len(row) != 5 or not all(cell.strip() for cell in row)] == []
