"""The patterns of "Longformer: The Long-Document Transformer" (Beltagy et al. 2020)."""

from __future__ import annotations

from typing import Annotated

import attncc
from attncc import Bounds, Condition, Index, ParameterError, Table
from attncc_longformer import examples

Positive = Annotated[int, Bounds(minimum=1)]
#: What a token is.
PADDING, LOCAL, GLOBAL = range(3)
Roles = Annotated[Table, Bounds(minimum=PADDING, maximum=GLOBAL)]


@attncc.pattern
def symmetric_window(i: Index, j: Index, *, window: Positive = 512, dilation: Positive = 1) -> Condition:
    """Half of `window` positions on either side, `dilation` apart, and the query's own (section 3.1)."""
    return _near(i, j, window, dilation)


@attncc.pattern(example=examples.roles)
def longformer(
    i: Index, j: Index, *, roles: Roles, window: Positive = 512, dilation: Positive = 1
) -> tuple[Condition, Condition]:
    """A symmetric window, and global tokens that see all and are seen by all (section 3.1).

    The first subset is the window and the global keys, for all queries. The second one is all keys, for global queries,
    which the paper projects apart. `roles` is (N,) or (B, N): 0 for padding, which sees nothing and is seen by none,
    1 for local tokens, 2 for global ones.
    """
    seen = (roles[i] > PADDING) & (roles[j] > PADDING)
    return seen & (_near(i, j, window, dilation) | (roles[j] == GLOBAL)), seen & (roles[i] == GLOBAL)


def _near(i: Index, j: Index, window: int, dilation: int) -> Condition:
    if window % 2:
        raise ParameterError(
            f"window={window}.",
            rule="A symmetric window has as many positions on either side, and the query's own beside them.",
            fix=f"Use window={window + 1}.",
        )
    reach: Condition = abs(i - j) <= window // 2 * dilation
    return reach & ((i - j) % dilation == 0)
