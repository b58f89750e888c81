"""Errors that come up while torch.compile traces: what attention() raises reaches the user whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import attncc
from attncc.errors import AttnccError, PatternError

QUERY, KEY, VALUE = (torch.randn(1, 2, 32, 16) for _ in range(3))
CAUSAL = attncc.load("causal")


@attncc.pattern
def masked(i, j, *, mask: attncc.Table):
    return mask[i, j]


@attncc.score
def by_head(h, *, slopes: attncc.Weights):
    return slopes[h]


@attncc.score
def by_row(i, *, rows: attncc.Table):
    return rows[i] / 4


SMALL = masked(mask=torch.ones(8, 8, dtype=torch.bool))


def attend(
    query: Any = QUERY, key: Any = KEY, value: Any = VALUE, pattern: Any = CAUSAL, **options: Any
) -> Callable[[], Any]:
    return lambda: attncc.attention(query, key, value, pattern, **options)


def raised(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("It raised nothing.")


def compiled(call: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    torch._dynamo.reset()
    return torch.compile(call, backend="eager", **options)


WRONG = {
    "head size": attend(key=KEY[..., :8]),
    "dimensions": attend(query=QUERY[0]),
    "dtypes": attend(key=KEY.half()),
    "integers": attend(QUERY.int(), KEY.int(), VALUE.int()),
    "query and value": attend(value=VALUE[:, :, :9]),
    "heads": attend(query=torch.cat([QUERY, QUERY], 1)),
    "no tensor": attend(query=None),
    "name of a backend": attend(backend="trito"),
    "no name of a backend": attend(backend=3),
    "scale": attend(scale=float("nan")),
    "offset": attend(q_offset=1 << 40),
    "no pattern": attend(pattern="causal"),
    "mask": attend(pattern=torch.ones(32, 32)),
    "no score": attend(score=3),
    "undeclared weights": attend(score=by_head, weights={"slpes": torch.ones(2)}),
    "weights without a score": attend(weights={"slopes": torch.ones(2)}),
    "missing weights": attend(score=by_head),
    "integer weights": attend(score=by_head, weights={"slopes": torch.ones(2, dtype=torch.int32)}),
    "size of weights": attend(score=by_head, weights={"slopes": torch.ones(1)}),
    "dimensions of weights": attend(score=by_head, weights={"slopes": torch.ones(2, 2)}),
    "size of a table": attend(pattern=SMALL),
    "no configuration": attend(config=3),
    "name in a configuration": attend(config={"forward.nonsense": 3}),
    "value in a configuration": attend(config={"forward.plan": object}),
    "parameter out of bounds": lambda: attend(score=attncc.softcap(cap=-1.0))(),
    "name of a parameter": lambda: attend(score=attncc.softcap(cop=1.0))(),
}


@pytest.mark.parametrize("how", [{"fullgraph": True}, {"fullgraph": True, "dynamic": True}, {"fullgraph": False}])
@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_an_error_is_told_whole_by_a_compiled_call(call: Callable[[], Any], how: dict[str, bool]) -> None:
    error, told = raised(call), raised(compiled(call, **how))
    assert isinstance(error, AttnccError)
    assert isinstance(told, type(error))
    assert str(told).startswith(str(error))


def test_a_changing_offset_is_told_by_its_number() -> None:
    call = compiled(lambda offset: attend(q_offset=offset)(), fullgraph=True, dynamic=True)
    call(3), call(5)
    assert f"q_offset={1 << 40}." in str(raised(lambda: call(1 << 40)))


def test_a_tensor_as_scale_is_told_with_its_fix() -> None:
    told = raised(compiled(attend(scale=torch.tensor(1.0)), fullgraph=True))
    assert str(told).startswith("scale=a tensor.")
    assert "pass scale=1.0" in str(told)


def test_a_compiled_function_that_may_leave_the_graph_can_catch_the_error() -> None:
    def caught(query: torch.Tensor) -> torch.Tensor:
        try:
            return attncc.attention(query, KEY[..., :8], VALUE, CAUSAL)
        except attncc.ShapeError:
            return query + 1

    torch.testing.assert_close(compiled(caught, fullgraph=False)(QUERY), QUERY + 1)


MADE = {
    "loaded pattern": (attend, lambda: {"pattern": attncc.load("strided", l=4)}, PatternError),
}


@pytest.mark.parametrize(("call", "made", "kind"), MADE.values(), ids=MADE)
def test_a_declaration_inside_of_a_graph_is_refused_with_its_fix(call: Any, made: Any, kind: type[AttnccError]) -> None:
    def inside() -> Any:
        return call(**made())()

    told = raised(compiled(inside, fullgraph=True))
    assert isinstance(told, kind)
    assert "is made inside of a function that torch.compile traces." in str(told)
    assert "for example in __init__" in str(told)
    assert "@torch.compiler.disable" in str(told)
    torch.testing.assert_close(compiled(inside, fullgraph=False)(), inside())
