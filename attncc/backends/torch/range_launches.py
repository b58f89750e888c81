"""Range launches: a step of decoding in which each sequence sees one range of keys, a view of its cache.

Nothing is made ready for tensors of some sizes, as launches of tiles are: a step's lengths don't come again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.logsum import LogSum
from attncc.backends.torch.kernels import TileKernel, kernel_for
from attncc.planner.listing import KeyList

#: The keys of an entry that sees none.
_NONE = range(0)


class RangeLaunch(NamedTuple):
    """One call of a tile kernel: the query of consecutive batch entries, on the range of keys that they share.

    Attributes:
        entries: The batch entries.
        keys: Their keys; it may be empty.
    """

    entries: slice
    keys: range

    def run(self, kernel: TileKernel, query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Return (out, lse) of the entries' rows, of query (B, Hkv, G, D) and key and value (B, Hkv, N, D)."""
        entries, keys = self
        if not keys:
            out = torch.zeros_like(query[entries])
            return out, out.new_full(out.shape[:-1], -math.inf, dtype=accumulation_dtype(query.dtype))
        seen = entries, slice(None), slice(keys.start, keys.stop, keys.step)
        out, lse = kernel.forward(query[entries], key[seen], value[seen], None, False, scale)
        return out, lse.value


def range_launches(lists: Iterable[KeyList]) -> list[RangeLaunch] | None:
    """Return the launches for lists of keys, in order of batch entries; None where some list isn't one range."""
    own: dict[int, range] = {}
    for batches, heads, keys in lists:
        if heads is not None or not isinstance(keys, tuple) or len(keys) > 1:
            return None
        seen = keys[0] if keys else _NONE
        if batches is None:
            return [RangeLaunch(slice(None), seen)]
        for entry in batches:
            own[entry] = seen
    found, first = [], 0
    for entry in range(1, len(own) + 1):
        if entry == len(own) or own[entry] != own[first]:
            found.append(RangeLaunch(slice(first, entry), own[first]))
            first = entry
    return found


def forward(
    launches: Iterable[RangeLaunch], query: Tensor, key: Tensor, value: Tensor, scale: float
) -> tuple[Tensor, LogSum]:
    """Return (out, lse) of query (B, Hq, 1, D) on key and value (B, Hkv, N, D); heads that share keys are rows."""
    batch, heads, *_ = query.shape
    sharing = heads // key.shape[1]
    rows = query if sharing == 1 else query.reshape(batch, key.shape[1], sharing, query.shape[-1])
    kernel = kernel_for(query.device)
    parts = [launch.run(kernel, rows, key, value, scale) for launch in launches]
    out, lse = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
    return out.reshape(query.shape), LogSum(lse.reshape(batch, heads, 1))
