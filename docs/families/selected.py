import numpy as np
from family_pages import DRAWN, Example, Family

N, BLOCK, TOP, WINDOW = 4096, 64, 8, 128
LENGTH, STRIDE, TOKENS = 32, 16, 32


def earlier(rows: int, most: int, back: int = 0) -> np.ndarray:
    """Return for each row up to `most` different numbers, drawn of those more than `back` before it; -1 for none."""
    draw = np.random.default_rng(0)
    lists = np.full((rows, most), -1)
    for row in range(rows):
        room = max(0, row - back)
        lists[row, : min(room, most)] = draw.choice(room, min(room, most), replace=False)
    return lists


def listed(rows: int, most: int, back: int = 0) -> int:
    """Return how many entries these lists have."""
    return sum(min(max(0, row - back), most) for row in range(rows))


BLOCKS, CHOSEN = N // BLOCK, earlier(N, TOKENS, WINDOW - 1)
LISTED = BLOCK**2 * listed(BLOCKS, TOP)

FAMILY = Family(
    plugin="selected",
    title="Selected blocks and tokens",
    paper="""
Lu et al. (2025), *MoBA: Mixture of Block Attention for Long-Context LLMs*; Yuan et al. (2025), *Native Sparse
Attention*; DeepSeek-AI (2025), *DeepSeek-V3.2* (DeepSeek sparse attention, with a lightning indexer).
""".strip(),
    definition="""
The model itself says which keys a query sees, by scores: S_i has the numbers that were chosen for query i.

| pattern | A_i |
| --- | --- |
| `moba` | j ≤ i, and ⌊j / b⌋ = ⌊i / b⌋ or ⌊j / b⌋ ∈ S_i |
| `selected_blocks` | j ≤ i, and ⌊j / b⌋ ∈ S_i |
| `compressed_blocks` | compressed keys: d j + l ≤ i + 1, block j being positions d j to d j + l − 1 |
| `selected_tokens` | j ≤ i, and i − j < window or j ∈ S_i |

How S_i is chosen (`attncc_selected.choosing`; all are causal):

- *MoBA*: the blocks whose mean keys have the greatest products with q_i, of which the query's own block always is
  one.
- *Native sparse attention*: the weights of the compressed keys, p = softmax(q_i · k̃), are given to the blocks with
  which these keys share strides, and summed over the heads that share a key head. The first block, the query's own
  and the one before it are always chosen. The output is the sum of three softmaxes, over compressed, selected and
  window keys, each times a gate.
- *DeepSeek sparse attention*: I_ij = Σ_h w_ih · ReLU(q^I_ih · k^I_j), over the heads of a small indexer.
""",
    text="""
**Use.** `attncc.Lists` (B, H, rows, K) come from torch, with -1 for none; what is listed twice counts once. Scores
that are equal are told apart by position, so that the same scores give the same lists. A `top` above the number of
blocks is an error.

```python
import torch
from attncc_selected.choosing import block_means, indexed_tokens, moba_blocks, nsa_blocks
from attncc_selected.native import native_sparse_attention

import attncc

q = torch.randn(1, 8, 512, 32, requires_grad=True)
k, v = torch.randn(2, 1, 2, 512, 32, requires_grad=True)  # four heads share a key head

blocks = moba_blocks(q, k, 4, block=64, queries=64)  # one list for 64 neighbouring queries
out = attncc.attention(q, k, v, attncc.load("moba", blocks=blocks, block=64, queries=64), enable_gqa=True)

compressed = tuple(x.unfold(2, 32, 16).mean(-1) for x in (k, v))  # a model learns this map
gates = torch.rand(1, 8, 512, 3)
blocks = nsa_blocks(q, compressed[0], 4, block=64, compression=(32, 16))  # one list for each query
out = native_sparse_attention(q, k, v, compressed, gates, blocks, window=128, block=64)

index_q, index_k, weights = torch.randn(1, 2, 512, 16), torch.randn(1, 512, 16), torch.rand(1, 2, 512)
tokens = indexed_tokens(index_q, index_k, weights, 64)
pattern = attncc.load("selected_tokens", tokens=tokens, window=32)
out = attncc.attention(q, k, v, pattern, sink=torch.zeros(8), enable_gqa=True)  # one softmax, with a learned sink
out.sum().backward()
```

**Gradients** reach queries, keys, values, compressed keys and gates. Which blocks are chosen isn't differentiated, as
in the papers: MoBA learns through the keys that it chose, native sparse attention through the compressed branch, and
the indexer by a loss of its own.

**Queries that share a list.** The papers choose for each query. But a tile visits the blocks of all its queries, and
lists of neighbouring queries differ so much for random scores that most blocks are visited. There are two ways out:

- `queries=64` gives 64 neighbours one list, that of their mean query or summed weights. Then a tile is what its list
  says, and no pair needs a mask but those of the query's own block, which is a pass of its own.
- `attncc_selected.routed.routed_attention` computes `moba` with a list for each query: copies of the queries are sent
  to the blocks that they chose, as in the paper, and what these give is merged. It takes the memory of all copies.

**Cost.** Choosing, planning and lowering are a part of each step, since the lists differ. These are the speed-ups over
dense causal attention, with 16 blocks of 64 and 4 heads of 64 (`pytest bench/test_selected.py`, on two cores that ran
other work, too):

| | forward, N = 8,192 | with backward | forward, N = 16,384 | with backward |
| --- | --- | --- | --- | --- |
| MoBA, `queries=64` | 1.7 x | 1.9 x | 3.2 x | 4.5 x |
| native sparse attention, `queries=64`, all branches | 1.1 x | 1.5 x | 1.9 x | 2.8 x |
| MoBA, a list for each query, `routed_attention` | | | 0.9 x | 1.3 x |

So a list for each query doesn't pay below 16,384 tokens on a CPU, and lists that neighbours share do from 8,192. Of
2.2 s that it takes there on one thread, where dense attention takes 1.8, choosing is 0.6 s, planning 0.1, cutting the
work into calls 0.3, and PyTorch's flash op 0.3. The rest copies and merges rows. A plan that cost nothing would make it
as fast as dense attention, and no faster.
""",
    examples=(
        Example(
            "moba",
            {"blocks": earlier(BLOCKS, TOP), "block": BLOCK, "queries": BLOCK},
            N,
            "N (b + 1) / 2 + b² Σ min(n, K), over blocks n < N / b",
            N * (BLOCK + 1) // 2 + LISTED,
        ),
        Example(
            "selected_blocks",
            {"blocks": earlier(BLOCKS, TOP), "block": BLOCK, "queries": BLOCK},
            N,
            "b² Σ min(n, K)",
            LISTED,
        ),
        Example(
            "compressed_blocks",
            {"block": LENGTH, "stride": STRIDE},
            N,
            "Σ ⌊(i + 1 − l) / d⌋ + 1, over i ≥ l − 1",
            sum((i + 1 - LENGTH) // STRIDE + 1 for i in range(LENGTH - 1, N)),
        ),
        Example(
            "selected_tokens",
            {"tokens": CHOSEN, "window": WINDOW},
            N,
            "N w − w (w − 1) / 2 + Σ min(max(0, i + 1 − w), K)",
            N * WINDOW - WINDOW * (WINDOW - 1) // 2 + listed(N, TOKENS, WINDOW - 1),
        ),
    ),
    drawn=(
        ("moba", {"blocks": earlier(DRAWN // 8, 3), "block": 8, "queries": 8}),
        ("compressed_blocks", {"block": 8, "stride": 4}),
        ("selected_tokens", {"tokens": earlier(DRAWN, 6, 9), "window": 10}),
    ),
)
