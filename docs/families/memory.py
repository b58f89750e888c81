import numpy as np
from family_pages import Example, Family

N, L, M, C, RATIO, K = 4096, 256, 256, 256, 4, 8
A_SEGMENT, S = L // RATIO, N // L - M // L
FILLED = C // A_SEGMENT

FAMILY = Family(
    plugin="memory",
    title="Memories",
    paper="Rae, Potapenko, Jayakumar, Hillier, Lillicrap (2020), *Compressive Transformers for Long-Range Sequence "
    "Modelling*, section 3; Wu, Rabe, Hutchins, Szegedy (2022), *Memorizing Transformers*, section 3; Munkhdalai, "
    "Faruqui, Gopal (2024), *Leave No Context Behind: Efficient Infinite Context Transformers with Infini-attention*, "
    "section 2.",
    definition="""
Beside its segment of L positions, a query sees what is kept of those before it.

- *Compressive Transformer*: the M positions before the segment as they are, and before these up to C compressed ones,
  each for c positions: {j : e − C ≤ j < e} for e = (⌊i / L⌋ L − M) / c. Compressed are keys and values, by means,
  maxima, a learned convolution, or by keeping the c-th part that got most attention.
- *Memorizing Transformer*: the k keys with the greatest products q_i k_j, of those older than the local context. They
  have no gradient. A gate for each head joins both: g · memory + (1 − g) · local.
- *Infini-attention*: a matrix M and a vector z for each head. f(q_i) M / f(q_i) z is what is remembered, for f = elu +
  1. After each segment M grows by f(K)ᵀ V, or under the delta rule by f(K)ᵀ (V − f(K) M / f(K) z). A gate joins it
  with attention in the segment.
""",
    text="""
## Can training without a state keep a memory with one?

Yes, where the memory is a function of what came before that doesn't need one step's *output* for the next. Then a whole
sequence is computed at once, without a state, and along the sequence a state gives the same numbers and gradients:

| memory | without a state | the state | equal for |
| --- | --- | --- | --- |
| Compressive | two patterns, one softmax | the last positions, compressed keys, usage | steps of any size |
| Memorizing | the same, with lists | local keys, older keys | steps of any size |
| Infini, linear rule | sums before each segment | M, z, the segment so far | steps of any size |
| Infini, delta rule | a scan: M' = A M + B, and such maps compose | the same | steps of any size |

The segment is part of all three definitions: what a query sees changes where a segment ends. How a sequence is cut into
steps is not. States keep the segment so far, and steps of 1, 7 and 64 positions equal the whole, gradients included.

```python
import torch

from attncc.nn.functional import compression, compressive, infini
from attncc_memory import memorizing
from attncc.nn.functional.compressive import CompressiveState, MemorySizes, compressive_attention
from attncc.nn.functional.infini import InfiniState, infini_attention
from attncc_memory.memorizing import RetrievalSizes, RetrievalState, memorizing_attention

q, k, v = torch.randn(3, 1, 4, 300, 32)
gate = torch.zeros(4, requires_grad=True)


def stepped(step, state, size, **options):
    outs = []
    for first in range(0, 300, size):
        out, state = step(*(x[:, :, first : first + size] for x in (q, k, v)), state=state, **options)
        outs.append(out)
    return torch.cat(outs, 2)


sizes = MemorySizes(segment=32, memory=32, compressed=16, ratio=4)
options = {"sizes": sizes, "compression": compression.mean}
whole = compressive_attention(q, k, v, **options)  # trains all segments at once
torch.testing.assert_close(stepped(compressive.step, CompressiveState.empty(k, v), 7, **options), whole)

options = {"sizes": RetrievalSizes(k=8, size=128, segment=32), "gate": gate}
whole = memorizing_attention(q, k, v, **options)
torch.testing.assert_close(stepped(memorizing.step, RetrievalState.empty(k, v), 7, **options), whole)

options = {"gate": gate, "segment": 32, "delta": True}
whole = infini_attention(q, k, v, **options)
torch.testing.assert_close(stepped(infini.step, InfiniState.empty(k, v), 7, **options), whole, rtol=1e-4, atol=1e-4)
whole.square().sum().backward()  # through the memory, to the first segment
```

It isn't so where layers feed a memory that the same layers read, as in recurrent memory tokens, or where a state
changes by a function that doesn't compose in closed form: there training goes segment by segment. The most used
memories are known without a state here because usage is the attention among *recent* keys. In one softmax with the
compressed ones, usage would depend on what was kept before.

## What differs from the papers

- Memories are keys and values. The papers' Compressive Transformer compresses hidden states; means and convolutions of
  these are those of keys, since projections are linear.
- A segment is compressed as a whole when it leaves the memory. So c divides L, and M is a multiple of L.
- Usage is an average: the attention that a position gets over the queries that saw it. It is the gradient of attention
  to a value of one channel, computed by the same plan (`attention_received`). `most_used` keeps, of each segment and
  head, the positions that got most.
- `reconstruction_loss` trains a compression alone: queries and old memories are detached.
- Retrieval is exact. Wu et al. use approximate search on the host; `nearest` may be replaced, since `retrieved` takes
  any lists. Without `gate`, memories and local keys share one softmax. A query without memories takes its local output
  whole.
- Infini-attention's first segment remembers nothing: 0 in place of 0 / 0.
- Gradients go through states. Where they shall end, pass `state.detached()` to the next step. Retrieved
  memories have none, as in the paper.

## Cost

A step of 256 positions behind 16,384 others, against causal attention to all of them, 8 heads of 64 channels, on two
cores that had other work: Infini-attention took a 22nd of the time, a Compressive Transformer of 256 positions and 256
compressed ones a 13th, and a Memorizing Transformer a fifth with 32 of 512 memories, since it computes the products
with all memories. Whole sequences of 8,192 took 4.4 to 5.1 times as long as 2,048 (`bench/test_memory.py`).

Transformers, x-transformers and local-attention have none of the three. Tests compare with the papers' algorithms,
segment by segment in float64.
""",
    examples=(
        Example(
            "compressed_memory",
            {"segment": L, "memory": M, "compressed": C, "ratio": RATIO},
            N,
            "L q t (S − (t + 1) / 2) for q = L / c of a segment, t = C / q, S = (N − M) / L",
            L * A_SEGMENT * FILLED * (2 * S - FILLED - 1) // 2,
            keys=N // RATIO,
        ),
        Example(
            "retrieved",
            {"memories": (np.arange(N)[:, None] * 7 + np.arange(K) * 131) % N},
            N,
            "N k",
            N * K,
        ),
    ),
    drawn=(
        ("compressed_memory", {"segment": 16, "memory": 16, "compressed": 12, "ratio": 4}),
        ("segment_memory", {"segment": 16, "memory": 16}),
        (
            "retrieved",
            {"memories": np.random.default_rng(0).permuted(np.arange(128)[None].repeat(128, 0), axis=1)[:, :5]},
        ),
    ),
    drawn_keys=(32, 128, 128),
)
