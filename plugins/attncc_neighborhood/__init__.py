"""Neighbourhoods on grids of one, two and three dimensions (Hassani et al. 2023 to 2025, NATTEN), and their kin.

Positions run over the grid, the last axis fastest. In front of it may stand `cls` tokens, and behind it `text` tokens.
They see all tokens, and all tokens see them.
"""

from attncc_neighborhood.natten import neighborhood_1d, neighborhood_2d, neighborhood_3d
from attncc_neighborhood.tiles import axial, sliding_tiles

__all__ = ["axial", "neighborhood_1d", "neighborhood_2d", "neighborhood_3d", "sliding_tiles"]
