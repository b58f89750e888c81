"""Keys from a memory: Compressive Transformers, Memorizing Transformers and Infini-attention."""
