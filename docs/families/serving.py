import numpy as np
from family_pages import DRAWN, Example, Family

N, WINDOW, SINKS, CHUNK, BLOCK, PREFIX = 4096, 256, 4, 512, 16, 1024
#: Continuations of a prefix, and documents of a sequence.
BRANCHES, DOCUMENTS = 6, 8
TOKENS, LENGTH = (N - PREFIX) // BRANCHES, N // DOCUMENTS


def branches(prefix: int, tokens: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (ids, enter, leave) of a prefix with as many continuations."""
    ids = np.repeat(np.arange(-1, count), [prefix] + [tokens] * count)
    return ids, ids + 1, np.where(ids < 0, count + 1, ids + 2)


def windows(n: int) -> int:
    """Return the edges of a window with sinks over n positions."""
    return n * WINDOW - WINDOW * (WINDOW - 1) // 2 + SINKS * (n - WINDOW) - SINKS * (SINKS - 1) // 2


IDS, ENTER, LEAVE = branches(PREFIX, TOKENS, BRANCHES)
SHARED = PREFIX * (PREFIX + 1) // 2 + BRANCHES * (TOKENS * PREFIX + TOKENS * (TOKENS + 1) // 2)
HALF = N // 2
IDS_DRAWN, ENTER_DRAWN, LEAVE_DRAWN = branches(32, 24, 4)

FAMILY = Family(
    plugin="serving",
    title="Serving and post-training",
    paper="""
Raffel et al. (2020), T5, section 3.2.1 (prefix language models); Xiao et al. (2023), *Efficient Streaming Language
Models with Attention Sinks*; Juravsky et al. (2024), *Hydragen*, and Yao et al. (2024), *DeFT* (shared prefixes and
trees); Miao et al. (2024), *SpecInfer*; Meta (2025), Llama 4 (chunks); Arriola et al. (2025), *Block Diffusion*.
""".strip(),
    definition="""
| pattern | A_i |
| --- | --- |
| `prefix_lm` | j < lengths_b, or j ≤ i |
| `shared_prefix` | j ≤ i, and j is in the prefix or in the query's own continuation |
| `rollout_tree` | j ≤ i, and enter_j ≤ enter_i < leave_j: the segment of j is on the path from that of i to the root |
| `speculative_tree` | all of the prefix, and draft tokens with enter_j ≤ enter_i < leave_j |
| `sink_window` | j ≤ i, and i − j < window or j < sinks |
| `document_sinks` | the same inside of the query's document, whose first positions are the sinks |
| `chunked` | j ≤ i, and ⌊i / chunk⌋ = ⌊j / chunk⌋ |
| `block_diffusion` | noisy: itself and the clean blocks before it; clean: clean blocks up to itself |
| `block_causal` | ⌊j / block⌋ ≤ ⌊i / block⌋ |
""",
    text="""
**Rollouts that branch.** Rollouts of a prompt that share thoughts are laid out as a tree of segments: each token
once, after those of its ancestors. `enter` numbers the segments as they are met in a walk from the root, and `leave`
is the number after those of a segment's descendants. Tiles of two leaves are EMPTY by proof: they cost nothing, and
nothing can leak from one rollout into another.

```python
import torch

import attncc

parents, lengths = [-1, 0, 0, 1, 1], [64, 32, 48, 16, 24]  # a prompt, two thoughts, two answers to the first one
descendants = [1] * len(parents)
for node in reversed(range(1, len(parents))):
    descendants[parents[node]] += descendants[node]
enter, following = [0], {0: 1}
for node, parent in enumerate(parents[1:], 1):
    enter.append(following[parent])
    following[parent] += descendants[node]
    following[node] = enter[node] + 1
enter = torch.tensor(enter)
leave = enter + torch.tensor(descendants)
segment = torch.arange(len(parents)).repeat_interleave(torch.tensor(lengths))
tree = attncc.load("rollout_tree", enter=enter[segment], leave=leave[segment])

x = torch.randn(1, 4, len(segment), 32)
out = attncc.attention(x, x, x, tree)
path = (segment == 0) | (segment == 1) | (segment == 3)  # one rollout, as if it were alone
alone = attncc.attention(*[x[:, :, path]] * 3, attncc.load("causal"))
torch.testing.assert_close(out[:, :, path], alone)
```

**Trees of draft tokens** come after a prefix in a cache ([drafts.md](../drafts.md)). The
pattern was declared in the family `basic` at first, and `basic:speculative_tree` is the same pattern.

**Sinks of each document.** `document_sinks` takes where documents begin as a table, (N,) or (B, N). With `cu_seqlens`,
`attncc.varlen_attention(..., attncc.load("sink_window"))` is the same
([packed.md](../packed.md)). The distribution in `plugins/template`, which is there to be copied,
calls its pattern `sinks`; the shipped one has a name of its own, so that both can be installed. A learned sink is
`attention(..., sink=)` with any of these.

**Chunks.** Padding on the left moves Llama 4's chunks along: `attncc.Documents` does that, with the padding as the
first document.

**Block diffusion.** Training reads 2 n positions, the noisy ones first. Sampling denoises a block at a time: queries at
`q_offset`, keys in a cache.

```python
import torch

import attncc

q, k, v = torch.randn(3, 1, 4, 512, 32)
out = attncc.attention(q, k, v, attncc.load("block_diffusion", block=16))  # [x_t, x_0], 256 positions each
block = attncc.attention(q[:, :, :16], k, v, attncc.load("block_causal", block=16), q_offset=496)
```

`tests/plugins/test_serving_peers.py` compares with the masks of Transformers: Llama 4's chunks, windows of Gemma and
Mistral, PaliGemma's prefix, and ModernBERT's local layers.
""",
    examples=(
        Example(
            "prefix_lm",
            {"lengths": np.array([PREFIX])},
            N,
            "N (N + 1) / 2 + P (P − 1) / 2",
            N * (N + 1) // 2 + PREFIX * (PREFIX - 1) // 2,
        ),
        Example("shared_prefix", {"ids": IDS}, N, "P (P + 1) / 2 + R (T P + T (T + 1) / 2)", SHARED),
        Example("rollout_tree", {"enter": ENTER, "leave": LEAVE}, N, "the same for R leaves of T tokens", SHARED),
        Example(
            "speculative_tree",
            {"enter": np.arange(N), "leave": np.arange(N) // LENGTH * LENGTH + LENGTH},
            N,
            "m chains of T tokens: m T (T + 1) / 2",
            DOCUMENTS * LENGTH * (LENGTH + 1) // 2,
        ),
        Example(
            "sink_window",
            {"window": WINDOW, "sinks": SINKS},
            N,
            "N w − w (w − 1) / 2 + s (N − w) − s (s − 1) / 2",
            windows(N),
        ),
        Example(
            "document_sinks",
            {"starts": np.arange(N) // LENGTH * LENGTH, "window": WINDOW, "sinks": SINKS},
            N,
            "the same for each of m documents",
            DOCUMENTS * windows(LENGTH),
        ),
        Example("chunked", {"chunk": CHUNK}, N, "N (c + 1) / 2", N * (CHUNK + 1) // 2),
        Example("block_diffusion", {"block": BLOCK}, N, "n² + n b for n = N / 2", HALF**2 + HALF * BLOCK),
        Example("block_causal", {"block": BLOCK}, N, "N (N + b) / 2", N * (N + BLOCK) // 2),
    ),
    drawn=(
        ("sink_window", {"window": 24, "sinks": 6}),
        ("rollout_tree", {"enter": ENTER_DRAWN, "leave": LEAVE_DRAWN}),
        ("document_sinks", {"starts": np.arange(DRAWN) // 43 * 43, "window": 10, "sinks": 4}),
        ("block_diffusion", {"block": 8}),
    ),
)
