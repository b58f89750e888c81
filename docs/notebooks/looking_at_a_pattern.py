# %% [markdown]
# # Looking at a pattern
#
# Patterns, scores and plans show themselves in notebooks: a table, and thumbnails that cost milliseconds. A pattern
# has its sets, and a picture at a length that shows them.

# %%
import numpy as np

import attncc

strided = attncc.load("strided", l=128)
strided

# %% [markdown]
# The length comes from the pattern: here four times the stride. Tables of positions are shown whole, and grids have
# lengths of their own.

# %%
attncc.load("document", ids=np.repeat([0, 1, 2, 3], [120, 40, 200, 96]))

# %%
attncc.load("neighborhood_2d", height=16, width=16, kernel_h=5, kernel_w=5)

# %% [markdown]
# Patterns combine, and the result can be looked at before anything runs:

# %%
attncc.load("block_diagonal", block=64).causal() | attncc.load("sliding_window", window=16)

# %% [markdown]
# ## Plans
#
# A plan shows each pass in its layout. `identity` keeps the order of tokens. In a `sorted` layout, tokens stand by
# class, here by position mod 128, so that what was scattered is dense. Dark tiles are FULL, light ones PARTIAL, and
# what isn't coloured is EMPTY and skipped.

# %%
attncc.plan(strided, 16384)

# %% [markdown]
# A million tokens take no longer to show, since no pair is looked at:

# %%
attncc.plan(strided, 1 << 20)

# %% [markdown]
# ## Scores

# %%
attncc.softcap(cap=50.0)

# %% [markdown]
# ## A page to look into
#
# The command line writes a page that needs no other file:
#
# ```
# attncc show strided -p l=128 --seq-len 4096 --html strided.html --topology 8xh100
# ```
#
# [This is what it writes](strided.html). Zoom into the connectivity down to single pairs, choose an alternative to
# see its tiles and what it costs, and see which rank owns which tokens. `--png` saves a picture instead. Time against
# length is drawn by `attncc bench strided --sweep --png time.png`.
