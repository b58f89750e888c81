"""What runs a plan: the forward with torch's own attention, the backward of the reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attncc.backends.logsum import LogSum
from attncc.backends.reference.execute import DenseInputs, ReferenceExecutable


class SdpaExecutable(ReferenceExecutable):
    """Under a score, which torch's attention doesn't take, it is the reference."""

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """See attncc.backends.base.Executable."""
        if not self.score.is_identity:
            return super().forward(query, key, value, weights, scale)
        dense = DenseInputs.of(query, key, value, self.mask(query))
        out = scaled_dot_product_attention(dense.query, dense.key, dense.value, attn_mask=dense.seen, scale=scale)
        scores = (dense.query @ dense.key.mT * scale).masked_fill(~dense.seen, -math.inf)
        seen = dense.seen.any(-1, keepdim=True)
        return out.masked_fill(~seen, 0.0).to(query.dtype), LogSum(torch.logsumexp(scores, -1))
