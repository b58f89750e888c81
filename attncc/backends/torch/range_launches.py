"""Range launches: a step of decoding in which each sequence sees one range of keys, a view of its cache.

Nothing is made ready for tensors of some sizes, as launches of tiles are: a step's lengths don't come again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.logsum import LogSum
from attncc.backends.torch.kernels import kernel_for
from attncc.planner.listing import ListedKeys

#: One call of a tile kernel: consecutive batch entries, and the range of keys that they share, which may be empty.
RangeLaunch = tuple[slice, range]
#: The keys of an entry that sees none.
_NONE = range(0)
_EVERY = slice(None)


def range_launches(listed: ListedKeys) -> list[RangeLaunch] | None:
    """Return the launches for a query's keys, in order of batch entries; None where some entry's aren't one range."""
    if listed.heads is not None or listed.paged_entries:
        return None
    found: list[RangeLaunch] = []
    first, shared = 0, listed.of_members[0]
    for entry, keys in enumerate(listed.of_members):
        if type(keys) is not tuple or len(keys) > 1:
            return None
        if keys != shared:
            found.append((slice(first, entry), shared[0] if shared else _NONE))
            first, shared = entry, keys
    found.append((slice(first, listed.entries), shared[0] if shared else _NONE))
    return found


def forward(
    launches: Iterable[RangeLaunch], query: Tensor, key: Tensor, value: Tensor, scale: float
) -> tuple[Tensor, LogSum]:
    """Return (out, lse) of query (B, Hq, 1, D) on key and value (B, Hkv, N, D); heads that share keys are rows."""
    batch, heads, *_ = query.shape
    sharing = heads // key.shape[1]
    rows = query if sharing == 1 else query.reshape(batch, key.shape[1], sharing, query.shape[-1])
    kernel = kernel_for(query.device)
    parts = []
    for entries, keys in launches:
        if not keys:
            parts.append(_of_no_key(rows[entries]))
            continue
        seen = entries, _EVERY, slice(keys.start, keys.stop, keys.step)
        out, lse = kernel.forward(rows[entries], key[seen], value[seen], None, False, scale)
        parts.append((out, lse.value))
    out, log_sum = parts[0] if len(parts) == 1 else map(torch.cat, zip(*parts, strict=True))
    return out.reshape(query.shape), LogSum(log_sum.reshape(batch, heads, 1))


def _of_no_key(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return (out, lse) of rows without keys."""
    out = torch.zeros_like(rows)
    return out, out.new_full(out.shape[:-1], -math.inf, dtype=accumulation_dtype(rows.dtype))
