"""The table of nodes lists every node of expressions and predicates."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sympy

import attncc.backends.scoring
import attncc.ir
from attncc.ir import evaluate
from attncc.ir.nodes import BY_TAG, NODES, MalformedError, node_of
from attncc.ir.predicate import Predicate


def own_classes() -> Iterator[type]:
    """Every class of expression or predicate in attncc.ir."""
    for module in pkgutil.iter_modules(attncc.ir.__path__, "attncc.ir."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, sympy.Basic | Predicate):
                yield value


def evaluated_classes() -> Iterator[type]:
    """Every class of sympy's that an evaluator has a case for."""
    for module in (evaluate, attncc.backends.scoring):
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sympy":
                value = getattr(sympy, node.attr)
                if isinstance(value, type) and issubclass(value, sympy.Expr) and value is not sympy.Expr:
                    yield value


CLASSES = {*own_classes(), *evaluated_classes()}
#: Abstract: instances belong to their subclasses.
BASES = {base for type_ in CLASSES for base in type_.__mro__[1:]}


@pytest.mark.parametrize("type_", sorted(CLASSES - BASES, key=str))
def test_every_class_of_node_has_an_entry(type_: type) -> None:
    assert any(issubclass(type_, node.type) for node in NODES), f"add {type_.__name__} to attncc.ir.nodes.NODES"


def test_tags_are_distinct() -> None:
    assert len(BY_TAG) == len(NODES)


def test_nodes_without_an_entry_are_named() -> None:
    with pytest.raises(MalformedError, match="zeta has no entry"):
        node_of(sympy.zeta(sympy.Symbol("x")))
