"""Measurements: interleaved timings, peak memory, and the error against the float64 oracle."""
