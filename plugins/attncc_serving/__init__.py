"""Patterns of serving and of post-training: prefixes, trees, windows with sinks, chunks and block diffusion."""

from attncc_serving.diffusion import block_causal, block_diffusion
from attncc_serving.prefixes import prefix_lm, shared_prefix
from attncc_serving.trees import rollout_tree, speculative_tree
from attncc_serving.windows import chunked, document_sinks, sink_window

__all__ = [
    "block_causal",
    "block_diffusion",
    "chunked",
    "document_sinks",
    "prefix_lm",
    "rollout_tree",
    "shared_prefix",
    "sink_window",
    "speculative_tree",
]
