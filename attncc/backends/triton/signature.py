"""Signatures of the six kernels: their arguments, results and products.

Tensors in memory are named in capitals, as in FlashAttention's Triton kernels; their tiles have the same names in lower
case: Q K V O, DO DQ DK DV for gradients, and LSE and Delta for rows.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Tensors in the dtype of the inputs, and those that take results in it or in float32.
INPUTS = {"Q", "K", "V", "DO"}
RESULTS = {"O", "DQ", "DK", "DV", "Grad"}
#: Tensors whose rows have the head size of values.
OF_VALUES = {"V", "O", "DO", "DV"}
#: Arrays that are int32; the others are float32.
INDEX_ARRAYS = {"items", "runs", "split_tiles", "part_numbers", "head_subset", "kv_groups"}
INDEX_ARRAYS |= {"row_positions", "col_positions", "key_positions", "lifted", "start_slots", "stop_slots"}
INDEX_ARRAYS |= {"programs", "group_numbers"}


@dataclass(frozen=True)
class Signature:
    """What all forms of a kernel have in common."""

    purpose: str  # what it computes, as the header of the generated module says it
    tensors: tuple[str, ...]  # with strides of (batch, head, row); their last dimension is contiguous
    arrays: tuple[str, ...]  # other pointers
    numbers: tuple[str, ...]  # integers, and `scale`
    constants: tuple[str, ...]  # compile-time constants
    results: tuple[str, ...]  # arguments that take its results
    products: tuple[int, int] | None = None  # of a tile, by the head size of keys and of values


_HEADS = ("programs_per_head", "num_heads", "qheads_per_kvhead")
_OF_PASS = (*_HEADS, "q_len", "rows", "cols", "q_offset", "start_shift", "stop_shift", "scale")
_OF_TILE = ("HEAD_DIM", "VALUE_DIM", "BLOCK_D", "BLOCK_DV", "BLOCK_M", "BLOCK_N", "PRECISION")

SIGNATURES = {
    "forward": Signature(
        "o and lse of query tiles: an online softmax over their runs of key tiles",
        ("Q", "K", "V", "O"),
        ("LSE", "Remainder", "items", "runs"),
        _OF_PASS,
        _OF_TILE,
        ("O", "LSE", "Remainder"),
        (1, 1),
    ),
    "query_gradient": Signature(
        "dQ of query tiles, over their runs of key tiles",
        ("Q", "K", "V", "DO", "DQ"),
        ("LSE", "Remainder", "Delta", "items", "runs"),
        _OF_PASS,
        _OF_TILE,
        ("DQ",),
        (2, 1),
    ),
    "key_gradient": Signature(
        "dK and dV of key tiles, over their runs of query tiles",
        ("Q", "K", "V", "DO", "DQ", "DK", "DV"),
        ("LSE", "Remainder", "Delta", "items", "runs"),
        _OF_PASS,
        _OF_TILE,
        ("DK", "DV"),
        (2, 2),
    ),
    "delta": Signature(
        "delta = rowsum(dO * O) - d_lse, and lse (in base 2 where there is no score), +inf for queries without keys",
        ("O", "DO"),
        ("LSE", "DLSE", "Delta", "LSE_log2", "LSE_natural"),
        ("programs_per_head", "num_heads", "q_len"),
        ("VALUE_DIM", "BLOCK_DV", "BLOCK_M"),
        (),
    ),
    "merge": Signature(
        "o and lse of query tiles that were split into several items, merged by log-sum-exp",
        ("O",),
        ("O_parts", "LSE_parts", "Remainder_parts", "LSE", "Remainder", "split_tiles"),
        (*_HEADS, "q_len", "rows", "parts_per_head"),
        ("VALUE_DIM", "BLOCK_DV", "BLOCK_M"),
        ("O", "LSE", "Remainder"),
    ),
    "add": Signature(
        "gradients of tiles that were split into several items, added up",
        ("Grad",),
        ("Grad_parts", "split_tiles"),
        (*_HEADS, "rows", "parts_per_head"),
        ("HEAD_DIM", "BLOCK_D", "BLOCK_M"),
        ("Grad",),
    ),
}


def strides_of(tensor: str) -> tuple[str, str, str]:
    """Return the arguments that are a tensor's strides of batch entries, heads and rows: stride_qz, _qh, _qm of Q."""
    short = {"Grad": "g"}.get(tensor, tensor.lower())
    row = "n" if tensor in ("K", "V", "DK", "DV") else "m"
    return f"stride_{short}z", f"stride_{short}h", f"stride_{short}{row}"
