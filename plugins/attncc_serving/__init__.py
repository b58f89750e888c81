"""Patterns of serving and of post-training: prefixes, trees, chunks and block diffusion."""
