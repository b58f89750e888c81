import numpy as np
from family_pages import Example, Family

N, B, M = 4096, 64, 64
#: Buckets of equal size, in random order, and the chunks of M tokens that they are.
EQUAL = np.random.default_rng(0).permutation(N) % B
#: What a hash gives: buckets of several sizes, near tokens more often in one.
FEW = (np.arange(128) // 9 + np.random.default_rng(1).integers(0, 3, 128)) % 8
CHUNKS = np.argsort(np.argsort(FEW, kind="stable")) // 16

FAMILY = Family(
    plugin="reformer",
    title="Reformer",
    paper="Kitaev, Kaiser, Levskaya (2020), *Reformer: The Efficient Transformer*, section 2.",
    definition="""
Queries and keys are hashed to b buckets by random rotations, h(x) = argmax [xR; −xR] with R of size D × b/2, in several
rounds. Queries are keys that aren't normalised: k_j = q_j / ‖q_j‖.

- *Exact*: A_i = {j : h(q_i) = h(k_j)}, for several rounds their union.
- *Chunks*: tokens are sorted by bucket, then by position, and cut into chunks of m. A query sees its chunk and the one
  before it. The first chunk looks back at the last one, of the round before it if there are several.
- A token sees itself only where it sees no other one. With `causal` it sees those before it.
""",
    text="""
## Attention

`lsh_attention` hashes, sorts and attends:

```python
import torch
from attncc_reformer.attention import lsh_attention

qk, value = (torch.randn(1, 2, 512, 32) for _ in range(2))
out = lsh_attention(qk, value, rounds=2, buckets=8, chunk=64, causal=True)
```

- Tokens of all entries, heads and rounds lie end to end in their sorted order. There chunks are ranges of neighbouring
  keys, so that a call is one plan and few batched products, however many entries have buckets of their own. `N` needn't
  be a multiple of `chunk`.
- A key that several rounds find counts as often, as in the authors' code; with `repeated=False` it counts once, by the
  score `score - log(count)`. With `chunk=None` the sets are exact.
- The token itself is left out of the sets. It joins as a part of its own with a score of −50,000, so that it has weight
  1 where there is nothing else, and 0 elsewhere.
- Beyond 128 buckets the default is a product of hashes, `buckets=(8, 8, 16)` for 1,024. One hash of N / m buckets would
  take N² D / 2m products.

**When not.** What is left out depends on hashes, and a model has to learn to live with it: in
[a comparison of small models](../long_context.md) LSH attention in every layer had 0.7 bits a byte more
than dense attention.

With the same rotations outputs and gradients equal those of reformer-pytorch's `LSHAttention`. Its keys of several
rounds count once with `allow_duplicate_attention=False`. For keys that a first chunk finds in the round before, it
counts 0, which makes their weight 10⁹ times too large (version 1.4.4). Here they count like others.

As patterns they may be joined with others, by tables of each batch entry and head:

```python
import attncc
from attncc_reformer import lsh, lsh_chunks, others
from attncc_reformer.hashing import hashed, rotations, sorted_chunks

[buckets] = hashed(qk, rotations(32, buckets=8, rounds=1))  # (B, H, N)
exact = (lsh(queries=buckets, keys=buckets) & others()).causal()
nearby = lsh_chunks(chunks=sorted_chunks(buckets, 64), count=8) | attncc.load("sliding_window", window=16)
out = attncc.attention(qk, torch.nn.functional.normalize(qk, dim=-1), value, nearby)
```
""",
    examples=(
        Example("lsh", {"queries": EQUAL, "keys": EQUAL}, N, "N² / b for b = 64 buckets of equal size", N * N // B),
        Example("lsh_chunks", {"chunks": EQUAL, "count": B}, N, "2 N m for chunks of m = 64", 2 * N * M),
        Example("others", {}, N, "N² − N", N * N - N),
    ),
    drawn=(("lsh", {"queries": FEW, "keys": FEW}), ("lsh_chunks", {"chunks": CHUNKS, "count": 8})),
)
