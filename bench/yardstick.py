"""The yardstick: dense flash attention forward in Triton, written by hand for one case and nothing else.

FlashAttention-2 (Dao, 2023, algorithm 1): an online softmax in base 2 over key tiles, pointers that advance by a
constant, no bounds checks (lengths are multiples of the tiles). The causal kernel visits the tiles below the
diagonal first, without a mask, then those on it with one. Generated kernels are compared with its inner loops.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Arguments and their types; strides are of (batch entry x head, row), in elements, and the last axis is contiguous.
SIGNATURE = {
    "query": "*fp16",
    "key": "*fp16",
    "value": "*fp16",
    "out": "*fp16",
    "lse": "*fp32",
    "head_stride": "i64",
    "length": "i32",
    "scale": "fp32",
}


@triton.jit
def dense(
    query,
    key,
    value,
    out,
    lse,
    head_stride,
    length,
    scale,
    HEAD_DIM: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    CAUSAL: tl.constexpr,
):
    """out (H, N, D) and lse (H, N) of one query tile and head; `scale` is in base 2."""
    tile, head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    row = tile * BLOCK_M + tl.arange(0, BLOCK_M)
    col = tl.arange(0, BLOCK_N)
    wide = tl.arange(0, HEAD_DIM)
    block = head * head_stride + row[:, None] * HEAD_DIM + wide[None, :]
    query_tile = tl.load(query + block)
    key += head * head_stride + col[:, None] * HEAD_DIM + wide[None, :]
    value += head * head_stride + col[:, None] * HEAD_DIM + wide[None, :]

    peak = tl.full([BLOCK_M], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    sums = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)

    whole = tile * BLOCK_M if CAUSAL else length
    for _ in range(0, whole, BLOCK_N):
        scores = tl.dot(query_tile, tl.trans(tl.load(key)))
        highest = tl.maximum(peak, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - highest[:, None])
        decay = tl.exp2(peak - highest)
        total = total * decay + tl.sum(weights, 1)
        value_tile = tl.load(value)
        sums = tl.dot(weights.to(value_tile.dtype), value_tile, sums * decay[:, None])
        peak = highest
        key += BLOCK_N * HEAD_DIM
        value += BLOCK_N * HEAD_DIM

    if CAUSAL:
        for begin in range(whole, whole + BLOCK_M, BLOCK_N):
            scores = tl.dot(query_tile, tl.trans(tl.load(key)))
            scores = tl.where(row[:, None] >= begin + col[None, :], scores, -float("inf"))
            highest = tl.maximum(peak, tl.max(scores, 1) * scale)
            weights = tl.exp2(scores * scale - highest[:, None])
            decay = tl.exp2(peak - highest)
            total = total * decay + tl.sum(weights, 1)
            value_tile = tl.load(value)
            sums = tl.dot(weights.to(value_tile.dtype), value_tile, sums * decay[:, None])
            peak = highest
            key += BLOCK_N * HEAD_DIM
            value += BLOCK_N * HEAD_DIM

    tl.store(out + block, (sums / total[:, None]).to(out.dtype.element_ty))
    tl.store(lse + head * length + row, (peak + tl.log2(total)) * 0.6931471805599453)
