"""Layers of models: projections around `attncc.attention`.

The names are those of `__init__.pyi`, imported when they are first used: importing attncc needs no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
