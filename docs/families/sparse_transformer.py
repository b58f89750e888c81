from family_pages import Example, Family

N, L, C = 4096, 64, 8
#: Blocks of a sequence.
BLOCKS = N // L

FAMILY = Family(
    plugin="sparse_transformer",
    title="Sparse Transformer",
    paper="Child, Gray, Radford, Sutskever (2019), *Generating Long Sequences with Sparse Transformers*, section 4.2.",
    definition="""
Factorised attention: each of p = 2 steps connects a query to about √N keys, and two steps connect it to all that came
before.

- *Strided*: A_i^(1) = {t, t + 1, ..., i} for t = max(0, i − l), and A_i^(2) = {j : (i − j) mod l = 0}.
- *Fixed*: A_i^(1) = {j : ⌊j / l⌋ = ⌊i / l⌋}, and A_i^(2) = {j : j mod l ∈ {l − c, ..., l − 1}}.

In both, j ≤ i. `strided_bidirectional` and `fixed_bidirectional` leave that out, and the window is |i − j| ≤ l.
""",
    text="""
**The window.** The paper's window holds **l + 1** positions, from i − l to i. Its last one is also in the column of
step l. A window of l positions would be `sliding_window(window=l)`.

**When not.** The strided pattern is for data with a period, such as the rows of an image. For text the paper found that
it can fail to route information, and takes the fixed pattern (section 4.2).

**The sets** are used in the paper's three ways: block n takes set n mod 2, every head sees both, or head h takes set
h mod 2.

```python
import torch

import attncc

pattern = attncc.load("fixed", l=64, c=8, subblocks=4)
by_layer = [pattern.layers(n) for n in range(12)]
merged, by_head = pattern.union(), pattern.heads()
q, k, v = torch.randn(3, 1, 16, 512, 32)
out = attncc.attention(q, k, v, by_head)
```

**Heads with summaries of their own.** The paper found it better that heads attend to distinct subblocks of length c
than to the same one. With `subblocks=4`, heads 0 and 1 have the last c positions of each block as summaries, heads 2
and 3 the c before them, and so on. They take turns in pairs, so that under `.heads()` each subblock has a head.

**Factorisation.** `attncc verify strided -n 4096 -p l=64` proves that two steps connect each query with all that came
before. A head whose subblock isn't the last one fails alone, and `verify` names a pair: nothing in the head's own block
summarises what comes after its summaries. The heads of a layer connect all pairs together.
""",
    examples=(
        Example(
            "strided",
            {"l": L},
            N,
            "window (l + 1) N − l (l + 1) / 2; columns beyond it, l n (n − 1) / 2 for n = N / l − 1",
            (L + 1) * N - L * (L + 1) // 2 + L * (BLOCKS - 1) * (BLOCKS - 2) // 2,
        ),
        Example(
            "fixed",
            {"l": L, "c": C},
            N,
            "blocks N (l + 1) / 2; summaries of earlier ones, c l n (n − 1) / 2 for n = N / l",
            N * (L + 1) // 2 + C * L * BLOCKS * (BLOCKS - 1) // 2,
        ),
        Example(
            "strided_bidirectional",
            {"l": L},
            N,
            "window N (2 l + 1) − l (l + 1); columns beyond it, l (n − 1) (n − 2) for n = N / l",
            N * (2 * L + 1) - L * (L + 1) + L * (BLOCKS - 1) * (BLOCKS - 2),
        ),
        Example(
            "fixed_bidirectional",
            {"l": L, "c": C},
            N,
            "blocks N l; summaries of others, N c (n − 1) for n = N / l",
            N * L + N * C * (BLOCKS - 1),
        ),
    ),
    drawn=(("strided", {"l": 12}), ("fixed", {"l": 16, "c": 3}), ("fixed_bidirectional", {"l": 16, "c": 3})),
)
