"""The patterns of "Big Bird: Transformers for Longer Sequences" (Zaheer et al. 2020)."""
