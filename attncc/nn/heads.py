"""Heads of a token's vector, apart for attention and side by side for projections."""

from __future__ import annotations

from torch import Tensor, nn

from attncc.errors import ParameterError
from attncc.nn.sizes import check_past, check_positive, check_tokens


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (B, N, H * D) as (B, H, N, D)."""
    return x.view(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(1, 2)


def merged_heads(x: Tensor) -> Tensor:
    """Return (B, H, N, D) as (B, N, H * D)."""
    return x.transpose(1, 2).flatten(2)


class HeadProjections(nn.Module):
    """The four projections around attention.

    Args:
        embed_dim: Size of a token's vector, E.
        num_heads: Query heads, Hq, of E / Hq each.
        num_key_heads: Key heads, Hkv, which divide Hq (Ainslie et al. 2023); as many by default.
        bias: Whether projections have biases.

    Raises:
        ParameterError: For heads that don't divide E, or key heads that don't divide heads.
    """

    def __init__(self, embed_dim: int, num_heads: int, num_key_heads: int | None = None, bias: bool = False) -> None:
        super().__init__()
        key_heads = num_heads if num_key_heads is None else num_key_heads
        check_positive(embed_dim=embed_dim, num_heads=num_heads, num_key_heads=key_heads)
        if embed_dim % num_heads or num_heads % key_heads:
            raise ParameterError(
                f"embed_dim={embed_dim}, num_heads={num_heads}, num_key_heads={key_heads}.",
                rule="Heads divide embed_dim, and key heads divide heads.",
                fix="Use embed_dim=512, num_heads=8, num_key_heads=2, for example.",
            )
        self.embed_dim, self.num_heads, self.num_key_heads = embed_dim, num_heads, key_heads
        self.head_dim = embed_dim // num_heads
        self.query = nn.Linear(embed_dim, embed_dim, bias)
        self.key, self.value = (nn.Linear(embed_dim, key_heads * self.head_dim, bias) for _ in range(2))
        self.out = nn.Linear(embed_dim, embed_dim, bias)

    def _check(self, hidden: Tensor, past: Tensor | None = None) -> None:
        """Raise ShapeError unless a step gets tokens (B, N, E), and its past, if any, is of B entries."""
        check_tokens(hidden, self.embed_dim)
        if past is not None:
            check_past(hidden, past)

    def queries(self, hidden: Tensor) -> Tensor:
        """Return the queries of (B, N, E), (B, Hq, N, D)."""
        return split_heads(self.query(hidden), self.num_heads)

    def keys_and_values(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and the values of (B, N, E), each (B, Hkv, N, D)."""
        return split_heads(self.key(hidden), self.num_key_heads), split_heads(self.value(hidden), self.num_key_heads)

    def projected(self, attended: Tensor) -> Tensor:
        """Return what attention gives, (B, Hq, N, D), as (B, N, E)."""
        found: Tensor = self.out(merged_heads(attended))
        return found
