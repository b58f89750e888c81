"""Patterns for the kernels of others: BlockMask, FlashInfer, FlashAttention-4, cuDNN, MagiAttention and FlashMask.

The names are those of `__init__.pyi`, imported when they are first used. No peer is imported: what they get is tensors.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
