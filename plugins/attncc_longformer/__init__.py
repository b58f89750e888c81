"""The patterns of "Longformer: The Long-Document Transformer" (Beltagy et al. 2020)."""
