"""Arguments: shapes that agree, by changing each dimension in turn; scales and autocast."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import attncc
from attncc.errors import AttnccError, ShapeError, TableError
from attncc.runtime.arguments import (
    autocast,
    check_scale,
    check_tensors,
    check_transforms,
    check_weights,
    scale_of,
)

#: (B, H, N, D) of query, key and value; no two dimensions that have to agree are equal by chance.
SIZES = {"query": (2, 4, 5, 8), "key": (2, 4, 7, 8), "value": (2, 4, 7, 6)}
#: What may differ from the other tensors: the number of queries, and the size of values.
FREE = {("query", 2), ("value", 3)}


def tensors(**changed: tuple[int, ...]) -> list[Tensor]:
    return [torch.zeros(size) for size in (SIZES | changed).values()]


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("dim", range(4))
def test_dimensions_must_agree_unless_free(name: str, dim: int) -> None:
    check_tensors(*tensors(), enable_gqa=True)
    size = list(SIZES[name])
    size[dim] += 1
    changed = tensors(**{name: tuple(size)})
    if (name, dim) in FREE:
        check_tensors(*changed, enable_gqa=True)
        return
    with pytest.raises(ShapeError) as refused:
        check_tensors(*changed, enable_gqa=True)
    assert str(size[dim]) in refused.value.problem
    assert refused.value.rule
    assert refused.value.fix


@pytest.mark.parametrize("heads", range(1, 13))
@pytest.mark.parametrize("key_heads", [1, 2, 3, 4])
@pytest.mark.parametrize("grouped", [True, False])
def test_grouped_heads_need_a_multiple_and_enable_gqa(heads: int, key_heads: int, grouped: bool) -> None:
    given = tensors(query=(2, heads, 5, 8), key=(2, key_heads, 7, 8), value=(2, key_heads, 7, 6))
    if heads == key_heads or (grouped and heads % key_heads == 0):
        check_tensors(*given, enable_gqa=grouped)
    else:
        with pytest.raises(ShapeError, match=f"{heads} query heads on {key_heads} key heads"):
            check_tensors(*given, enable_gqa=grouped)


@pytest.mark.parametrize("name", SIZES)
def test_every_size_but_the_head_size_may_be_zero(name: str) -> None:
    for dim in (0, 1, 2):
        nothing = {each: (*size[:dim], 0, *size[dim + 1 :]) for each, size in SIZES.items()}
        check_tensors(*tensors(**nothing), enable_gqa=False)
    empty = {each: (*size[:3], 0) for each, size in SIZES.items()}
    with pytest.raises(ShapeError, match="at least 1"):
        check_tensors(*tensors(**empty), enable_gqa=False)
    for dim in (0, 1) if name != "query" else (0,):
        empty = list(SIZES[name])
        empty[dim] = 0
        with pytest.raises(ShapeError, match=r"agree|0 key heads"):
            check_tensors(*tensors(**{name: tuple(empty)}), enable_gqa=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scales_are_limited_by_precision(dtype: torch.dtype) -> None:
    query = torch.zeros(1, 1, 3, 16, dtype=dtype)
    assert scale_of(None, query) == 0.25
    most = 1 / torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    for sign in (1, -1):
        assert scale_of(sign * most, query) == sign * most
        with pytest.raises(ShapeError, match="at most"):
            scale_of(sign * most * 1.01, query)


@pytest.mark.parametrize("scale", [0, 2, -0.5, np.float32(0.25), np.int64(3), Fraction(1, 8)])
def test_scales_may_be_any_finite_number(scale: float) -> None:
    found = scale_of(scale, torch.zeros(1, 1, 1, 4))
    assert isinstance(found, float)
    assert found == float(scale)


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, "1", 1j, torch.ones(()), np.ones(1)], ids=repr)
def test_other_scales_are_refused_with_a_fix(scale: object) -> None:
    with pytest.raises(ShapeError, match="finite number") as refused:
        check_scale(scale)
    assert ("Multiply the query" if isinstance(scale, Tensor) else "Pass one") in refused.value.fix


def test_autocast_converts_everything_but_double_precision() -> None:
    given = [torch.zeros(2, dtype=each) for each in (torch.float32, torch.float16, torch.float64)]
    assert list(autocast(*given)) == given
    with torch.autocast("cpu", torch.bfloat16):
        assert [x.dtype for x in autocast(*given)] == [torch.bfloat16, torch.bfloat16, torch.float64]
        meta = torch.zeros(2, device="meta")
        assert autocast(meta)[0] is meta


def test_forward_mode_is_refused() -> None:
    x = torch.ones(2)
    check_transforms(x, x)
    with forward_ad.dual_level(), pytest.raises(AttnccError, match="forward mode"):
        check_transforms(x, forward_ad.make_dual(x, x))


def test_weights_must_share_the_device_of_the_query() -> None:
    score = attncc.alibi(slopes=torch.ones(4, device="meta"))
    with pytest.raises(TableError, match="'slopes' are on meta, query on cpu"):
        check_weights(score.weights, torch.zeros(1))
    check_weights(score.weights, torch.zeros(1, device="meta"))
