from family_pages import DRAWN, Example, Family

from attncc_bigbird.blocks import etc, itc

N, B, R, G = 4096, 64, 3, 64
BLOCKS = N // B

FAMILY = Family(
    plugin="bigbird",
    title="BigBird",
    paper="Zaheer et al. (2020), *Big Bird: Transformers for Longer Sequences*, section 2 and appendix D.",
    definition="""
The sequence is cut into blocks of b tokens. A block of queries sees

- a *window* of w blocks: its own, and (w − 1) / 2 on either side;
- g *global* tokens, which see all and are seen by all. In *ITC* they are some blocks of the sequence, in *ETC* extra
  tokens in front of it;
- r *random* blocks, of each block of queries and each head.
""",
    text="""
**When not.** With windows, random and global blocks of 64 a query sees 8 blocks. Up to a thousand tokens that is half
of the sequence or more, and dense attention is simpler.

`itc` and `etc` of `attncc_bigbird.blocks` make the parameters: lists of the blocks that each block of queries sees.
Random blocks are drawn from `seed`, uniformly and without repetition. None is in the window or global.

```python
import torch

import attncc
from attncc_bigbird.blocks import etc, itc

pattern = attncc.load("bigbird", **itc(1024, block=64, window=3, random=3, global_blocks=(0, -1), heads=4, seed=7))
q, k, v = torch.randn(3, 1, 4, 1024, 32)
out = attncc.attention(q, k, v, pattern)

extra = attncc.load("bigbird_etc", **etc(1024, extra=64, heads=4))  # 1,088 positions, the first 64 of them global
decoder = attncc.load("bigbird", **itc(1024, causal=True)).causal()
```

Rows of blocks are one pass of FULL tiles, and global blocks another: no pair needs a mask.

**Transformers** has a variant of its own (5.24, `BigBirdBlockSparseAttention`). It draws random blocks in train mode
only. Where one is in the window or global, its keys count twice in the softmax. In `eval()` all r of them are block 0,
which counts r + 1 times. A key that counts m times has log(m) added to its score, by the score in
`attncc_bigbird.repeats`:

```python
import numpy as np
import torch

import attncc
from attncc_bigbird.blocks import itc
from attncc_bigbird.repeats import inner, log_repeats, repeated

drawn = np.zeros((4, 16 - 2, 3), int)  # for 4 heads, the random blocks of all but the first and last blocks: eval()
pattern = attncc.load("bigbird", **itc(1024, random=inner(drawn)))
score = repeated(log_repeats=log_repeats(1024, drawn), block=64)
q, k, v = torch.randn(3, 1, 4, 1024, 32)
out = attncc.attention(q, k, v, pattern, score=score)
```
""",
    examples=(
        Example(
            "bigbird",
            itc(N, block=B, random=R),
            N,
            "b² (7 n − 12 + r (n − 2)) for n = N / b, w = 3, and the first and last block global",
            B * B * (7 * BLOCKS - 12 + R * (BLOCKS - 2)),
        ),
        Example(
            "bigbird_etc",
            etc(N, G, block=B, random=R),
            N + G,
            "b² (3 n − 2 + r n) + g (2 N + g) for N tokens behind g",
            B * B * (3 * BLOCKS - 2 + R * BLOCKS) + G * (2 * N + G),
        ),
    ),
    drawn=(
        ("bigbird", itc(DRAWN, block=8, random=2)),
        ("bigbird_etc", etc(DRAWN - 8, 8, block=8, random=2)),
    ),
)
