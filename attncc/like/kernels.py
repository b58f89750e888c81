"""Masks of attention kernels, under the names of their own parameters.

Each says where the last query stands if there are fewer queries than keys: bottom right, at the last key, or top left,
at the key of its own number. Pass these patterns without `q_offset`, since they know the lengths.
"""

from __future__ import annotations

from attncc.errors import ParameterError
from attncc.frontend.patterns import Pattern
from attncc.like.band import check_at_least, check_choice, check_flag, named


def torch_sdpa(*, is_causal: bool = False) -> Pattern:
    """Return the mask of `torch.nn.functional.scaled_dot_product_attention(is_causal=...)`: top left.

    Source: PyTorch 2.13, torch/nn/functional.py: `tril(diagonal=0)` of L x S.
    """
    return named("torch_sdpa", right=0 if check_flag("torch_sdpa", "is_causal", is_causal) else -1)


def flash_attn(*, causal: bool = False, window_size: tuple[int, int] = (-1, -1)) -> Pattern:
    """Return the mask of `flash_attn_func(causal=..., window_size=(left, right))`: bottom right, ends included.

    A window (256, 0) has 257 keys. `causal=True` has no keys after the query, whatever `window_size` says.
    Source: FlashAttention at 0251105a, flash_attn/flash_attn_interface.py, docstring of flash_attn_func.

    Raises:
        ParameterError: For anything but two integers of at least -1.
    """
    left, right = _two("flash_attn", "window_size", window_size)
    right = 0 if check_flag("flash_attn", "causal", causal) else right
    return named("flash_attn", left=left, right=right, bottom_right=True)


def flashinfer(*, causal: bool = False, window_left: int = -1) -> Pattern:
    """Return the mask of FlashInfer's `single_prefill_with_kv_cache(causal=..., window_left=...)`: bottom right.

    `window_left` counts the keys before the query, whose own comes in addition: 256 has 257 keys under `causal`.

    Raises:
        ParameterError: For `window_left` below -1.
    """
    left = check_at_least("flashinfer", "window_left", window_left, -1)
    right = 0 if check_flag("flashinfer", "causal", causal) else -1
    return named("flashinfer", left=left, right=right, bottom_right=True)


def jax(*, is_causal: bool = False, local_window_size: int | tuple[int, int] | None = None) -> Pattern:
    """Return the mask of `jax.nn.dot_product_attention` and of tokamax: top left, ends included.

    An integer counts on both sides: 256 has 513 keys, and 257 under `is_causal`.
    Source: JAX 0.10.2, jax/_src/nn/functions.py, `_get_window_mask`; tokamax 0.0.12, _src/ops/attention/api.py.

    Raises:
        ParameterError: For negative sizes.
    """
    left, right = -1, -1
    if local_window_size is not None:
        both = (local_window_size, local_window_size) if hasattr(local_window_size, "__index__") else local_window_size
        left, right = _two("jax", "local_window_size", both, 0)
    return named("jax", left=left, right=0 if check_flag("jax", "is_causal", is_causal) else right)


#: xformers' biases without tensors: whether causal, and whether the last query stands at the last key.
_XFORMERS = {
    "LowerTriangularMask": False,
    "LowerTriangularFromBottomRightMask": True,
    "LowerTriangularFromBottomRightLocalAttentionMask": True,
    "LocalAttentionFromBottomRightMask": True,
}
#: The sizes that they take.
_XFORMERS_SIZES = {
    "LowerTriangularFromBottomRightLocalAttentionMask": ("window_size",),
    "LocalAttentionFromBottomRightMask": ("window_left", "window_right"),
}


def xformers(attn_bias: str, *, window_size: int = -1, window_left: int = -1, window_right: int = -1) -> Pattern:
    """Return the mask of one of xformers' `attn_bias` classes, by its name.

    `LowerTriangularFromBottomRightLocalAttentionMask(window_size=256)` has 256 keys, the query's own included;
    `LocalAttentionFromBottomRightMask(window_left, window_right)` has window_left + 1 + window_right.
    For `BlockDiagonalMask` and its kin see `attncc.Documents`.
    Source: xformers 0.0.32, xformers/ops/fmha/attn_bias.py.

    Raises:
        ParameterError: For another class, or a size that the class refuses.
    """
    check_choice("xformers", "attn_bias", attn_bias, _XFORMERS)
    bottom_right = _XFORMERS[attn_bias]
    sizes = {"window_size": window_size, "window_left": window_left, "window_right": window_right}
    taken = _XFORMERS_SIZES.get(attn_bias, ())
    for name in sizes.keys() - taken:
        if sizes[name] != -1:
            raise ParameterError(
                f"{attn_bias}: {name}={sizes[name]!r}.",
                rule=f"{attn_bias} takes {' and '.join(taken) or 'no sizes'}.",
                fix=f"Leave {name} out, or name the class that takes it.",
            )
    if attn_bias == "LocalAttentionFromBottomRightMask":
        left, right = _two(attn_bias, "window_left, window_right", (window_left, window_right), 0)
        return named(attn_bias, left=left, right=right, bottom_right=bottom_right)
    left = -1
    if attn_bias == "LowerTriangularFromBottomRightLocalAttentionMask":
        left = check_at_least(attn_bias, "window_size", window_size, 1) - 1
    return named(attn_bias, left=left, right=0, bottom_right=bottom_right)


def _two(owner: str, name: str, sizes: object, minimum: int = -1) -> tuple[int, int]:
    if not isinstance(sizes, tuple | list) or len(sizes) != 2:
        raise ParameterError(
            f"{owner}: {name}={sizes!r}.",
            rule=f"{name} are two integers, the keys before a query and after it.",
            fix=f"Pass the value that {owner} gets, for example (255, 0).",
        )
    left, right = sizes
    return check_at_least(owner, name, left, minimum), check_at_least(owner, name, right, minimum)
