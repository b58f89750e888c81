"""Arguments of a call: checks of its tensors, before anything is planned."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_gradtrackingtensor
from torch.autograd.forward_ad import unpack_dual

from attncc._util.tracing import plain, shown
from attncc.backends.accumulation import accumulation_dtype
from attncc.errors import AttnccError, ShapeError, TableError
from attncc.frontend.scores import Score
from attncc.runtime.call import AttentionCall
from attncc.runtime.sinks import check_sink

QueryKeyValue = tuple[Tensor, Tensor, Tensor]


def checked(
    query: Tensor, key: Tensor, value: Tensor, call: AttentionCall, score: Score, sink: object = None
) -> QueryKeyValue:
    """Return query, key and value as autocast has them; raises unless they are plain ones that fit together."""
    check_kinds(query, key, value, call, score)
    return fitting(query, key, value, call, score, sink)


def check_kinds(query: Tensor, key: Tensor, value: Tensor, call: AttentionCall, score: Score) -> None:
    """Raise ShapeError for what isn't a strided tensor, and AttnccError under transforms; eager tensors pass anyway."""
    check_types(query, key, value)
    if not call.is_composite:
        check_transforms(query, key, value, *score.tensors)


def fitting(
    query: Tensor, key: Tensor, value: Tensor, call: AttentionCall, score: Score, sink: object = None
) -> QueryKeyValue:
    """Return query, key and value as autocast has them; raises unless they fit together, with weights and sink."""
    query, key, value = autocast(query, key, value)
    check_tensors(query, key, value, call.enable_gqa)
    check_weights(score.weights, query)
    if sink is not None:
        check_sink(sink, query)
    return query, key, value


def check_transforms(*tensors: Tensor) -> None:
    """Raise AttnccError in forward mode, whose tangents an operator would drop, and in torch.func's reverse mode."""
    if any(unpack_dual(x).tangent is not None for x in tensors):  # type: ignore[no-untyped-call]
        raise AttnccError(
            "attncc.attention was differentiated in forward mode (torch.func.jvp, torch.autograd.forward_ad).",
            rule="Backends have first derivatives in reverse mode only, but for the reference.",
            fix="Use torch.autograd.grad or .backward(), or pass backend='reference', which is dense.",
        )
    if not torch.compiler.is_compiling() and any(is_gradtrackingtensor(x) for x in tensors):
        raise AttnccError(
            "attncc.attention was differentiated by a transform of torch.func (grad, vjp, jacrev, hessian).",
            rule="Its gradients are autograd's: first derivatives, in reverse mode, but for the reference backend.",
            fix="Use torch.autograd.grad or .backward(); a function's are torch.autograd.functional.vjp and jacobian. "
            "Or pass backend='reference', which is dense.",
        )


def autocast(*tensors: Tensor) -> Sequence[Tensor]:
    """Cast as autocast does for scaled_dot_product_attention: all but float64 to the region's dtype."""
    if not torch._C._is_any_autocast_enabled():
        return tensors
    device = tensors[0].device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return [x if x.dtype == torch.float64 else x.to(dtype) for x in tensors]


def scale_of(scale: float | None, query: Tensor) -> float:
    """Return the scale, 1/sqrt(D) for None; raises ShapeError unless the tensors' sums have digits for it."""
    if scale is None:
        return 1.0 / math.sqrt(query.shape[-1])
    check_scale(scale)
    most = 1.0 / torch.finfo(accumulation_dtype(query.dtype)).eps
    if abs(scale) > most:
        raise ShapeError(
            f"scale={shown(scale)} for {query.dtype}.",
            rule=f"Its size is at most {most:.3g}: beyond that, scores that differ by less than 1 are rounded to one.",
            fix="Divide the query by what makes the scale so large, or use float64.",
        )
    return float(scale)


def check_scale(scale: object) -> None:
    """Raise ShapeError unless a scale is a finite number."""
    try:
        finite = isinstance(scale, numbers.Real) and math.isfinite(scale)
    except OverflowError:  # an integer beyond all floats
        finite = False
    if not finite:
        traced = isinstance(scale, Tensor) and torch.compiler.is_compiling()  # which has no value yet
        number = "Pass one, or leave it out for 1 / sqrt(D)."
        raise ShapeError(
            f"scale={'a tensor' if traced else shown(scale)}.",
            rule="The scale is a finite number; NaN or infinity makes every output NaN.",
            fix="Multiply the query by a tensor, and pass scale=1.0." if isinstance(scale, Tensor) else number,
        )


