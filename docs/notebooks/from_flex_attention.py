# %% [markdown]
# # From FlexAttention to a plan
#
# You have a `mask_mod` for FlexAttention. Here it is a window over packed documents, with the documents in a tensor:

# %%
import torch

import attncc

documents = torch.repeat_interleave(torch.arange(4), torch.tensor([500, 300, 800, 448]))


def packed_window(b, h, q_idx, kv_idx):
    causal = (kv_idx <= q_idx) & (q_idx - kv_idx < 256)
    return causal & (documents[q_idx] == documents[kv_idx])


# %% [markdown]
# It is a pattern as it is. The tensor that it closes over becomes a table.

# %%
pattern = attncc.from_mask_mod(packed_window)
pattern

# %% [markdown]
# A plan says how the pattern runs at a length. Dense attention computes all 2048 x 2048 pairs. Here few tiles are
# left, and those that are FULL need no mask.

# %%
plan = attncc.plan(pattern, 2048)
plan

# %% [markdown]
# The same as text, with every count:

# %%
print(plan)

# %% [markdown]
# Run it. The result is that of dense attention under the mask, and so are the gradients.

# %%
torch.manual_seed(0)
query, key, value = (torch.randn(1, 4, 2048, 32, requires_grad=True) for _ in range(3))
out = attncc.attention(query, key, value, packed_window)
mask = attncc.dense_mask(pattern, 2048)
dense = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
torch.allclose(out, dense, atol=1e-5)

# %%
grad = torch.randn_like(out)
ours, theirs = (torch.autograd.grad(each, (query, key, value), grad) for each in (out, dense))
all(torch.allclose(one, other, atol=1e-4) for one, other in zip(ours, theirs, strict=True))

# %% [markdown]
# And back: the plan as a `BlockMask` for FlexAttention, without evaluating all pairs.

# %%
block_mask = attncc.interop.to_block_mask(plan, block_size=128)
block_mask.shape

# %% [markdown]
# Score functions work alike: [From FlexAttention](../flex_attention.md) has them, and what isn't taken.
