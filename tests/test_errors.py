"""Errors: each states a fix, and suggests a name only if one is near."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import attncc
from attncc import errors
from attncc.errors import AttnccError, ShapeError, check_known, nearest

PACKAGE = Path(attncc.__file__).parent
KINDS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, AttnccError)}
#: Modules whose errors are about the content of a file; its readers add the fix.
WITHOUT = {"configs/validation.py"}


def made(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that make an error: of its class, or of what a declaration calls its own (`cls.error`)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.rpartition(".")[2] in KINDS or name in ("self.error", "cls.error"):
                yield node


def test_every_error_names_a_fix() -> None:
    found, silent = 0, set()
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        for call in made(ast.parse(path.read_text(encoding="utf-8"))):
            found += 1
            if not any(keyword.arg == "fix" for keyword in call.keywords):
                silent.add(file)
    assert found > 200
    assert silent == WITHOUT


@pytest.mark.parametrize(
    ("name", "says"),
    [("strded", "Did you mean 'strided'?"), ("strided", "Did you mean 'strided'?"), ("zzz", "Known: causal, strided.")],
)
def test_nearest_suggests_the_closest_name(name: str, says: str) -> None:
    assert nearest(name, ["strided", "causal", "causal"]) == says
    assert nearest(name, []) == ""


def test_errors_read_as_problem_rule_and_fix() -> None:
    error = AttnccError("tile=3.", rule="It is a power of two.", fix="Use 4.")
    assert str(error) == "tile=3.\nIt is a power of two.\nUse 4."
    assert str(AttnccError("tile=3.", fix="Use 4.")) == "tile=3.\nUse 4."


def test_unknown_values_are_refused_with_the_nearest_name() -> None:
    check_known("direction", "fwd", ("fwd", "bwd"))
    with pytest.raises(ShapeError, match=r"direction='fwf'.\nIt is one of fwd, bwd.\nDid you mean 'fwd'\?"):
        check_known("direction", "fwf", ("fwd", "bwd"), ShapeError)
