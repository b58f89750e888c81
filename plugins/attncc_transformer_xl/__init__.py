"""The patterns of "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context" (Dai et al. 2019)."""
