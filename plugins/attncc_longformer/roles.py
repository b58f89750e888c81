"""Roles of tokens from the positions of the global ones: what `longformer` takes as its table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from attncc import ParameterError
from attncc_longformer import GLOBAL, LOCAL, PADDING


def token_roles(
    n: int, global_tokens: Sequence[Sequence[int]], lengths: Sequence[int] | None = None
) -> npt.NDArray[np.int64]:
    """Return the role of each token: 0 for padding, 1 for local tokens, 2 for global ones.

    Transformers' `attention_mask * (global_attention_mask + 1)` is the same table.

    Args:
        n: Positions, N.
        global_tokens: For each of B batch entries the positions of its global tokens; there may be none.
        lengths: (B,), the tokens of each entry; padding follows them. By default there is none.

    Returns:
        (B, N), int64.

    Raises:
        ParameterError: For a length beyond N, or a global token that is repeated or outside of the tokens.
    """
    if n < 0:
        raise ParameterError(f"n={n}.", rule="It is a number of positions.", fix="Give the length of the sequences.")
    lengths = [n] * len(global_tokens) if lengths is None else list(lengths)
    if len(lengths) != len(global_tokens):
        raise ParameterError(
            f"lengths has {len(lengths)} entries, and global_tokens {len(global_tokens)}.",
            rule="Both have one for each entry of the batch.",
            fix="Give an empty list of global tokens to an entry without any.",
        )
    roles = np.full((len(lengths), n), LOCAL, np.int64)
    for row, length, tokens in zip(roles, lengths, global_tokens, strict=True):
        if not 0 <= length <= n:
            raise ParameterError(
                f"lengths has {length}, with n={n}.",
                rule="A sequence has at most n tokens.",
                fix="Give the numbers of tokens without padding.",
            )
        _check(list(tokens), length)
        row[list(tokens)] = GLOBAL
        row[length:] = PADDING
    return roles


def _check(tokens: list[int], length: int) -> None:
    wrong = [token for token in tokens if not 0 <= token < length or tokens.count(token) > 1]
    if wrong:
        raise ParameterError(
            f"global_tokens has {wrong[0]}{' more than once' if 0 <= wrong[0] < length else ''}.",
            rule=f"Global tokens are different positions of a sequence of {length}: 0 to {length - 1}.",
            fix="Name each position once.",
        )
