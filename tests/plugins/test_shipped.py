"""Each pattern of the shipped plugins, small: its sets, plans, outputs and gradients against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import attncc
from attncc.frontend import catalog
from attncc.frontend.declarations import Parameter
from attncc.testing import check_pattern

#: Positions, and the most that a number is, by default 256 or so.
LENGTH, SMALL = 48, 5


def value(parameter: Parameter) -> Any:
    """Return a table of documents, or a number that matters at LENGTH."""
    if parameter.type is attncc.Table:
        return np.arange(LENGTH) // 7
    if parameter.type is int:
        return min(SMALL, parameter.default)
    return parameter.default


SHIPPED = [factory for plugin, factory in catalog.factories() if plugin in ("basic", "sparse_transformer")]


@pytest.mark.parametrize("factory", SHIPPED, ids=lambda factory: factory.name)
def test_a_shipped_pattern_agrees_with_the_oracle(factory: attncc.PatternFactory) -> None:
    check_pattern(factory(**{p.name: value(p) for p in factory.parameters}), lengths=(1, 17, LENGTH))
