import numpy as np
from family_pages import DRAWN, Example, Family

N, W = 4096, 512
H = W // 2


def roles(n: int, tokens: list[int]) -> np.ndarray:
    """Return the roles of n tokens, of which some are global."""
    found = np.ones(n, np.int64)
    found[tokens] = 2
    return found


FAMILY = Family(
    plugin="longformer",
    title="Longformer",
    paper="Beltagy, Peters, Cohan (2020), *Longformer: The Long-Document Transformer*, section 3.1.",
    definition="""
- *Sliding window*: w / 2 positions on either side of the query, and its own: A_i = {j : |i − j| ≤ w / 2}.
- *Dilated sliding window*: the same number of positions, d apart: A_i = {j : |i − j| ≤ d w / 2, d divides i − j}. Heads
  may have dilations of their own.
- *Global tokens* see all tokens, and all tokens see them. They are projected by weights of their own: queries, keys and
  values of what a global token sees.
""",
    text="""
Global tokens differ from text to text, so that `roles` is a table: 0 for padding, 1 for local tokens, 2 for global
ones. `attncc_longformer.roles.token_roles` makes it of positions. In Transformers' terms it is
`attention_mask * (global_attention_mask + 1)`.

```python
import torch

import attncc
from attncc_longformer.roles import token_roles

roles = token_roles(256, [[0], [0, 17]], lengths=[256, 200])  # two texts, the second with padding
heads = [attncc.load("longformer", roles=roles, window=32, dilation=d) for d in (1, 1, 2, 2)]
pattern = attncc.per_head(heads)  # two heads look further
q, k, v = torch.randn(3, 2, 4, 256, 16)
out = attncc.attention(q, k, v, pattern)
```

The first subset of `longformer` is the window and the global keys, the second one all keys for global queries.
`attncc.nn.LongformerAttention` is the layer, with projections apart for each. It loads the weights of Transformers'
`LongformerSelfAttention`, and equals it in outputs and gradients:

```python
import torch

import attncc

layer = attncc.nn.LongformerAttention(64, 4, window=32)
mask = torch.ones(2, 256, dtype=torch.int64)  # 0 for padding, 1 for local tokens, 2 for global ones
mask[:, 0] = 2
out = layer(torch.randn(2, 256, 64), mask)
```

Differences from other implementations:

- Transformers pads sequences to multiples of the window, and has no dilation. Here any length will do.
- A window is even, as in the paper and in Transformers. It holds w + 1 positions.
- For language models, `.causal()` leaves w / 2 positions before the query. `sliding_window` and `dilated_window` count
  the positions before the query, its own included.
""",
    examples=(
        Example(
            "symmetric_window",
            {"window": W},
            N,
            "(w + 1) N − h (h + 1) for h = w / 2",
            (W + 1) * N - H * (H + 1),
        ),
        Example(
            "symmetric_window",
            {"window": 128, "dilation": 8},
            N,
            "(w + 1) N − d h (h + 1)",
            129 * N - 8 * 64 * 65,
        ),
        Example(
            "longformer",
            {"roles": roles(N, [0, 1, 2]), "window": W},
            N,
            "the window, and 2 g (N − h − 1) − g (g − 1) beyond it, for the first g tokens",
            (W + 1) * N - H * (H + 1) + 2 * 3 * (N - H - 1) - 3 * 2,
        ),
    ),
    drawn=(
        ("symmetric_window", {"window": 16}),
        ("symmetric_window", {"window": 16, "dilation": 3}),
        ("longformer", {"roles": roles(DRAWN, [0, 1, 2, 80]), "window": 16}),
    ),
)
