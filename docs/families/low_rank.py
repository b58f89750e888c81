from family_pages import Example, Family

N, RATIO = 4096, 64
BLOCKS = N // RATIO

FAMILY = Family(
    plugin="low_rank",
    title="Projected, pooled and kernelised keys",
    paper="Wang, Li, Khabsa, Fang, Ma (2020), *Linformer: Self-Attention with Linear Complexity*, section 4; "
    "Katharopoulos, Vyas, Pappas, Fleuret (2020), *Transformers are RNNs: Fast Autoregressive Transformers with Linear "
    "Attention*, section 3.",
    definition="""
Fewer keys than positions stand for all of them, so that attention takes time in proportion to N.

- *Linformer*: softmax(Q (E K)ᵀ / √D) F V, with E and F of k x N. Each of the k keys is a sum over all positions, so
  that every query sees every key, and nothing is causal.
- *Pooled keys*: key c is the mean of positions c s to (c + 1) s − 1, and is seen once its block has ended:
  A_i = {c : (c + 1) s ≤ i + 1}. There are n_k = N / s keys.
- *Linear attention*: weights f(q_i) f(k_j) for features f = elu + 1, in place of exp(q_i k_j / √D). Sums over keys are
  taken first, so that no pair is looked at.
""",
    text="""
## Pooled keys

A pattern's key is what the tensors have: `pooled` speaks of blocks in j, and of positions in i. A query before the end
of the first block sees nothing, and has out 0 and lse -inf. In one softmax with its own block it sees all that came
before, and what is recent without loss:

```python
import torch

import attncc
from attncc_low_rank.reduced import pooled_mean

q, k, v = torch.randn(3, 1, 4, 1024, 32)
past, near = attncc.load("pooled", ratio=16), attncc.load("block_diagonal", block=16).causal()
of_past = attncc.attention(q, pooled_mean(k, 16), pooled_mean(v, 16), past, return_lse=True)
of_near = attncc.attention(q, k, v, near, return_lse=True)
out, lse = attncc.merge(of_past, of_near)
```

The length is a multiple of the ratio; leave the rest out of what is pooled, since no query sees a block before its end.

## Linformer

```python
import torch

from attncc_low_rank.reduced import linformer_attention

q, k, v = torch.randn(3, 1, 4, 1024, 32)
keys, values = (torch.nn.Parameter(torch.randn(64, 1024) / 32) for _ in range(2))  # E and F; (H, k, N) for each head
linformer_attention(q, k, v, keys, values).square().sum().backward()
```

E and F have a column for each position: shorter sequences take the first columns.

## Linear attention: the limit of low rank

With k projected keys, the matrix of weights before the softmax's division has rank k at most, but for the exponential.
Without the exponential its rank is that of the features, and the sums over keys are all there is to keep:
`linear_attention`, and `causal_linear_attention` by chunks, exactly and in O(N). Its state is of one size, however
much came before. Steps of 1, 7 and 64 positions equal one pass, gradients included.

```python
import torch

import attncc
from attncc_low_rank import kernelised
from attncc_low_rank.linear import causal_linear_attention, elu_features

q, k, v = torch.randn(3, 1, 4, 200, 32)
whole, _ = causal_linear_attention(q, k, v)
state, outs = None, []
for first in range(0, 200, 7):
    out, state = causal_linear_attention(*(x[:, :, first : first + 7] for x in (q, k, v)), state)
    outs.append(out)
torch.testing.assert_close(torch.cat(outs, 2), whole)

# The same as softmax attention: the exponential of a logarithm. So any pattern may have linear attention's weights.
causal = attncc.load("causal")
same = attncc.attention(elu_features(q), elu_features(k), v, causal, score=kernelised, scale=1.0)
torch.testing.assert_close(same, whole)
```

Behind 16,384 positions, a step of 256 by linear attention took a 30th of the time of causal attention to them, on two
cores that had other work (`bench/test_memory.py`).

## Out of scope

Mixing that asks no query is not attention to a set of keys, and isn't here: convolutions along the sequence, Fourier
transforms, and state spaces, whose weights depend on positions, or on keys, alone.

Transformers, x-transformers and local-attention have none of these three. Tests compare with the formulas in float64.
""",
    examples=(
        Example(
            "pooled",
            {"ratio": RATIO},
            N,
            "s n (n − 1) / 2 + n for n = N / s",
            RATIO * BLOCKS * (BLOCKS - 1) // 2 + BLOCKS,
            keys=BLOCKS,
        ),
    ),
    drawn=(("pooled", {"ratio": 8}), ("full", {})),
    drawn_keys=(16, 16),
)
