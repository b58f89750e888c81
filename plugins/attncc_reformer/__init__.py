"""The patterns of "Reformer: The Efficient Transformer" (Kitaev et al. 2020)."""
