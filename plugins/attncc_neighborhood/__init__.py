"""Neighbourhoods on grids of one, two and three dimensions."""
