from family_pages import Example, Family

H, W, K = 64, 64, 13


def axis(length: int, kernel: int, causal: bool = False) -> int:
    """Return the edges of one axis: `kernel` for each query, or with `causal` as many as there are up to it."""
    return kernel * length - causal * kernel * (kernel - 1) // 2


FAMILY = Family(
    plugin="neighborhood",
    title="Neighbourhood attention",
    paper="Hassani, Walton, Li, Li, Shi (2023), *Neighborhood Attention Transformer*; Hassani, Shi (2022), *Dilated "
    "Neighborhood Attention Transformer*; Hassani and others (2025), *Generalized Neighborhood Attention*; Zhang and "
    "others (2025), *Fast Video Generation with Sliding Tile Attention*, section 3.2; Ho, Kalchbrenner, Weissenborn, "
    "Salimans (2019), *Axial Attention in Multidimensional Transformers*.",
    definition="""
Tokens lie on a grid of one, two or three axes, the last of which runs fastest. A query at coordinates (q_1, ..., q_d)
sees the keys whose coordinate lies in its window along every axis: A_i = W_1(q_1) × ... × W_d(q_d).

- *Along an axis* of length n, W(q) = {s, s + 1, ..., s + k − 1} with s = min(max(q − ⌊k / 2⌋, 0), n − k). At a border
  the window is shifted inwards, so that each query sees k keys.
- *Dilation* δ: the coordinates with the same remainder by δ are an axis of their own.
- *Stride* t: the window of q is that of its leader, min(⌊q / t⌋ t + ⌊t / 2⌋, n − 1).
- *Causal* along an axis: W(q) = {c − k + 1, ..., q}, without what is before the axis, for the leader
  c = min(⌊q / t⌋ t + t − 1, n − 1).
- *Sliding tiles*: the same rule for the number of a tile of tokens, so that each query sees whole tiles.
- *Axial*: A_i^(1) is the row of the query and A_i^(2) its column.
""",
    text="""
The rule is NATTEN's (release 0.21, `get_win_start` in csrc/include/natten/cuda/reference/mask.hpp), for windows of even
length, too: of an even window the larger half lies before the query.

`cls` tokens may stand in front of the grid and `text` tokens behind it. They see all tokens, and all tokens see them.
The keys are those of the whole grid and of what is beside it: another number of keys is an error. Queries may be a part
of the tokens, by `q_offset`.

```python
import torch

import attncc

q, k, v = torch.randn(3, 1, 2, 1 + 24 * 32 + 5, 32)
near = attncc.load("neighborhood_2d", height=24, width=32, kernel_h=7, kernel_w=9, causal_h=True, cls=1, text=5)
out = attncc.attention(q, k, v, near)
```

A grid is laid out [box by box](../design.md#blocked-layouts): no token is moved by whoever calls attention.
""",
    examples=(
        Example("neighborhood_1d", {"length": 4096, "kernel": K}, 4096, "k N", axis(4096, K)),
        Example(
            "neighborhood_2d",
            {"height": H, "width": W, "kernel_h": K, "kernel_w": K},
            H * W,
            "k_h k_w N",
            axis(H, K) * axis(W, K),
        ),
        Example(
            "neighborhood_2d",
            {"height": H, "width": W, "kernel_h": 16, "kernel_w": 16, "stride_h": 8, "stride_w": 8},
            H * W,
            "k_h k_w N, whatever the stride",
            axis(H, 16) * axis(W, 16),
        ),
        Example(
            "neighborhood_2d",
            {"height": H, "width": W, "kernel_h": K, "kernel_w": K, "causal_h": True, "cls": 1, "text": 77},
            H * W + 78,
            "(k_h H − k_h (k_h − 1) / 2) k_w W, and for b = 78 tokens beside the grid b (2 H W + b)",
            axis(H, K, causal=True) * axis(W, K) + 78 * (2 * H * W + 78),
        ),
        Example("neighborhood_3d", {"depth": 16, "height": 16, "width": 16}, 4096, "k_d k_h k_w N", axis(16, 5) ** 3),
        Example("sliding_tiles", {"height": H, "width": W}, H * W, "k_h k_w tile_h tile_w N", 9 * 64 * H * W),
        Example("axial", {"height": H, "width": W}, H * W, "(H + W − 1) N", (H + W - 1) * H * W),
    ),
    drawn=(
        ("neighborhood_2d", {"height": 8, "width": 16, "kernel_h": 3, "kernel_w": 5}),
        ("neighborhood_2d", {"height": 8, "width": 16, "kernel_h": 4, "kernel_w": 4, "stride_h": 4, "stride_w": 4}),
        ("neighborhood_3d", {"depth": 4, "height": 4, "width": 8, "kernel_d": 2, "kernel_h": 3, "kernel_w": 3}),
        ("sliding_tiles", {"height": 8, "width": 16, "kernel_h": 1, "tile_h": 4, "tile_w": 4}),
        ("axial", {"height": 8, "width": 16}),
    ),
)