def check_types(query: object, key: object, value: object) -> None:
    """Raise ShapeError for arguments that aren't strided tensors."""
    for name, x in _named(query, key, value):
        if not isinstance(x, Tensor) or x.layout != torch.strided or x.is_nested:
            raise ShapeError(
                f"{name} is a {kind_of(x)}.",
                rule="query, key and value are strided tensors (B, H, N, D).",
                fix="Convert it first, for example with .to_dense().",
            )


def kind_of(x: object) -> str:
    """Return what something is, for a message."""
    if not isinstance(x, Tensor):
        return type(x).__name__
    return "nested tensor" if x.is_nested else f"tensor with layout {x.layout}"


def check_tensors(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> None:
    """Raise ShapeError unless the tensors fit together."""
    _check_sizes(query, key, value)
    _check_elements(query, key, value)
    _check_heads(query.shape[1], key.shape[1], enable_gqa)


def _check_sizes(query: Tensor, key: Tensor, value: Tensor) -> None:
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ShapeError(
            f"{_shapes(query, key, value)}.",
            rule="All three are (B, H, N, D).",
            fix="Add the dimensions that are missing, as in x[None].",
        )
    if 0 in (query.shape[3], value.shape[3]):
        raise ShapeError(
            f"{_shapes(query, key, value)}.",
            rule="All three are (B, H, N, D) with D of at least 1; B, H and N may be 0.",
            fix="Give each head a size of 1 or more.",
        )
    (batch, _, _, dim), (key_batch, heads, keys, key_dim), (*of_values, _) = query.shape, key.shape, value.shape
    if batch != key_batch or dim != key_dim or of_values != [batch, heads, keys]:
        raise ShapeError(
            f"{_shapes(query, key, value)}.",
            rule="query is (B, Hq, Nq, D), key (B, Hkv, Nk, D) and value (B, Hkv, Nk, Dv): B, D, Hkv and Nk agree.",
            fix="Heads come before positions: a tensor (B, N, H, D) is given as x.transpose(1, 2).",
        )


def _check_elements(query: Tensor, key: Tensor, value: Tensor) -> None:
    if query.dtype != key.dtype or query.dtype != value.dtype:
        raise ShapeError(
            f"dtypes {query.dtype}, {key.dtype}, {value.dtype}.",
            rule="All three have one dtype.",
            fix="Convert them first, for example with .to(query.dtype).",
        )
    if query.device != key.device or query.device != value.device:
        raise ShapeError(
            f"devices {query.device}, {key.device}, {value.device}.",
            rule="All three are on one device.",
            fix="Move them first, for example with .to(query.device).",
        )
    if not query.dtype.is_floating_point:
        raise ShapeError(f"dtype {query.dtype}.", rule="The tensors are floating-point.", fix="Convert with .float().")


def _shapes(query: Tensor, key: Tensor, value: Tensor) -> str:
    return ", ".join(f"{name} {tuple(map(plain, x.shape))}" for name, x in _named(query, key, value))


def _named(query: Any, key: Any, value: Any) -> Iterator[tuple[str, Any]]:
    yield from (("query", query), ("key", key), ("value", value))


def check_weights(weights: Mapping[str, Tensor], query: Tensor) -> None:
    """Raise TableError unless a score's weights lie where the query does."""
    for name, tensor in weights.items():
        if tensor.device != query.device:
            raise TableError(
                f"Weights {name!r} are on {tensor.device}, query on {query.device}.",
                rule="A score's weights are on the tensors' device.",
                fix=f"Move them first: .to({str(query.device)!r}).",
            )


def _check_heads(query_heads: int, key_heads: int, enable_gqa: bool) -> None:
    if query_heads == key_heads:
        return
    if not key_heads or query_heads % key_heads:
        raise ShapeError(
            f"{query_heads} query heads on {key_heads} key heads.",
            rule="The number of query heads is a multiple of the number of key heads.",
            fix="Repeat the key heads, or give fewer of them.",
        )
    if not enable_gqa:
        raise ShapeError(
            f"{query_heads} query heads on {key_heads} key heads.",
            rule="Without enable_gqa=True there are as many query heads as key heads.",
            fix="Pass enable_gqa=True if query heads share key heads, or give equally many.",
        )
