"""Calls by value: offsets, and what tells one call from another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import attncc
from attncc.errors import BackendError, ShapeError
from attncc.frontend.scores import PLAIN
from attncc.runtime.call import AttentionCall

CAUSAL = attncc.load("causal")


def call(**arguments: Any) -> AttentionCall:
    return AttentionCall.of(CAUSAL, arguments.pop("score", PLAIN), **arguments)


@pytest.mark.parametrize("offset", [-7, np.int64(3), np.int32(-1), torch.tensor(5)])
def test_offsets_may_be_any_integer_type(offset: Any) -> None:
    assert call(q_offset=offset).q_offset == int(offset)


@pytest.mark.parametrize("offset", [-(2**31), 2**31, 1.0, True, None, "0"])
def test_offsets_must_be_positions(offset: Any) -> None:
    with pytest.raises(ShapeError, match="position of the first query"):
        call(q_offset=offset)


def test_backends_must_be_names() -> None:
    with pytest.raises(BackendError, match="name of a backend"):
        call(backend=0)


def test_operands_differ_in_every_argument_that_changes_execution() -> None:
    others = [
        call(q_offset=3),
        call(backend="torch"),
        call(config={"forward.plan": "fused"}),
        call(score=attncc.alibi(slopes=torch.ones(4))),
        AttentionCall.of(attncc.load("full"), PLAIN),
    ]
    operands = {each.operands for each in (call(), *others)}
    assert len(operands) == 1 + len(others)
    for same in (call(scale=0.5), call(return_lse=True), call(enable_gqa=True)):
        assert same.operands == call().operands  # the executable doesn't depend on these


def test_calls_copy_their_configuration() -> None:
    config: dict[str, object] = {"forward.plan": "fused"}
    made = call(config=config)
    config["forward.plan"] = "split"
    assert made == call(config={"forward.plan": "fused"})
