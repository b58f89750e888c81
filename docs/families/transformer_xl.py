from family_pages import Example, Family

N, L, M = 4096, 256, 512
S, PAST = N // L, M // L

FAMILY = Family(
    plugin="transformer_xl",
    title="Transformer-XL",
    paper="Dai, Yang, Yang, Carbonell, Le, Salakhutdinov (2019), *Transformer-XL: Attentive Language Models Beyond a "
    "Fixed-Length Context*, sections 3.2 and 3.3, appendix B.",
    definition="""
Segments of L positions are computed one after the other. Each query sees its segment up to itself, and the M positions
before the segment: A_i = {j : ⌊i / L⌋ L − M ≤ j ≤ i}. With L = 1 that is a window of M + 1 positions, which the
reference code calls `same_length`.

Scores depend on the relative position: ((q_i + u) k_j + (q_i + v) W r_{i−j}) / √D.
""",
    text="""
## Scores by relative position

W r_{i−j} depends on the distance, and (q_i + v) W r_{i−j} on the query, too. There are two exact ways to it, with
gradients for q, k, v, u, W and r:

- `relative_attention` makes a table of Nq x distances for each head by one matrix product, and adds an entry to each
  score. r may be anything: sinusoids, or learned. The table takes as much memory as the scores of a window would.
- `widened` is for sinusoids. Since sin((i − j) w) = sin(iw) cos(jw) − cos(iw) sin(jw), queries and keys with as many
  more channels as r has give the same products, without a table and without a score.

With two cores that had other work, at N = 4,096, L = M = 256, 8 heads of 64 channels and 64 channels of r, the table
took 4.3 times as long as attention without positions, and the wider heads 2.2 times; forward and backward 3.3 and 2.1
times (`bench/test_memory.py`). With 256 channels of r the wider heads took longer than the table.

```python
import torch

import attncc
from attncc.nn.functional.relative import RelativePosition, relative_attention, sinusoids, widened

heads, size, distances = 4, 32, 128
u, v = torch.randn(2, heads, size, requires_grad=True)
project = torch.nn.Parameter(torch.randn(heads, size, 16))  # W of each head
q, k, value = torch.randn(3, 1, heads, 256, size)
pattern = attncc.load("segment_memory", segment=64, memory=64)

relative = RelativePosition(u, v, sinusoids(distances, 16) @ project.mT)
out = relative_attention(q, k, value, pattern, relative)
out.square().sum().backward()  # u, v and W have gradients

wide_q, wide_k = widened(q, k, u, v, project)
same = attncc.attention(wide_q, wide_k, value, pattern, scale=size**-0.5)
torch.testing.assert_close(same, out, rtol=1e-3, atol=1e-4)
```

## Step by step

`step` takes the next positions and what the last step returned. The paper keeps hidden states and projects them at each
step. Keys and values are the same numbers as long as the weights don't change, and what a training step needs beyond
them is `memory.detached()`: there the paper's gradient ends.

- Under the default pattern, a window, results don't depend on how a sequence is cut: steps of 1, 7 and 64 positions
  equal one pass of `sliding_window`, gradients included.
- Under `causal`, as in the paper's training, a step is a segment: steps of L positions equal one pass of
  `segment_memory`.

```python
import torch

import attncc
from attncc_transformer_xl.recurrence import step
from attncc.nn.functional.relative import RelativePosition, relative_attention

q, k, v = torch.randn(3, 1, 4, 200, 32)
relative = RelativePosition(torch.randn(4, 32), torch.randn(4, 32), torch.randn(4, 65, 32))
memory, outs = None, []
for first in range(0, 200, 7):
    new = (x[:, :, first : first + 7] for x in (q, k, v))
    out, memory = step(*new, memory, relative, size=64)
    outs.append(out)

whole = relative_attention(q, k, v, attncc.load("sliding_window", window=65), relative)
torch.testing.assert_close(torch.cat(outs, 2), whole, rtol=1e-3, atol=1e-4)
```

Tests compare the scores with XLNet's in Transformers 5.24, which are Transformer-XL's, and the memory with that of
x-transformers. Transformers' own Transformer-XL is gone.
""",
    examples=(
        Example(
            "segment_memory",
            {"segment": L, "memory": M},
            N,
            "N (L + 1) / 2 + L² m (S − (m + 1) / 2) for S = N / L segments and m = M / L",
            N * (L + 1) // 2 + L * L * PAST * (2 * S - PAST - 1) // 2,
        ),
        Example(
            "segment_memory",
            {"segment": 1, "memory": M},
            N,
            "(M + 1) N − M (M + 1) / 2",
            (M + 1) * N - M * (M + 1) // 2,
        ),
    ),
    drawn=(("segment_memory", {"segment": 24, "memory": 24}), ("segment_memory", {"segment": 1, "memory": 24})),
)
